"""A split of a data set, decoded or left in its files, checked against the table."""

import contextlib
import dataclasses
import importlib.util
import io
import os
import shutil
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from ssgan_tf import files
from ssgan_tf.datasets import folders, prepared
from ssgan_tf.datasets.digits32 import Digits32
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


def prepare(
    name: str,
    data_dir: str | os.PathLike | None = None,
    beam_runner: str | None = None,
) -> tfds.core.DatasetBuilder:
    """The builder of a data set, which is prepared first if it is not.

    Images that are not stored as squares of the right size are cropped and resized
    into a data set of our own, beside TFDS's; a folder of images into one under
    `files.cache_dir()`.

    Args:
        name: str. As for `get_spec`.
        data_dir: as for `load_split`.
        beam_runner: str. Name of the Beam runner, such as "DirectRunner", that
            prepares what Beam can prepare. None does without Beam where it can.

    Raises:
        ValueError: for an unknown name, or a folder that cannot be a data set; or a
            runner is named for a folder, or Beam is not installed.
        FileNotFoundError: it is neither prepared nor can be.
        OSError: a folder cannot be read, or what is made of it cannot be written.
    """
    spec = get_spec(name)
    if beam_runner and spec.folder:
        raise ValueError(
            "`beam_runner` must be None for a folder of images, which one process "
            f"prepares on all cores. Received: beam_runner={beam_runner!r}. Leave it "
            "out."
        )
    if beam_runner and importlib.util.find_spec("apache_beam") is None:
        raise ValueError(
            "`beam_runner` needs Apache Beam, which is not installed. Received: "
            f"beam_runner={beam_runner!r}. Install it with pip install "
            "'ssgan-tf[beam]', or do without a runner."
        )
    if spec.folder:
        return _prepare_folder(spec)

    def make_source() -> tfds.core.DatasetBuilder:
        return tfds.builder(f"{spec.tfds_name}:{spec.tfds_version}", data_dir=data_dir)

    def make_prepared() -> tfds.core.DatasetBuilder:
        known = prepared.SsganPrepared.builder_configs.get(name)
        config = known or prepared.SpecConfig(name=name, spec=spec)
        builder = prepared.SsganPrepared(config=config, data_dir=data_dir)
        builder.in_parts = bool(beam_runner)
        return builder

    if not spec.crop:
        return _prepare(name, spec, data_dir, make_source, beam_runner)
    builder = make_prepared()
    if builder.is_prepared():
        return builder
    _prepare(name, spec, data_dir, make_source, beam_runner)
    with _one_at_a_time(builder.data_dir_root / builder.name):
        return _prepare(name, spec, data_dir, make_prepared, beam_runner)


def _prepare_folder(spec: DatasetSpec) -> tfds.core.DatasetBuilder:
    listing = folders.listing(spec.folder)
    fingerprint = folders.fingerprint(listing, spec.image_shape)
    name = f"{folders.file_name(spec.folder)}-{fingerprint}"
    data_dir = files.cache_dir() / "folders"

    def make_builder() -> tfds.core.DatasetBuilder:
        config = prepared.SpecConfig(name=name, spec=spec, listing=listing)
        return prepared.SsganFolder(config=config, data_dir=data_dir)

    builder = make_builder()
    if builder.is_prepared():
        return builder
    with _one_at_a_time(data_dir):
        # While this process waited, another may have done it.
        builder = make_builder()
        if not builder.is_prepared():
            if listing.left_out:
                logging.warning(
                    "left out of '%s', no images by their endings: %s",
                    folders.printable(spec.folder),
                    listing.left_out,
                )
            try:
                # What killed processes have left: none is at work but this one.
                for left in data_dir.glob(f"{folders.TFDS_NAME}/*/incomplete.*"):
                    shutil.rmtree(left)
                with _without_bars():
                    builder.download_and_prepare(download_config=prepared.OFFLINE)
            except (OSError, tf.errors.OpError) as error:
                why = reason(error) if isinstance(error, tf.errors.OpError) else error
                raise OSError(
                    "The images of a folder are prepared once, into files that must be "
                    f"writable. Received: '{data_dir}', where that fails with: "
                    f"{why}. Free space there, or set XDG_CACHE_HOME to another place."
                ) from error
    return builder


def _prepare(
    name: str,
    spec: DatasetSpec,
    data_dir: str | os.PathLike | None,
    make_builder: Callable[[], tfds.core.DatasetBuilder],
    beam_runner: str | None,
) -> tfds.core.DatasetBuilder:
    try:
        builder = make_builder()
        if builder.is_prepared():
            return builder
        ours = isinstance(builder, prepared.SsganPrepared)
        at_hand = ours or isinstance(builder, Digits32)
        if spec.by_hand and not ours:
            _check_by_hand(name, spec, builder)
        if ours:
            logging.info("cropping and resizing %s for %s", spec.tfds_name, name)
        elif not at_hand:
            logging.warning(
                "Preparing %s under %s. Where that takes a download and the network is "
                "down, TFDS gives up only after minutes; --tfds_data_dir names a "
                "prepared copy.",
                builder.info.full_name,
                _shown(data_dir),
            )
        with _without_bars() if at_hand else contextlib.nullcontext():
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(
                    try_download_gcs=False, beam_runner=beam_runner
                )
            )
        return builder
    except _FilesMissing:
        raise
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


class _FilesMissing(FileNotFoundError):
    """Files that have to be fetched by hand are not where TFDS looks for them."""


def _check_by_hand(
    name: str, spec: DatasetSpec, builder: tfds.core.DatasetBuilder
) -> None:
    folder = builder.data_dir_root / "downloads" / "manual"
    missing = [file for file in spec.by_hand.files if not (folder / file).exists()]
    if missing:
        raise _FilesMissing(
            f"The files of {name!r} must be fetched by hand: {', '.join(missing)}, "
            f"from {spec.by_hand.giver}. Received: folder='{folder}', where TFDS looks "
            "for them and they are not. Put them there; or by --tfds_data_dir name a "
            f"folder that holds a prepared '{spec.tfds_name}/{spec.tfds_version}'."
        )


def _one_at_a_time(folder: os.PathLike) -> contextlib.AbstractContextManager:
    """Of several workers one prepares, and the others wait."""
    # Buckets have no locks: there the first to be ready wins.
    is_local = "://" not in os.fspath(folder)
    return files.locked(folder) if is_local else contextlib.nullcontext()


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Our progress bar alone: TFDS's know no end, and nothing is downloaded."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()


def _shown(data_dir: str | os.PathLike | None) -> str:
    if data_dir is None:
        return f"None (TFDS's default, '{tfds.core.constants.DATA_DIR}')"
    return f"'{os.fspath(data_dir)}'"
