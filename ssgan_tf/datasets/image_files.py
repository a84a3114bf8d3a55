"""Reads image files as squares of 8-bit pixels, with Pillow."""

import io
import os

import numpy as np
from PIL import Image, ImageOps

# Recognized by content, not by name.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_MODES = {1: "L", 3: "RGB"}
_WHITE = (255, 255, 255, 255)


def read_square(
    path: str | os.PathLike, image_shape: tuple[int, int, int]
) -> Image.Image:
    """Reads an image, turns it upright, and resizes its largest central square.

    Applies the EXIF orientation: the GAN learns rotations of the scene, not of the
    camera. Scales 16-bit levels to 8 bit, puts transparent images on white, and
    converts to grey (ITU-R 601) or RGB. Resizes with Lanczos's filter, which
    antialiases.

    Args:
        path: PNG, JPEG, WebP or BMP. Only the first frame is read.
        image_shape: `(size, size, 1 or 3)`.

    Returns:
        An image of mode "L" or "RGB".

    Raises:
        Exception: the file cannot be decoded. Pillow raises many types.
    """
    size, _, colors = image_shape
    with Image.open(path, formats=_FORMATS) as opened:
        image = _to_8_bit(ImageOps.exif_transpose(opened))
        image = _on_white(image).convert(_MODES[colors])
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize(
        (size, size),
        Image.Resampling.LANCZOS,
        box=(left, top, left + side, top + side),
    )


def png(image: Image.Image) -> bytes:
    """Encodes an image as PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _to_8_bit(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image
    # Pillow's conversion clips at 255.
    levels = np.asarray(image).astype(np.float64) / 257
    return Image.fromarray(np.round(np.clip(levels, 0, 255)).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
