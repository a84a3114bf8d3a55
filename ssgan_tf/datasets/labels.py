"""Replaces the labels of a training set from a file, or keeps some of them."""

import os

import numpy as np

UNKNOWN_LABEL = -1

# Separates the numbers drawn here from others drawn with the same seed.
_STREAM = 0x6C6162656C73


def keep_labels(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Keeps a share of the labels of each class and sets the others to -1.

    The choice depends only on the labels and the seed, so that all processes agree.
    A larger fraction keeps all labels that a smaller one keeps.

    Args:
        labels: int32 `(N,)`, 0 or more.
        fraction: float in (0, 1].
        seed: int, 0 or more.

    Returns:
        int32 `(N,)`, with `ceil(fraction * count)` labels of each class.

    Raises:
        ValueError: `fraction` is out of range.
    """
    if not 0 < fraction <= 1:
        raise ValueError(
            "`fraction`, the share of labels to keep, must be in (0, 1]. Received: "
            f"fraction={fraction}. To keep all labels, pass 1."
        )
    kept = np.full_like(labels, UNKNOWN_LABEL)
    rng = np.random.default_rng([seed, _STREAM])
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        # Round first, because 0.07 * 100 is a little more than 7.
        count = max(1, int(np.ceil(np.round(fraction * len(places), 6))))
        kept[places[:count]] = label
    return kept


def read_labels(
    path: str | os.PathLike, num_images: int, num_classes: int
) -> np.ndarray:
    """Reads labels from a file, for example those that a classifier predicted.

    Args:
        path: a file of `np.save`: integers `(num_images,)`, in the order in which
            `load_split` returns the training split; -1 for an unknown label.
        num_images: int.
        num_classes: int. Labels are in `[0, num_classes)`.

    Returns:
        int32 `(num_images,)`.

    Raises:
        ValueError: the file holds no such array.
        OSError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            labels = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise OSError(
            f"Cannot read label_file='{path}': {error.strerror or error}. Name another "
            "file in `dataset.label_file`, or leave it out."
        ) from error
    except ValueError as error:
        raise ValueError(
            "`dataset.label_file` must be an array of integers, written by np.save. "
            f"Received: label_file='{path}', which fails with: {error}. Name another."
        ) from error
    if labels.shape != (num_images,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`dataset.label_file` must hold {num_images} integers, one per training "
            f"image. Received: label_file='{path}' with {labels.dtype} of shape "
            f"{labels.shape}. Name another."
        )
    if not UNKNOWN_LABEL <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"Labels must be in [0, {num_classes}), or {UNKNOWN_LABEL} if unknown. "
            f"Received: label_file='{path}' with labels from {labels.min()} to "
            f"{labels.max()}. Correct the file."
        )
    return labels.astype(np.int32)
