"""Writes images of a module or data set as files that other programs score.

    ssgan dump --module=run/tfhub/1600 --num=10000 --out=fakes
    ssgan dump --dataset=cifar10 --out=reals

With the seed of the scores, the fakes are the images that were scored, rounded to the
same 8-bit values; docs/recheck.md has the commands of other programs.

`--out` is a folder for PNG files 00000.png, 00001.png, ..., or an .npz file with the
array `images`, uint8 (num, height, width, channels), and, for labelled images,
`labels`, int32 (num,). The origin of the images is in the folder's `dump.json`, which
has the labels too, or in the file's array `facts`.
"""

import json
import pathlib
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from absl import app, flags

from ssgan_tf.commands import flags as shared
from ssgan_tf.utils import files, startup
from ssgan_tf.utils.progress import track

_MODULE = shared.define_module_flags()
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the samples.")
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set whose images to write, instead of a module's."
)
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "test"], "Split of the data set.")
_TFDS_DATA_DIR = shared.define_data_flag()
_NUM = flags.DEFINE_integer(
    "num",
    None,
    "Number of images. A module's depend on it: use that of the scores. A data set's "
    "are the first; default: all.",
    lower_bound=1,
)
_OUT = flags.DEFINE_string(
    "out", None, "Folder for PNG files, or an .npz file.", required=True
)
flags.mark_flags_as_mutual_exclusive(["module", "dataset"], required=True)

_FOLDER_FACTS = "dump.json"
_FILE_FACTS = "facts"


class Images(NamedTuple):
    """Images to write.

    Attributes:
        pixels: uint8 arrays `(height, width, channels)`, read once.
        shape: `(num, height, width, channels)`.
        labels: int32, `(num,)`, or None.
        facts: dict, JSON-ready. The origin of the images.
    """

    pixels: Iterable[np.ndarray]
    shape: tuple[int, int, int, int]
    labels: np.ndarray | None
    facts: dict


def write_folder(path: pathlib.Path, images: Images) -> None:
    """Writes a folder of PNG files atomically.

    Raises:
        OSError: it cannot be written.
    """
    from ssgan_tf.utils.pictures import write_numbered

    facts = dict(images.facts)
    if images.labels is not None:
        facts["labels"] = images.labels.tolist()
    with files.atomic_write(path) as partial:
        partial.mkdir()
        write_numbered(partial, _tracked(images), images.shape[0])
        (partial / _FOLDER_FACTS).write_text(json.dumps(facts) + "\n")


def write_npz(path: pathlib.Path, images: Images) -> None:
    """Writes an .npz file atomically.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {_FILE_FACTS: np.array(json.dumps(images.facts))}
    if images.labels is not None:
        arrays["labels"] = images.labels
    with files.atomic_write(path) as partial:
        # `savez` takes whole arrays: 50,000 images of 128 x 128 have 2.4 GB.
        with tempfile.TemporaryFile(dir=partial.parent) as temporary:
            for image in _tracked(images):
                temporary.write(image.tobytes())
            temporary.flush()
            pixels = np.memmap(temporary, np.uint8, "r", shape=images.shape)
            with partial.open("wb") as file:
                np.savez(file, images=pixels, **arrays)


def _tracked(images: Images) -> Iterator[np.ndarray]:
    return track(images.pixels, images.shape[0], "images")


def check_target(path: pathlib.Path) -> None:
    """Checks that `path` is new, an empty folder or a dump of the same kind.

    Raises:
        FileExistsError: it is something else.
    """
    if path.exists() and not _is_dump(path):
        raise FileExistsError(
            f"{path} exists and is not a dump of the same kind. Choose a new path."
        )


def _is_dump(path: pathlib.Path) -> bool:
    """Whether a path holds a dump of the kind that it names, or is an empty folder."""
    if path.suffix == ".npz":
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return {"images.npy", f"{_FILE_FACTS}.npy"} <= set(archive.namelist())
    names = {file.name for file in path.iterdir()} if path.is_dir() else {path.name}
    pictures = {name for name in names if re.fullmatch(r"\d{5,}\.png", name)}
    return names == (pictures | {_FOLDER_FACTS} if pictures else set())


def fakes(module, num: int, seed: int) -> Images:
    """Samples of a module as the scorer draws them, with labels if it has classes.

    Args:
        module: `LoadedModule`.
        num: int. Number of samples.
        seed: int.
    """
    from ssgan_tf.utils.pictures import to_uint8

    labels = module.draw_labels(num, seed)
    batches = module.sample_batches(num, seed, labels)
    pixels = (image for batch in batches for image in to_uint8(batch))
    facts = {
        "module": module.path,
        "weights_sha256": module.metadata["weights_sha256"],
        "seed": seed,
        "num": num,
    }
    return Images(pixels, (num, *module.image_shape), labels, facts)


def reals(name: str, split: str, num: int | None, data_dir: str | None) -> Images:
    """The first `num` images of a split in its order; None for all.

    Raises:
        OSError, ValueError: see `datasets.load_split`.
        ValueError: the split is smaller.
    """
    from ssgan_tf import datasets

    images, labels = datasets.load_split(name, split, data_dir)
    if num is None:
        num = len(images)
    if num > len(images):
        raise ValueError(
            f"--num must be at most {len(images)}, the size of the split. Received: "
            f"num={num}, dataset={name!r}, split={split!r}."
        )
    return Images(
        images[:num],
        (num, *images.shape[1:]),
        labels[:num] if datasets.get_spec(name).num_classes else None,
        facts={"dataset": name, "split": split, "num": num},
    )


def _check_flags() -> None:
    """Refuses flags that would have no effect."""
    for flag, source in (
        (_SEED, _MODULE),
        (_SPLIT, _DATASET),
        (_TFDS_DATA_DIR, _DATASET),
    ):
        if flag.present and source.value is None:
            raise app.UsageError(
                f"--{flag.name} must go with --{source.name}. Received: "
                f"--{flag.name}={flag.value}."
            )
    if _MODULE.value is not None and _NUM.value is None:
        raise app.UsageError("--module needs --num, such as --num=10000.")


def main(argv):
    _check_flags()
    out = pathlib.Path(_OUT.value).resolve()
    check_target(out)
    startup.import_tensorflow()
    if _MODULE.value is not None:
        images = fakes(shared.load_module(), _NUM.value, _SEED.value)
        source = f"{_MODULE.value}, seed {_SEED.value}"
    else:
        images = reals(_DATASET.value, _SPLIT.value, _NUM.value, _TFDS_DATA_DIR.value)
        source = f"{_DATASET.value}, {_SPLIT.value} split"
    write = write_npz if out.suffix == ".npz" else write_folder
    write(out, images)
    print(f"{images.shape[0]} images of {source}: {_OUT.value}")
