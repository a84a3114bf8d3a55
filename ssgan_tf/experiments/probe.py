"""What D has learnt: accuracy of a linear classifier on every block of a checkpoint.

`probe.csv` has one row per (checkpoint, protocol, block).
"""

import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf import config, datasets
from ssgan_tf.evaluation import linear_probe
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import files, tables
from ssgan_tf.utils.progress import track

_BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class BlockScore:
    """One row of the table.

    Attributes:
        step: int. Of the checkpoint.
        block: int. Place of the block in D, from 0, as in the paper.
        layer: str. Its name.
        features: int. Inputs of the classifier.
        train_accuracy: float. Top-1, on the split that the classifier is fitted to.
        test_accuracy: float. Top-1, on the split that scores compare with.
        protocol: str. What moves the accuracies besides the weights.
    """

    step: int
    block: int
    layer: str
    features: int
    train_accuracy: float
    test_accuracy: float
    protocol: str


_COLUMNS = [field.name for field in dataclasses.fields(BlockScore)]


def probe_checkpoint(
    experiment: config.Plan,
    run: RunDir,
    step: int,
    *,
    dataset: str | None = None,
    data_dir: str | None = None,
) -> list[BlockScore]:
    """Fits a linear classifier to the features of every block of D, and tests it.

    All images of the training split have their labels, whatever the GAN was told of
    them. The features lie in a temporary folder meanwhile.

    Args:
        experiment: what was trained.
        run: where the checkpoint lies.
        step: int. Which checkpoint.
        dataset: a key of `datasets.DATASETS`; None is that of the experiment.
        data_dir: folder of prepared TFDS data sets, or None.

    Returns:
        One score per block, in order.

    Raises:
        ValueError: the data set has no labels or other images, D has no blocks, or
            the checkpoint is damaged or has diverged.
        FileNotFoundError: there is no such checkpoint, or no such data.
        OSError: the features do not fit on the disk.
    """
    run.check_step(step)
    name = dataset or experiment.dataset
    spec = datasets.get_spec(name)
    _check_dataset(name, spec, experiment.spec.image_shape)
    run.checkpoints.check_whole(step)
    images, labels = {}, {}
    for split in ("train", "test"):
        images[split], labels[split] = datasets.open_split(name, split, data_dir)
    # The numbers of the weights, not of the precision they were trained in.
    gan = experiment.build_gan(precision="float32")
    layers = _block_names(gan.discriminator)
    run.checkpoints.restore(gan, step)
    protocol = "; ".join(
        f"{key}={value}"
        for key, value in {
            "data": name,
            "train_images": len(labels["train"]),
            "test_images": len(labels["test"]),
            # Not the ReLU of them.
            "maps": "block_outputs",
            **linear_probe.protocol(),
        }.items()
    )
    scores = []
    with tempfile.TemporaryDirectory(prefix="ssgan_probe_") as folder:
        features = _extract(gan.discriminator, images, pathlib.Path(folder))
        for block, layer in enumerate(layers):
            train_features, test_features = (
                features[split][block] for split in ("train", "test")
            )
            found = linear_probe.accuracies(
                train_features,
                labels["train"],
                test_features,
                labels["test"],
                spec.num_classes,
            )
            scores.append(
                BlockScore(
                    step, block, layer, train_features.shape[1], *found, protocol
                )
            )
            logging.info(
                "step %d, block %d (%s): train %.4f, test %.4f",
                step,
                block,
                layer,
                *found,
            )
    return scores


def _check_dataset(name, spec: datasets.DatasetSpec, image_shape) -> None:
    if not spec.num_classes:
        labelled = [key for key, row in datasets.DATASETS.items() if row.num_classes]
        raise ValueError(
            "A linear classifier needs labels to be fitted to. Received: "
            f"dataset={name!r}, which has none. By --dataset, name one that has, of "
            f"images of the same shape: {', '.join(labelled)}."
        )
    if spec.image_shape != tuple(image_shape):
        raise ValueError(
            f"D takes images of shape {tuple(image_shape)}. Received: dataset={name!r} "
            f"of shape {spec.image_shape}. Name the data set of the run, or another of "
            "that shape."
        )


def _block_names(discriminator: keras.Model) -> list[str]:
    names = getattr(discriminator, "block_names", None)
    if not names:
        raise ValueError(
            "The discriminator must say what its blocks are: `block_names` and "
            "`block_features(images)`, as `networks.Discriminator` has them of layers "
            "with a true `is_block`. Received: discriminator="
            f"{type(discriminator).__name__} without blocks. Add them."
        )
    return names


def _extract(
    discriminator: keras.Model,
    images: dict[str, tf.Tensor | datasets.StoredImages],
    folder: pathlib.Path,
) -> dict[str, list[np.ndarray]]:
    """Pooled features of every block, float32 `(N, d)` each, kept in a folder.

    The pages of the files stay in memory where there is room.
    """
    shape = discriminator.image_shape

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.uint8)])
    def pooled(batch):
        maps = discriminator.block_features(tf.cast(batch, tf.float32) / 255.0)
        return [linear_probe.pool(each) for each in maps]

    widths = [each.shape[1] for each in pooled.get_concrete_function().outputs]
    counts = {split: each.shape[0] for split, each in images.items()}
    # A file that grows into a full disk ends the process without a word.
    needed = 4 * sum(widths) * sum(counts.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"The features need {needed / 2**30:.1f} GiB in the temporary folder. "
            f"Received: {folder.parent}, where {free / 2**30:.1f} GiB are free. Name a "
            "larger one by the environment variable TMPDIR."
        )
    features = {}
    for split, count in counts.items():
        features[split] = [
            np.memmap(folder / f"{split}_{i}", np.float32, "w+", shape=(count, width))
            for i, width in enumerate(widths)
        ]
        _fill(features[split], pooled, images[split], split)
    return features


def _fill(targets: list[np.ndarray], pooled: Callable, images, split: str) -> None:
    done, count = 0, images.shape[0]
    what = f"features of the {split} split"
    for batch in track(_batches(images), count, what, size=len):
        stop = done + len(batch)
        for target, rows in zip(targets, pooled(batch), strict=True):
            target[done:stop] = rows.numpy()
        done = stop


def _batches(images: tf.Tensor | datasets.StoredImages) -> tf.data.Dataset:
    """uint8 `(up to 64, height, width, channels)`, in order.

    By tf.data in either case: its look-ups stay on the host, where the images are.
    """
    places = tf.data.Dataset.range(images.shape[0])
    if isinstance(images, datasets.StoredImages):
        batches = places.map(images.look_up, tf.data.AUTOTUNE).batch(_BATCH_SIZE)
    else:
        batches = places.batch(_BATCH_SIZE).map(lambda each: tf.gather(images, each))
    return batches.prefetch(2)


class ProbeTable:
    """The file `probe.csv` of a run.

    Args:
        path: the file; made with the first rows.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)

    def rows(self) -> list[dict[str, str]]:
        """All rows, in the order in which they were added.

        Raises:
            ValueError: the file is no such table.
        """
        if not self.path.exists():
            return []
        columns, rows = tables.read_csv(self.path)
        if columns != _COLUMNS:
            raise ValueError(
                f"A table of the probe must have the columns {_COLUMNS}. Received: "
                f"{self.path} with the columns {columns}. Name another file "
                "by --out, or move that one away."
            )
        return rows

    def add(self, scores: list[BlockScore]) -> None:
        """Adds the scores of a checkpoint; the file is replaced as a whole.

        They take the place of those of the same step and protocol.
        """
        added = [
            {name: str(value) for name, value in dataclasses.asdict(score).items()}
            for score in scores
        ]
        replaced = {(row["step"], row["protocol"]) for row in added}
        with files.lock(self.path.parent):
            others = [
                row
                for row in self.rows()
                if (row["step"], row["protocol"]) not in replaced
            ]
            tables.write_csv(self.path, _COLUMNS, [*others, *added])


def format_scores(scores: list[BlockScore]) -> str:
    """The scores of one checkpoint as a table, ready to print."""
    width = max(len("layer"), *(len(score.layer) for score in scores))
    lines = [f"block  {'layer':<{width}}  features   train    test"]
    lines += [
        f"{s.block:>5}  {s.layer:<{width}}  {s.features:>8}  "
        f"{s.train_accuracy:.4f}  {s.test_accuracy:.4f}"
        for s in scores
    ]
    return "\n".join([*lines, "", f"protocol: {scores[0].protocol}"])
