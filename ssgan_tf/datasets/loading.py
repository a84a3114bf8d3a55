"""A split of a data set, decoded or left in its files, checked against the table."""

import dataclasses
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from ssgan_tf.datasets.labels import UNKNOWN_LABEL
from ssgan_tf.datasets.preparation import prepare
from ssgan_tf.datasets.specs import DatasetSpec, get_spec
from ssgan_tf.datasets.stored import (
    PREPARE_AGAIN,
    StoredImages,
    check_files,
    index_files,
    reason,
)

# Splits up to this size are decoded once and stay in memory. While TensorFlow copies
# the NumPy array it holds a second copy, so that for a moment a split is there three
# times: 6 GiB of the 16 that a small training machine has. All of CelebA-HQ at 128x128
# takes 1.2 GiB, a million images of 64x64 take 11.
MAX_DECODED_BYTES = 2 * 2**30


def open_split(
    name: str, split: str, data_dir: str | os.PathLike | None = None
) -> tuple[tf.Tensor | StoredImages, np.ndarray]:
    """A split for training: decoded once if it is small, else left in its files.

    Both give the same images in the same order; the log says which it is.

    Args:
        name, split, data_dir: as for `load_split`.

    Returns:
        images: uint8 tensor `(N, height, width, channels)` on the host, of at most
            `MAX_DECODED_BYTES`; or `StoredImages`, decoded whenever they are looked up.
        labels: int32 array `(N,)`, as `load_split` gives them.

    Raises:
        As `load_split` and, for a split that is left in its files, `index_split`.
    """
    found = _find(name, split, data_dir)
    num_images = sum(each.take for each in found.instructions)
    decoded_bytes = num_images * int(np.prod(found.spec.image_shape))
    if decoded_bytes > MAX_DECODED_BYTES:
        images, labels = _index(found)
        logging.info(
            "%s, %s split: %d images decoded on the fly from %d files; their places "
            "take %s in memory, decoded images would take %s",
            name,
            split,
            num_images,
            len(images.paths),
            _mebibytes(images.index_bytes),
            _mebibytes(decoded_bytes),
        )
        return images, labels
    decoded, labels = _load(found)
    # The array goes when this returns, so that the images are in memory once. On the
    # host: a GPU must not be filled with the data set.
    with tf.device("CPU:0"):
        images = tf.convert_to_tensor(decoded)
    logging.info(
        "%s, %s split: %d images decoded once, %s in memory",
        name,
        split,
        num_images,
        _mebibytes(decoded_bytes),
    )
    return images, labels


def index_split(
    name: str, split: str, data_dir: str | os.PathLike | None = None
) -> tuple[StoredImages, np.ndarray]:
    """Finds the images of one split in its files, in the order of `load_split`.

    Args:
        name, split, data_dir: as for `load_split`.

    Returns:
        images: `StoredImages`, of the shape `(N, height, width, channels)`.
        labels: int32 array `(N,)`, as `load_split` gives them.

    Raises:
        ValueError: as `load_split`, but for images that are not what the table says,
            which show when they are looked up; and for a data set that is not stored
            as whole TFRecord files.
        FileNotFoundError: if the data set is neither prepared nor can be.
    """
    return _index(_find(name, split, data_dir))


def _index(found: "_Split") -> tuple[StoredImages, np.ndarray]:
    builder, spec = found.builder, found.spec
    stored_as = builder.info.file_format
    if stored_as != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            "A data set that is decoded on the fly must be stored as TFRecord files. "
            f"Received: name={found.name!r}, stored as {stored_as.value} in "
            f"'{builder.data_dir}'. Prepare it again with file_format='tfrecord'."
        )
    feature = builder.info.features["image"]
    if feature.np_dtype != np.uint8:
        raise ValueError(
            f"Images must be uint8 of shape {spec.image_shape}. Received: "
            f"{np.dtype(feature.np_dtype)} as the images of {found.name!r}. Convert "
            "the images, or correct the row in `ssgan_tf.datasets.specs`."
        )
    paths, places, offsets, stored_labels = index_files(
        found.instructions, labelled=bool(spec.num_classes)
    )
    images = StoredImages(
        f"the {found.split} split of {found.name}",
        paths,
        places,
        offsets,
        feature,
        spec.image_shape,
    )
    labels = np.full(len(offsets), UNKNOWN_LABEL, np.int32)
    if spec.num_classes:
        labels[:] = stored_labels
        _check_labels(labels, found)
    return images, labels


def load_split(
    name: str, split: str, data_dir: str | os.PathLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads and decodes one split, file after file.

    A data set that is not prepared under `data_dir` is prepared there: `digits32` on
    the spot, the others by TFDS, which downloads them, and by `prepare`, which crops
    and resizes them. TFDS prepares in a temporary folder and renames it, so an
    interruption leaves no half-written data set.

    Args:
        name: str. A name in `DATASETS`, or a folder's as `folders.dataset_name` has it.
        split: "train" or "test"; which TFDS split that is, the table says.
        data_dir: folder of prepared TFDS data sets. None means TFDS's default:
            the environment variable `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.

    Returns:
        images: uint8 array `(N, height, width, channels)`, in [0, 255].
        labels: int32 array `(N,)`, in `[0, num_classes)`; -1 where there are none.

    Raises:
        ValueError: for an unknown `name` or `split`, a folder that cannot be a data
            set, files that are missing or damaged, and for images or labels that are
            not what the table says.
        FileNotFoundError: if the data set is neither prepared nor can be.
    """
    return _load(_find(name, split, data_dir))


def _load(found: "_Split") -> tuple[np.ndarray, np.ndarray]:
    builder, spec = found.builder, found.spec
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        # Other formats have nothing to name a damaged file by.
        check_files(found.instructions)
    dataset = builder.as_dataset(
        split=found.tfds_split,
        shuffle_files=False,
        read_config=tfds.ReadConfig(
            # File after file, as `index_split` has them.
            interleave_cycle_length=1,
            # The arrays below are the cache; TFDS's own would double the memory.
            try_autocache=False,
        ),
    )
    num_images = len(dataset)
    images = np.empty((num_images, *spec.image_shape), np.uint8)
    labels = np.full(num_images, UNKNOWN_LABEL, np.int32)
    examples = dataset.as_numpy_iterator()
    for i in range(num_images):
        where = f"image {i} of {found.name}'s {found.split} split"
        try:
            # TFDS fails where there are fewer.
            example = next(examples)
        except tf.errors.OpError as error:
            raise ValueError(
                "Every image of a prepared data set must be readable. Received: "
                f"{where} in '{builder.data_dir}', which fails with: {reason(error)}. "
                f"{PREPARE_AGAIN}"
            ) from error
        _check_image(example["image"], spec, where)
        images[i] = example["image"]
        if spec.num_classes:
            labels[i] = example["label"]
    if spec.num_classes:
        _check_labels(labels, found)
    return images, labels


def _check_labels(labels: np.ndarray, found: "_Split") -> None:
    num_classes = found.spec.num_classes
    if not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"Labels must lie in [0, {num_classes}). Received: name={found.name!r}, "
            f"split={found.split!r} with labels from {labels.min()} to {labels.max()}. "
            "Correct `num_classes` in `ssgan_tf.datasets.specs`."
        )


def _check_image(image: np.ndarray, spec: DatasetSpec, where: str) -> None:
    if image.shape == spec.image_shape and image.dtype == np.uint8:
        return
    if image.shape[0] != image.shape[1]:
        rule = "Images must be square, because they are rotated by quarter turns"
    else:
        rule = f"Images must be uint8 of shape {spec.image_shape}"
    raise ValueError(
        f"{rule}. Received: {image.dtype} of shape {image.shape} as {where}. Crop or "
        "resize the images, or correct the row in `ssgan_tf.datasets.specs`."
    )


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.1f} MiB"


@dataclasses.dataclass(frozen=True)
class _Split:
    """A split of a prepared data set.

    Attributes:
        name, split: as for `load_split`.
        spec: the data set's row.
        builder: of the data set, prepared.
        tfds_split: TFDS's name of the split.
        instructions: which records of which files it is.
    """

    name: str
    split: str
    spec: DatasetSpec
    builder: tfds.core.DatasetBuilder
    tfds_split: str
    instructions: list[tfds.core.utils.shard_utils.FileInstruction]


def _find(name: str, split: str, data_dir: str | os.PathLike | None) -> _Split:
    if split not in ("train", "test"):
        raise ValueError(
            f"`split` must be 'train' or 'test'. Received: split={split!r}. Which "
            "split of TFDS each of them reads is said in `ssgan_tf.datasets.specs`."
        )
    spec = get_spec(name)
    builder = prepare(name, data_dir)
    if spec.crop or spec.folder:
        tfds_split = split
    else:
        tfds_split = spec.train_split if split == "train" else spec.eval_split
    instructions = _instructions(builder, tfds_split)
    count = sum(each.take for each in instructions)
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
    return _Split(name, split, spec, builder, tfds_split, instructions)


def _instructions(
    builder: tfds.core.DatasetBuilder, tfds_split: str
) -> list[tfds.core.utils.shard_utils.FileInstruction]:
    """Which records of which files are a split."""
    try:
        return builder.info.splits[tfds_split].file_instructions
    # What a damaged `dataset_info.json` raises is up to TFDS.
    except (ValueError, LookupError) as error:
        raise ValueError(
            f"A prepared data set must list the files of its split {tfds_split!r}. "
            f"Received: '{builder.data_dir}', where that fails with: {error} "
            f"{PREPARE_AGAIN}"
        ) from error
