"""Prepares data sets through TFDS, and folders of images into data sets of our own."""

import contextlib
import importlib.util
import io
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from ssgan_tf.datasets import builders, folders
from ssgan_tf.datasets.digits32 import Digits32
from ssgan_tf.datasets.specs import DatasetSpec, get_spec
from ssgan_tf.datasets.stored import reason
from ssgan_tf.utils import files


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
        known = builders.SsganPrepared.builder_configs.get(name)
        config = known or builders.SpecConfig(name=name, spec=spec)
        builder = builders.SsganPrepared(config=config, data_dir=data_dir)
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


def find_prepared(
    name: str, data_dir: str | os.PathLike | None = None
) -> tfds.core.DatasetBuilder | None:
    """Opens a data set if it is prepared. Neither writes nor uses the network.

    Args:
        name, data_dir: as for `prepare`.

    Returns:
        Its builder; None if the data set is not prepared.

    Raises:
        ValueError: for an unknown name, or a folder that cannot be a data set.
        OSError: a folder of images cannot be read.
    """
    spec = get_spec(name)
    root = tfds.core.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    path = root / spec.tfds_name / spec.tfds_version
    if spec.folder:
        prepared = _prepared_name(spec, folders.listing(spec.folder))
        path = _folders_dir() / folders.TFDS_NAME / prepared / folders.VERSION
    elif spec.crop:
        builder = builders.SsganPrepared
        path = root / builder.name / name / str(builder.VERSION)
    if not (path / "dataset_info.json").exists():
        return None
    # `tfds.builder` would look on the network for facts about the data set.
    return tfds.builder_from_directory(path)


def _folders_dir() -> pathlib.Path:
    return files.cache_dir() / "folders"


def _prepared_name(spec: DatasetSpec, listing: folders.Listing) -> str:
    """The name under which the present state of a folder of images is prepared."""
    fingerprint = folders.fingerprint(listing, spec.image_shape)
    return f"{folders.file_name(spec.folder)}-{fingerprint}"


def _prepare_folder(spec: DatasetSpec) -> tfds.core.DatasetBuilder:
    listing = folders.listing(spec.folder)
    name, data_dir = _prepared_name(spec, listing), _folders_dir()

    def make_builder() -> tfds.core.DatasetBuilder:
        config = builders.SpecConfig(name=name, spec=spec, listing=listing)
        return builders.SsganFolder(config=config, data_dir=data_dir)

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
                    builder.download_and_prepare(download_config=builders.OFFLINE)
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
        ours = isinstance(builder, builders.SsganPrepared)
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
    return files.lock(folder) if is_local else contextlib.nullcontext()


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
