"""Paths between latents."""

import numpy as np


def _slerp(start: np.ndarray, end: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points of the arc from one unit vector to another; Shoemake, 1985."""
    # Exact for all angles, as the arc cosine is not.
    angle = 2.0 * np.arctan2(
        np.linalg.norm(start - end, axis=-1, keepdims=True),
        np.linalg.norm(start + end, axis=-1, keepdims=True),
    )
    bent = np.sin(angle) > 1e-6
    sine = np.where(bent, np.sin(angle), 1.0)
    weights = (
        np.where(bent, np.sin(share * angle) / sine, share)
        for share in (1.0 - shares, shares)
    )
    return sum(w * each for w, each in zip(weights, (start, end), strict=True))
