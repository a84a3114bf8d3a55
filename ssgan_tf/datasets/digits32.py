"""`digits32`: 1,797 real handwritten digits at 32x32, without a download."""

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

_DESCRIPTION = """
The 1,797 handwritten digits of the test part of UCI's "Optical Recognition of
Handwritten Digits", as shipped with scikit-learn: 8x8 pixels of 17 grey levels,
resized to 32x32 (bicubic) and scaled to 8 bit. A fixed permutation, not the position
in the file, divides them into 1,400 training and 397 test images, because the file is
ordered by writer. It is large enough to train a small GAN in minutes on a CPU, and
too small for its scores to be compared with anything published.
"""

_CITATION = """
@misc{alpaydin1998optdigits,
  author = {Alpaydin, E. and Kaynak, C.},
  title = {Optical Recognition of Handwritten Digits},
  year = {1998},
  howpublished = {UCI Machine Learning Repository},
  doi = {10.24432/C50P49},
}
"""

_NUM_TRAIN = 1400
_SIZE = 32
_MAX_LEVEL = 16


class Digits32(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of `digits32`: splits "train" (1,400) and "test" (397).

    Features: `image`, uint8 (32, 32, 1), ink bright on dark 0; `label`, 0 to 9.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(_SIZE, _SIZE, 1), encoding_format="png"
                    ),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
            citation=_CITATION,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator]:
        del dl_manager  # the images come with scikit-learn
        # Imported here because it takes about a second and is needed only once.
        from sklearn.datasets import load_digits

        digits = load_digits()
        # NumPy guarantees the stream of `RandomState`, but not that of `default_rng`.
        order = np.random.RandomState(0).permutation(len(digits.images))
        return {
            "train": self._generate_examples(digits, order[:_NUM_TRAIN]),
            "test": self._generate_examples(digits, order[_NUM_TRAIN:]),
        }

    def _generate_examples(
        self, digits, indices: np.ndarray
    ) -> Iterator[tuple[int, dict]]:
        for index in indices:
            image = resize_digit(digits.images[index])
            yield int(index), {"image": image, "label": int(digits.target[index])}


def resize_digit(digit: np.ndarray) -> np.ndarray:
    """Scales 0..16 to 0..255, rounds, then resizes with Pillow's bicubic filter.

    Args:
        digit: float array (8, 8), the 17 levels 0 to 16.

    Returns:
        uint8 array (32, 32, 1). Bicubic overshoot is clipped to [0, 255].
    """
    levels = np.clip(np.round(digit * (255 / _MAX_LEVEL)), 0, 255).astype(np.uint8)
    resized = Image.fromarray(levels).resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)
    return np.asarray(resized)[..., np.newaxis]
