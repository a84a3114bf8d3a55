"""Paths between latents, for interpolation figures and videos."""

import numpy as np

from ssgan_tf.latents import Latents


def interpolate(latents: Latents, start, end, fractions) -> np.ndarray:
    """Latents on a path from `start` to `end`, all about as likely as the ends.

        uniform   z(s) = (1 - s) a + s b                  inside the cube
        normal    z(s) = ((1 - s) |a| + s |b|) u(s)       at the usual radius

    u(s) moves at constant speed along the shortest arc of the unit sphere from a / |a|
    to b / |b|. Normal latents are close to one sphere, which a straight line would
    leave. Between opposite directions, without a shortest arc, the path is straight.

    Args:
        latents: `Latents`. Distribution of z, such as `module.latents`.
        start: float, `(rows, dim)`; a.
        end: float, the same shape; b.
        fractions: float in [0, 1], `(steps,)`; s.

    Returns:
        float32, `(rows, steps, dim)`. Row i runs from `start[i]` to `end[i]`.

    Raises:
        ValueError: the shapes of `start` and `end` differ, or are not `(rows, dim)`.

    Reference:
        - White, 2016, https://arxiv.org/abs/1609.04468
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    if start.shape != end.shape or start.shape[1:] != (latents.dim,):
        raise ValueError(
            f"Latents to interpolate must be pairs of shape (rows, {latents.dim}). "
            f"Received: start.shape={start.shape}, end.shape={end.shape}. Take both "
            "from `sample`, with the same number of rows."
        )
    start, end = start[:, None, :], end[:, None, :]
    fractions = np.asarray(fractions, np.float64)[:, None]
    if latents.distribution == "uniform":
        return ((1.0 - fractions) * start + fractions * end).astype(np.float32)
    start_norm, end_norm = (
        np.linalg.norm(point, axis=-1, keepdims=True) for point in (start, end)
    )
    # Avoids 0 / 0 for zero vectors.
    tiny = np.finfo(np.float64).tiny
    start, end = start / np.maximum(start_norm, tiny), end / np.maximum(end_norm, tiny)
    directions = _slerp(start, end, fractions)
    radii = (1.0 - fractions) * start_norm + fractions * end_norm
    return (radii * directions).astype(np.float32)


def loop(latents: Latents, corners, steps: int) -> np.ndarray:
    """Latents on a closed path through `corners`.

    Args:
        latents: `Latents`. Distribution of z.
        corners: float, `(num, dim)`.
        steps: int. Steps from one corner to the next.

    Returns:
        float32, `(num * steps, dim)`. Every `steps`-th row is a corner; the last row is
        one step before the first.

    Raises:
        ValueError: see `interpolate`.
    """
    next_corners = np.roll(corners, -1, axis=0)
    path = interpolate(latents, corners, next_corners, np.arange(steps) / steps)
    return path.reshape(-1, latents.dim)


def _slerp(start: np.ndarray, end: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Points on the arc between two unit vectors; Shoemake, 1985."""
    # The arc cosine would be inaccurate near 0 and pi.
    angle = 2.0 * np.arctan2(
        np.linalg.norm(start - end, axis=-1, keepdims=True),
        np.linalg.norm(start + end, axis=-1, keepdims=True),
    )
    bent = np.sin(angle) > 1e-6
    sine = np.where(bent, np.sin(angle), 1.0)
    start_weight, end_weight = (
        np.where(bent, np.sin(fraction * angle) / sine, fraction)
        for fraction in (1.0 - fractions, fractions)
    )
    return start_weight * start + end_weight * end
