"""The table of metrics. Adding a metric is adding one row.

A metric compares an `Observed` of the fakes with one of the reals. The names of its
scores are those of the Inception extractor. Under another extractor NAME they become
`frechet_NAME` for `fid`, `classifier_score_NAME`, `kernel_distance_NAME` and so on, so
that they cannot be mistaken for a FID.

Reference:
    - Heusel et al., 2017 (FID), https://arxiv.org/abs/1706.08500
    - Salimans et al., 2016 (Inception Score), https://arxiv.org/abs/1606.03498
    - Binkowski et al., 2018 (KID), https://arxiv.org/abs/1801.01401
    - Karras et al., 2018 (sliced Wasserstein), https://arxiv.org/abs/1710.10196
    - Odena et al., 2017 (MS-SSIM), https://arxiv.org/abs/1610.09585
    - Sajjadi et al., 2018 (PRD), https://arxiv.org/abs/1806.00035
    - Kynkaanniemi et al., 2019 (precision, recall), https://arxiv.org/abs/1904.06991
    - Naeem et al., 2020 (density, coverage), https://arxiv.org/abs/2002.09797
    - Meehan et al., 2020 (memorisation), https://arxiv.org/abs/2004.05675
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ssgan_tf.evaluation import frechet, manifold, ms_ssim, sliced_wasserstein, tfgan
from ssgan_tf.utils.progress import track

KERNEL_BLOCK_SIZE = 1024
MS_SSIM_PAIRS = 10_000
PRECISION_K, DENSITY_K = 3, 5
PRD_CLUSTERS, PRD_RUNS = 20, 10
_BATCH_SIZE = 1024


@dataclasses.dataclass(frozen=True)
class Observed:
    """Features of a set of images, and some of the images.

    All rows are in the random order in which the images were dealt: blocks and subsets
    assume it, and data sets come sorted.

    Attributes:
        subset: uint8, (min(N, 8192), H, H, C). The images dealt first.
        labels: int32, (N,); None if unknown.
        features: float32, (N, d); None without an extractor.
        logits: float32, (N, k); None without an extractor.
        train_features: float32, (M, d). Features of G's training images; None if no
            metric needs them.
    """

    subset: np.ndarray
    labels: np.ndarray | None = None
    features: np.ndarray | None = None
    logits: np.ndarray | None = None
    train_features: np.ndarray | None = None

    @functools.cached_property
    def moments(self) -> frechet.Moments:
        """Mean and covariance of the features."""
        return frechet.moments(batches_of(self.features))

    @functools.cached_property
    def train_distances(self) -> np.ndarray:
        """Distance from every image to the nearest of `train_features`."""
        return distances_to(self.train_features, self.features)


def batches_of(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields 1,024 rows at a time."""
    for start in range(0, len(rows), _BATCH_SIZE):
        yield rows[start : start + _BATCH_SIZE]


def distances_to(train_features: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Distance from every row to the nearest training row."""
    batches = track(
        batches_of(train_features), len(train_features), "training images", size=len
    )
    distances, _ = manifold.nearest_distances(features, batches)
    return distances


class Metric(NamedTuple):
    """A row of the table.

    Attributes:
        compute: maps (real, fake, seed) to the scores, by name.
        enough: whether these numbers of reals and fakes suffice.
        needs_extractor: bool. Whether it uses features or logits.
        needs_labels: bool. Whether it uses the labels of both sets.
        needs_training_images: bool.
    """

    compute: Callable[[Observed, Observed, int], dict[str, float]]
    enough: Callable[[int, int], bool] = lambda reals, fakes: min(reals, fakes) >= 2
    needs_extractor: bool = True
    needs_labels: bool = False
    needs_training_images: bool = False


def _fid(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """Frechet distance, float64, covariances divided by N - 1:
    |m - m'|^2 + Tr(C + C' - 2 (C C')^(1/2)). Lower is better; 0 for equal
    statistics. Its bias depends on N.
    """
    return {"fid": frechet.distance(real.moments, fake.moments)}


def _fid_interval(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """95 % interval of the Frechet distance: `frechet.interval`."""
    low, high = frechet.interval(real.features, fake.features)
    return {"fid_low": low, "fid_high": high}


def _inception_score(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """exp(E KL(p(y | image) || p(y))) over all fakes, without splits, and all logits.
    Higher is better; in [1, number of logits].
    """
    score = tfgan.import_eval().classifier_score_from_logits
    return {"inception_score": float(score(tf.constant(fake.logits, tf.float64)))}


def _kid(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """Unbiased estimate of the squared MMD with kernel (a . b / d + 1)^3: mean and
    standard deviation over blocks of at most 1,024 images. Lower is better; it can be
    slightly negative. A single block has no deviation.
    """
    evaluation = tfgan.import_eval()
    mean, error = evaluation.kernel_classifier_distance_and_std_from_activations(
        tf.constant(real.features, tf.float64),
        tf.constant(fake.features, tf.float64),
        max_block_size=KERNEL_BLOCK_SIZE,
    )
    blocks = _num_kernel_blocks(len(real.features), len(fake.features))
    numbers = {"kid": float(mean)}
    if blocks > 1:
        # TFGAN gives the standard error of the mean.
        numbers["kid_block_std"] = float(error) * blocks**0.5
    return numbers


def _num_kernel_blocks(reals: int, fakes: int) -> int:
    return -(-max(reals, fakes) // KERNEL_BLOCK_SIZE)


def _sliced_wasserstein(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """`sliced_wasserstein.distance`, times 1,000. Lower is better."""
    count = min(len(real.subset), len(fake.subset))
    value = sliced_wasserstein.distance(real.subset[:count], fake.subset[:count], seed)
    return {"sliced_wasserstein": value}


def _ms_ssim(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """Mean similarity of pairs of fakes, and of reals for comparison; pairs of one
    class if both sets have classes. Lower is more diverse.
    """
    labelled = real.labels is not None and fake.labels is not None
    return {
        name: ms_ssim.ms_ssim_diversity(
            side.subset,
            num_pairs=MS_SSIM_PAIRS,
            seed=seed,
            labels=side.labels[: len(side.subset)] if labelled else None,
        )
        for name, side in (("ms_ssim", fake), ("ms_ssim_real", real))
    }


def _prd(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """F8, which weighs recall, and F1/8, which weighs precision (Sajjadi et al.).
    Higher is better; in [0, 1].
    """
    curve = manifold.prd(
        real.features,
        fake.features,
        num_clusters=PRD_CLUSTERS,
        num_runs=PRD_RUNS,
        seed=seed,
    )
    return {
        "prd_f8": manifold.max_f_beta(*curve, 8),
        "prd_f1_8": manifold.max_f_beta(*curve, 1 / 8),
    }


def _precision_recall(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """Share of fakes within the reals' manifold, and of reals within the fakes'
    (Kynkaanniemi et al.). Higher is better; in [0, 1].
    """
    return manifold.precision_recall(real.features, fake.features, k=PRECISION_K)


def _density_coverage(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """Density and coverage (Naeem et al.). Higher is better; coverage is in [0, 1]."""
    return manifold.density_coverage(real.features, fake.features, k=DENSITY_K)


def _intra_fid(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """Mean over the classes of the Frechet distance between reals and fakes of the
    class. Its bias depends on the number of images per class.
    """
    classes = np.union1d(real.labels, fake.labels).tolist()
    for side in (real, fake):
        few = [c for c in classes if np.count_nonzero(side.labels == c) < 2]
        if few:
            raise ValueError(
                "`intra_fid` needs two reals and two fakes of every class, or more. "
                f"Received: fewer of the classes {few}. Use more images."
            )
    # One class at a time: covariances of a thousand do not fit into memory.
    distances = [
        frechet.distance(
            *(
                frechet.moments(batches_of(side.features[side.labels == label]))
                for side in (real, fake)
            )
        )
        for label in track(classes, len(classes), "classes")
    ]
    return {"intra_fid": float(np.mean(distances))}


def _memorisation(real: Observed, fake: Observed, seed: int) -> dict[str, float]:
    """`manifold.memorisation`: 1/2 if fakes are as far from G's training images as
    held-out reals are, 0 for copies.
    """
    distances = distances_to(real.train_features, fake.features)
    return {"memorisation": manifold.memorisation(distances, real.train_distances)}


METRICS: dict[str, Metric] = {
    "fid": Metric(_fid),
    "fid_interval": Metric(_fid_interval),
    "is": Metric(_inception_score),
    # TFGAN divides both sets into the same number of blocks, of two images or more.
    "kid": Metric(_kid, lambda r, f: min(r, f) >= 2 * _num_kernel_blocks(r, f)),
    "swd": Metric(_sliced_wasserstein, needs_extractor=False),
    "ms_ssim": Metric(_ms_ssim, needs_extractor=False),
    "prd": Metric(_prd, lambda r, f: r + f >= PRD_CLUSTERS),
    "precision_recall": Metric(_precision_recall, lambda r, f: min(r, f) > PRECISION_K),
    "density_coverage": Metric(_density_coverage, lambda r, f: r > DENSITY_K),
    "intra_fid": Metric(_intra_fid, needs_labels=True),
    "memorisation": Metric(_memorisation, needs_training_images=True),
}
DEFAULT_METRICS = ("fid", "is", "kid", "swd")


def check_metrics(names: tuple[str, ...]) -> None:
    """Refuses names that are not keys of `METRICS`.

    Raises:
        ValueError: a name is unknown, or there are no names.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise ValueError(
            f"`--metrics` must name one or more of {', '.join(METRICS)}. Received: "
            f"--metrics={','.join(names)}."
        )


def name_under(extractor: str, name: str) -> str:
    """Name of a score computed under an extractor.

    Args:
        extractor: name of the extractor; "inception" leaves the name as it is.
        name: name that the metric returns.
    """
    if extractor == "inception":
        return name
    for ours, general in (
        ("fid", "frechet"),
        ("inception_score", "classifier_score"),
        ("kid", "kernel_distance"),
    ):
        name = name.replace(ours, general)
    return f"{name}_{extractor}"
