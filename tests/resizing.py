"""Images of noise, and an oracle of TensorFlow 1's resizing."""

import numpy as np


def noise(seed, height, width, channels=3):
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def bilinear(image, size):
    """Resizes as TensorFlow 1: source = target * scale, without antialiasing."""
    image = np.asarray(image, np.float64)
    for axis in (0, 1):
        length = image.shape[axis]
        places = np.arange(size) * length / size
        below = np.floor(places).astype(int)
        above = np.minimum(below + 1, length - 1)
        share = np.expand_dims(places - below, (1, 2) if axis == 0 else (0, 2))
        low, high = image.take(below, axis), image.take(above, axis)
        image = low + share * (high - low)
    return image


def assert_rounded(image, expected):
    assert image.dtype == np.uint8
    # Half a level, and the rounding of float32.
    assert np.abs(image - expected).max() <= 0.5 + 1e-3
