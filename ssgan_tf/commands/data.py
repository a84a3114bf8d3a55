"""Prepares a data set, or shows the images that the networks get.

    ssgan data prepare celeb_a64 --tfds_data_dir=tensorflow_datasets
    ssgan data prepare folder:photos --resolution=64
    ssgan data inspect cifar10

`prepare` downloads, crops and resizes a data set once, prints counts, classes and
sizes, and writes a contact sheet. `inspect` prepares as well and writes the first batch
of training, upright and rotated, with its labels. docs/data.md lists the names.
"""

import os
import pathlib

from absl import app, flags

from ssgan_tf.commands import flags as shared
from ssgan_tf.utils import startup

_TFDS_DATA_DIR = shared.define_data_flag()
_RESOLUTION = flags.DEFINE_integer(
    "resolution", None, "Resize folder images to this size."
)
_COLORS = flags.DEFINE_integer(
    "colors", 3, "Channels of folder images: 1 for grey, 3 for colour."
)
_OUT = flags.DEFINE_string(
    "out", None, "PNG file to write. Default: named after the data set."
)
_BEAM_RUNNER = flags.DEFINE_string(
    "beam_runner",
    None,
    "Apache Beam runner to prepare with, such as DirectRunner. Default: no Beam.",
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 8, "Number of images that `inspect` shows.", lower_bound=1
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the run whose first batch `inspect` shows.", lower_bound=0
)


def _output_path(default: str, folder: str | None) -> str:
    """The path of the picture, which must not become an image of the folder."""
    out = _OUT.value or default
    path = pathlib.Path(out).resolve()
    if not folder or pathlib.Path(folder).resolve() not in (path, *path.parents):
        return out
    if _OUT.value:
        raise app.UsageError(
            f"--out must be outside the folder of images. Received: --out={out}."
        )
    return os.path.join(os.path.dirname(os.path.realpath(folder)), default)


def _full_name(name: str) -> str:
    """The name of a data set, with the size and channels of a folder."""
    from ssgan_tf import datasets
    from ssgan_tf.datasets import folders

    if _RESOLUTION.value is None and not _COLORS.present:
        return name
    if not folders.is_folder(name):
        raise app.UsageError(
            "--resolution and --colors must go with a folder of images. Received: "
            f"{name}."
        )
    return datasets.folder_name(name, _RESOLUTION.value, _COLORS.value)


USAGE = "Either `ssgan data prepare NAME` or `ssgan data inspect NAME`."


def main(argv):
    if len(argv) != 3 or argv[1] not in ("prepare", "inspect"):
        raise app.UsageError(USAGE)
    _, command, name = argv
    if _OUT.value and not _OUT.value.endswith(".png"):
        raise app.UsageError(f"--out must end in .png. Received: --out={_OUT.value}.")
    startup.import_tensorflow()
    from ssgan_tf import datasets
    from ssgan_tf.datasets import inspection
    from ssgan_tf.utils import pictures

    name = _full_name(name)
    spec = datasets.get_spec(name)
    suffix = ".png" if command == "prepare" else "-batch.png"
    out = _output_path(datasets.short_name(name) + suffix, spec.folder)
    builder = datasets.prepare(name, _TFDS_DATA_DIR.value, _BEAM_RUNNER.value)
    if command == "prepare":
        print(inspection.describe(name, _TFDS_DATA_DIR.value))
        picture = inspection.contact_sheet(name, _TFDS_DATA_DIR.value)
        label = "contact sheet"
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
        label = "batch"
    pictures.write_png(out, picture)
    print(f"\n{label:<14}{out}")
