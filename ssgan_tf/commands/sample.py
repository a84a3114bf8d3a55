"""Draws images from a module of this package or a published one.

    ssgan sample --module=run/tfhub/1600
    ssgan sample --module=run/tfhub/1600 --num=1 --truncation=0.5 --out=one.png
    ssgan sample --module=run/tfhub/1600 --num=4 --interpolate=10 --out=strips.png
    ssgan sample --module=run/tfhub/1600 --num=4 --interpolate=30 --out=loop.gif
    ssgan sample --module=conditional --class_rows --num=8

Draws a grid of `--num` images. `--interpolate` draws `--num` rows, each from one image
to another, or a .gif that loops through `--num` images. `--class_rows` draws a row of
`--num` images for each class; images of one column differ in class only.

`--labels` chooses the classes of a conditional GAN: `--labels=3` for all images,
`--labels=0,1,2` for each of three images or rows. By default they are drawn with the
seed.
"""

import math
import os
import pathlib
import shlex
import sys

import numpy as np
from absl import app, flags

from ssgan_tf.commands import flags as shared
from ssgan_tf.utils import startup
from ssgan_tf.utils.progress import track

_MODULE = shared.define_module_flags(required=True)
_NUM = flags.DEFINE_integer(
    "num",
    None,
    "Number of images, rows (--interpolate) or columns (--class_rows). Default: 64, 8.",
    lower_bound=1,
)
_SEED = flags.DEFINE_integer("seed", 0, "Equal seeds give equal images.")
_LABELS = flags.DEFINE_list(
    "labels",
    None,
    "Classes: one per image or row, or one for all. Default: drawn with the seed; all "
    "classes with --class_rows.",
)
_TRUNCATION = flags.DEFINE_float(
    "truncation",
    None,
    "Largest magnitude of z, at most 1 if z is uniform. A lower one gives less variety "
    "and, for some GANs, better images. Default: no limit.",
)
_INTERPOLATE = flags.DEFINE_integer(
    "interpolate",
    None,
    "Number of images, or frames of a .gif, from one latent to the next.",
    lower_bound=2,
)
_CLASS_ROWS = flags.DEFINE_bool(
    "class_rows", False, "Draw a row for each class, with the same latents."
)
_OUT = flags.DEFINE_string(
    "out", "samples.png", "Picture to write: .png, or .gif with --interpolate."
)
_IMAGES_DIR = flags.DEFINE_string(
    "images_dir", None, "New folder for the single images, 00000.png, ..."
)


def _labels() -> list[int] | None:
    try:
        return None if _LABELS.value is None else [int(text) for text in _LABELS.value]
    except ValueError:
        return []


def _num() -> int:
    if _NUM.value is not None:
        return _NUM.value
    return 8 if _CLASS_ROWS.value or _INTERPOLATE.value else 64


def _is_animation() -> bool:
    return _OUT.value.endswith(".gif")


def _check_flags() -> None:
    """Refuses flags that contradict each other or have no effect."""
    num, labels = _num(), _labels()
    out = pathlib.Path(_OUT.value).resolve()
    # Without the flag, a path that conflicts with no picture.
    folder = pathlib.Path(_IMAGES_DIR.value or os.devnull).resolve()
    for is_wrong, rule in (
        (_OUT.value[-4:] not in (".png", ".gif"), "--out must end in .png or .gif."),
        (
            _is_animation()
            and (not _INTERPOLATE.value or num < 2 or len(labels or []) > 1),
            "A .gif needs --interpolate, --num=2 or more and one label at most.",
        ),
        (
            _CLASS_ROWS.value and _INTERPOLATE.value,
            "--class_rows and --interpolate must not be given together.",
        ),
        (labels == [], "--labels must be integers, such as --labels=0,3."),
        (
            not (labels is None or _CLASS_ROWS.value or len(labels) in (1, num)),
            f"--labels must hold one label, or one for each of --num={num}.",
        ),
        (
            folder in (out, *out.parents) or out in folder.parents,
            "--images_dir and --out must not contain each other.",
        ),
        (
            _IMAGES_DIR.value is not None
            and folder.exists()
            and (not folder.is_dir() or any(folder.iterdir())),
            "--images_dir must be a new or empty folder.",
        ),
    ):
        if is_wrong:
            raise app.UsageError(f"{rule} Received: {shlex.join(sys.argv[1:])}")


def _layout(module, num: int, labels) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Latents and labels of all images, and the number of images per row."""
    from ssgan_tf.modules import interpolation

    steps = _INTERPOLATE.value
    columns = math.isqrt(num - 1) + 1
    num_latents = 2 * num if steps and not _is_animation() else num
    latents = module.draw_latents(num_latents, _SEED.value, _TRUNCATION.value)
    if _CLASS_ROWS.value:
        if not module.num_classes:
            raise ValueError(
                "--class_rows needs a conditional GAN. Received: --module="
                f"{_MODULE.value}, which is unconditional. Leave --class_rows out."
            )
        labels = range(module.num_classes) if labels is None else labels
        latents, columns = np.tile(latents, (len(labels), 1)), num
    elif labels is None:
        # Classes are discrete: an animation has one.
        labels = module.draw_labels(1 if _is_animation() else num, _SEED.value)
    if _is_animation():
        latents = interpolation.loop(module.latents, latents, steps)
    elif steps:
        # Row i runs from latent i to latent num + i.
        latents = interpolation.interpolate(
            module.latents, latents[:num], latents[num:], np.linspace(0.0, 1.0, steps)
        )
        latents, columns = latents.reshape(-1, module.latent_dim), steps
    if labels is not None:
        labels = np.repeat(labels, len(latents) // len(labels))
    return latents, labels, columns


def main(argv):
    _check_flags()
    startup.import_tensorflow()
    from ssgan_tf.utils import pictures

    module = shared.load_module()
    latents, labels, columns = _layout(module, _num(), _labels())
    batches = module.generate_batches(latents, labels)
    tracked = track(batches, len(latents), "images", size=len)
    images = np.concatenate([pictures.to_uint8(batch) for batch in tracked])
    if _is_animation():
        pictures.write_gif(_OUT.value, images)
    else:
        pictures.write_png(_OUT.value, pictures.grid(images, columns))
    if _IMAGES_DIR.value is not None:
        pictures.write_pngs(_IMAGES_DIR.value, images)
    print(f"{len(images)} images of {module.path}, seed {_SEED.value}: {_OUT.value}")
