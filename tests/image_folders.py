"""Folders of images of noise."""

import numpy as np
from PIL import Image


def noise(seed, height, width, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path, image, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path, **kwargs)


def fill(folder, num, size=12, seed=0):
    """Writes square PNG files of noise."""
    for i in range(num):
        write(folder / f"photo{i:04}.png", noise(seed + i, size, size))
