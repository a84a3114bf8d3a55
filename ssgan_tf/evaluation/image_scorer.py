"""Scores of generated images against real ones, in one pass over the images.

`metrics` has the table of what can be computed. The Frechet distance is that of
`frechet`; TFGAN computes what it has.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from absl import logging

from ssgan_tf.evaluation import feature_cache, ms_ssim, sliced_wasserstein
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
    batches_of,
    check_metrics,
    name_under,
)
from ssgan_tf.utils.progress import track

_TOO_FEW_IMAGES = 2048
_FEW_IMAGES = 10_000


class ImageScorer:
    """Scores any number of sets of fakes against one set of reals.

    The features of the real images are extracted once, at construction, and so are
    their moments. Of either set the features are kept, and no images but a subset of
    at most 8,192.

    Args:
        real_images: uint8, (N, H, H, C), N >= 2, H >= 7, C 1 or 3.
        extractor: gives the features, or None for metrics that need none.
        metrics: keys of `METRICS`.
        num_fakes: int. How many fakes are scored; None: as many as reals.
        real_labels: integers, (N,); None where they are not known.
        train_images: uint8, (M, H, H, C). What G was trained on, for `memorisation`.
        name: of the data and split, in the names of cached features.
        cache_dir: folder of cached features of real images; None keeps nothing.
        seed: of what metrics draw and of the order in which images are dealt into
            blocks. In [0, 2**32).

    Raises:
        ValueError: the images are not as described, a metric is unknown, or lacks
            what it needs.
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
        real_images = _check_images(real_images, "real_images")
        count = len(real_images)
        self._num_fakes = count if num_fakes is None else num_fakes
        if min(count, self._num_fakes) < 2:
            raise ValueError(
                "Scores take two images or more. Received: real_images.shape="
                f"{real_images.shape}, num_fakes={self._num_fakes}. Use a larger split."
            )
        _warn_of_few(min(count, self._num_fakes))
        self._shape = real_images.shape
        self._extractor = extractor
        self._seed = seed
        self.metrics = self._check_metrics(metrics, real_labels, train_images)
        digest = hashlib.sha256(np.ascontiguousarray(real_images))
        self._data_hash = digest.hexdigest()[:16]
        features = {}
        if extractor is not None:
            found = feature_cache.features_of(real_images, extractor, name, cache_dir)
            dealt = np.argsort(self._places(count))
            features = {"features": found[0][dealt], "logits": found[1][dealt]}
        if any(METRICS[key].needs_training_images for key in self.metrics):
            features["train_features"], _ = feature_cache.features_of(
                train_images, extractor, f"{name}-training", cache_dir
            )
        self._real = self._observe(
            batches_of(real_images), count, real_labels, "real images", **features
        )

    def _check_metrics(self, metrics, real_labels, train_images) -> tuple[str, ...]:
        metrics = tuple(metrics)
        check_metrics(metrics)
        for needs, found, what in (
            ("needs_extractor", self._extractor, "a feature network"),
            ("needs_labels", real_labels, "labels of the real images"),
            ("needs_training_images", train_images, "the training images"),
        ):
            lacking = [key for key in metrics if getattr(METRICS[key], needs)]
            if lacking and found is None:
                raise ValueError(
                    f"These metrics need {what}. Received: metrics={lacking}, and none."
                    " Leave them out, or provide for that."
                )
        counts = self._shape[0], self._num_fakes
        few = [key for key in metrics if not METRICS[key].enough(*counts)]
        if few:
            raise ValueError(
                f"These metrics need more images. Received: metrics={few}, {counts[0]} "
                f"reals and {counts[1]} fakes. Take about as many fakes as reals."
            )
        if real_labels is not None and len(real_labels) != counts[0]:
            raise ValueError(
                "Every real image needs a label. Received: real_images.shape="
                f"{self._shape}, {len(real_labels)} labels. Pass as many labels "
                "as images."
            )
        if train_images is not None and train_images.shape[1:] != self._shape[1:]:
            raise ValueError(
                "Training images must be as large as the others. Received: train_images"
                f".shape={train_images.shape}, real_images.shape={self._shape}. Crop "
                "or resize them alike."
            )
        return metrics

    def check_labels(self, num_classes: int) -> None:
        """Refuses metrics that a GAN of so many classes cannot have.

        Args:
            num_classes: int. 0 of an unconditional GAN.

        Raises:
            ValueError: one needs labels of the fakes, and there are none.
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
        """Observes fakes and judges them: `judge(observe(...))`."""
        return self.judge(self.observe(fake_batches, fake_labels))

    def observe(
        self, fake_batches: Iterable[np.ndarray], fake_labels: np.ndarray | None = None
    ) -> Observed:
        """Passes over fakes once; what is kept does not grow with their size.

        Args:
            fake_batches: uint8, (b, H, H, C), any b >= 1: in all as many images as
                were announced, as large as the reals. They are asked for one by one
                and not kept. One array of all of them goes in as `[fake_images]`.
            fake_labels: integers, (N,); None of an unconditional GAN.

        Raises:
            ValueError: the images are not as described, a feature is not finite, or a
                metric lacks the labels.
        """
        self.check_labels(0 if fake_labels is None else 1)
        batches = self._check_batches(fake_batches)
        return self._observe(batches, self._num_fakes, fake_labels, "fakes")

    def judge(self, fake: Observed) -> dict[str, float]:
        """The numbers of all metrics, by name.

        Raises:
            ValueError: a number is not finite.
        """
        scores = {}
        for key in self.metrics:
            metric = METRICS[key]
            logging.info("computing %s", key)
            start = time.monotonic()
            numbers = metric.compute(self._real, fake, self._seed)
            if metric.needs_extractor:
                extractor = self._extractor.name
                numbers = {name_under(extractor, n): v for n, v in numbers.items()}
            logging.info(
                "%s (%.1f s)",
                ", ".join(f"{name} = {value:.6g}" for name, value in numbers.items()),
                time.monotonic() - start,
            )
            scores |= numbers
        bad = {name: value for name, value in scores.items() if not np.isfinite(value)}
        if bad:
            raise ValueError(
                f"Scores must be finite. Received: {bad}. Look at the samples: these "
                "features cannot be compared."
            )
        return scores

    def protocol(self) -> dict[str, object]:
        """What moves the scores besides the images: fields of `Protocol`."""
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
            "extractor": "none" if extractor is None else extractor.name,
            "extractor_hash": None if extractor is None else extractor.fingerprint,
            "resize": None if extractor is None else extractor.resize,
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
        """The batches as they come; at the end they were as many as announced."""
        size, seen = self._shape[1:], 0
        for batch in batches:
            batch = _check_images(batch, "fake_images")
            seen += len(batch)
            if batch.shape[1:] != size or seen > self._num_fakes:
                raise self._disagreement((seen, *batch.shape[1:]))
            yield batch
        if seen < self._num_fakes:
            raise self._disagreement((seen, *size))

    def _disagreement(self, shape: tuple[int, ...]) -> ValueError:
        return ValueError(
            "Real and fake images must agree in size, and the fakes be as many as the "
            f"protocol says. Received: fake_images.shape={shape} up to the last batch "
            f"drawn, real_images.shape={self._shape}, num_fakes={self._num_fakes}. "
            "Scores of other counts differ in bias: sample that many."
        )

    def _places(self, count: int) -> np.ndarray:
        """Image i is the places[i]-th to be dealt."""
        return np.argsort(np.random.default_rng(self._seed).permutation(count))

    def _observe(
        self,
        batches: Iterable[np.ndarray],
        count: int,
        labels: np.ndarray | None,
        what: str,
        **found: np.ndarray,
    ) -> Observed:
        """Passes over images once, for what has not been found before."""
        every_place, extractor = self._places(count), self._extractor
        extracts = extractor is not None and not found
        if extracts:
            features = np.empty((count, extractor.feature_dim), np.float32)
            logits = np.empty((count, extractor.num_classes), np.float32)
            found = {"features": features, "logits": logits}
        kept = min(count, sliced_wasserstein.MAX_IMAGES)
        subset = np.empty((kept, *self._shape[1:]), np.uint8)
        seen = 0
        for batch in track(batches, count, what, size=len):
            places = every_place[seen : seen + len(batch)]
            seen += len(batch)
            if extracts:
                features[places], logits[places] = extractor.extract(batch)
            chosen = places < kept
            subset[places[chosen]] = batch[chosen]
        if labels is not None:
            labels = np.asarray(labels)[np.argsort(every_place)]
        return Observed(subset, labels, **found)


def _warn_of_few(count: int) -> None:
    if count < _TOO_FEW_IMAGES:
        logging.warning(
            "Scores of %d images are biased, and comparable only with scores of as "
            "many images; use %d or more.",
            count,
            _TOO_FEW_IMAGES,
        )
    elif count < _FEW_IMAGES:
        logging.warning(
            "Distances of %d images are larger than the published ones, which are of "
            "%d or more, would be.",
            count,
            _FEW_IMAGES,
        )


def _check_images(images: np.ndarray, name: str) -> np.ndarray:
    images = np.asarray(images)
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or not len(images)
        or images.shape[1] != images.shape[2]
        or images.shape[1] < sliced_wasserstein.PATCH_SIZE
        or images.shape[3] not in (1, 3)
    ):
        raise ValueError(
            "Scores take uint8 images (N, H, H, C), N >= 1, H >= 7, C 1 or 3. "
            f"Received: {name}.shape={images.shape}, {name}.dtype={images.dtype}. "
            "Float images in [0, 1] go through to_uint8 first."
        )
    return images
