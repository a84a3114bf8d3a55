"""Few labels: which images of a training set keep theirs."""

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
            f"fraction={fraction}."
        )
    kept = np.full_like(labels, UNKNOWN_LABEL)
    rng = np.random.default_rng([seed, _STREAM])
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        # Rounded first: 0.07 * 100 is a little more than 7.
        count = max(1, int(np.ceil(np.round(fraction * len(places), 6))))
        kept[places[:count]] = label
    return kept
