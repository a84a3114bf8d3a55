"""The generator's noise and labels, as pure functions of a seed."""

import dataclasses
import math

import tensorflow as tf

DISTRIBUTIONS = ("uniform", "normal")

# Second number of a seed: draws for different purposes never meet.
(
    TRAINING_STREAM,
    SAMPLING_STREAM,
    TRAINING_LABELS_STREAM,
    SAMPLING_LABELS_STREAM,
    PENALTY_STREAM,
    AUGMENTATION_STREAM,
    STANDING_STREAM,
) = range(7)
NUM_STREAMS = 7


@dataclasses.dataclass(frozen=True)
class Latents:
    """Distribution of z.

    Attributes:
        dim: int. Size of z; 128 in the paper.
        distribution: "uniform" on [-1, 1), compare_gan's default, or "normal" with
            mean 0 and deviation 1.

    Raises:
        ValueError: `dim` is not positive or the distribution is unknown.
    """

    dim: int = 128
    distribution: str = "uniform"

    def __post_init__(self):
        if self.dim < 1:
            raise ValueError(f"`z_dim` must be positive. Received: z_dim={self.dim}.")
        if self.distribution not in DISTRIBUTIONS:
            raise ValueError(
                f"The distribution of z must be one of {DISTRIBUTIONS}. Received: "
                f"distribution={self.distribution!r}."
            )

    def sample(self, num: int, seed) -> tf.Tensor:
        """Draws the same values for the same seed, on every device and replica.

        Args:
            num: int. How many.
            seed: two integers, or an integer tensor `(2,)`.

        Returns:
            float32, `(num, dim)`.
        """
        if self.distribution == "uniform":
            return 2.0 * random_uniform((num, self.dim), seed) - 1.0
        # Box and Muller; 1 - u is never 0.
        radius, turn = tf.unstack(random_uniform((2, num, self.dim), seed))
        return tf.sqrt(-2.0 * tf.math.log(1.0 - radius)) * tf.cos(2.0 * math.pi * turn)


def draw_labels(num: int, num_classes: int, seed) -> tf.Tensor:
    """Class labels for fakes, every class as likely as another.

    Args:
        num: int. How many.
        num_classes: int.
        seed: two integers, or an integer tensor `(2,)`.

    Returns:
        int32, `(num,)`, in [0, num_classes); the same for the same seed, everywhere.
    """
    return tf.cast(_random_bits((num,), seed) % num_classes, tf.int32)


def random_uniform(shape: tuple[int, ...], seed) -> tf.Tensor:
    """Uniform numbers, the same on every device, compiled by XLA or not.

    TensorFlow's own are not: XLA makes them of the same random bits in another way.

    Args:
        shape: of the result.
        seed: two integers, or an integer tensor `(2,)`.

    Returns:
        float32, multiples of 2^-24 in [0, 1).
    """
    # As many bits as a float has: 24 of 32.
    return tf.cast(_random_bits(shape, seed) // 2**8, tf.float32) * 2.0**-24


def _random_bits(shape: tuple[int, ...], seed) -> tf.Tensor:
    # The algorithm is named, since the one that TensorFlow would choose depends on the
    # device and on whether XLA compiles.
    return tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )


def fold(seed: int | tf.Tensor, stream: int | tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    """The seed of one draw.

    Args:
        seed: int, or an int64 scalar. Of the run.
        stream: int, or an int64 scalar. What the numbers are for; one of the streams
            above, or one of those beyond.
        draw: int64 scalar. How often such numbers have been drawn before.

    Returns:
        int64, `(2,)`.
    """
    key = tf.stack([tf.convert_to_tensor(each, tf.int64) for each in (seed, stream)])
    return tf.random.experimental.stateless_fold_in(key, draw, alg="philox")


def num_classes_of(network) -> int:
    """Classes that a network knows; 0 of one that says nothing of classes."""
    return getattr(network, "num_classes", 0)


def if_any(labels) -> tuple:
    """Labels as arguments of a call: none for networks that know no labels."""
    return () if labels is None else (labels,)
