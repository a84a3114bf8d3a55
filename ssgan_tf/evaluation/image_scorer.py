"""Scores of generated images against real ones, in one pass over the images.

The metrics are the rows of `metrics.METRICS`.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from absl import logging

from ssgan_tf.evaluation import arrays, feature_cache, ms_ssim, sliced_wasserstein
from ssgan_tf.evaluation.features import FeatureExtractor
from ssgan_tf.evaluation.metrics import (
    DEFAULT_METRICS,
    DENSITY_K,
    KERNEL_BLOCK_SIZE,
    METRICS,
    MS_SSIM_PAIRS,
    PRD_CLUSTERS,
    PRD_RUNS,
    PRECISION_K,
    Observed,
    check_metrics,
    name_under,
)
from ssgan_tf.utils.progress import track

_FEW_IMAGES = 10_000
_LEAST_SIZE = sliced_wasserstein.PATCH_SIZE


class ImageScorer:
    """Scores any number of sets of fakes against one set of reals.

    The features of the reals are extracted once, at construction. A scorer keeps the
    features of a set of images, and a subset of at most 8,192 images.

    Args:
        real_images: uint8, (N, H, H, C), N >= 2, H >= 7, C 1 or 3.
        extractor: computes the features; None for metrics without features.
        metrics: keys of `METRICS`.
        num_fakes: int. Number of fakes in a set; None: as many as reals.
        real_labels: integers, (N,); None if unknown.
        train_images: uint8, (M, H, H, C). G's training images, for `memorisation`.
        name: names the data and split in the names of cached features.
        cache_dir: folder of cached features of real images; None caches nothing.
        seed: seeds the random numbers of the metrics and the order in which images are
            dealt into blocks. In [0, 2**32).

    Raises:
        ValueError: the images are not as described, a metric is unknown or lacks an
            input.
    """

    def __init__(
        self,
        real_images: np.ndarray,
        extractor: FeatureExtractor | None,
        *,
        metrics: Sequence[str] = DEFAULT_METRICS,
        num_fakes: int | None = None,
        real_labels: np.ndarray | None = None,
        train_images: np.ndarray | None = None,
        name: str = "reals",
        cache_dir: str | None = None,
        seed: int = 0,
    ):
        real_images = arrays.check_images("real_images", real_images, _LEAST_SIZE)
        count = len(real_images)
        self._num_fakes = count if num_fakes is None else num_fakes
        if min(count, self._num_fakes) < 2:
            raise ValueError(
                "Scores need two images or more. Received: real_images.shape="
                f"{real_images.shape}, num_fakes={self._num_fakes}. Use a larger split."
            )
        if min(count, self._num_fakes) < _FEW_IMAGES:
            logging.warning(
                "Distances of %d images are biased upwards and only comparable with "
                "those of equally many; published ones are of %d or more.",
                min(count, self._num_fakes),
                _FEW_IMAGES,
            )
        self._shape = real_images.shape
        self._extractor = extractor
        self._seed = seed
        self.metrics = self._check_metrics(metrics, real_labels, train_images)
        digest = hashlib.sha256(np.ascontiguousarray(real_images))
        self._data_hash = digest.hexdigest()[:16]
        order = self._order(count)
        features = logits = train_features = None
        if extractor is not None:
            rows = feature_cache.features_of(real_images, extractor, name, cache_dir)
            features, logits = (side[order] for side in rows)
        if any(METRICS[key].needs_training_images for key in self.metrics):
            train_features, _ = feature_cache.features_of(
                train_images, extractor, f"{name}-training", cache_dir
            )
        self._real = Observed(
            real_images[order[: sliced_wasserstein.MAX_IMAGES]],
            _in_order(real_labels, order),
            features=features,
            logits=logits,
            train_features=train_features,
        )

    def _check_metrics(self, metrics, real_labels, train_images) -> tuple[str, ...]:
        metrics = tuple(metrics)
        check_metrics(metrics)
        for need, argument, noun in (
            ("needs_extractor", self._extractor, "a feature network"),
            ("needs_labels", real_labels, "labels of the real images"),
            ("needs_training_images", train_images, "the training images"),
        ):
            lacking = [key for key in metrics if getattr(METRICS[key], need)]
            if lacking and argument is None:
                raise ValueError(
                    f"These metrics need {noun}. Received: metrics={lacking} without. "
                    "Pass them, or leave these metrics out."
                )
        counts = self._shape[0], self._num_fakes
        few = [key for key in metrics if not METRICS[key].enough(*counts)]
        if few:
            raise ValueError(
                f"These metrics need more images. Received: metrics={few}, {counts[0]} "
                f"reals and {counts[1]} fakes. Use about as many fakes as reals."
            )
        if real_labels is not None and len(real_labels) != counts[0]:
            raise ValueError(
                "Every real image needs a label. Received: real_images.shape="
                f"{self._shape}, {len(real_labels)} labels. Pass one per image."
            )
        if train_images is not None and train_images.shape[1:] != self._shape[1:]:
            raise ValueError(
                "Training images must have the size of the real images. Received: "
                f"train_images.shape={train_images.shape}, real_images.shape="
                f"{self._shape}. Crop or resize them alike."
            )
        return metrics

    def check_labels(self, num_classes: int) -> None:
        """Refuses metrics of labels for an unconditional GAN.

        Args:
            num_classes: int. Classes of the GAN; 0 for an unconditional one.

        Raises:
            ValueError: a metric needs labels, and the GAN has none.
        """
        lacking = [key for key in self.metrics if METRICS[key].needs_labels]
        if lacking and not num_classes:
            raise ValueError(
                "These metrics need fakes of known classes. Received: metrics="
                f"{lacking} and an unconditional GAN. Leave them out."
            )

    def score(
        self, fake_batches: Iterable[np.ndarray], fake_labels: np.ndarray | None = None
    ) -> dict[str, float]:
        """`judge(observe(...))`."""
        return self.judge(self.observe(fake_batches, fake_labels))

    def observe(
        self, fake_batches: Iterable[np.ndarray], fake_labels: np.ndarray | None = None
    ) -> Observed:
        """Passes over a set of fakes once.

        Args:
            fake_batches: uint8, (b, H, H, C), any b >= 1, together `num_fakes` images
                of the size of the reals. Batches are requested one by one and not
                kept. Pass a single array as `[fake_images]`.
            fake_labels: integers, (num_fakes,); None for an unconditional GAN.

        Raises:
            ValueError: the images are not as described, a feature is not finite, or a
                metric lacks the labels.
        """
        self.check_labels(0 if fake_labels is None else 1)
        order, extractor = self._order(self._num_fakes), self._extractor
        features = logits = None
        if extractor is not None:
            features = np.empty((len(order), extractor.feature_dim), np.float32)
            logits = np.empty((len(order), extractor.num_classes), np.float32)
        kept = min(len(order), sliced_wasserstein.MAX_IMAGES)
        subset = np.empty((kept, *self._shape[1:]), np.uint8)
        # Image i is the all_places[i]-th to be dealt.
        all_places = np.argsort(order)
        start = 0
        batches = self._check_batches(fake_batches)
        for batch in track(batches, len(order), "fakes", size=len):
            places = all_places[start : start + len(batch)]
            start += len(batch)
            if extractor is not None:
                features[places], logits[places] = extractor.extract(batch)
            chosen = places < kept
            subset[places[chosen]] = batch[chosen]
        return Observed(subset, _in_order(fake_labels, order), features, logits)

    def judge(self, fake: Observed) -> dict[str, float]:
        """Computes all metrics of a set of fakes.

        Returns:
            Scores by name.

        Raises:
            ValueError: a score is not finite.
        """
        scores = {}
        for key in self.metrics:
            metric = METRICS[key]
            logging.info("computing %s", key)
            start = time.monotonic()
            numbers = metric.compute(self._real, fake, self._seed)
            if metric.needs_extractor:
                extractor = self._extractor.name
                numbers = {
                    name_under(extractor, name): value
                    for name, value in numbers.items()
                }
            logging.info(
                "%s (%.1f s)",
                ", ".join(f"{name} = {value:.6g}" for name, value in numbers.items()),
                time.monotonic() - start,
            )
            scores |= numbers
        bad = {name: value for name, value in scores.items() if not np.isfinite(value)}
        if bad:
            raise ValueError(
                f"Scores must be finite. Received: {bad}. Look at the samples: G has "
                "probably diverged."
            )
        return scores

    def protocol(self) -> dict[str, object]:
        """The fields of `protocols.Protocol` that the scorer determines."""
        extractor, size = self._extractor, self._shape[1]
        swd_count = min(self._shape[0], self._num_fakes, sliced_wasserstein.MAX_IMAGES)
        scales = None
        if size >= ms_ssim.WINDOW:
            scales = f"{MS_SSIM_PAIRS} pairs, {ms_ssim.num_scales(size)} scales"
        return {
            "data_hash": self._data_hash,
            "real_count": self._shape[0],
            "fake_count": self._num_fakes,
            "resolution": "x".join(map(str, self._shape[1:])),
            "extractor": getattr(extractor, "name", "none"),
            "extractor_hash": getattr(extractor, "fingerprint", None),
            "resize": getattr(extractor, "resize", None),
            "rounding": "8 bit",
            "seed": self._seed,
            "covariance_divisor": "N-1",
            "classifier_score_splits": 1,
            "kernel_block_size": KERNEL_BLOCK_SIZE,
            "swd_count": swd_count,
            "ms_ssim": scales,
            "prd": f"{PRD_CLUSTERS} clusters, {PRD_RUNS} runs",
            "neighbours": f"{PRECISION_K} and {DENSITY_K}",
        }

    def _check_batches(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the batches after checking their size, and at the end their number."""
        size, count = self._shape[1:], 0
        for batch in batches:
            batch = arrays.check_images("fake_images", batch, _LEAST_SIZE)
            count += len(batch)
            if batch.shape[1:] != size or count > self._num_fakes:
                raise self._disagreement((count, *batch.shape[1:]))
            yield batch
        if count < self._num_fakes:
            raise self._disagreement((count, *size))

    def _disagreement(self, shape: tuple[int, ...]) -> ValueError:
        return ValueError(
            "Fakes must have the size of the real images and number num_fakes: "
            f"the bias depends on the count. Received: fake_images.shape={shape} "
            f"up to the last batch, real_images.shape={self._shape}, num_fakes="
            f"{self._num_fakes}. Sample that many."
        )

    def _order(self, count: int) -> np.ndarray:
        """The random order in which images are dealt."""
        return np.random.default_rng(self._seed).permutation(count)


def _in_order(labels: np.ndarray | None, order: np.ndarray) -> np.ndarray | None:
    return None if labels is None else np.asarray(labels)[order]
