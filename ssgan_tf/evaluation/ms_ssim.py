"""Diversity of generated images: mean multi-scale SSIM over random pairs of fakes.

    MS-SSIM(a, b) = (l_n cs_n)^w_n  prod_{j < n} cs_j^w_j

is computed per channel and averaged over channels. Scale j + 1 is the 2x2 means of
scale j; l compares luminance, cs contrast and structure, under a Gaussian window of
11 x 11 and deviation 1.5; negative factors count as 0. The value is in [0, 1], 1 for
equal images.

The window must fit: n is the largest number up to five for which size // 2^(n - 1) is
at least 11. Five scales need 176 pixels; 128 pixels have four, 64 three, 32 two, and 11
to 21 pixels one, which is SSIM. The weights are the first n of Wang et al., divided by
their sum. Values of different n cannot be compared. (compare_gan shrinks the window and
keeps five scales.)

Reference:
    - Wang, Simoncelli and Bovik, 2003, https://doi.org/10.1109/ACSSC.2003.1292216
    - Odena, Olah and Shlens, 2017 (for GANs), https://arxiv.org/abs/1610.09585
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ssgan_tf.evaluation import arrays

WINDOW = 11
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# About a dozen arrays of this many floats exist at a time: some 50 MiB.
VALUES_PER_BATCH = 2**20


def ms_ssim_diversity(
    images: np.ndarray,
    *,
    num_pairs: int,
    seed: int,
    labels: np.ndarray | None = None,
) -> float:
    """Mean MS-SSIM over `random_pairs` of images; lower is more diverse.

    A generator that has collapsed approaches 1. Blur raises the value and noise lowers
    it, whatever the diversity: compare it with that of equally many real images. With
    labels, pairs are of one class, so that the variety of classes hides no collapse.

    Args:
        images: uint8, (N, H, H, C), N >= 2, H >= 11, C 1 or 3.
        num_pairs: int, positive. The standard error falls with its root.
        seed: int, not negative. The pairs are a function of it, N and the labels.
        labels: integers, (N,); None ignores classes.

    Returns:
        In [0, 1] up to the rounding of float32. Always computed on the CPU.

    Raises:
        ValueError: an argument is not as described, or no class has two images.
    """
    images = arrays.check_images("images", images)
    compare = comparison(num_scales(images.shape[1]))
    pairs = random_pairs(len(images), num_pairs, seed=seed, labels=labels)
    step = max(1, VALUES_PER_BATCH // images[0].size)
    total = 0.0
    for start in range(0, num_pairs, step):
        first, second = pairs[start : start + step].T
        with tf.device("CPU:0"):
            values = compare(images[first], images[second])
        total += float(values.numpy().sum(dtype=np.float64))
    return total / num_pairs


def num_scales(size: int) -> int:
    """Number of scales, 1 to 5, by the rule above.

    Args:
        size: int. Height and width of the images, in pixels.

    Raises:
        ValueError: the window does not fit.
    """
    if size < WINDOW:
        raise ValueError(
            f"MS-SSIM needs images of {WINDOW} pixels or more, the size of its window. "
            f"Received: size={size}. Score larger images, or omit this metric."
        )
    return min(len(_WEIGHTS), (size // WINDOW).bit_length())


def random_pairs(
    num_images: int, num_pairs: int, *, seed: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """Draws pairs of different images, with replacement.

    Without labels all pairs are equally likely. With labels all classes of two images
    or more are equally likely, as Odena et al. average over classes, and so are all
    pairs of a class.

    Args:
        num_images: int, at least 2.
        num_pairs: int, positive.
        seed: int, not negative.
        labels: integers, (num_images,), or None.

    Returns:
        int64, (num_pairs, 2), in [0, num_images). A function of the arguments.

    Raises:
        ValueError: an argument is not as described, or no class has two images.
    """
    arrays.check_least(1, num_pairs=num_pairs)
    labels = np.zeros(num_images, int) if labels is None else labels
    labels = arrays.check("labels", labels, (num_images,), np.integer)
    # Sorted by class.
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    starts, counts = starts[counts > 1], counts[counts > 1]
    if not len(counts):
        raise ValueError(
            "At least one class must have two images. Received: "
            f"{num_images} images of as many classes. Use more images."
        )
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(counts), size=num_pairs)
    starts, counts = starts[chosen], counts[chosen]
    first = rng.integers(counts)
    # An offset of at least 1: never the first image again.
    second = (first + rng.integers(1, counts)) % counts
    return order[starts[:, np.newaxis] + np.stack([first, second], axis=1)]


@functools.cache
def comparison(scales: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """MS-SSIM of two batches, traced once for each number of scales."""
    weights = np.array(_WEIGHTS[:scales]) / sum(_WEIGHTS[:scales])
    images = tf.TensorSpec((None, None, None, None), tf.uint8)

    @tf.function(input_signature=[images, images])
    def compare(first, second):
        return tf.image.ssim_multiscale(
            first,
            second,
            max_val=255,
            power_factors=weights.tolist(),
            filter_size=WINDOW,
        )

    return compare
