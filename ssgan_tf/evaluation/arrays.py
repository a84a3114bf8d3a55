"""Arrays: checks, and files of those that can be computed again, for caches."""

import pathlib
import zipfile

import numpy as np
from absl import logging

from ssgan_tf.utils import files

_CURES = {
    np.number: "Use the output of one network, one row per image.",
    np.integer: "Pass the class of every image.",
    np.uint8: "Crop or resize them; utils.pictures.to_uint8 converts floats in [0, 1].",
}


def check(
    name: str,
    values: np.ndarray,
    shape: tuple[int | None, ...],
    dtype: type[np.generic] = np.number,
    low: float = -np.inf,
    high: float = np.inf,
    rows: int = 1,
) -> np.ndarray:
    """Returns the values as an array, numbers as float64, if they are as described.

    Args:
        name: of the argument, for the message.
        values: of this type or a subtype, finite, none below `low` or above `high`.
        shape: None for any size. No axis may be empty.
        dtype: a key of `_CURES`.
        low: the least value.
        high: the largest value.
        rows: least size of the first axis.

    Raises:
        ValueError: they are not.
    """
    array = np.asarray(values)
    has_order = array.dtype.kind in "iuf" and array.size
    # NaN is the minimum of values with NaN. Comparing all values would take twice the
    # memory of the images.
    ends = np.array([array.min(), array.max()] if has_order else [np.nan, np.nan])
    if (
        not np.issubdtype(array.dtype, dtype)
        or array.ndim != len(shape)
        or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True))
        or not array[rows - 1 :].size
        or not (np.isfinite(ends).all() and low <= ends[0] and ends[1] <= high)
    ):
        extent = f"{ends[0]} to {ends[1]}" if has_order else "none"
        raise ValueError(
            f"`{name}` must be finite {dtype.__name__}s in [{low}, {high}] of shape "
            f"{shape}, with {rows} or more rows. Received: {name}.shape={array.shape}, "
            f"dtype={array.dtype}, values={extent}. {_CURES[dtype]}"
        )
    return np.asarray(array, np.float64) if dtype is np.number else array


def check_images(name: str, images: np.ndarray, least: int = 1) -> np.ndarray:
    """`check` of uint8 images (N, H, H, C), H at least `least`, C 1 or 3."""
    images = np.asarray(images)
    sides = [max(size, least) for size in images.shape[1:2]] * 2
    channels = 1 if images.shape[3:] == (1,) else 3
    return check(name, images, (None, *sides, channels), np.uint8)


def check_least(least: int, **received: int) -> None:
    """Raises a ValueError if a number is less."""
    for name, value in received.items():
        if value < least:
            raise ValueError(
                f"`{name}` must be {least} or more. Received: {name}={value}. Use more."
            )


def read(path: pathlib.Path, shapes: dict[str, tuple]) -> list[np.ndarray] | None:
    """Reads a file's arrays; None if it is missing, damaged or has other arrays.

    Args:
        path: the file.
        shapes: of its arrays by name, in the order in which they are returned.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        if (actual := {name: array.shape for name, array in arrays.items()}) != shapes:
            raise ValueError(f"arrays {actual}")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        logging.warning("%s cannot be read (%s): making it again", path, error)
        return None
    logging.info("read %s", path)
    return [arrays[name] for name in shapes]


def write(path: pathlib.Path, *unnamed: np.ndarray, **named: np.ndarray) -> None:
    """Writes arrays as `np.savez` does, the file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    # An open file: to a file name NumPy would append its own ending.
    with files.atomic_write(path) as partial, partial.open("wb") as stream:
        np.savez(stream, *unnamed, **named)
