"""Writes images of a module, or of a data set, as files that other programs score.

    ssgan dump --module=run/tfhub/1600 --num=10000 --out=fakes
    ssgan dump --dataset=cifar10 --out=reals

The fakes are those that the scores of this package see, of the same seed and rounded
the same way; docs/recheck.md has the commands of those programs.

`--out` is a folder of PNG files 00000.png, 00001.png, ..., or, ending in .npz, one
file with the array `images`, uint8 (num, height, width, channels), and `labels`, int32
(num,), where the images have some. Where they come from is in the folder's `dump.json`,
which has the labels too, or in the file's array `facts`.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from absl import app, flags

from ssgan_tf.commands.flags import (
    define_data_flag,
    define_module_flags,
    load_module,
)
from ssgan_tf.utils import files, startup
from ssgan_tf.utils.progress import track

_MODULE = define_module_flags()
_SEED = flags.DEFINE_integer("seed", 0, "Of the samples: equal seeds, equal images.")
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set to take the images of, in place of a module."
)
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "test"], "Split of the data set.")
_TFDS_DATA_DIR = define_data_flag()
_NUM = flags.DEFINE_integer(
    "num",
    None,
    "Number of images. Image i of a module depends on it: give that of the scores. Of "
    "a data set: the first ones; default: all.",
    lower_bound=1,
)
_OUT = flags.DEFINE_string(
    "out", None, "Folder for PNG files, or an .npz file.", required=True
)
flags.mark_flags_as_mutual_exclusive(["module", "dataset"], required=True)

_FOLDER_FACTS = "dump.json"
_FILE_FACTS = "facts"
_BATCH_SIZE = 1024


class Images(NamedTuple):
    """What is written.

    Attributes:
        batches: uint8, `(any, height, width, channels)`; in all `shape[0]` images.
        shape: `(num, height, width, channels)`.
        labels: int32, `(num,)`, or None.
        facts: dict, JSON-ready. Where the images come from.
    """

    batches: Iterator[np.ndarray]
    shape: tuple[int, int, int, int]
    labels: np.ndarray | None
    facts: dict


def write_folder(path: pathlib.Path, images: Images) -> None:
    """Writes a folder of PNG files, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    from ssgan_tf.utils.pictures import write_numbered

    facts = dict(images.facts)
    if images.labels is not None:
        facts["labels"] = images.labels.tolist()
    with files.atomic_write(path) as partial:
        partial.mkdir()
        each = (image for batch in _tracked(images) for image in batch)
        write_numbered(partial, each, images.shape[0])
        (partial / _FOLDER_FACTS).write_text(json.dumps(facts) + "\n")


def write_npz(path: pathlib.Path, images: Images) -> None:
    """Writes an .npz file as `np.savez` would, batch by batch, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": images.shape}
    arrays = {_FILE_FACTS: np.array(json.dumps(images.facts))}
    if images.labels is not None:
        arrays["labels"] = images.labels
    with files.atomic_write(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        # Its size is not known to the archive beforehand, and may exceed 4 GiB.
        with archive.open("images.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for batch in _tracked(images):
                file.write(batch.tobytes())
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _tracked(images: Images) -> Iterator[np.ndarray]:
    return track(images.batches, images.shape[0], "images", size=len)


def check_target(path: pathlib.Path) -> None:
    """Refuses to write over anything but a dump of the same kind or an empty folder.

    Raises:
        FileExistsError: there is something else at `path`.
    """
    if path.suffix == ".npz":
        ours = path.is_file() and _is_dump(path)
    else:
        ours = path.is_dir() and _is_dump_folder(path)
    if path.exists() and not ours:
        raise FileExistsError(
            "A dump must be written to a new or empty folder, to a new .npz file, or "
            f"over a dump of the same kind. Received: out={path}, which is something "
            "else. Name another place, or move that away."
        )


def _is_dump_folder(path: pathlib.Path) -> bool:
    """Whether there is nothing in a folder but what a dump wrote."""
    names = {file.name for file in path.iterdir()}
    pictures = {name for name in names if re.fullmatch(r"\d{5,}\.png", name)}
    return names == (pictures | {_FOLDER_FACTS} if pictures else set())


def _is_dump(path: pathlib.Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {"images.npy", f"{_FILE_FACTS}.npy"} <= set(archive.namelist())


def fakes(module, num: int, seed: int) -> Images:
    """What the scorer sees of a module, labels drawn by the seed where it has classes.

    Args:
        module: `LoadedModule`.
        num: int. How many.
        seed: int.
    """
    from ssgan_tf.utils.pictures import to_uint8

    labels = module.draw_labels(num, seed)
    return Images(
        batches=map(to_uint8, module.sample_batches(num, seed, labels)),
        shape=(num, *module.image_shape),
        labels=labels,
        facts={
            "module": module.path,
            "weights_sha256": module.metadata["weights_sha256"],
            "seed": seed,
            "num": num,
        },
    )


def reals(name: str, split: str, num: int | None, data_dir: str | None) -> Images:
    """The first `num` images of a split, in its order; None: all.

    Raises:
        OSError, ValueError: as `datasets.load_split`; or the split is smaller.
    """
    from ssgan_tf import datasets

    images, labels = datasets.load_split(name, split, data_dir)
    if num is None:
        num = len(images)
    if num > len(images):
        raise ValueError(
            f"A split must have as many images as are asked for. Received: num={num}, "
            f"dataset={name!r}, split={split!r}, which has {len(images)}. Leave --num "
            "out for all of them."
        )
    images, labels = images[:num], labels[:num]
    starts = range(0, num, _BATCH_SIZE)
    return Images(
        batches=(images[start : start + _BATCH_SIZE] for start in starts),
        shape=images.shape,
        labels=labels if datasets.get_spec(name).num_classes else None,
        facts={"dataset": name, "split": split, "num": num},
    )


@contextlib.contextmanager
def _claimed(path: pathlib.Path) -> Iterator[None]:
    """Keeps other dumps of this machine away from a place, for a block."""
    digest = hashlib.sha256(str(path).encode()).hexdigest()
    # Not beside it: that is the user's folder.
    lock = files.cache_dir() / "locks" / digest
    if not os.access(_nearest(lock), os.W_OK):
        # Whoever has no cache has no other dump either.
        yield
        return
    with files.try_lock(lock) as others:
        if others is not None:
            raise OSError(
                "One process at a time may write a dump. Received: out="
                f"{path}, where {others} is writing. Name another place."
            )
        yield


def _nearest(path: pathlib.Path) -> pathlib.Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _check_flags() -> None:
    """Every flag that is given must mean something."""
    for flag, source in (
        (_SEED, _MODULE),
        (_SPLIT, _DATASET),
        (_TFDS_DATA_DIR, _DATASET),
    ):
        if flag.present and source.value is None:
            raise app.UsageError(
                f"--{flag.name} goes with --{source.name} only. Received: "
                f"--{flag.name}={flag.value} without --{source.name}. Add the one, or "
                "leave out the other."
            )
    if _MODULE.value is not None and _NUM.value is None:
        raise app.UsageError(
            "--module needs --num, the number of images. Received: --module="
            f"{_MODULE.value} without --num. Add --num=10000, for example."
        )


def main(argv):
    _check_flags()
    out = pathlib.Path(_OUT.value).resolve()
    check_target(out)
    startup.import_tensorflow()
    if _MODULE.value is not None:
        images = fakes(load_module(), _NUM.value, _SEED.value)
        source = f"{_MODULE.value}, seed {_SEED.value}"
    else:
        images = reals(_DATASET.value, _SPLIT.value, _NUM.value, _TFDS_DATA_DIR.value)
        source = f"{_DATASET.value}, {_SPLIT.value} split"
    write = write_npz if out.suffix == ".npz" else write_folder
    with _claimed(out):
        write(out, images)
    print(f"{images.shape[0]} images of {source}: {_OUT.value}")
