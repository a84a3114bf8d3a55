"""The labels of a training set: replaced from a file, or only some of them kept."""

import os

import numpy as np

UNKNOWN_LABEL = -1

# Keeps the numbers drawn here apart from others drawn from the same seed.
_STREAM = 0x6C6162656C73


def keep_labels(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Forgets all but a share of the labels of each class.

    Which ones are kept depends on the labels and the seed alone, so that every process
    keeps the same; the labels kept under a fraction are among those kept under a larger
    one.

    Args:
        labels: int32 `(N,)`, 0 or more.
        fraction: float in (0, 1].
        seed: int, 0 or more.

    Returns:
        int32 `(N,)`: of each class `ceil(fraction * count)` labels as they are, -1
        elsewhere.

    Raises:
        ValueError: `fraction` is out of range.
    """
    if not 0 < fraction <= 1:
        raise ValueError(
            "`fraction` must be in (0, 1]: the share of labels that is kept. Received: "
            f"fraction={fraction}. For all labels, take 1."
        )
    kept = np.full_like(labels, UNKNOWN_LABEL)
    rng = np.random.default_rng([seed, _STREAM])
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        # Rounded first: 0.07 * 100 is a little more than 7.
        count = max(1, int(np.ceil(np.round(fraction * len(places), 6))))
        kept[places[:count]] = label
    return kept


def read_labels(
    path: str | os.PathLike, num_images: int, num_classes: int
) -> np.ndarray:
    """Labels from a file, such as those that a classifier has found.

    Args:
        path: a file of `np.save`: integers `(num_images,)`, in the order in which
            `load_split` returns the training split; -1 where the label is not known.
        num_images: int.
        num_classes: int. Labels are below it.

    Returns:
        int32 `(num_images,)`.

    Raises:
        ValueError: the file holds something else.
        OSError: it cannot be read.
    """
    try:
        labels = np.load(path, allow_pickle=False)
    except OSError as error:
        raise OSError(
            "`dataset.label_file` must be a file that can be read. Received: "
            f"label_file='{path}', which fails with: {error.strerror or error}. Name "
            "another, or leave it out."
        ) from error
    except (ValueError, EOFError) as error:
        raise ValueError(
            "A file of labels must be an array of integers as np.save writes it. "
            f"Received: label_file='{path}', which fails with: {error}. Name another."
        ) from error
    if (
        not isinstance(labels, np.ndarray)
        or labels.shape != (num_images,)
        or labels.dtype.kind not in "iu"
    ):
        described = (
            f"{labels.dtype} of shape {labels.shape}"
            if isinstance(labels, np.ndarray)
            else "an archive of arrays"
        )
        raise ValueError(
            f"A file of labels must hold {num_images} integers, one for each image of "
            f"the training split in its order. Received: label_file='{path}' with "
            f"{described}. Name another."
        )
    if not UNKNOWN_LABEL <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"Labels must lie in [0, {num_classes}), or be {UNKNOWN_LABEL} where they "
            f"are not known. Received: label_file='{path}' with labels from "
            f"{labels.min()} to {labels.max()}. Correct the file."
        )
    return labels.astype(np.int32)
