r"""Prepares a data set, or shows what the networks see of it.

    ssgan data prepare celeb_a64 --tfds_data_dir=tensorflow_datasets
    ssgan data prepare folder:photos --resolution=64
    ssgan data inspect cifar10

`prepare` downloads, crops and resizes what is not there yet, prints counts, classes and
sizes, and writes a contact sheet. `inspect` prepares as well, and writes the first
batch of a training, upright and rotated, with its labels. docs/data.md has the names.
"""

import os

from absl import app, flags

from ssgan_tf.commands.flags import define_data_flag
from ssgan_tf.utils import startup

_TFDS_DATA_DIR = define_data_flag()
_RESOLUTION = flags.DEFINE_integer(
    "resolution", None, "Of a folder: height and width that its images are brought to."
)
_COLORS = flags.DEFINE_integer("colors", 3, "Of a folder: 1 for grey, 3 for colour.")
_OUT = flags.DEFINE_string(
    "out",
    None,
    "The picture, a PNG file; default: named after the data set, here, or beside the "
    "folder of images that this is.",
)
_BEAM_RUNNER = flags.DEFINE_string(
    "beam_runner",
    None,
    "Prepares with Apache Beam: DirectRunner, DataflowRunner, ... Default: on this "
    "machine, without Beam.",
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 8, "Of inspect: images, each in four orientations.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of inspect: the run's seed.", lower_bound=0)


def _place(default: str, folder: str | None) -> str:
    """Where the picture goes: not into the folder, whose image it would be."""
    out = _OUT.value or default
    if folder is None or not _is_inside(out, folder):
        return out
    if _OUT.value:
        raise app.UsageError(
            "--out must lie outside of the folder, or it becomes one of its images. "
            f"Received: --out={out}. Name another place."
        )
    return os.path.join(os.path.dirname(os.path.realpath(folder)), default)


def _is_inside(path: str, folder: str) -> bool:
    folder = os.path.realpath(folder)
    return os.path.commonpath([os.path.realpath(path), folder]) == folder


USAGE = "Either `ssgan data prepare NAME` or `ssgan data inspect NAME`."


def main(argv):
    if len(argv) != 3 or argv[1] not in ("prepare", "inspect"):
        raise app.UsageError(USAGE)
    _, command, given = argv
    if _OUT.value and not _OUT.value.endswith(".png"):
        raise app.UsageError(f"--out must end in .png. Received: --out={_OUT.value}.")
    startup.import_tensorflow()
    from ssgan_tf import datasets
    from ssgan_tf.datasets import folders, inspection
    from ssgan_tf.utils import pictures

    name = given
    if _RESOLUTION.value is not None or _COLORS.present:
        if not folders.is_folder(given):
            raise app.UsageError(
                "--resolution and --colors are of folders: a data set of the table has "
                f"its own. Received: {given}. Leave them out; a folder of images is "
                f"{folders.PREFIX}DIR."
            )
        name = datasets.folder_name(given, _RESOLUTION.value, _COLORS.value)
    spec = datasets.get_spec(name)
    ending = ".png" if command == "prepare" else "-batch.png"
    out = _place(datasets.short_name(name) + ending, spec.folder)
    builder = datasets.prepare(name, _TFDS_DATA_DIR.value, _BEAM_RUNNER.value)
    if command == "prepare":
        print(inspection.describe(name, _TFDS_DATA_DIR.value))
        picture = inspection.contact_sheet(name, _TFDS_DATA_DIR.value)
        what = "contact sheet"
    else:
        batch = inspection.first_batch(
            name,
            _TFDS_DATA_DIR.value,
            batch_size=_BATCH_SIZE.value,
            seed=_SEED.value,
        )
        names = inspection.class_names(builder, spec.num_classes)
        print(inspection.table(batch, names))
        picture = inspection.picture(batch, names)
        what = "batch"
    pictures.write_png(out, picture)
    print(f"\n{what:<14}{out}")
