"""A whole split as NumPy arrays, checked against the table of data sets."""

import contextlib
import os

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from ssgan_tf.datasets import digits32  # noqa: F401  (registers the builder)
from ssgan_tf.datasets.labels import UNKNOWN_LABEL
from ssgan_tf.datasets.specs import DatasetSpec, get_spec


def load_split(
    name: str, split: str, data_dir: str | os.PathLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads and decodes one split, in TFDS's fixed order.

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
            resizing, and for images or labels that are not what the table says.
        FileNotFoundError: if the data set is neither prepared nor can be.
    """
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
    builder = _prepared_builder(name, spec, data_dir)
    dataset = builder.as_dataset(
        split=tfds_splits[split],
        shuffle_files=False,
        # The arrays below are the cache; TFDS's own would double the memory.
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    num_images = len(dataset)
    images = np.empty((num_images, *spec.image_shape), np.uint8)
    labels = np.full(num_images, UNKNOWN_LABEL, np.int32)
    for i, example in enumerate(dataset.as_numpy_iterator()):
        _check_image(example["image"], spec, f"image {i} of {name}'s {split} split")
        images[i] = example["image"]
        if spec.num_classes:
            labels[i] = example["label"]
    if spec.num_classes and not (0 <= labels.min() <= labels.max() < spec.num_classes):
        raise ValueError(
            f"Labels must lie in [0, {spec.num_classes}). Received: name={name!r}, "
            f"split={split!r} with labels from {labels.min()} to {labels.max()}. "
            "Correct `num_classes` in `ssgan_tf.datasets.specs`."
        )
    return images, labels


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
