"""The generator's noise and labels, as pure functions of a seed."""

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
        distribution: "uniform" on [-1, 1), compare_gan's default, or "normal" with
            mean 0 and deviation 1.

    Raises:
        ValueError: `dim` is not positive or the distribution is unknown.
    """

    dim: int = 128
    distribution: str = "uniform"

    def __post_init__(self):
        if self.dim < 1:
            raise ValueError(
                f"`z_dim` must be positive. Received: z_dim={self.dim}. The paper "
                "takes 128."
            )
        if self.distribution not in DISTRIBUTIONS:
            raise ValueError(
                f"The distribution of z must be one of {DISTRIBUTIONS}. Received: "
                f"distribution={self.distribution!r}. The paper's is uniform."
            )

    def sample(self, num: int, seed, truncation: float | None = None) -> tf.Tensor:
        """Draws the same values for the same seed, on every device and replica.

        Args:
            num: int. How many.
            seed: two integers, or an integer tensor `(2,)`.
            truncation: float > 0, of uniform z at most 1. Values are distributed as if
                those of a larger magnitude were drawn again: less variety, of some
                GANs better images. Each value keeps its quantile, so a seed stands for
                the same images at every threshold, nearer to that of z = 0 the lower
                it is. None: no limit.

        Returns:
            float32, `(num, dim)`.

        Raises:
            ValueError: there is no such threshold.

        Reference:
            - Brock et al., 2019, section 3.1, https://arxiv.org/abs/1809.11096
        """
        if truncation is not None:
            self._check_truncation(truncation)
        if self.distribution == "uniform":
            draws = 2.0 * random_uniform((num, self.dim), seed) - 1.0
            return draws if truncation is None else float(truncation) * draws
        # Box and Muller; 1 - u is never 0.
        radius, turn = tf.unstack(random_uniform((2, num, self.dim), seed))
        draws = tf.sqrt(-2.0 * tf.math.log(1.0 - radius)) * tf.cos(2.0 * math.pi * turn)
        return draws if truncation is None else _truncate_normal(draws, truncation)

    def _check_truncation(self, truncation: float) -> None:
        limit = 1.0 if self.distribution == "uniform" else math.inf
        # Written so that NaN, for which every comparison is false, fails too.
        if not 0.0 < truncation <= limit:
            rule = (
                "positive" if limit > 1.0 else "positive, and at most 1 for uniform z"
            )
            raise ValueError(
                f"The truncation of z must be {rule}. Received: truncation="
                f"{truncation}, distribution={self.distribution!r}. Leave it out for "
                "none."
            )


def _truncate_normal(draws: tf.Tensor, threshold: float) -> tf.Tensor:
    """The values that have the same quantiles among those within the threshold.

    P(|z| <= r) = erf(r / sqrt 2), for z within t divided by that of t.
    """
    # float32 would leave few values in the tails, and near zero.
    inside = tf.math.erf(tf.cast(draws, tf.float64) / math.sqrt(2.0))
    inside *= math.erf(threshold / math.sqrt(2.0))
    return tf.cast(math.sqrt(2.0) * tf.math.erfinv(inside), tf.float32)


def draw_labels(num: int, num_classes: int, seed) -> tf.Tensor:
    """Class labels for fakes, every class as likely as another.

    Args:
        num: int. How many.
        num_classes: int.
        seed: two integers, or an integer tensor `(2,)`.

    Returns:
        int32, `(num,)`, in [0, num_classes); the same for the same seed, everywhere.
    """
    return tf.cast(random_bits((num,), seed) % num_classes, tf.int32)


def num_classes_of(network) -> int:
    """Classes that a network knows; 0 of one that says nothing of classes."""
    return getattr(network, "num_classes", 0)


def as_arguments(labels) -> tuple:
    """Labels as arguments of a call: none for networks that know no labels."""
    return () if labels is None else (labels,)
