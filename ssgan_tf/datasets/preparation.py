"""Prepares data sets through TFDS, and folders of images as data sets of our own."""

import contextlib
import dataclasses
import functools
import importlib.util
import io
import os
import shutil
from collections.abc import Callable, Iterator

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from ssgan_tf.datasets import builders, folders
from ssgan_tf.datasets.digits32 import Digits32
from ssgan_tf.datasets.specs import DatasetSpec, get_spec
from ssgan_tf.utils import files


def prepare(
    name: str,
    data_dir: str | os.PathLike | None = None,
    beam_runner: str | None = None,
) -> tfds.core.DatasetBuilder:
    """Prepares a data set unless it is prepared already.

    Images of other shapes are cropped and resized into a data set of our own, beside
    TFDS's. A folder of images is prepared under `files.cache_dir()`.

    Args:
        name: str. As for `get_spec`.
        data_dir: as for `load_split`.
        beam_runner: str. Name of a Beam runner, such as "DirectRunner", for data sets
            that can use Beam. None uses Beam only where TFDS requires it.

    Returns:
        The builder of the prepared data set.

    Raises:
        ValueError: for an unknown name; for a folder that cannot be a data set; for a
            runner if Beam is not installed or the data set is a folder.
        FileNotFoundError: the data set is not prepared and cannot be.
        OSError: a folder cannot be read, or its data set cannot be written.
    """
    spec = get_spec(name)
    has_beam = importlib.util.find_spec("apache_beam") is not None
    if beam_runner and (spec.folder or not has_beam):
        raise ValueError(
            "`beam_runner` needs Apache Beam and a data set that is no folder of "
            f"images. Received: beam_runner={beam_runner!r}, name={name!r}. Install it "
            "with pip install 'ssgan-tf[beam]', or leave the runner out."
        )
    if spec.folder:
        return _prepare_folder(spec)

    source = f"{spec.tfds_name}:{spec.tfds_version}"
    make_source = functools.partial(tfds.builder, source, data_dir=data_dir)

    def make_prepared() -> tfds.core.DatasetBuilder:
        known = builders.SsganPrepared.builder_configs.get(name)
        config = known or builders.SpecConfig(name=name, spec=spec)
        builder = builders.SsganPrepared(config=config, data_dir=data_dir)
        builder.in_parts = bool(beam_runner)
        return builder

    options = {"data_dir": data_dir, "beam_runner": beam_runner}
    if not spec.crop:
        return _prepare(name, spec, make_source, **options)
    builder = make_prepared()
    if builder.is_prepared():
        return builder
    _prepare(name, spec, make_source, **options)
    with _lock(builder.data_dir_root / builder.name):
        return _prepare(name, spec, make_prepared, **options)


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
        prepared = _prepared_name(spec, folders.read(spec.folder))
        root = files.cache_dir() / "folders"
        path = root / folders.TFDS_NAME / prepared / folders.VERSION
    elif spec.crop:
        builder = builders.SsganPrepared
        path = root / builder.name / name / str(builder.VERSION)
    if not (path / "dataset_info.json").exists():
        return None
    # `tfds.builder` would look on the network for facts about the data set.
    return tfds.builder_from_directory(path)


# --- Data sets of the table ----------------------------------------------------


def _prepare(
    name: str,
    spec: DatasetSpec,
    make_builder: Callable[[], tfds.core.DatasetBuilder],
    *,
    data_dir: str | os.PathLike | None,
    beam_runner: str | None,
) -> tfds.core.DatasetBuilder:
    root = data_dir or tfds.core.constants.DATA_DIR
    try:
        builder = make_builder()
        if builder.is_prepared():
            return builder
        is_offline = isinstance(builder, (builders.SsganPrepared, Digits32))
        if not is_offline:
            _check_by_hand(spec, builder.data_dir_root / "downloads" / "manual")
            logging.warning(
                "Preparing %s under '%s'. If this needs a download and the network is "
                "down, TFDS fails only after minutes. --tfds_data_dir names a prepared "
                "copy.",
                builder.info.full_name,
                root,
            )
        with _without_bars() if is_offline else contextlib.nullcontext():
            download = dataclasses.replace(builders.OFFLINE, beam_runner=beam_runner)
            builder.download_and_prepare(download_config=download)
        return builder
    # TFDS raises the errors of its download, disk and parser.
    except Exception as error:
        # Another worker may have prepared the data set at the same time.
        with contextlib.suppress(Exception):
            builder = make_builder()
            if builder.is_prepared():
                return builder
        raise FileNotFoundError(
            f"Cannot prepare the data set {name!r} "
            f"('{spec.tfds_name}/{spec.tfds_version}') in data_dir='{root}': "
            f"{type(error).__name__}: {error}. With --tfds_data_dir name a folder that "
            "holds a prepared copy, or a writable folder if the network is up."
        ) from error


def _check_by_hand(spec: DatasetSpec, folder: os.PathLike) -> None:
    files_by_hand = spec.by_hand.files if spec.by_hand else ()
    missing = [file for file in files_by_hand if not (folder / file).exists()]
    if missing:
        raise FileNotFoundError(
            f"These files must be downloaded by hand: {', '.join(missing)}, from "
            f"{spec.by_hand.source}. Put them into '{folder}'"
        )


# --- Folders of images ---------------------------------------------------------


def _prepare_folder(spec: DatasetSpec) -> tfds.core.DatasetBuilder:
    listing = folders.read(spec.folder)
    name, data_dir = _prepared_name(spec, listing), files.cache_dir() / "folders"

    def make_builder() -> tfds.core.DatasetBuilder:
        config = builders.SpecConfig(name=name, spec=spec, listing=listing)
        return builders.SsganFolder(config=config, data_dir=data_dir)

    builder = make_builder()
    if builder.is_prepared():
        return builder
    with _lock(data_dir):
        # Another process may have prepared it while this one waited.
        builder = make_builder()
        if builder.is_prepared():
            return builder
        if listing.left_out:
            logging.warning(
                "left out of '%s', not images by their suffix: %s",
                folders.printable(spec.folder),
                listing.left_out,
            )
        try:
            # The lock is held, so these are the remains of killed processes.
            for remains in data_dir.glob(f"{folders.TFDS_NAME}/*/incomplete.*"):
                shutil.rmtree(remains)
            with _without_bars():
                builder.download_and_prepare(download_config=builders.OFFLINE)
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"Cannot write the prepared images of a folder to '{data_dir}': "
                f"{error}. Free space there, or set XDG_CACHE_HOME to another folder."
            ) from error
    return builder


def _prepared_name(spec: DatasetSpec, listing: folders.Listing) -> str:
    """The name under which the present state of a folder of images is prepared."""
    fingerprint = folders.fingerprint(listing, spec.image_shape)
    return f"{folders.file_name(spec.folder)}-{fingerprint}"


def _lock(folder: os.PathLike) -> contextlib.AbstractContextManager:
    """Lets one worker prepare while the others wait."""
    # Buckets have no locks: all workers prepare, and the first one wins.
    is_local = "://" not in os.fspath(folder)
    return files.lock(folder) if is_local else contextlib.nullcontext()


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Hides TFDS's progress bars, which have no total. Ours stays."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
