"""The inputs of G: latents and class labels, as pure functions of a seed."""

import dataclasses
import math

import tensorflow as tf

from ssgan_tf.randomness import random_bits, random_uniform

DISTRIBUTIONS = ("uniform", "normal")


@dataclasses.dataclass(frozen=True)
class Latents:
    """Distribution of z.

    Attributes:
        dim: int. Size of z; 128 in the paper.
        distribution: "uniform" on [-1, 1), compare_gan's default, or "normal", the
            standard normal distribution.

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

    def sample(self, num: int, seed, truncation: float | None = None) -> tf.Tensor:
        """Draws latents, the same for the same seed on every device and replica.

        Args:
            num: int. Number of latents.
            seed: two integers, or an integer tensor `(2,)`.
            truncation: None, or float > 0, at most 1 for uniform z: the largest
                magnitude. A lower threshold gives less variety and, with some GANs,
                better images. The values have the truncated distribution and keep
                their quantiles, so a seed gives related images at all thresholds.

        Returns:
            float32, `(num, dim)`.

        Raises:
            ValueError: `truncation` is out of range.

        Reference:
            - Brock et al., 2019, section 3.1, https://arxiv.org/abs/1809.11096
        """
        if truncation is not None:
            self._check_truncation(truncation)
        if self.distribution == "uniform":
            draws = 2.0 * random_uniform((num, self.dim), seed) - 1.0
            return draws if truncation is None else float(truncation) * draws
        # Box and Muller. `1 - radius` is never 0.
        radius, turn = tf.unstack(random_uniform((2, num, self.dim), seed))
        draws = tf.sqrt(-2.0 * tf.math.log(1.0 - radius)) * tf.cos(2.0 * math.pi * turn)
        return draws if truncation is None else _truncate_normal(draws, truncation)

    def _check_truncation(self, truncation: float) -> None:
        limit = 1.0 if self.distribution == "uniform" else math.inf
        # This form rejects NaN too.
        if not 0.0 < truncation <= limit:
            raise ValueError(
                "The truncation of z must be positive, for uniform z at most 1. "
                f"Received: {truncation=}, distribution={self.distribution!r}."
            )


def _truncate_normal(draws: tf.Tensor, threshold: float) -> tf.Tensor:
    """The values of the truncated normal distribution with the same quantiles.

    P(|z| <= r) = erf(r / sqrt 2), and that divided by erf(t / sqrt 2) if |z| <= t.
    """
    # float32 has too few values in the tails and near zero.
    quantiles = tf.math.erf(tf.cast(draws, tf.float64) / math.sqrt(2.0))
    quantiles *= math.erf(threshold / math.sqrt(2.0))
    return tf.cast(math.sqrt(2.0) * tf.math.erfinv(quantiles), tf.float32)


def draw_labels(num: int, num_classes: int, seed) -> tf.Tensor:
    """Draws class labels for fakes, all classes with equal probability.

    Args:
        num: int. Number of labels.
        num_classes: int.
        seed: two integers, or an integer tensor `(2,)`.

    Returns:
        int32, `(num,)`, in [0, num_classes); the same for the same seed on every device
        and replica.
    """
    return tf.cast(random_bits((num,), seed) % num_classes, tf.int32)


def num_classes_of(network) -> int:
    """Number of classes of a network, 0 for an unconditional one."""
    return getattr(network, "num_classes", 0)


def as_arguments(labels) -> tuple:
    """Labels as positional arguments of a call: `()` if there are no labels."""
    return () if labels is None else (labels,)
