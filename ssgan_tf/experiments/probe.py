"""Tables 3 and 4: accuracy of a linear classifier on each block of a discriminator.

`probe.csv` has one row per (checkpoint, protocol, block).
"""

import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf import config, datasets
from ssgan_tf.evaluation import linear_probe
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils.progress import track
from ssgan_tf.utils.tables import Table

_BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class BlockScore:
    """One row of the table.

    Attributes:
        step: int. Step of the checkpoint.
        block: int. Place of the block in D, from 0, as in the paper.
        layer: str. Name of the block.
        features: int. Inputs of the classifier.
        train_accuracy: float. Top-1 accuracy on the training split.
        test_accuracy: float. Top-1 accuracy on the test split.
        protocol: str. The facts that the accuracies depend on besides the weights.
    """

    step: int
    block: int
    layer: str
    features: int
    train_accuracy: float
    test_accuracy: float
    protocol: str


def probe_checkpoint(
    plan: config.Plan,
    run: RunDir,
    step: int,
    *,
    dataset: str | None = None,
    data_dir: str | None = None,
) -> list[BlockScore]:
    """Fits a linear classifier to the features of every block of D, and tests it.

    All training images have their labels, even if the GAN was trained on fewer.

    Args:
        plan: the configuration of the run.
        run: the run directory.
        step: int. Step of the checkpoint.
        dataset: a key of `datasets.DATASETS`; None for the data set of the plan.
        data_dir: folder of prepared TFDS data sets, or None for TFDS's default.

    Returns:
        One score per block, in order.

    Raises:
        ValueError: the data set has no labels or other images, D has no blocks, or the
            checkpoint is damaged or has diverged.
        FileNotFoundError: the checkpoint or the data do not exist.
        OSError: the features do not fit on the disk.
    """
    run.check_step(step)
    name = dataset or plan.dataset
    _check_dataset(name, plan.spec.image_shape)
    # The accuracies are those of the weights, whatever precision trained them.
    gan = plan.build_gan(precision="float32")
    layers = block_names(gan.discriminator)
    run.checkpoints.restore(step, gan.parts)
    images, labels, scores = {}, {}, []
    for split in ("train", "test"):
        images[split], labels[split] = datasets.open_split(name, split, data_dir)
    with tempfile.TemporaryDirectory(prefix="ssgan_probe_") as folder:
        features = extract_features(gan.discriminator, images, pathlib.Path(folder))
        for block, layer in enumerate(layers):
            train_accuracy, test_accuracy = linear_probe.accuracies(
                train_features=features["train"][block],
                train_labels=labels["train"],
                test_features=features["test"][block],
                test_labels=labels["test"],
                num_classes=datasets.get_spec(name).num_classes,
            )
            score = BlockScore(
                step=step,
                block=block,
                layer=layer,
                features=features["train"][block].shape[1],
                train_accuracy=train_accuracy,
                test_accuracy=test_accuracy,
                protocol=_protocol(name, labels),
            )
            scores.append(score)
            logging.info("%s", score)
    return scores


def _protocol(dataset: str, labels: dict[str, np.ndarray]) -> str:
    """The facts that the accuracies depend on besides the weights."""
    return "; ".join(
        f"{key}={value}"
        for key, value in {
            "data": dataset,
            "train_images": len(labels["train"]),
            "test_images": len(labels["test"]),
            # Before the ReLU of the next block.
            "maps": "block_outputs",
            **linear_probe.protocol(),
        }.items()
    )


def _check_dataset(name: str, image_shape) -> None:
    spec = datasets.get_spec(name)
    if not spec.num_classes:
        raise ValueError(
            f"A linear classifier needs labels. Received: dataset={name!r}, which has "
            "none. Pass --dataset, a data set with labels and images of this shape."
        )
    if spec.image_shape != tuple(image_shape):
        raise ValueError(
            f"D takes images of shape {tuple(image_shape)}. Received: dataset={name!r} "
            f"of shape {spec.image_shape}. Name a data set of that shape."
        )


def block_names(discriminator: keras.Model) -> list[str]:
    """The names of the blocks of a discriminator.

    Raises:
        ValueError: the discriminator does not name its blocks.
    """
    names = getattr(discriminator, "block_names", None)
    if not names:
        raise ValueError(
            "The discriminator must have blocks: `block_names` and `block_features`, "
            "as in `networks.Discriminator` for layers whose `is_block` is true. "
            f"Received: discriminator={type(discriminator).__name__}."
        )
    return names


def extract_features(
    discriminator: keras.Model,
    images: dict[str, tf.Tensor | datasets.StoredImages],
    folder: pathlib.Path,
) -> dict[str, list[np.ndarray]]:
    """Computes the pooled features of every block.

    Args:
        discriminator: `networks.Discriminator`.
        images: uint8 `(N, height, width, channels)`, by split.
        folder: folder for the files that the features are kept in.

    Returns:
        For every split one array per block, float32 `(N, d)`. They are mapped from
        files, whose pages stay in memory if there is room.

    Raises:
        OSError: the features do not fit into the folder.
    """
    shape = discriminator.image_shape

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.uint8)])
    def pooled(batch):
        maps = discriminator.block_features(tf.cast(batch, tf.float32) / 255.0)
        return list(map(linear_probe.pool, maps))

    widths = [output.shape[1] for output in pooled.get_concrete_function().outputs]
    counts = {split: batch.shape[0] for split, batch in images.items()}
    # A mapped file that fills the disk would end the process without a message.
    needed = 4 * sum(widths) * sum(counts.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"The features need {needed / 2**30:.1f} GiB, but {folder.parent} has "
            f"{free / 2**30:.1f} GiB left. Set the environment variable TMPDIR to a "
            "folder with more."
        )
    features = {}
    for split, count in counts.items():
        features[split] = [
            np.memmap(folder / f"{split}_{i}", np.float32, "w+", shape=(count, width))
            for i, width in enumerate(widths)
        ]
        batches, done = batches_of(images[split]), 0
        for batch in track(batches, count, f"features of the {split} split", size=len):
            stop = done + len(batch)
            for target, rows in zip(features[split], pooled(batch), strict=True):
                target[done:stop] = rows.numpy()
            done = stop
    return features


def batches_of(images: tf.Tensor | datasets.StoredImages) -> tf.data.Dataset:
    """uint8 `(up to 64, height, width, channels)`, in order.

    tf.data looks the images up on the host, where they are.
    """
    indices = tf.data.Dataset.range(images.shape[0])
    look_up = getattr(images, "look_up", lambda index: tf.gather(images, index))
    return indices.map(look_up, tf.data.AUTOTUNE).batch(_BATCH_SIZE).prefetch(2)


class ProbeTable(Table[BlockScore]):
    """The file `probe.csv` of a run.

    Args:
        path: the file. It is made with the first rows.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__(path, BlockScore)

    def add(self, scores: Sequence[BlockScore]) -> None:
        """Adds the scores of a checkpoint; the file is replaced as a whole.

        They replace the scores of the same step and protocol.
        """
        replaced = {(score.step, score.protocol) for score in scores}
        self.update(
            lambda rows: [
                *(row for row in rows if (row.step, row.protocol) not in replaced),
                *scores,
            ]
        )


def format_scores(scores: list[BlockScore]) -> str:
    """The scores of one checkpoint as text."""
    width = max(len("layer"), *(len(score.layer) for score in scores))
    lines = [f"block  {'layer':<{width}}  features   train    test"]
    lines += [
        f"{s.block:>5}  {s.layer:<{width}}  {s.features:>8}  "
        f"{s.train_accuracy:.4f}  {s.test_accuracy:.4f}"
        for s in scores
    ]
    return "\n".join([*lines, "", f"protocol: {scores[0].protocol}"])
