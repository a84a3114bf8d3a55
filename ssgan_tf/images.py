"""Pictures: grids of images, and PNG files."""

import os

import numpy as np
import tensorflow as tf

from ssgan_tf import files


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Lays images out row by row; places without an image are black.

    Args:
        images: float in [0, 1] or uint8, `(num, height, width, channels)`.
        columns: int. Images per row.

    Returns:
        uint8, `(rows * height, columns * width, channels)`.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = np.round(np.clip(images, 0.0, 1.0) * 255.0).astype(np.uint8)
    num, height, width, channels = images.shape
    rows = -(-num // columns)
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:num] = images
    return (
        cells.reshape(rows, columns, height, width, channels)
        .transpose(0, 2, 1, 3, 4)
        .reshape(rows * height, columns * width, channels)
    )


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes a PNG whole or not at all, making its folder.

    Args:
        path: the file.
        image: uint8, `(height, width, 1 or 3)`.
    """
    with files.replacing(path) as partial:
        partial.write_bytes(tf.io.encode_png(image).numpy())
