"""Scores of exported modules: images in, a row of the table out."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf import datasets
from ssgan_tf.evaluation import (
    dataset_classifier,
    features,
    image_scorer,
    metrics,
    protocols,
    rotation_head,
)
from ssgan_tf.evaluation.score_table import ModuleScores
from ssgan_tf.modules.metadata import MOVING_MOMENTS
from ssgan_tf.modules.module import LoadedModule
from ssgan_tf.utils import files, pictures
from ssgan_tf.utils.machine import memory

_BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class ScoringOptions:
    """Options of a score.

    Attributes:
        metrics: keys of `metrics.METRICS`.
        split: "test" or "train": the real images.
        num_fakes: int. Fakes per set; None: as many as real images.
        num_runs: int. Number of sets of fakes, of seeds 0 to num_runs - 1.
        inception_path: the Inception of TFGAN as a SavedModel folder or TF-Hub handle.
        classifier_path: another classifier, for `features.load_classifier`. Without
            either path a small classifier is trained on the data set's labels.
        extractor_hash: expected hash of the feature network, as recorded in the
            protocol; None takes any.

    Raises:
        ValueError: a count is not positive, a metric is unknown, or both paths are
            given.
    """

    metrics: tuple[str, ...] = metrics.DEFAULT_METRICS
    split: str = "test"
    num_fakes: int | None = None
    num_runs: int = 3
    inception_path: str | None = None
    classifier_path: str | None = None
    extractor_hash: str | None = None

    def __post_init__(self):
        metrics.check_metrics(self.metrics)
        if self.num_runs < 1:
            raise ValueError(
                "The number of sets of fakes must be positive. Received: "
                f"num_runs={self.num_runs}. The default is 3."
            )
        if self.inception_path and self.classifier_path:
            raise ValueError(
                "Pass --inception_path or --classifier_path, not both. Received: "
                f"--inception_path={self.inception_path} and "
                f"--classifier_path={self.classifier_path}."
            )


def check_shape(module: LoadedModule, dataset: str) -> None:
    """Refuses a module whose images or classes differ from those of a data set.

    Raises:
        ValueError: they differ, or the data set is unknown.
    """
    spec = datasets.get_spec(dataset)
    if tuple(module.image_shape) != tuple(spec.image_shape):
        raise ValueError(
            "A module is scored against images of its own shape. Received: "
            f"{module.path} with image_shape={tuple(module.image_shape)}, dataset="
            f"{dataset!r} with {spec.image_shape}. Name another data set."
        )
    if module.num_classes and spec.num_classes not in (0, module.num_classes):
        raise ValueError(
            "A conditional module is scored against images of its own classes. "
            f"Received: {module.path} with {module.num_classes} classes, dataset="
            f"{dataset!r} with {spec.num_classes}. Name another data set."
        )


class ModuleScorer:
    """Scores modules against real images.

    The constructor loads or trains the feature network and extracts the features of
    the real images, so that a missing or unsuitable input fails before GAN training.

    Args:
        dataset: str. A key of `datasets.DATASETS`.
        options: `ScoringOptions`.
        data_dir: folder of prepared TFDS data sets; None for TFDS's default.
        strategy: its replicas draw samples and extract features; None: those of the
            strategy in scope, one device by default. Collective: every worker makes a
            scorer and calls it, and all get all scores.

    Attributes:
        strategy: for `reading.load` of the modules to be scored.
        extractor: `FeatureExtractor`. The feature network; None if no metric needs
            one.
        metrics: keys of the metrics.
    """

    def __init__(
        self,
        dataset: str,
        options: ScoringOptions | None = None,
        *,
        data_dir: str | None = None,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self._options = options = options or ScoringOptions()
        self._data_dir = data_dir
        self._dataset = dataset
        self.metrics = options.metrics
        self.strategy = strategy or tf.distribute.get_strategy()
        num_classes = datasets.get_spec(dataset).num_classes
        rows = [metrics.METRICS[key] for key in self.metrics]
        needs_extractor = any(row.needs_extractor for row in rows)
        # Before the data are read: a wrong path fails at once.
        self.extractor = self._load_extractor(num_classes) if needs_extractor else None
        images, labels = self._load(options.split)
        train_images = None
        if any(row.needs_training_images for row in rows):
            if options.split == "train":
                raise ValueError(
                    "`memorisation` needs held-out images as reals. Received: "
                    "--split=train. Use --split=test, or omit the metric."
                )
            train_images, _ = self._load("train")
        if needs_extractor and self.extractor is None:
            self.extractor = dataset_classifier.dataset_classifier(
                datasets.short_name(dataset),
                self._load("train"),
                self._load("test"),
                num_classes=num_classes,
                cache_dir=str(files.cache_dir()),
                strategy=self.strategy,
            )
            features.check_hash(self.extractor.fingerprint, options.extractor_hash)
        self._images = images
        self._num_fakes = options.num_fakes or len(images)
        self._scorer = image_scorer.ImageScorer(
            images,
            self.extractor,
            metrics=self.metrics,
            num_fakes=self._num_fakes,
            real_labels=labels if num_classes else None,
            train_images=train_images,
            name=f"{datasets.short_name(dataset)}-{options.split}",
            cache_dir=files.cache_dir() / "references",
        )

    def _load_extractor(self, num_classes: int) -> features.FeatureExtractor | None:
        """Loads the feature network of the options; None if they name no path."""
        options = self._options
        for path, load in (
            (options.inception_path, features.load_inception),
            (options.classifier_path, features.load_classifier),
        ):
            if path:
                return load(path, self.strategy, options.extractor_hash)
        if not num_classes:
            raise ValueError(
                "A data set without labels cannot train a classifier. Received: "
                f"dataset={self._dataset!r}. Pass --inception_path or "
                "--classifier_path."
            )
        return None

    def _load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return datasets.load_split(self._dataset, split, self._data_dir)

    def check_labels(self, num_classes: int) -> None:
        """See `ImageScorer.check_labels`."""
        self._scorer.check_labels(num_classes)

    def protocol(self, metadata: dict) -> str:
        """The protocol of a module's scores, as text."""
        assumed = " (assumed)" if metadata.get("z") == "assumed" else ""
        return str(
            protocols.Protocol(
                data=self._dataset,
                split=self._options.split,
                weights=metadata["weights"],
                # Modules of earlier versions lack this key.
                batch_norm=metadata.get("batch_norm", MOVING_MOMENTS),
                tags="+".join(sorted(metadata["tags"])) if "tags" in metadata else None,
                z=metadata["latents"]["distribution"] + assumed,
                labels="uniform" if metadata.get("num_classes", 0) else None,
                fake_seeds=f"0-{self._options.num_runs - 1}",
                **self._scorer.protocol(),
            )
        )

    def score(self, module: LoadedModule) -> ModuleScores:
        """Computes all metrics of a module.

        Besides, D is run on all real images and on at most 8,192 fakes of the first
        seed, without labels: the accuracy of its rotation head (chance 0.25), and the
        standard deviation of its logits; 0 means that D separates nothing. The labels
        of a conditional GAN's fakes are drawn uniformly from the seed.

        Raises:
            ValueError: the images are not in [0, 1] or not of the reals' shape.
        """
        counted = f"_{protocols.count_name(self._num_fakes)}_{self._options.split}"
        values: dict[str, list[float]] = {}
        confusions = {}
        for seed in range(self._options.num_runs):
            logging.info(
                "scoring %s: fakes of seed %d of %s, %d against %d real images; %s",
                module.path,
                seed,
                [*range(self._options.num_runs)],
                self._num_fakes,
                len(self._images),
                memory(),
            )
            fakes = self._observe(module, seed)
            for name, value in self._scorer.judge(fakes).items():
                values.setdefault(name + counted, []).append(value)
            if seed:
                continue
            for side, images in {"real": self._images, "fake": fakes.subset}.items():
                if module.has_logits:
                    values[f"logit_spread_{side}"] = [_logit_spread(module, images)]
                if module.has_rotation_head:
                    accuracy, confusion = self._rotations(module, images)
                    values[f"rotation_accuracy_{side}"] = [accuracy]
                    confusions[side] = confusion.tolist()
        return ModuleScores(values, confusions)

    def _observe(self, module: LoadedModule, seed: int) -> metrics.Observed:
        labels = module.draw_labels(self._num_fakes, seed)
        batches = module.sample_batches(self._num_fakes, seed, labels)
        return self._scorer.observe(map(pictures.to_uint8, batches), labels)

    def _rotations(self, module: LoadedModule, images: np.ndarray):
        # The rotation head does not depend on the labels.
        labels = -1 if module.num_classes else None
        return rotation_head.head_accuracy(
            lambda batch: module.discriminate(batch / 255, labels)["rotation_logits"],
            images,
        )


def _logit_spread(module: LoadedModule, images: np.ndarray) -> float:
    labels = -1 if module.num_classes else None
    logits = np.concatenate(
        [
            module.discriminate(images[i : i + _BATCH_SIZE] / 255, labels)["logits"]
            for i in range(0, len(images), _BATCH_SIZE)
        ]
    )
    if not np.isfinite(logits).all():
        raise ValueError(
            f"The logits of D must be finite. Received: module={module.path}. Training "
            "has diverged: score an earlier step."
        )
    return float(np.std(logits, dtype=np.float64))
