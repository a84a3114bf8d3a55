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
    """How to score.

    Attributes:
        metrics: keys of `metrics.METRICS`.
        split: "test" or "train": the real images.
        num_fakes: int. Per set; None: as many as there are real images.
        num_runs: int. Seeds 0 to num_runs - 1, one set of fakes each.
        inception_path: the Inception of TFGAN as a SavedModel folder or TF-Hub handle.
        classifier_path: another classifier: `features.load_classifier`. Without either
            a small one is trained on the data set's labels.
        extractor_hash: what the hash of the feature network must be, as protocols
            have it; None takes any.

    Raises:
        ValueError: a count is not positive, a metric unknown, or two feature networks
            are named.
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
                f"num_runs={self.num_runs}. The usual one is 3."
            )
        if self.inception_path and self.classifier_path:
            raise ValueError(
                "There is one feature network. Received: "
                f"--inception_path={self.inception_path} and "
                f"--classifier_path={self.classifier_path}. Leave one out."
            )


def check_shape(module: LoadedModule, dataset: str) -> None:
    """Refuses a module whose images are not those of a data set.

    Raises:
        ValueError: they have another shape, or classes; or there is no such set.
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

    Making one loads, or trains, the feature network and extracts the features of
    the real images: whatever is missing or unfit shows before anything is trained.

    Args:
        dataset: str. A key of `datasets.DATASETS`.
        options: `ScoringOptions`.
        data_dir: folder of prepared TFDS data sets; None for TFDS's default.
        strategy: on whose replicas samples are drawn and features extracted; None:
            the one in scope, one device by default. Of several workers each makes a
            scorer, and calls it, in step with the others; all get all scores.

    Attributes:
        strategy: for `reading.load` of the modules to be scored.
        extractor: `FeatureExtractor`. The feature network; None where no metric needs
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
        keys = [metrics.METRICS[key] for key in self.metrics]
        needed = any(key.needs_extractor for key in keys)
        self.extractor = self._extractor_first(num_classes) if needed else None
        images, labels = self._load(options.split)
        train_images = None
        if any(key.needs_training_images for key in keys):
            if options.split == "train":
                raise ValueError(
                    "`memorisation` compares training images with others. Received: "
                    "--split=train. Take --split=test, or leave it out."
                )
            train_images, _ = self._load("train")
        if needed and self.extractor is None:
            self.extractor = dataset_classifier.dataset_classifier(
                datasets.short_name(dataset),
                *self._load("train"),
                *self._load("test"),
                num_classes,
                str(files.cache_dir()),
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

    def _extractor_first(self, num_classes: int):
        """A feature network that is named, before anything else is read."""
        options = self._options
        for path, load in (
            (options.inception_path, features.load_inception),
            (options.classifier_path, features.load_classifier),
        ):
            if path:
                return load(path, self.strategy, options.extractor_hash)
        if not num_classes:
            raise ValueError(
                "Scores of a data set without labels need --inception_path: there is "
                "nothing to train a classifier on. Received: "
                f"dataset={self._dataset!r} and no --inception_path. Give one, or a "
                "--classifier_path."
            )
        return None

    def _load(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return datasets.load_split(self._dataset, split, self._data_dir)

    def check_labels(self, num_classes: int) -> None:
        """Refuses metrics that a GAN of so many classes cannot have.

        Raises:
            ValueError: one needs labels of the fakes, and there are none.
        """
        self._scorer.check_labels(num_classes)

    def protocol(self, metadata: dict) -> str:
        """All that moves the scores of a module besides the weights, as text."""
        assumed = " (assumed)" if metadata.get("z") == "assumed" else ""
        return str(
            protocols.Protocol(
                data=self._dataset,
                split=self._options.split,
                weights=metadata["weights"],
                # Modules of earlier versions know nothing else.
                batch_norm=metadata.get("batch_norm", MOVING_MOMENTS),
                tags="+".join(sorted(metadata["tags"])) if "tags" in metadata else None,
                z=metadata["latents"]["distribution"] + assumed,
                labels="uniform" if metadata.get("num_classes", 0) else None,
                fake_seeds=f"0-{self._options.num_runs - 1}",
                **self._scorer.protocol(),
            )
        )

    def score(self, module: LoadedModule) -> ModuleScores:
        """Every metric of a module.

        The rotation accuracy is that of D on all four orientations (chance 0.25), where
        D has a rotation head: of all real images, and of the fakes of the first seed,
        8,192 at most. Of the same images is the spread of D's logits, their standard
        deviation, without labels: 0 is a D that tells nothing apart. Fakes of a
        conditional GAN have labels drawn by the seed, every class as likely.

        Raises:
            ValueError: the images are not in [0, 1] or of another shape than the reals.
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
        # Whatever the labels, the rotation head says the same.
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
            f"The logits of D must be finite. Received: module={module.path}, whose D "
            "gives others. It has diverged: take an earlier step."
        )
    return float(np.std(logits, dtype=np.float64))
