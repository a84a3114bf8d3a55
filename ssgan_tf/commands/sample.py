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
import pathlib
from typing import NamedTuple

import numpy as np
from absl import app, flags

from ssgan_tf.commands.flags import define_module_flags, load_module
from ssgan_tf.utils import startup
from ssgan_tf.utils.progress import track

_MODULE = define_module_flags(required=True)
_NUM = flags.DEFINE_integer(
    "num",
    None,
    "Number of images; of rows with --interpolate; of columns with --class_rows. "
    "Default: 64 images, 8 rows or columns.",
    lower_bound=1,
)
_SEED = flags.DEFINE_integer("seed", 0, "Equal seeds give equal images.")
_LABELS = flags.DEFINE_list(
    "labels",
    None,
    "Classes: one per image or row, or one for all. With --class_rows: the classes of "
    "the rows. Default: drawn with the seed; all classes with --class_rows.",
)
_TRUNCATION = flags.DEFINE_float(
    "truncation",
    None,
    "Truncation threshold: largest magnitude of the values of z, at most 1 if z is "
    "uniform. A lower threshold gives less variety and, for some GANs, better images. "
    "Default: no limit.",
)
_INTERPOLATE = flags.DEFINE_integer(
    "interpolate",
    None,
    "Number of images per row, from one latent to another. For a .gif: number of "
    "frames from each of --num latents to the next.",
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


class _Request(NamedTuple):
    """Inputs of the generator, and the layout of the picture.

    Attributes:
        latents: float32, `(num, dim)`.
        labels: integers, `(num,)`, or None for an unconditional GAN.
        columns: int. Images per row of the picture; unused for an animation.
    """

    latents: np.ndarray
    labels: np.ndarray | None
    columns: int


def _grid(module, num: int, labels) -> _Request:
    """A grid of independent samples, about square."""
    latents = module.draw_latents(num, _SEED.value, _TRUNCATION.value)
    return _Request(latents, _labels_of(module, num, labels), math.isqrt(num - 1) + 1)


def _strips(module, num: int, labels) -> _Request:
    """Row i runs from latent i to latent num + i."""
    from ssgan_tf.modules import interpolation

    steps = _INTERPOLATE.value
    ends = module.draw_latents(2 * num, _SEED.value, _TRUNCATION.value)
    shares = np.linspace(0.0, 1.0, steps)
    latents = interpolation.interpolate(module.latents, ends[:num], ends[num:], shares)
    labels = _labels_of(module, num, labels)
    if labels is not None:
        labels = np.repeat(labels, steps)
    return _Request(latents.reshape(-1, module.latent_dim), labels, steps)


def _loop(module, num: int, labels) -> _Request:
    """A closed path through `num` latents, with one class: classes are discrete."""
    from ssgan_tf.modules import interpolation

    steps = _INTERPOLATE.value
    corners = module.draw_latents(num, _SEED.value, _TRUNCATION.value)
    label = _labels_of(module, 1, labels)
    if label is not None:
        label = np.repeat(label, num * steps)
    return _Request(interpolation.loop(module.latents, corners, steps), label, steps)


def _class_rows(module, num: int, labels) -> _Request:
    """A row for each class, all of the same latents."""
    if not module.num_classes:
        raise ValueError(
            "--class_rows needs a conditional GAN. Received: --module="
            f"{_MODULE.value}, which is unconditional. Leave --class_rows out."
        )
    classes = np.arange(module.num_classes) if labels is None else np.array(labels)
    latents = module.draw_latents(num, _SEED.value, _TRUNCATION.value)
    return _Request(
        np.tile(latents, (len(classes), 1)), np.repeat(classes, num), columns=num
    )


def _labels_of(module, num: int, labels: list[int] | None) -> np.ndarray | None:
    """One label per image, drawn if none is given; None for an unconditional GAN."""
    if labels is None:
        return module.draw_labels(num, _SEED.value)
    return np.broadcast_to(labels, num)


def _render(module, request: _Request) -> np.ndarray:
    """The images as uint8, `(num, size, size, channels)`."""
    from ssgan_tf.utils.pictures import to_uint8

    num = len(request.latents)
    batches = module.generate_batches(request.latents, request.labels)
    images = np.empty((num, *module.image_shape), np.uint8)
    start = 0
    for batch in track(batches, num, "images", size=len):
        images[start : start + len(batch)] = to_uint8(batch)
        start += len(batch)
    return images


def _is_animation() -> bool:
    return _OUT.value.endswith(".gif")


def _check_flags() -> None:
    """Refuses flags that contradict each other or have no effect."""
    out = f"--out={_OUT.value}"
    if not _OUT.value.endswith((".png", ".gif")):
        raise app.UsageError(f"--out must end in .png or .gif. Received: {out}.")
    if _is_animation() and _INTERPOLATE.value is None:
        raise app.UsageError(
            "A .gif needs --interpolate, the number of frames between latents. "
            f"Received: {out} without --interpolate. Add it, or write a .png."
        )
    if _is_animation() and _NUM.value == 1:
        raise app.UsageError(
            f"A .gif needs two latents or more. Received: {out}, --num=1. Increase "
            "--num."
        )
    if _CLASS_ROWS.value and _INTERPOLATE.value is not None:
        raise app.UsageError(
            "Pass --class_rows or --interpolate, not both. Received: --class_rows, "
            f"--interpolate={_INTERPOLATE.value}."
        )
    # `not >` also refuses NaN.
    if _TRUNCATION.value is not None and not _TRUNCATION.value > 0.0:
        raise app.UsageError(
            f"--truncation must be positive. Received: --truncation={_TRUNCATION.value}"
            ". Leave it out for no limit."
        )


def _num() -> int:
    if _NUM.value is not None:
        return _NUM.value
    return 8 if _CLASS_ROWS.value or _INTERPOLATE.value else 64


def _check_images_dir() -> None:
    """Refuses a folder that is not empty or that conflicts with the picture."""
    if _IMAGES_DIR.value is None:
        return
    folder = pathlib.Path(_IMAGES_DIR.value).resolve()
    out = pathlib.Path(_OUT.value).resolve()
    received = f"Received: --images_dir={_IMAGES_DIR.value}"
    if folder in (out, *out.parents) or out in folder.parents:
        raise app.UsageError(
            f"--images_dir and --out must not contain each other. {received}, "
            f"--out={_OUT.value}. Name another path for one of them."
        )
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(
            f"--images_dir must be a new or empty folder. {received}. Name another "
            "one, or move its contents away."
        )


def _labels() -> list[int] | None:
    if _LABELS.value is None:
        return None
    received = f"Received: --labels={','.join(_LABELS.value)}"
    try:
        labels = [int(label) for label in _LABELS.value]
    except ValueError:
        labels = []
    if not labels:
        raise app.UsageError(
            f"--labels must be integers separated by commas. {received}. Write "
            "--labels=0,3, for example."
        )
    if _is_animation() and len(labels) > 1:
        raise app.UsageError(
            f"A .gif has one class. {received}, --out={_OUT.value}. Give one label."
        )
    if not _CLASS_ROWS.value and len(labels) not in (1, _num()):
        raise app.UsageError(
            f"--labels must hold one label or --num labels. {received}, --num={_num()}."
        )
    return labels


def main(argv):
    _check_flags()
    _check_images_dir()
    num, labels = _num(), _labels()
    startup.import_tensorflow()
    from ssgan_tf.utils.pictures import grid, write_gif, write_png, write_pngs

    module = load_module()
    if _CLASS_ROWS.value:
        request = _class_rows(module, num, labels)
    elif _is_animation():
        request = _loop(module, num, labels)
    elif _INTERPOLATE.value is not None:
        request = _strips(module, num, labels)
    else:
        request = _grid(module, num, labels)
    pictures = _render(module, request)
    if _is_animation():
        write_gif(_OUT.value, pictures)
    else:
        write_png(_OUT.value, grid(pictures, request.columns))
    if _IMAGES_DIR.value is not None:
        write_pngs(_IMAGES_DIR.value, pictures)
    print(f"{len(pictures)} images of {module.path}, seed {_SEED.value}: {_OUT.value}")
