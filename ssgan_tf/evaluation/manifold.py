"""Fidelity and diversity apart, and copies of training images, from features.

One number such as FID does not tell bad images from missing ones. These do:

    precision, density      the share of fakes that look like reals
    recall, coverage        the share of reals that the fakes account for

all in float64, from features of any one network. Distances come from a matrix product
of features that were centred on a point between the two sets,

    |a - b|^2 = |a|^2 + |b|^2 - 2 a b,

a block of 1,024 rows at a time: of N x M distances, 8 KiB M are ever held. That
rounds by at most (d + 8) 2^-52 (|a|^2 + |b|^2), which would decide ties, and ties are
what copies and duplicates make. So balls are closed, and a point within rounding of a
ball's surface is in it: duplicates are in each other's balls of radius 0. Without
duplicates or copies no ties are to be expected, and nothing here depends on them.

Reference:
    - Sajjadi et al., 2018 (PRD), https://arxiv.org/abs/1806.00035
    - Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991
    - Naeem et al., 2020, https://arxiv.org/abs/2002.09797
    - Meehan et al., 2020, https://arxiv.org/abs/2004.05675
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import threadpoolctl

from ssgan_tf.utils.progress import track

_BLOCK = 1024
_ANGLE_MARGIN = 1e-10


class PrecisionRecall(NamedTuple):
    """Improved precision and recall.

    Attributes:
        precision: in [0, 1]. Share of fakes in some real's ball.
        recall: in [0, 1]. Share of reals in some fake's ball.
    """

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Density and coverage.

    Attributes:
        density: >= 0, not bounded by 1. Mean number of reals' balls that a fake is in,
            over k; 1 is expected of two samples of one distribution.
        coverage: in [0, 1]. Share of reals with a fake in their ball.
    """

    density: float
    coverage: float


class PRD(NamedTuple):
    """Curve of precision against recall, for distributions.

    Attributes:
        precision: float64, (num_angles,), in [0, 1]. The paper's alpha, rising.
        recall: float64, (num_angles,), in [0, 1]. The paper's beta, falling.
        f8: in [0, 1]. Largest F_8 on the curve, which weighs recall.
        f1_8: in [0, 1]. Largest F_1/8 on the curve, which weighs precision.
    """

    precision: np.ndarray
    recall: np.ndarray
    f8: float
    f1_8: float


def precision_recall(
    real_features: np.ndarray, fake_features: np.ndarray, k: int = 3
) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al., equations 1 and 2).

        precision = 1/M sum_j 1[|y_j - x_i| <= r(x_i) for some i]
        recall    = 1/N sum_i 1[|x_i - y_j| <= r(y_j) for some j]

    with N reals x and M fakes y; r is the distance of a point to its k-th neighbour in
    its own set, itself excluded. Both depend on N and M: compare equal numbers only;
    the paper takes 50,000 of each.

    Args:
        real_features: floats or integers, (N, d), N > k.
        fake_features: floats or integers, (M, d), M > k.
        k: int >= 1; the paper takes 3.

    Raises:
        ValueError: k or the features are not of this kind, or not finite.
    """
    _check_k(k)
    real, fake = _centre(real_features, fake_features, k + 1, k + 1)
    real_radii, fake_radii = (_squared_radii(each, k) for each in (real, fake))
    precise = np.zeros(len(fake), bool)
    recalled = np.zeros(len(real), bool)
    blocks = _squared_distances(fake, real, sign=-1)
    for part, distances in track(blocks, _num_blocks(fake), "precision and recall"):
        precise[part] = (distances <= real_radii).any(axis=1)
        recalled |= (distances <= fake_radii[part, np.newaxis]).any(axis=0)
    return PrecisionRecall(float(precise.mean()), float(recalled.mean()))


def density_coverage(
    real_features: np.ndarray, fake_features: np.ndarray, k: int = 5
) -> DensityCoverage:
    """Density and coverage (Naeem et al.).

        density  = 1/(k M) sum_j sum_i 1[|y_j - x_i| <= r(x_i)]
        coverage = 1/N sum_i 1[|y_j - x_i| <= r(x_i) for some j]

    in the notation of `precision_recall`. Balls are drawn around reals only, so that
    a fake far from all else spoils nothing. Two samples of one distribution, N = M,
    have an expected coverage of 1 - (N - 1) ... (N - k) / ((2 N - 1) ... (2 N - k)),
    about 1 - 2^-k. The authors' code takes open balls: of a set with itself it
    computes a density of 1, this (k + 1) / k.

    Args:
        real_features: floats or integers, (N, d), N > k.
        fake_features: floats or integers, (M, d), M >= 1.
        k: int >= 1; the paper takes 5.

    Raises:
        ValueError: k or the features are not of this kind, or not finite.
    """
    _check_k(k)
    real, fake = _centre(real_features, fake_features, k + 1, 1)
    radii = _squared_radii(real, k)
    inside = 0
    covered = np.zeros(len(real), bool)
    blocks = _squared_distances(fake, real, sign=-1)
    for _, distances in track(blocks, _num_blocks(fake), "density and coverage"):
        within = distances <= radii
        inside += np.count_nonzero(within)
        covered |= within.any(axis=0)
    return DensityCoverage(float(inside / (k * len(fake))), float(covered.mean()))


def prd(
    real_features: np.ndarray,
    fake_features: np.ndarray,
    *,
    num_clusters: int = 20,
    num_runs: int = 10,
    num_angles: int = 1001,
    seed: int = 0,
) -> PRD:
    """Precision and recall for distributions (Sajjadi et al.).

    Both sets are clustered together by k-means; the curve is that of the shares of
    reals and of fakes in each cluster (`prd_curve`), a mean over runs that start from
    other centres. The authors' figures have recall, beta, as abscissa, and their
    pairs are (F_8, F_1/8), recall first; their code's are (precision, recall).

    Numbers may differ, but clusters go to where more points are: the authors take as
    many fakes as reals.

    Args:
        real_features: floats or integers, (N, d), N >= 1.
        fake_features: floats or integers, (M, d), M >= 1, N + M >= num_clusters.
        num_clusters: int >= 1. Bins of the histograms.
        num_runs: int >= 1. Clusterings.
        num_angles: int >= 3. Points of the curve.
        seed: int >= 0. The same seed gives the same clusters, on one machine.

    Raises:
        ValueError: an argument is not of this kind, or a feature is not finite.
    """
    # Slow to import, and no other score needs it.
    from sklearn.cluster import MiniBatchKMeans

    real, fake = _centre(real_features, fake_features, 1, 1)
    if not 1 <= num_clusters <= len(real) + len(fake) or num_runs < 1:
        raise ValueError(
            "PRD needs a run or more, a cluster or more, and no more clusters than "
            f"features. Received: num_runs={num_runs}, num_clusters={num_clusters} "
            f"for {len(real)} + {len(fake)} features. Use more images."
        )
    features = np.concatenate([real, fake])
    curves = []
    # Not seed, seed + 1, ...: neighbouring seeds would share all runs but one.
    run_seeds = np.random.default_rng(seed).integers(2**31, size=num_runs)
    for run_seed in track(run_seeds, num_runs, "clusterings"):
        kmeans = MiniBatchKMeans(num_clusters, n_init=10, random_state=int(run_seed))
        # In thousands of small steps, at which threads wait for each other: where
        # others compute on the same cores, ten times as long as one takes, or more.
        with threadpoolctl.threadpool_limits(1):
            clusters = kmeans.fit_predict(features)
        histograms = (
            np.bincount(each, minlength=num_clusters) / len(each)
            for each in (clusters[: len(real)], clusters[len(real) :])
        )
        curves.append(prd_curve(*histograms, num_angles=num_angles))
    precision, recall = np.mean(curves, axis=0)
    return PRD(
        precision,
        recall,
        f8=_max_f_beta(precision, recall, 8),
        f1_8=_max_f_beta(precision, recall, 1 / 8),
    )


def prd_curve(
    real_histogram: np.ndarray, fake_histogram: np.ndarray, *, num_angles: int = 1001
) -> tuple[np.ndarray, np.ndarray]:
    """PRD of two discrete distributions (Sajjadi et al.).

        alpha(l) = sum_w min(l P(w), Q(w)),   beta(l) = sum_w min(P(w), Q(w) / l)

    of reals P and fakes Q, l = tan(angle), at angles that divide a quarter turn, from
    1e-10 to pi/2 - 1e-10, into equal parts.

    Args:
        real_histogram: floats, (bins,), >= 0, of sum 1.
        fake_histogram: floats, (bins,), >= 0, of sum 1.
        num_angles: int >= 3.

    Returns:
        Precision alpha and recall beta, float64, (num_angles,), in [0, 1].

    Raises:
        ValueError: an argument is not of this kind.
    """
    real, fake = (np.asarray(h, np.float64) for h in (real_histogram, fake_histogram))
    # Written so that NaN, for which every comparison is false, fails too.
    if (
        real.ndim != 1
        or real.shape != fake.shape
        or not all(
            (each >= 0).all() and abs(each.sum() - 1) < 1e-6 for each in (real, fake)
        )
    ):
        raise ValueError(
            "Both histograms must be of shape (bins,), >= 0 and of sum 1. Received: "
            f"real_histogram={real}, fake_histogram={fake}. Divide counts by their sum."
        )
    if num_angles < 3:
        raise ValueError(
            f"A curve needs three angles or more. Received: num_angles={num_angles}. "
            "The authors take 1001."
        )
    angles = np.linspace(_ANGLE_MARGIN, np.pi / 2 - _ANGLE_MARGIN, num_angles)
    slopes = np.tan(angles)[:, np.newaxis]
    precision = np.minimum(slopes * real, fake).sum(axis=1)
    recall = np.minimum(real, fake / slopes).sum(axis=1)
    # A sum of shares can round to more than 1.
    return precision.clip(max=1), recall.clip(max=1)


def nearest_distances(
    queries: np.ndarray, batches: Iterable[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every query to the nearest of features that come in batches.

    No batch is kept: fit for a training set too large for memory. The distance itself
    is that of the differences, exact to rounding and 0 for a copy; it is which row is
    nearest that rounding can decide, between distances whose squares differ by less
    than (d + 8) 2^-51 (|a|^2 + |b|^2), a and b centred. Batches are of best use from
    about a thousand rows on.

    Args:
        queries: floats or integers, (n, d), n >= 1.
        batches: floats or integers, (rows, d), rows >= 1, one batch or more.

    Returns:
        distances: float64, (n,), euclidean, in the unit of the features.
        places: int64, (n,). The place of the nearest row among all that came, from 0;
            of equal rows in several batches, that of the first.

    Raises:
        ValueError: a batch or the queries are not of this kind or not finite, or
            there is no batch.
    """
    queries = _check(queries, "queries")
    centre = queries.mean(axis=0)
    queries = queries - centre
    distances = np.full(len(queries), np.inf)
    places = np.full(len(queries), -1, np.int64)
    count = 0
    for batch in batches:
        rows = _check(batch, "batch", width=queries.shape[1]) - centre
        for part, lower_bounds in _squared_distances(queries, rows, sign=-1):
            nearest = lower_bounds.argmin(axis=1)
            least = np.take_along_axis(lower_bounds, nearest[:, np.newaxis], axis=1)
            # The differences take as long as a product with a small batch: only
            # where they can change something.
            some = np.flatnonzero(least[:, 0] < distances[part] ** 2)
            differences = queries[part][some] - rows[nearest[some]]
            found = np.linalg.norm(differences, axis=1)
            closer = found < distances[part][some]
            some = some[closer]
            distances[part.start + some] = found[closer]
            places[part.start + some] = count + nearest[some]
        count += len(rows)
    if not count:
        raise ValueError(
            "There must be features to be near to. Received: batches of no rows in "
            "all. An iterator that was read before is empty: make a new one."
        )
    return distances, places


def memorisation(fake_distances: np.ndarray, test_distances: np.ndarray) -> float:
    """Chance that a fake is farther from its nearest training image than a test image.

        P(fake > test) + P(fake = test) / 2

    over all pairs: Delta_T of Meehan et al., the Mann-Whitney U over the number of
    pairs. 1/2: fakes lie as far from the training images as held-out images of the
    same distribution do. 0: copies. If a share s of the fakes are copies and the rest
    is like held-out images, (1 - s) / 2, to about sqrt((1/n + 1/m) / 12).

    What it cannot say: which images were copied (the places of `nearest_distances`
    do); that nothing was, as bad fakes are far from everything and make up for
    copies; or anything of copies that the features do not see as such. Both sets of
    distances must be to the same training images, of one feature network.

    Args:
        fake_distances: floats, (n,), >= 0. Of fakes to their nearest training image.
        test_distances: floats, (m,), >= 0. Of held-out images to theirs.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: the distances are not of this kind.
    """
    fake, test = (np.asarray(d, np.float64) for d in (fake_distances, test_distances))
    # Written so that NaN, for which every comparison is false, fails too.
    if not all(
        each.ndim == 1 and each.size and ((each >= 0) & (each < np.inf)).all()
        for each in (fake, test)
    ):
        raise ValueError(
            "Distances must be finite, >= 0 and of shape (n,), n >= 1. Received: "
            f"fake_distances={fake}, test_distances={test}. Take the first of what "
            "`nearest_distances` returns."
        )
    test = np.sort(test)
    below, upto = (test.searchsorted(fake, side=side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(test)))


def _max_f_beta(precision: np.ndarray, recall: np.ndarray, beta: float) -> float:
    """max (1 + beta^2) p r / (beta^2 p + r); 0 where both are."""
    products = (1 + beta**2) * precision * recall
    sums = beta**2 * precision + recall
    return float(np.divide(products, sums, out=0 * sums, where=sums > 0).max())


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be 1 or more. Received: k={k}. Use 3 or 5.")


def _check(
    features: np.ndarray, name: str, *, min_rows: int = 1, width: int | None = None
) -> np.ndarray:
    features = np.asarray(features, np.float64)
    finite = bool(np.isfinite(features).all())
    if (
        features.ndim != 2
        or len(features) < min_rows
        or not features.shape[1]
        or width not in (None, features.shape[1])
        or not finite
    ):
        raise ValueError(
            f"{name} must be finite and of shape (n, {width or 'd'}), n >= {min_rows}. "
            f"Received: {name}.shape={features.shape}, finite={finite}. Take all "
            "features from one network, in good health, one row for each image."
        )
    return features


def _centre(
    real_features: np.ndarray,
    fake_features: np.ndarray,
    min_reals: int,
    min_fakes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Both sets, checked, around the middle of their means: digits for differences."""
    real = _check(real_features, "real_features", min_rows=min_reals)
    fake = _check(
        fake_features, "fake_features", min_rows=min_fakes, width=real.shape[1]
    )
    centre = (real.mean(axis=0) + fake.mean(axis=0)) / 2
    return real - centre, fake - centre


def _squared_distances(
    queries: np.ndarray, references: np.ndarray, *, sign: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of queries, and their squared distances to all references.

    Bounds, rather: from above, if sign is 1, or below, if it is -1, by as much as
    rounding can amount to and no more than twice that. So an upper bound is never
    negative, and a lower bound of one distance never exceeds the upper bound of
    another that is equal.
    """
    slack = (queries.shape[1] + 8) * np.finfo(np.float64).eps
    query_norms, reference_norms = (
        (1 + sign * slack) * np.einsum("nd,nd->n", each, each)
        for each in (queries, references)
    )
    for start in range(0, len(queries), _BLOCK):
        part = slice(start, start + _BLOCK)
        block = queries[part] @ references.T
        block *= -2
        block += query_norms[part, np.newaxis]
        block += reference_norms
        yield part, block


def _num_blocks(queries: np.ndarray) -> int:
    return -(-len(queries) // _BLOCK)


def _squared_radii(features: np.ndarray, k: int) -> np.ndarray:
    """Upper bounds of each point's squared distance to its k-th neighbour, (n,)."""
    radii = np.empty(len(features))
    blocks = _squared_distances(features, features, sign=1)
    for part, distances in track(blocks, _num_blocks(features), "neighbours"):
        own = np.arange(len(distances))
        distances[own, part.start + own] = np.inf
        distances.partition(k - 1, axis=1)
        radii[part] = distances[:, k - 1]
    return radii
