"""Fidelity, diversity and memorisation from features: precision, recall and others.

A single number such as FID does not separate bad images from missing ones. These do:

    precision, density      share of fakes that resemble reals
    recall, coverage        share of reals that the fakes cover

Features may be of any network; all is computed in float64. scikit-learn's squared
distances |a|^2 + |b|^2 - 2 a b, of features centred between the two sets, are exact to
(d + 8) 2^-52 (|a|^2 + |b|^2). Copies and duplicates make exact ties, which rounding
must not decide: balls are closed, and a point within the error of a ball's surface is
inside. Duplicates are in each other's balls of radius 0.

Reference:
    - Sajjadi et al., 2018 (PRD), https://arxiv.org/abs/1806.00035
    - Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991
    - Naeem et al., 2020, https://arxiv.org/abs/2002.09797
    - Meehan et al., 2020, https://arxiv.org/abs/2004.05675
"""

from collections.abc import Iterable, Iterator

import numpy as np
import threadpoolctl

from ssgan_tf.evaluation import arrays
from ssgan_tf.utils.progress import track

# MiB of distances that are computed at a time.
WORKING_MEMORY = 128
_NUM_ANGLES, _ANGLE_MARGIN = 1001, 1e-10


def precision_recall(
    real_features: np.ndarray, fake_features: np.ndarray, k: int
) -> dict[str, float]:
    """Improved precision and recall (Kynkaanniemi et al., equations 1 and 2).

        precision = 1/M sum_j 1[|y_j - x_i| <= r(x_i) for some i]
        recall    = 1/N sum_i 1[|x_i - y_j| <= r(y_j) for some j]

    with N reals x and M fakes y; r is the distance of a point to its k-th neighbour in
    its own set, itself excluded. Both depend on N and M, 50,000 in the paper: compare
    equal numbers only.

    Args:
        real_features: floats or integers, (N, d), N > k.
        fake_features: floats or integers, (M, d), M > k.
        k: int >= 1; 3 in the paper.

    Returns:
        precision: in [0, 1]. Share of fakes in the ball of any real.
        recall: in [0, 1]. Share of reals in the ball of any fake.

    Raises:
        ValueError: an argument is not as described, or a feature is not finite.
    """
    real, fake = _centre(real_features, fake_features, k + 1, k + 1)
    real_radii, fake_radii = (_squared_radii(rows, k) for rows in (real, fake))
    precise = np.zeros(len(fake), bool)
    recalled = np.zeros(len(real), bool)
    for part, distances in _squared_distances(fake, real, "precision and recall"):
        precise[part] = (distances <= real_radii).any(axis=1)
        recalled |= (distances <= fake_radii[part, np.newaxis]).any(axis=0)
    return {"precision": float(precise.mean()), "recall": float(recalled.mean())}


def density_coverage(
    real_features: np.ndarray, fake_features: np.ndarray, k: int
) -> dict[str, float]:
    """Density and coverage (Naeem et al.).

        density  = 1/(k M) sum_j sum_i 1[|y_j - x_i| <= r(x_i)]
        coverage = 1/N sum_i 1[|y_j - x_i| <= r(x_i) for some j]

    in the notation of `precision_recall`. Only reals have balls, so that a fake far
    from all others has no influence. Two samples of one distribution, N = M, have an
    expected coverage of 1 - (N - 1) ... (N - k) / ((2 N - 1) ... (2 N - k)), about
    1 - 2^-k. The balls of the authors' code are open: the density of a set with itself
    is 1 there, and (k + 1) / k here.

    Args:
        real_features: floats or integers, (N, d), N > k.
        fake_features: floats or integers, (M, d), M >= 1.
        k: int >= 1; 5 in the paper.

    Returns:
        density: >= 0, not bounded by 1. Mean number of reals' balls around a fake,
            divided by k; its expectation is 1 for two samples of one distribution.
        coverage: in [0, 1]. Share of reals with a fake in their ball.

    Raises:
        ValueError: an argument is not as described, or a feature is not finite.
    """
    real, fake = _centre(real_features, fake_features, k + 1, 1)
    radii = _squared_radii(real, k)
    inside = 0
    covered = np.zeros(len(real), bool)
    for _, distances in _squared_distances(fake, real, "density and coverage"):
        within = distances <= radii
        inside += np.count_nonzero(within)
        covered |= within.any(axis=0)
    density = float(inside / (k * len(fake)))
    return {"density": density, "coverage": float(covered.mean())}


def prd(
    real_features: np.ndarray,
    fake_features: np.ndarray,
    *,
    num_clusters: int,
    num_runs: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall for distributions (Sajjadi et al.).

    Both sets are clustered together by k-means. The curve is `prd_curve` of the shares
    of reals and of fakes in the clusters, averaged over runs from different initial
    centres. The authors plot recall, beta, on the x axis and report the largest F_8 and
    F_1/8, `max_f_beta`, recall first. N and M may differ, but larger sets attract more
    clusters: the authors use N = M.

    Args:
        real_features: floats or integers, (N, d), N >= 1.
        fake_features: floats or integers, (M, d), M >= 1, N + M >= num_clusters.
        num_clusters: int >= 1. Bins of the histograms; 20 in the paper.
        num_runs: int >= 1. Clusterings; 10 in the paper.
        seed: int >= 0. Equal seeds give equal clusters on one machine.

    Returns:
        As `prd_curve`: precision, which rises, and recall, which falls.

    Raises:
        ValueError: an argument is not as described, or a feature is not finite.
    """
    # Slow to import, and no other score needs it.
    from sklearn.cluster import MiniBatchKMeans

    arrays.check_least(1, num_runs=num_runs, num_clusters=num_clusters)
    real, fake = _centre(real_features, fake_features, 1, 1)
    features = np.concatenate([real, fake])
    arrays.check_least(num_clusters, num_features=len(features))
    curves = []
    # Not seed, seed + 1, ...: neighbouring seeds would share all runs but one.
    run_seeds = np.random.default_rng(seed).integers(2**31, size=num_runs)
    for run_seed in track(run_seeds, num_runs, "clusterings"):
        kmeans = MiniBatchKMeans(num_clusters, n_init=10, random_state=int(run_seed))
        # One thread: the many small steps take ten times as long on shared cores, as
        # threads wait for each other.
        with threadpoolctl.threadpool_limits(1):
            clusters = kmeans.fit_predict(features)
        histograms = (
            np.bincount(side, minlength=num_clusters) / len(side)
            for side in np.split(clusters, [len(real)])
        )
        curves.append(prd_curve(*histograms))
    precision, recall = np.mean(curves, axis=0)
    return precision, recall


def prd_curve(
    real_histogram: np.ndarray, fake_histogram: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """PRD of two discrete distributions (Sajjadi et al.).

        alpha(l) = sum_w min(l P(w), Q(w)),   beta(l) = sum_w min(P(w), Q(w) / l)

    for reals P, fakes Q and l = tan(angle), at 1001 equidistant angles from 1e-10 to
    pi/2 - 1e-10.

    Args:
        real_histogram: floats, (bins,), >= 0, of sum 1.
        fake_histogram: floats, (bins,), >= 0, of sum 1.

    Returns:
        Precision alpha and recall beta, float64, (1001,), in [0, 1].
    """
    angles = np.linspace(_ANGLE_MARGIN, np.pi / 2 - _ANGLE_MARGIN, _NUM_ANGLES)
    slopes = np.tan(angles)[:, np.newaxis]
    precision = np.minimum(slopes * real_histogram, fake_histogram).sum(axis=1)
    recall = np.minimum(real_histogram, fake_histogram / slopes).sum(axis=1)
    # A sum of shares can round above 1.
    return precision.clip(max=1), recall.clip(max=1)


def max_f_beta(precision: np.ndarray, recall: np.ndarray, beta: float) -> float:
    """max (1 + beta^2) p r / (beta^2 p + r), where 0 / 0 = 0."""
    products = (1 + beta**2) * precision * recall
    sums = beta**2 * precision + recall
    return float(np.divide(products, sums, out=0 * sums, where=sums > 0).max())


def nearest_distances(
    queries: np.ndarray, batches: Iterable[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every query to the nearest of features that come in batches.

    No batch is kept, so the features may exceed the memory. Distances are those of the
    differences: exact to rounding, and 0 for a copy. Only the choice of the nearest row
    depends on rounding, if squared distances differ by less than
    (d + 8) 2^-51 (|a|^2 + |b|^2) for centred a and b.

    Args:
        queries: floats or integers, (n, d), n >= 1.
        batches: floats or integers, (rows, d), rows >= 1, one batch or more.

    Returns:
        distances: float64, (n,), euclidean, in the unit of the features.
        places: int64, (n,). Index of the nearest row among all rows; the first of
            equal rows in several batches.

    Raises:
        ValueError: an argument is not as described, or a feature is not finite.
    """
    from sklearn.metrics import pairwise_distances_argmin

    queries = arrays.check("queries", queries, (None, None))
    centre = queries.mean(axis=0)
    queries = queries - centre
    distances = np.full(len(queries), np.inf)
    places = np.full(len(queries), -1, np.int64)
    count = 0
    for batch in batches:
        rows = arrays.check("batch", batch, (None, len(centre))) - centre
        nearest = pairwise_distances_argmin(queries, rows)
        exact = np.linalg.norm(queries - rows[nearest], axis=1)
        closer = exact < distances
        distances[closer] = exact[closer]
        places[closer] = count + nearest[closer]
        count += len(rows)
    # An iterator that was read before is empty.
    arrays.check_least(1, num_features=count)
    return distances, places


def memorisation(fake_distances: np.ndarray, test_distances: np.ndarray) -> float:
    """Chance that a fake is farther from its nearest training image than a test image.

        P(fake > test) + P(fake = test) / 2

    over all pairs: Delta_T of Meehan et al., the Mann-Whitney U divided by the number
    of pairs. It is 1/2 if fakes are as far from the training images as held-out images
    of the same distribution, and 0 for copies. If a share s of the fakes are copies and
    the rest resembles held-out images, it is (1 - s) / 2, with a standard error of
    about sqrt((1/n + 1/m) / 12).

    It does not name the copies (the places of `nearest_distances` do), and 1/2 does not
    rule them out: bad fakes are far from everything and hide copies, and so do features
    that miss the likeness. Both arguments must refer to the same training images and
    feature network.

    Args:
        fake_distances: floats, (n,), >= 0. From every fake to the nearest training
            image.
        test_distances: floats, (m,), >= 0. From every held-out image to the nearest
            training image.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: an argument is not as described.
    """
    fake = arrays.check("fake_distances", fake_distances, (None,), low=0)
    test = np.sort(arrays.check("test_distances", test_distances, (None,), low=0))
    below, upto = (test.searchsorted(fake, side=side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(test)))


def _centre(
    real: np.ndarray, fake: np.ndarray, min_reals: int, min_fakes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Checks both sets and subtracts the middle of their means, to save digits."""
    real = arrays.check("real_features", real, (None, None), rows=min_reals)
    shape = (None, real.shape[1])
    fake = arrays.check("fake_features", fake, shape, rows=min_fakes)
    centre = (real.mean(axis=0) + fake.mean(axis=0)) / 2
    return real - centre, fake - centre


def _rounding_errors(features: np.ndarray) -> np.ndarray:
    """The share of every point in the error of its squared distances, (n,)."""
    slack = (features.shape[1] + 8) * np.finfo(np.float64).eps
    return slack * np.einsum("nd,nd->n", features, features)


def _squared_distances(
    queries: np.ndarray, references: np.ndarray, title: str
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields blocks of queries, and lower bounds of their squared distances."""
    from sklearn.metrics import pairwise_distances_chunked

    query_errors, reference_errors = map(_rounding_errors, (queries, references))
    blocks = pairwise_distances_chunked(
        queries, references, squared=True, working_memory=WORKING_MEMORY
    )
    start = 0
    for block in track(blocks, len(queries), title, size=len):
        part = slice(start, start + len(block))
        block -= query_errors[part, np.newaxis]
        block -= reference_errors
        yield part, block
        start = part.stop


def _squared_radii(features: np.ndarray, k: int) -> np.ndarray:
    """Upper bounds of the squared distances to the k-th neighbours, (n,)."""
    from sklearn.neighbors import NearestNeighbors

    arrays.check_least(1, k=k)
    search = NearestNeighbors(
        n_neighbors=k, algorithm="brute", metric="sqeuclidean"
    ).fit(features)
    distances, neighbours = search.kneighbors()
    errors = _rounding_errors(features)
    return distances[:, -1] + errors + errors[neighbours[:, -1]]
