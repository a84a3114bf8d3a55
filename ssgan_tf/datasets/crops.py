"""compare_gan's rules that crop and resize images of any size to squares.

A rule is a function of `(image, size, seed)`:

    image: uint8 tensor `(height, width, channels)`.
    size: int. Height and width of the result.
    seed: int64 tensor `(2,)` for a training image; None for a reference image, whose
        crop is not random.

It returns uint8 `(size, size, channels)`. compare_gan keeps resized pixels as floats;
here they are rounded to the nearest level, because they are stored in 8 bit.
"""

from collections.abc import Callable

import tensorflow as tf

Crop = Callable[[tf.Tensor, int, tf.Tensor | None], tf.Tensor]

# The part of CelebA's 178x218 that compare_gan keeps: hair and chin, little background.
_CELEB_A_SIDE = 160
# Share of the area that a random square takes.
_AREA = (0.5, 1.0)


def crop_or_pad(
    image: tf.Tensor, size: int, seed: tf.Tensor | None = None
) -> tf.Tensor:
    """The central square of `size`, black where the image is smaller; no resizing."""
    del seed
    return tf.image.resize_with_crop_or_pad(image, size, size)


def celeb_a(image: tf.Tensor, size: int, seed: tf.Tensor | None = None) -> tf.Tensor:
    """The central 160x160, resized as TensorFlow 1 did."""
    return _resize(crop_or_pad(image, _CELEB_A_SIDE, seed), size)


def random_square(
    image: tf.Tensor, size: int, seed: tf.Tensor | None = None
) -> tf.Tensor:
    """A random square of 50 to 100 % of the area, resized as TensorFlow 1 did.

    If `seed` is None: the largest central square. An image more than twice as long as
    it is wide has no square of that area: as in compare_gan the whole image is squeezed
    into the square.
    """
    if seed is None:
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        side = tf.minimum(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _resize(image[top : top + side, left : left + side], size)
    begin, shape, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([0, 0, 4]),
        seed=seed,
        aspect_ratio_range=(1.0, 1.0),
        area_range=_AREA,
        use_image_if_no_bounding_boxes=True,
    )
    return _resize(tf.slice(image, begin, shape), size)


def halve(image: tf.Tensor, size: int, seed: tf.Tensor | None = None) -> tf.Tensor:
    """Averages equal windows that cover the image, such as 2x2."""
    del seed
    return _to_uint8(tf.image.resize(image, (size, size), tf.image.ResizeMethod.AREA))


def _resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Bilinear, without antialiasing: source pixel = target pixel * source / target.

    compare_gan's `tf.image.resize_images`. It skips pixels if it shrinks by a factor
    above 2; the published numbers come from such images.
    """
    return _to_uint8(tf.compat.v1.image.resize(image, (size, size)))


def _to_uint8(image: tf.Tensor) -> tf.Tensor:
    return tf.saturate_cast(tf.round(image), tf.uint8)
