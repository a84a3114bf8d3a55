"""Shows a data set, and the batches of D, as text and pictures."""

import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image, ImageDraw

from ssgan_tf import datasets, rotation
from ssgan_tf.datasets import folders
from ssgan_tf.datasets.builders import part_of
from ssgan_tf.datasets.preparation import find_prepared
from ssgan_tf.utils import pictures

_SHEET_COLUMNS = 8
_SHEET_IMAGES = 64
# Smaller images are enlarged by an integer factor, so that a caption fits below.
_CELL_WIDTH = 96
_LINE_HEIGHT = 12
_NAMED = 20


class Batch(NamedTuple):
    """A batch of D, with all images in every orientation.

    Attributes:
        images: float32 in [0, 1], `(4 * batch, size, size, channels)`: all images
            upright, then rotated by 90, 180 and 270 degrees counter-clockwise.
        labels: int32 `(4 * batch,)`; -1 without labels.
        rotations: int32 `(4 * batch,)`: quarter turns, the labels of the rotation head.
    """

    images: np.ndarray
    labels: np.ndarray
    rotations: np.ndarray


def describe(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """Describes a data set: counts, classes, sizes and bytes. Prepares it if necessary.

    Args:
        name: as for `datasets.get_spec`.
        data_dir: folder of prepared TFDS data sets, or None for TFDS's default.

    Raises:
        FileNotFoundError, ValueError: as `datasets.index_split`.
    """
    spec, builder = datasets.get_spec(name), datasets.prepare(name, data_dir)
    lines = [
        f"data set      {name}",
        f"where         {builder.data_dir}",
        f"images        {spec.image_shape}, uint8",
        f"classes       {spec.num_classes or 'none'}",
    ]
    if names := class_names(builder, spec.num_classes):
        more = ", ..." if len(names) > _NAMED else ""
        lines[-1] += f": {', '.join(names[:_NAMED])}{more}"
    if spec.crop:
        rule = spec.crop.__doc__.partition("\n")[0]
        lines.append(f"made of       {spec.tfds_name} {spec.tfds_version}: {rule}")
    header = ("split", "images", "published", "files", "MiB decoded", "per class")
    rows = [header]
    for split, published in (("train", spec.train_count), ("test", spec.eval_count)):
        stored, labels = datasets.index_split(name, split, data_dir)
        per_class = "-"
        if spec.num_classes:
            counts = np.bincount(labels, minlength=spec.num_classes)
            per_class = f"{counts.min():,} to {counts.max():,}"
        rows.append(
            (
                split,
                f"{len(labels):,}",
                "-" if published is None else f"{published:,}",
                f"{len(stored.paths):,}",
                f"{len(labels) * np.prod(spec.image_shape) / 2**20:,.1f}",
                per_class,
            )
        )
    lines += ["", *("".join(f"{cell:>16}" for cell in row) for row in rows), ""]
    lines.append(f"{builder.info.dataset_size / 2**20:,.1f} MiB on the disk")
    unreadable = (builder.info.metadata or {}).get("unreadable", {})
    lines += [f"left out: {file} ({reason})" for file, reason in unreadable.items()]
    if spec.folder and (others := folders.read(spec.folder).left_out):
        lines.append(f"left out, not images by their suffix: {others}")
    return "\n".join(lines)


def class_names(builder: tfds.core.DatasetBuilder, num_classes: int) -> list[str]:
    """Names of the classes; their numbers if TFDS has no names."""
    if not num_classes:
        return []
    return list(map(builder.info.features["label"].int2str, range(num_classes)))


def contact_sheet(name: str, data_dir: str | os.PathLike | None = None) -> np.ndarray:
    """Draws 64 evenly spaced images of the training split.

    Returns:
        uint8, `(height, width, 1 or 3)`.
    """
    stored, _ = datasets.index_split(name, "train", data_dir)
    num = stored.shape[0]
    places = np.arange(min(num, _SHEET_IMAGES)) * num // min(num, _SHEET_IMAGES)
    images = [stored.look_up(tf.constant(place, tf.int64)).numpy() for place in places]
    return pictures.grid(np.stack(images), _SHEET_COLUMNS)


def prepared_images(
    name: str, data_dir: str | os.PathLike | None = None, *, rows: int = 8
) -> np.ndarray | None:
    """Reads a few training images of a data set that is already prepared.

    Reads parts of a few files only, so that large data sets take no longer.

    Args:
        name, data_dir: as for `describe`.
        rows: int. Runs of `rows` images are taken from `rows` evenly spaced places.

    Returns:
        uint8 `(num, height, width, channels)`, at most `rows ** 2` images; None if the
        data set is not prepared.

    Raises:
        ValueError, OSError: the data set is unknown, or cannot be read.
    """
    builder = find_prepared(name, data_dir)
    if builder is None:
        return None
    split = datasets.get_spec(name).stored_split("train")
    num = builder.info.splits[split].num_examples
    images = []
    for start in np.unique(np.linspace(0, max(0, num - rows), rows, dtype=int)):
        few = part_of(builder, split, int(start), int(min(start + rows, num)))
        examples = builder.as_dataset(few, shuffle_files=False)
        images += [example["image"] for example in examples.as_numpy_iterator()]
    return np.stack(images)


def first_batch(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    batch_size: int = 8,
    seed: int = 0,
) -> Batch:
    """The first batch of a run, in all rotations.

    Args:
        name, data_dir: as for `describe`.
        batch_size: int.
        seed: int. Seed of the run.
    """
    stored, labels = datasets.index_split(name, "train", data_dir)
    stream = datasets.training_dataset(stored, labels, batch_size=batch_size, seed=seed)
    pixels, labels = next(iter(stream))
    # The train step converts the pixels in the same way.
    upright = tf.cast(pixels, tf.float32) / 255.0
    views = tf.concat([upright, rotation.rotated_views(upright, batch_size)], axis=0)
    return Batch(
        views.numpy(),
        np.tile(labels, rotation.NUM_ROTATIONS),
        rotation.rotation_labels(batch_size).numpy(),
    )


def captions(batch: Batch, names: list[str]) -> list[list[str]]:
    """Two lines per image: its class, and the label of its rotation."""
    return [
        [
            names[label] if label >= 0 else "no label",
            f"{90 * turns} deg: {turns}",
        ]
        for label, turns in zip(batch.labels, batch.rotations, strict=True)
    ]


def table(batch: Batch, names: list[str]) -> str:
    """The labels of a batch and the range of its pixels, as text."""
    pixels = batch.images
    num = len(pixels) // rotation.NUM_ROTATIONS
    lines = [
        f"images        {pixels.shape}, {pixels.dtype}, from {pixels.min():.4g} to "
        f"{pixels.max():.4g}, mean {pixels.mean():.4g}",
        "",
        f"{'image':>6}  {'label':>6}  rotation labels",
    ]
    for i, (class_name, _) in enumerate(captions(batch, names)[:num]):
        turns = " ".join(map(str, batch.rotations[i::num]))
        lines.append(f"{i:>6}  {batch.labels[i]:>6}  {turns}   {class_name}")
    return "\n".join(lines)


def picture(batch: Batch, names: list[str]) -> np.ndarray:
    """Draws a batch: a column per image, a row per rotation, labels below each image.

    Returns:
        uint8, `(height, width, 3)`.
    """
    num, size = len(batch.images), batch.images.shape[1]
    scale = -(-_CELL_WIDTH // size)
    side, margin = scale * size, 2 * _LINE_HEIGHT
    cells = np.zeros((num, side + margin, side, 3), np.uint8)
    pixels = pictures.grid(batch.images, 1).reshape(batch.images.shape)
    enlarged = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    cells[:, :side] = enlarged
    for cell, lines in zip(cells, captions(batch, names), strict=True):
        text = Image.new("RGB", (side, margin))
        draw = ImageDraw.Draw(text)
        for i, line in enumerate(lines):
            draw.text((2, i * _LINE_HEIGHT), line, fill="white")
        cell[side:] = text
    return pictures.grid(cells, num // rotation.NUM_ROTATIONS)
