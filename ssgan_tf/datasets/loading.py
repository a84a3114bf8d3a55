"""Opens a split of a prepared data set and checks it against the table.

`load_split` decodes all images. `index_split` leaves them in their files. `open_split`
chooses by size.
"""

import dataclasses
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from ssgan_tf.datasets.builders import IN_ORDER
from ssgan_tf.datasets.labels import UNKNOWN_LABEL
from ssgan_tf.datasets.preparation import prepare
from ssgan_tf.datasets.specs import DatasetSpec, get_spec
from ssgan_tf.datasets.stored import (
    PREPARE_AGAIN,
    StoredImages,
    index_files,
    reason,
)

# Splits up to this size are decoded once and stay in memory. Copying the NumPy array to
# a tensor needs three times the size for a moment: 6 of the 16 GiB of a small machine.
# CelebA-HQ at 128x128 takes 1.2 GiB, a million images of 64x64 take 11 GiB.
MAX_DECODED_BYTES = 2 * 2**30


def open_split(
    name: str, split: str, data_dir: str | os.PathLike | None = None
) -> tuple[tf.Tensor | StoredImages, np.ndarray]:
    """Opens a split for training: decoded if it is small, else left in its files.

    Both give the same images in the same order. The log names the choice.

    Args:
        name, split, data_dir: as for `load_split`.

    Returns:
        images: uint8 tensor `(N, height, width, channels)` on the host, of at most
            `MAX_DECODED_BYTES`; or `StoredImages`, decoded at every look-up.
        labels: int32 array `(N,)`, as from `load_split`.

    Raises:
        As `load_split` and, for a split that is left in its files, `index_split`.
    """
    data = _find(name, split, data_dir)
    num_images = sum(instruction.take for instruction in data.instructions)
    decoded_bytes = num_images * int(np.prod(data.spec.image_shape))
    if decoded_bytes > MAX_DECODED_BYTES:
        images, labels = _index(data)
        choice = (
            f"in {len(images.paths)} files, decoded on the fly; their index takes "
            f"{_mebibytes(images.index_bytes)} of memory, decoded images would take "
            f"{_mebibytes(decoded_bytes)}"
        )
    else:
        decoded, labels = _load(data)
        # On the host, to keep the data set out of GPU memory.
        with tf.device("CPU:0"):
            images = tf.convert_to_tensor(decoded)
        choice = f"decoded once, {_mebibytes(decoded_bytes)} in memory"
    logging.info("%s, %s split: %d images %s", name, split, num_images, choice)
    return images, labels


def load_split(
    name: str, split: str, data_dir: str | os.PathLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads and decodes a split, file after file.

    A data set that is not prepared under `data_dir` is prepared there by `prepare`.
    TFDS prepares in a temporary folder and renames it, so an interruption leaves no
    incomplete data set.

    Args:
        name: str. A key of `DATASETS`, or a folder's name by `folders.dataset_name`.
        split: "train" or "test". The table has the TFDS split of each.
        data_dir: folder of prepared TFDS data sets. None means TFDS's default:
            the environment variable `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.

    Returns:
        images: uint8 array `(N, height, width, channels)`, in [0, 255].
        labels: int32 array `(N,)`, in `[0, num_classes)`; -1 without labels.

    Raises:
        ValueError: for an unknown `name` or `split`; for a folder that cannot be a data
            set; for missing or damaged files; for images or labels that do not match
            the table.
        FileNotFoundError: the data set is not prepared and cannot be.
    """
    return _load(_find(name, split, data_dir))


def index_split(
    name: str, split: str, data_dir: str | os.PathLike | None = None
) -> tuple[StoredImages, np.ndarray]:
    """Finds the images of a split in its files, in the order of `load_split`.

    Args:
        name, split, data_dir: as for `load_split`.

    Returns:
        images: `StoredImages` of shape `(N, height, width, channels)`.
        labels: int32 array `(N,)`, as from `load_split`.

    Raises:
        ValueError: as `load_split`, but not for images that do not match the table:
            their look-up fails. Also for a data set that is not stored as whole
            TFRecord files.
        FileNotFoundError: the data set is not prepared and cannot be.
    """
    return _index(_find(name, split, data_dir))


@dataclasses.dataclass(frozen=True)
class _Split:
    """A split of a prepared data set.

    Attributes:
        name, split: as for `load_split`.
        spec: row of the table.
        builder: builder of the prepared data set.
        instructions: the records of each file that belong to the split.
    """

    name: str
    split: str
    spec: DatasetSpec
    builder: tfds.core.DatasetBuilder
    instructions: list[tfds.core.utils.shard_utils.FileInstruction]


def _find(name: str, split: str, data_dir: str | os.PathLike | None) -> _Split:
    if split not in ("train", "test"):
        raise ValueError(
            f"`split` must be 'train' or 'test'. Received: split={split!r}. "
            "`ssgan_tf.datasets.specs` has the TFDS split of each."
        )
    spec = get_spec(name)
    builder = prepare(name, data_dir)
    tfds_split = spec.stored_split(split)
    try:
        instructions = builder.info.splits[tfds_split].file_instructions
    # TFDS raises several types for a damaged `dataset_info.json`.
    except (ValueError, LookupError) as error:
        raise ValueError(
            f"Cannot list the files of the split {tfds_split!r} in "
            f"'{builder.data_dir}': {error} {PREPARE_AGAIN}"
        ) from error
    dtype = np.dtype(builder.info.features["image"].np_dtype)
    if dtype != np.uint8:
        raise ValueError(
            f"Images must be uint8. Received: {dtype} as the images of {name!r}. "
            "Convert them, or choose another data set."
        )
    count = sum(instruction.take for instruction in instructions)
    expected = spec.train_count if split == "train" else spec.eval_count
    if expected not in (None, count):
        logging.warning(
            "%s, %s split: %d images in '%s', %d in the published data set: scores do "
            "not compare with published ones",
            name,
            split,
            count,
            builder.data_dir,
            expected,
        )
    return _Split(
        name=name, split=split, spec=spec, builder=builder, instructions=instructions
    )


def _load(data: _Split) -> tuple[np.ndarray, np.ndarray]:
    builder, spec = data.builder, data.spec
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        # Names a damaged file. TFDS does not.
        index_files(data.instructions, labelled=False)
    tfds_split = spec.stored_split(data.split)
    dataset = builder.as_dataset(tfds_split, shuffle_files=False, read_config=IN_ORDER)
    num_images = len(dataset)
    images = np.empty((num_images, *spec.image_shape), np.uint8)
    labels = np.full(num_images, UNKNOWN_LABEL, np.int32)
    examples = dataset.as_numpy_iterator()
    for i in range(num_images):
        place = f"image {i} of {data.name}'s {data.split} split"
        try:
            # Fails also if the files hold fewer images.
            example = next(examples)
        except tf.errors.OpError as error:
            raise ValueError(
                f"Cannot read {place} in '{builder.data_dir}': {reason(error)}. "
                f"{PREPARE_AGAIN}"
            ) from error
        if example["image"].shape != spec.image_shape:
            raise ValueError(
                f"Images must be of shape {spec.image_shape}. Received: "
                f"{example['image'].shape} as {place}. Crop or resize the images, or "
                "correct the row in `ssgan_tf.datasets.specs`."
            )
        images[i] = example["image"]
        if spec.num_classes:
            labels[i] = example["label"]
    if spec.num_classes:
        _check_labels(labels, data)
    return images, labels


def _index(data: _Split) -> tuple[StoredImages, np.ndarray]:
    builder, spec = data.builder, data.spec
    file_format = builder.info.file_format
    if file_format != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            "A data set that is decoded on the fly must be stored as TFRecord files. "
            f"Received: name={data.name!r}, stored as {file_format.value} in "
            f"'{builder.data_dir}'. Prepare it again with file_format='tfrecord'."
        )
    paths, places, offsets, stored_labels = index_files(
        data.instructions, labelled=bool(spec.num_classes)
    )
    images = StoredImages(
        name=f"the {data.split} split of {data.name}",
        paths=paths,
        files=places,
        offsets=offsets,
        feature=builder.info.features["image"],
        image_shape=spec.image_shape,
    )
    labels = np.full(len(offsets), UNKNOWN_LABEL, np.int32)
    if spec.num_classes:
        labels[:] = stored_labels
        _check_labels(labels, data)
    return images, labels


def _check_labels(labels: np.ndarray, data: _Split) -> None:
    num_classes = data.spec.num_classes
    if not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"Labels must be in [0, {num_classes}). Received: name={data.name!r}, "
            f"split={data.split!r} with labels from {labels.min()} to {labels.max()}. "
            "Correct `num_classes` in `ssgan_tf.datasets.specs`."
        )


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.1f} MiB"
