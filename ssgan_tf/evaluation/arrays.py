"""Files of arrays that can be computed again: weights and features in caches."""

import pathlib
import zipfile

import numpy as np
from absl import logging

from ssgan_tf.utils import files


def read(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """Reads the arrays of a file by name; None if it is missing or damaged."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        logging.warning("%s cannot be read (%s): making it again", path, error)
        return None
    logging.info("read %s", path)
    return arrays


def write(path: pathlib.Path, *unnamed: np.ndarray, **named: np.ndarray) -> None:
    """Writes arrays as `np.savez` does, the file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    # An open file: to a file name NumPy would append its own ending.
    with files.atomic_write(path) as partial, partial.open("wb") as stream:
        np.savez(stream, *unnamed, **named)
