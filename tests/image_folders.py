"""Folders of images of noise."""

import numpy as np
from PIL import Image
from resizing import noise


def write(path, image, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path, **kwargs)


def fill(folder, num, size=12, seed=0):
    """Writes square PNG files of noise."""
    for i in range(num):
        write(folder / f"photo{i:04}.png", noise(seed + i, size, size))


def touch(folder, *names):
    """Writes empty files, and the folders that hold them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
