"""Differentiable augmentation of all images that D sees, real and fake.

Pure functions of images and uniform noise. The paper's images have the range [-1, 1],
ours [0, 1]: offsets are halved, and its fill value 0 becomes 0.5. As in the paper
nothing is clipped.

Reference:
    - Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training",
      NeurIPS 2020, https://arxiv.org/abs/2006.10738
"""

import dataclasses

import tensorflow as tf

GREY = 0.5


def brightness(images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Adds one number in [-1/4, 1/4) to a whole image.

        output = input + (u - 1/2) / 2

    Args:
        images: float, `(batch, size, size, channels)`, in [0, 1].
        noise: `(batch, 1)`, u, uniform in [0, 1).
    """
    return images + 0.5 * (_per_image(noise, images.dtype) - 0.5)


def saturation(images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Scales a pixel's distance from its grey by a factor in [0, 2).

        output = m + 2 u (input - m),    m: mean over the pixel's channels

    Leaves images of one channel as they are.

    Args:
        images: float, `(batch, size, size, channels)`.
        noise: `(batch, 1)`, u, uniform in [0, 1).
    """
    mean = tf.reduce_mean(images, axis=3, keepdims=True)
    return mean + 2.0 * _per_image(noise, images.dtype) * (images - mean)


def contrast(images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Scales the distance from the image's mean by a factor in [1/2, 3/2).

        output = m + (u + 1/2) (input - m),    m: mean over pixels and channels

    Args:
        images: float, `(batch, size, size, channels)`.
        noise: `(batch, 1)`, u, uniform in [0, 1).
    """
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return mean + (_per_image(noise, images.dtype) + 0.5) * (images - mean)


def color(images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Brightness, then saturation, then contrast, with one column of the noise each.

    Args:
        images: float, `(batch, size, size, channels)`, in [0, 1].
        noise: `(batch, 3)`, uniform in [0, 1).
    """
    for column, adjust in enumerate((brightness, saturation, contrast)):
        images = adjust(images, noise[:, column : column + 1])
    return images


def translation(images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Shifts images down and right by whole pixels and fills with grey.

        output[i, j] = input[i - t_0, j - t_1],    t uniform on {-m, ..., m}

    with m = size // 8.

    Args:
        images: float, `(batch, size, size, channels)`, static.
        noise: `(batch, 2)`, for t_0 and t_1, uniform in [0, 1).
    """
    for axis in (1, 2):
        size = images.shape[axis]
        most = size // 8
        paddings = [[most, most] if i == axis else [0, 0] for i in range(4)]
        padded = tf.pad(images, paddings, constant_values=GREY)
        # The window on the padded image starts at `most - t`, which is uniform too.
        start = 2 * most - _integers(noise[:, axis - 1], 2 * most + 1)
        # A product with a permutation matrix would be rounded on accelerators.
        pixels = start[:, None] + tf.range(size)
        images = tf.gather(padded, pixels, axis=axis, batch_dims=1)
    return images


def cutout(images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Fills a square of half the size with grey, at a random position.

    Its side is c = size // 2. Its centre is uniform over the image, so it may cross the
    border: first row and column are uniform on {-(c // 2), ..., size - ceil(c / 2)}.

    Args:
        images: float, `(batch, size, size, channels)`, static.
        noise: `(batch, 2)`, for the first row and column, uniform in [0, 1).
    """
    inside = []
    for axis in (1, 2):
        size = images.shape[axis]
        side = size // 2
        positions = size + 1 - side % 2
        first = _integers(noise[:, axis - 1], positions)[:, None] - side // 2
        pixels = tf.range(size)
        inside.append((pixels >= first) & (pixels < first + side))
    rows, columns = inside
    square = rows[:, :, None, None] & columns[:, None, :, None]
    return tf.where(square, tf.cast(GREY, images.dtype), images)


# Name -> function, and uniform numbers per image.
OPERATIONS = {
    "color": (color, 3),
    "translation": (translation, 2),
    "cutout": (cutout, 2),
}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """A sequence of operations, each with its own random numbers per image.

    Example:

        augmentation = Augmentation(("color", "cutout"))
        noise = randomness.random_uniform((batch, augmentation.noise_size), seed)
        images = augmentation(images, noise)

    Attributes:
        policy: names of operations, in the order of their application.

    Raises:
        ValueError: `policy` is empty or names an unknown operation.
    """

    policy: tuple[str, ...] = ("color", "translation", "cutout")

    def __post_init__(self):
        if not self.policy or not set(self.policy) <= set(OPERATIONS):
            raise ValueError(
                f"`policy` must be a sequence of at least one of {tuple(OPERATIONS)}. "
                f"Received: policy={self.policy!r}."
            )

    @property
    def noise_size(self) -> int:
        """Uniform numbers per image."""
        return sum(OPERATIONS[name][1] for name in self.policy)

    def __call__(self, images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Augments image i by row i of the noise.

        Args:
            images: float, `(batch, size, size, channels)`, in [0, 1]; size and
                channels are static.
            noise: float, `(batch, noise_size)`, uniform in [0, 1).

        Returns:
            Tensor of the shape and dtype of `images`, differentiable with respect to
            them. Colours may leave [0, 1].

        Raises:
            ValueError: the noise has another shape.
        """
        expected = images.shape[0], self.noise_size
        if not noise.shape.is_compatible_with(expected):
            raise ValueError(
                f"`noise` must have the shape (batch, noise_size) = {expected}. "
                f"Received: noise.shape={tuple(noise.shape)}."
            )
        start = 0
        for name in self.policy:
            function, size = OPERATIONS[name]
            images = function(images, noise[:, start : start + size])
            start += size
        return images


def _per_image(noise: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`(batch, 1)` -> `(batch, 1, 1, 1)`, to broadcast against images."""
    return tf.cast(noise, dtype)[:, :, None, None]


def _integers(noise: tf.Tensor, num: int) -> tf.Tensor:
    """Uniform numbers in [0, 1) -> uniform integers in [0, num)."""
    return tf.cast(tf.floor(noise * num), tf.int32)
