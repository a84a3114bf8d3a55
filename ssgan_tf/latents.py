"""The generator's noise and labels, as pure functions of a seed."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from ssgan_tf.modules.interpolation import _slerp
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

    def interpolate(self, start, end, shares) -> np.ndarray:
        """Latents on the way from one to another, each as typical as those two.

            uniform   z(s) = (1 - s) a + s b                  inside the cube
            normal    z(s) = ((1 - s) |a| + s |b|) u(s)       at the usual radius

        where u(s) runs at even speed along the shortest arc of the unit sphere from
        a / |a| to b / |b|: normal latents all lie near one sphere, and a straight way
        would leave it. Where they point in opposite directions, there is no such arc,
        and the way is straight.

        Args:
            start: float, `(rows, dim)`; a.
            end: float, the same shape; b.
            shares: float in [0, 1], `(steps,)`; s.

        Returns:
            float32, `(rows, steps, dim)`. Row i runs from `start[i]` to `end[i]`.

        Raises:
            ValueError: `start` and `end` are no such latents.

        Reference:
            - White, 2016, https://arxiv.org/abs/1609.04468
        """
        ends = [np.asarray(each, np.float64) for each in (start, end)]
        shapes = [each.shape for each in ends]
        if shapes[0] != shapes[1] or shapes[0][1:] != (self.dim,):
            raise ValueError(
                f"Latents to interpolate must be pairs of shape (rows, {self.dim}). "
                f"Received: start.shape={shapes[0]}, end.shape={shapes[1]}. Take both "
                "from `sample`, with one number of rows."
            )
        start, end = (each[:, None, :] for each in ends)
        shares = np.asarray(shares, np.float64)[:, None]
        if self.distribution == "uniform":
            return ((1.0 - shares) * start + shares * end).astype(np.float32)
        norms = [np.linalg.norm(each, axis=-1, keepdims=True) for each in (start, end)]
        # Zero has no direction, and needs none.
        start, end = (
            each / np.maximum(norm, np.finfo(norm.dtype).tiny)
            for each, norm in zip((start, end), norms, strict=True)
        )
        directions = _slerp(start, end, shares)
        radii = (1.0 - shares) * norms[0] + shares * norms[1]
        return (radii * directions).astype(np.float32)

    def loop(self, latents, steps: int) -> np.ndarray:
        """Latents on a way through all of these and back to the first.

        Args:
            latents: float, `(num, dim)`.
            steps: int. From one to the next.

        Returns:
            float32, `(num * steps, dim)`. Every `steps`-th is one of `latents`; one
            step leads from the last to the first.

        Raises:
            ValueError: as `interpolate`.
        """
        following = np.roll(latents, -1, axis=0)
        way = self.interpolate(latents, following, np.arange(steps) / steps)
        return way.reshape(-1, self.dim)


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


def if_any(labels) -> tuple:
    """Labels as arguments of a call: none for networks that know no labels."""
    return () if labels is None else (labels,)
