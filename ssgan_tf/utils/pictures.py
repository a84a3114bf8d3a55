"""Pictures: grids of images, PNG files and animations."""

import os
import pathlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from ssgan_tf.utils import files

_GIF_MILLISECONDS = 50
_RANGE_TOLERANCE = 1e-3


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Arranges images row by row; cells without an image are black.

    Args:
        images: float in [0, 1] or uint8, `(num, height, width, channels)`. NaN
            becomes black.
        columns: int. Images per row.

    Returns:
        uint8, `(rows * height, columns * width, channels)`.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = to_uint8(np.clip(np.nan_to_num(images), 0.0, 1.0))
    num, height, width, channels = images.shape
    rows = -(-num // columns)
    cells = np.zeros((rows, height, columns, width, channels), np.uint8)
    for i, image in enumerate(images):
        cells[i // columns, :, i % columns] = image
    return cells.reshape(rows * height, columns * width, channels)


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes a PNG file atomically and creates its folder.

    Args:
        path: the file.
        image: uint8, `(height, width, 1 or 3)`.

    Raises:
        OSError: it cannot be written.
    """
    with files.atomic_write(path) as partial:
        _pillow(image).save(partial, "PNG")


def write_pngs(folder: str | os.PathLike, images: np.ndarray) -> None:
    """Writes a folder of 00000.png, 00001.png, ... atomically.

    Args:
        folder: is replaced if it exists.
        images: uint8, `(num, height, width, 1 or 3)`.

    Raises:
        OSError: it cannot be written.
    """
    with files.atomic_write(folder) as partial:
        partial.mkdir()
        write_numbered(partial, images, len(images))


def write_numbered(
    folder: pathlib.Path, images: Iterable[np.ndarray], num: int
) -> None:
    """Writes 00000.png, 00001.png, ... into a folder.

    Args:
        folder: an existing folder.
        images: uint8 arrays `(height, width, 1 or 3)`.
        num: int. Number of images; above 100,000 the names have more digits.

    Raises:
        OSError: they cannot be written.
    """
    digits = max(5, len(str(num - 1)))
    for i, image in enumerate(images):
        _pillow(image).save(folder / f"{i:0{digits}}.png", "PNG")


def write_gif(path: str | os.PathLike, images: Iterable[np.ndarray]) -> None:
    """Writes an animation in an endless loop, 20 images per second.

    Grey images are exact; coloured images are reduced to their 256 best colours. An
    image equal to the previous one extends that frame. The file is written atomically;
    its folder is created.

    Args:
        path: the file.
        images: uint8 arrays `(height, width, 1 or 3)`; at least one.

    Raises:
        OSError: it cannot be written.
    """
    # Without k-means the error of Pillow's colours is a third larger.
    frames = (
        frame.quantize(256, kmeans=1) if frame.mode == "RGB" else frame
        for frame in map(_pillow, images)
    )
    with files.atomic_write(path) as partial:
        # optimize=True changes the greys of images with few of them.
        next(frames).save(
            partial,
            "GIF",
            save_all=True,
            append_images=frames,
            duration=_GIF_MILLISECONDS,
            loop=0,
            optimize=False,
        )


def _pillow(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Rounds float images in [0, 1] to 8 bit: the nearest integer to 255 x.

    Args:
        images: float, any shape, values in [0, 1]. An excess of up to 1e-3 counts as
            a rounding error and is clipped.

    Raises:
        ValueError: a value is NaN or further outside.
    """
    images = np.asarray(images, np.float32)
    low, high = images.min(initial=np.inf), images.max(initial=-np.inf)
    # NaN must fail too: every comparison with it is False.
    if images.size and not (low >= -_RANGE_TOLERANCE and high <= 1 + _RANGE_TOLERANCE):
        raise ValueError(
            f"Images must be finite and in [0, 1]. Received: images with min={low}, "
            f"max={high}. NaN means that the generator has diverged."
        )
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
