"""A split of a data set, decoded or left in its files, checked against the table."""

import contextlib
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from ssgan_tf.datasets import digits32  # noqa: F401  (registers the builder)
from ssgan_tf.datasets.labels import UNKNOWN_LABEL
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
    builder, spec, tfds_split = _prepared_split(name, split, data_dir)
    num_images = sum(each.take for each in _instructions(builder, tfds_split))
    decoded_bytes = num_images * int(np.prod(spec.image_shape))
    if decoded_bytes > MAX_DECODED_BYTES:
        images, labels = index_split(name, split, data_dir)
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
    decoded, labels = load_split(name, split, data_dir)
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
    builder, spec, tfds_split = _prepared_split(name, split, data_dir)
    stored_as = builder.info.file_format
    if stored_as != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            "A data set that is decoded on the fly must be stored as TFRecord files. "
            f"Received: name={name!r}, stored as {stored_as.value} in "
            f"'{builder.data_dir}'. Prepare it again with file_format='tfrecord'."
        )
    feature = builder.info.features["image"]
    if feature.np_dtype != np.uint8:
        raise ValueError(
            f"Images must be uint8 of shape {spec.image_shape}. Received: "
            f"{np.dtype(feature.np_dtype)} as the images of {name!r}. Convert the "
            "images, or correct the row in `ssgan_tf.datasets.specs`."
        )
    paths, files, offsets, stored_labels = index_files(
        _instructions(builder, tfds_split),
        labelled=bool(spec.num_classes),
    )
    images = StoredImages(
        f"the {split} split of {name}", paths, files, offsets, feature, spec.image_shape
    )
    labels = np.full(len(offsets), UNKNOWN_LABEL, np.int32)
    if spec.num_classes:
        labels[:] = stored_labels
        _check_labels(labels, spec, name, split)
    return images, labels


def load_split(
    name: str, split: str, data_dir: str | os.PathLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads and decodes one split, file after file.

    A data set that is not prepared under `data_dir` is prepared there: `digits32` on
    the spot, the others by TFDS, which downloads them. TFDS prepares in a temporary
    folder and renames it, so an interruption leaves no half-written data set.

    Args:
        name: str. A name in `DATASETS`.
        split: "train" or "test"; which TFDS split that is, the table says.
        data_dir: folder of prepared TFDS data sets. None means TFDS's default:
            the environment variable `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.

    Returns:
        images: uint8 array `(N, height, width, channels)`, in [0, 255].
        labels: int32 array `(N,)`, in `[0, num_classes)`; -1 where there are none.

    Raises:
        ValueError: for an unknown `name` or `split`, a set whose images need
            resizing, files that are missing or damaged, and for images or labels that
            are not what the table says.
        FileNotFoundError: if the data set is neither prepared nor can be.
    """
    builder, spec, tfds_split = _prepared_split(name, split, data_dir)
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        # Other formats have nothing to name a damaged file by.
        check_files(_instructions(builder, tfds_split))
    dataset = builder.as_dataset(
        split=tfds_split,
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
        where = f"image {i} of {name}'s {split} split"
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
        _check_labels(labels, spec, name, split)
    return images, labels


def _check_labels(labels: np.ndarray, spec: DatasetSpec, name: str, split: str) -> None:
    if not 0 <= labels.min() <= labels.max() < spec.num_classes:
        raise ValueError(
            f"Labels must lie in [0, {spec.num_classes}). Received: name={name!r}, "
            f"split={split!r} with labels from {labels.min()} to {labels.max()}. "
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


def _prepared_split(
    name: str, split: str, data_dir: str | os.PathLike | None
) -> tuple[tfds.core.DatasetBuilder, DatasetSpec, str]:
    """The prepared builder of a data set, its row, and TFDS's name of the split."""
    spec = get_spec(name)
    tfds_splits = {"train": spec.train_split, "test": spec.eval_split}
    if split not in tfds_splits:
        raise ValueError(
            f"`split` must be 'train' or 'test'. Received: split={split!r}. Which "
            "split of TFDS each of them reads is said in `ssgan_tf.datasets.specs`."
        )
    if spec.needs_resizing:
        raise ValueError(
            f"Images must be stored with the shape {spec.image_shape}: cropping and "
            f"resizing are not there yet. Received: name={name!r}, whose images differ "
            "in size. Its configs can be dry-run only (--dry_run)."
        )
    return _prepared_builder(name, spec, data_dir), spec, tfds_splits[split]


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


def _prepared_builder(
    name: str, spec: DatasetSpec, data_dir: str | os.PathLike | None
) -> tfds.core.DatasetBuilder:
    def make_builder() -> tfds.core.DatasetBuilder:
        return tfds.builder(f"{spec.tfds_name}:{spec.tfds_version}", data_dir=data_dir)

    try:
        builder = make_builder()
        if builder.is_prepared():
            return builder
        logging.warning(
            "Preparing %s under %s. Where that takes a download and the network is "
            "down, TFDS gives up only after minutes; --tfds_data_dir names a prepared "
            "copy.",
            builder.info.full_name,
            _shown(data_dir),
        )
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
        return builder
    # TFDS lets through whatever its download, disk and parser raise.
    except Exception as error:
        # Of several workers that prepare at once, one wins the final renaming.
        with contextlib.suppress(Exception):
            builder = make_builder()
            if builder.is_prepared():
                return builder
        raise FileNotFoundError(
            f"The data set must be prepared as '{spec.tfds_name}/{spec.tfds_version}' "
            "under `data_dir`, or TFDS must be able to prepare it there. Received: "
            f"name={name!r}, data_dir={_shown(data_dir)}. Preparing failed with "
            f"{type(error).__name__}: {error}. By --tfds_data_dir, name a folder that "
            "holds a prepared copy, or a writable one where the network is up."
        ) from error


def _shown(data_dir: str | os.PathLike | None) -> str:
    if data_dir is None:
        return f"None (TFDS's default, '{tfds.core.constants.DATA_DIR}')"
    return f"'{os.fspath(data_dir)}'"
