"""Scores of generated images against real ones, in one pass over the images.

The Frechet distance is that of `frechet`; all else is computed by TFGAN.

With the Inception extractor the names are `fid`, `inception_score` and `kid`; with
another extractor, called NAME, they are `frechet_NAME`, `classifier_score_NAME` and
`kernel_distance_NAME`. `sliced_wasserstein` needs no extractor.

Reference:
    - Heusel et al., 2017 (FID), https://arxiv.org/abs/1706.08500
    - Salimans et al., 2016 (Inception Score), https://arxiv.org/abs/1606.03498
    - Binkowski et al., 2018 (KID), https://arxiv.org/abs/1801.01401
    - Karras et al., 2018 (sliced Wasserstein), https://arxiv.org/abs/1710.10196
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf import rotation
from ssgan_tf.evaluation import frechet, tfgan
from ssgan_tf.evaluation.features import FeatureExtractor

_RANGE_TOLERANCE = 1e-3
_FEW_IMAGES = 2048
_KID_BLOCK_SIZE = 1024
_BATCH_SIZE = 1024
_SWD_MAX_IMAGES = 8192
_SWD_PATCH_SIZE = 7
_SWD_DITHER = 1e-2
_ROTATION_BATCH_SIZE = 64


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Rounds float images in [0, 1] to 8 bit: the nearest integer to 255 x.

    Args:
        images: float, any shape, values in [0, 1]. An excess of 1e-3 is taken for
            rounding and clipped.

    Raises:
        ValueError: a value is NaN or further outside.
    """
    images = np.asarray(images, np.float32)
    low, high = images.min(initial=np.inf), images.max(initial=-np.inf)
    # Written so that NaN, for which every comparison is false, fails too.
    if images.size and not (low >= -_RANGE_TOLERANCE and high <= 1 + _RANGE_TOLERANCE):
        raise ValueError(
            "Images must be finite and in [0, 1]. Received: images with "
            f"min={low}, max={high}. Rescale them; NaN means that the generator "
            "has diverged."
        )
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


class _Observed(NamedTuple):
    """What is kept of a set of images, which are seen once, batch by batch.

    Blocks and subsets assume a random order, and data sets come sorted: all that is
    here is in the order in which the images were dealt.

    Attributes:
        features: float32, (N, d); None without an extractor.
        logits: float32, (N, k); None without an extractor.
        subset: uint8, (min(N, 8192), H, H, C). The first images.
    """

    features: np.ndarray | None
    logits: np.ndarray | None
    subset: np.ndarray


class Scorer:
    """Scores any number of sets of fakes against one set of reals.

    The features of the real images are extracted once, at construction, and so are
    their moments. Of either set the features are kept, and no images but the subset
    of at most 8,192 that the sliced Wasserstein distance looks at.

    Args:
        real_images: uint8, (N, H, H, C), N >= 2, H >= 7, C 1 or 3.
        extractor: gives the features, or None for `sliced_wasserstein` alone.
        seed: of the random patches and projections of the sliced Wasserstein
            distance and of the order in which images are dealt into blocks. In
            [0, 2**32).

    Raises:
        ValueError: the images are not as described.
    """

    def __init__(
        self,
        real_images: np.ndarray,
        extractor: FeatureExtractor | None,
        seed: int = 0,
    ):
        real_images = _check_images(real_images, "real_images")
        count = len(real_images)
        if count < 2:
            raise ValueError(
                "Scores take two images or more. Received: real_images.shape="
                f"{real_images.shape}. Use a larger split."
            )
        self._shape = real_images.shape
        self._extractor = extractor
        self._seed = seed
        if count < _FEW_IMAGES:
            logging.warning(
                "Scores of %d images are biased, and comparable only with scores of "
                "as many images; use %d or more.",
                count,
                _FEW_IMAGES,
            )
        # Image i is the places[i]-th to be dealt.
        self._places = np.argsort(np.random.default_rng(seed).permutation(count))
        self._real = self._observe(_batches_of(real_images))
        if extractor is not None:
            self._real_moments = frechet.moments(_batches_of(self._real.features))

    def score(self, fake_batches: Iterable[np.ndarray]) -> dict[str, float]:
        """Returns the metrics, by name.

        - Frechet distance, float64, covariances divided by N - 1:
          |m - m'|^2 + Tr(C + C' - 2 (C C')^(1/2)). Lower is better; 0 for equal
          statistics. Its bias depends on N.
        - Classifier score, exp(E KL(p(y | image) || p(y))) over all fakes at once
          and all logits, no splits. Higher is better; in [1, num_classes].
        - Kernel distance, the unbiased estimate of the squared MMD with kernel
          (a . b / d + 1)^3, mean over blocks of at most 1,024. Lower is better; it
          can be slightly negative.
        - Sliced Wasserstein distance times 1,000: see `sliced_wasserstein`.

        Args:
            fake_batches: uint8, (b, H, H, C), any b >= 1: in all as many images as
                there are reals, as large. They are asked for one by one and not
                kept. One array of all of them goes in as `[fake_images]`.

        Raises:
            ValueError: the images are not as described, or a feature or a score is
                not finite.
        """
        fake = self._observe(self._check_batches(fake_batches))
        scores = {}
        if self._extractor is not None:
            scores.update(self._feature_scores(fake))
        scores["sliced_wasserstein"] = _timed(
            "sliced_wasserstein",
            lambda: sliced_wasserstein(self._real.subset, fake.subset, self._seed),
        )
        bad = {name: value for name, value in scores.items() if not np.isfinite(value)}
        if bad:
            raise ValueError(
                f"Scores must be finite. Received: {bad}. Look at the samples: these "
                "features cannot be compared."
            )
        return scores

    def protocol(self) -> dict[str, str]:
        """Returns all that moves the scores besides the images, as key = value.

        Two rows of scores are comparable only if their protocols are equal.
        """
        count = self._shape[0]
        protocol = {
            "real_count": str(count),
            "fake_count": str(count),
            "resolution": "x".join(map(str, self._shape[1:])),
            "rounding": "8 bit",
            "swd_count": str(min(count, _SWD_MAX_IMAGES)),
            "seed": str(self._seed),
            "extractor": "none",
        }
        if self._extractor is not None:
            protocol |= {
                "extractor": self._extractor.name,
                "extractor_hash": self._extractor.fingerprint,
                "resize": self._extractor.resize,
                "covariance_divisor": "N-1",
                "classifier_score_splits": "1",
                "kernel_block_size": str(_KID_BLOCK_SIZE),
            }
        return protocol

    def _check_batches(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The batches as they come; at the end they were as many images as reals."""
        size, seen = self._shape[1:], 0
        for batch in batches:
            batch = _check_images(batch, "fake_images")
            seen += len(batch)
            if batch.shape[1:] != size or seen > self._shape[0]:
                raise self._disagreement((seen, *batch.shape[1:]))
            yield batch
        if seen < self._shape[0]:
            raise self._disagreement((seen, *size))

    def _disagreement(self, shape: tuple[int, ...]) -> ValueError:
        return ValueError(
            "Real and fake images must agree in number and size. Received: "
            f"fake_images.shape={shape} up to the last batch drawn, real_images.shape="
            f"{self._shape}. Scores of unequal counts differ in bias: sample as many "
            "fakes as there are reals."
        )

    def _observe(self, batches: Iterable[np.ndarray]) -> _Observed:
        """Passes over the images once; what is kept does not grow with their size."""
        count, extractor = self._shape[0], self._extractor
        features = logits = None
        if extractor is not None:
            features = np.empty((count, extractor.feature_dim), np.float32)
            logits = np.empty((count, extractor.num_classes), np.float32)
        subset = np.empty((min(count, _SWD_MAX_IMAGES), *self._shape[1:]), np.uint8)
        start_time = time.monotonic()
        seen = 0
        for batch in batches:
            places = self._places[seen : seen + len(batch)]
            seen += len(batch)
            if extractor is not None:
                features[places], logits[places] = extractor.extract(batch)
            chosen = places < len(subset)
            subset[places[chosen]] = batch[chosen]
            logging.log_every_n_seconds(
                logging.INFO,
                "%d of %d images seen, %.0f s left",
                30,
                seen,
                count,
                (count - seen) * (time.monotonic() - start_time) / seen,
            )
        return _Observed(features, logits, subset)

    def _feature_scores(self, fake: _Observed) -> dict[str, float]:
        evaluation = tfgan.import_eval()
        distance, classifier, kernel = _metric_names(self._extractor.name)
        return {
            distance: _timed(
                distance,
                lambda: frechet.distance(
                    self._real_moments, frechet.moments(_batches_of(fake.features))
                ),
            ),
            classifier: _timed(
                classifier,
                lambda: evaluation.classifier_score_from_logits(
                    tf.constant(fake.logits, tf.float64)
                ),
            ),
            kernel: _timed(
                kernel,
                lambda: evaluation.kernel_classifier_distance_from_activations(
                    tf.constant(self._real.features, tf.float64),
                    tf.constant(fake.features, tf.float64),
                    max_block_size=_KID_BLOCK_SIZE,
                ),
            ),
        }


def sliced_wasserstein(
    real_images: np.ndarray, fake_images: np.ndarray, seed: int
) -> float:
    """Sliced Wasserstein distance between 7x7 patches, times 1,000.

    TFGAN's distance between reals and fakes on each level of a Laplacian pyramid,
    from full resolution down to 16, averaged over the levels and multiplied by
    1,000 as in Karras et al. TFGAN normalizes each patch by itself where they
    normalize each channel over all patches: published values are on another scale.

    A patch without contrast cannot be normalized (0 / 0). Uniform noise of +-0.005
    grey levels is added first: flat patches become noise on both sides, and no
    other patch is changed visibly.

    A function of its arguments; NumPy's and TensorFlow's global random states are
    as before afterwards.

    Args:
        real_images: uint8, (N, H, H, C), C 1 (tiled) or 3.
        fake_images: uint8, of the same shape.
        seed: int in [0, 2**32).

    Reference:
        - Karras et al., 2018, https://arxiv.org/abs/1710.10196
    """
    rng = np.random.default_rng(seed)

    def dither(images):
        images = np.repeat(images, 3 // images.shape[-1], axis=-1)
        noise = rng.uniform(-0.5, 0.5, images.shape) * _SWD_DITHER
        return (images + noise).astype(np.float32)

    # A graph of its own has a seed of its own, leaves TensorFlow's alone, and is
    # freed on return.
    graph = tf.Graph()
    with graph.as_default(), tf.device("/CPU:0"):
        tf.random.set_seed(seed)
        shape = (*real_images.shape[:-1], 3)
        real = tf.compat.v1.placeholder(tf.float32, shape)
        fake = tf.compat.v1.placeholder(tf.float32, shape)
        levels = tfgan.import_eval().sliced_wasserstein_distance(real, fake)
        distances = [real_to_fake for _, real_to_fake in levels]
    # TFGAN draws the patches with `np.random` in Python ops that the executor may
    # start in any order: run them one by one, then feed what they drew.
    patches = [op.outputs[0] for op in graph.get_operations() if "PyFunc" in op.type]
    feed = {real: dither(real_images), fake: dither(fake_images)}
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        with tf.compat.v1.Session(graph=graph) as session:
            drawn = {op: session.run(op, feed) for op in patches}
            values = [session.run(distance, drawn | feed) for distance in distances]
    finally:
        np.random.set_state(state)
    return 1000.0 * float(np.mean(values))


def rotation_accuracy(
    predict_rotation_logits: Callable[[np.ndarray], np.ndarray], images: np.ndarray
) -> tuple[float, np.ndarray]:
    """Measures how well a rotation head tells the four orientations apart.

    Every image is shown in all four orientations, label k being k quarter turns
    counter-clockwise. The prediction is the largest of `rotation.rotation_scores`.

    Args:
        predict_rotation_logits: maps float32 images (b, H, H, C) in [0, 1] to
            logits (b, 4, 5 or 8). Always called with the same b = min(N, 64); the
            last batch is filled up and the surplus ignored, so the logits of an
            image must not depend on its neighbours.
        images: float32, (N, H, H, C), values in [0, 1], N >= 1.

    Returns:
        The accuracy over the 4 N images (chance: 0.25), and the confusion matrix,
        int64 (4, 4): entry (i, j) counts images of orientation i taken for j.

    Raises:
        ValueError: the images are not square, or the logits not finite or of the
            wrong shape.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or not len(images) or images.shape[1] != images.shape[2]:
        raise ValueError(
            "Quarter turns need square images (N, H, H, C), N >= 1. Received: "
            f"images.shape={images.shape}. Crop them to squares."
        )
    size = min(len(images), _ROTATION_BATCH_SIZE)
    confusion = np.zeros((4, 4), np.int64)
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        count = len(batch)
        batch = np.concatenate([batch, np.repeat(batch[:1], size - count, axis=0)])
        for turns in range(4):
            rotated = np.ascontiguousarray(np.rot90(batch, k=turns, axes=(1, 2)))
            logits = np.asarray(predict_rotation_logits(rotated))
            if (
                logits.ndim != 2
                or len(logits) != size
                or logits.shape[1] not in rotation.HEAD_SIZES
                or not np.isfinite(logits).all()
            ):
                raise ValueError(
                    f"Rotation logits must be finite and of shape ({size}, 4, 5 or "
                    f"8). Received: rotation_logits.shape={logits.shape}, finite="
                    f"{bool(np.isfinite(logits).all())}. Pass the output of the "
                    "rotation head."
                )
            four = rotation.rotation_scores(tf.constant(logits[:count]))
            predicted = np.argmax(four, axis=1)
            confusion[turns] += np.bincount(predicted, minlength=4)
    return float(np.trace(confusion) / confusion.sum()), confusion


def _check_images(images: np.ndarray, name: str) -> np.ndarray:
    images = np.asarray(images)
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or not len(images)
        or images.shape[1] != images.shape[2]
        or images.shape[1] < _SWD_PATCH_SIZE
        or images.shape[3] not in (1, 3)
    ):
        raise ValueError(
            "Scores take uint8 images (N, H, H, C), N >= 1, H >= 7, C 1 or 3. "
            f"Received: {name}.shape={images.shape}, {name}.dtype={images.dtype}. "
            "Float images in [0, 1] go through to_uint8 first."
        )
    return images


def _batches_of(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _BATCH_SIZE):
        yield rows[start : start + _BATCH_SIZE]


def _metric_names(extractor_name: str) -> tuple[str, str, str]:
    """Names of the Frechet distance, the classifier score and the kernel distance."""
    if extractor_name == "inception":
        return "fid", "inception_score", "kid"
    return (
        f"frechet_{extractor_name}",
        f"classifier_score_{extractor_name}",
        f"kernel_distance_{extractor_name}",
    )


def _timed(name: str, compute: Callable[[], tf.Tensor | float]) -> float:
    """Announces a metric before and after: some take minutes."""
    logging.info("Computing %s", name)
    start_time = time.monotonic()
    value = float(compute())
    logging.info("%s = %.6g (%.1f s)", name, value, time.monotonic() - start_time)
    return value
