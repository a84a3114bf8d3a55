"""Accuracy of a discriminator's rotation head."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ssgan_tf import rotation

_BATCH_SIZE = 64


def head_accuracy(
    predict_rotation_logits: Callable[[np.ndarray], np.ndarray], images: np.ndarray
) -> tuple[float, np.ndarray]:
    """Accuracy of a rotation head on images in all four orientations.

    Label k is k quarter turns counter-clockwise. The prediction is the largest of
    `rotation.rotation_scores`.

    Args:
        predict_rotation_logits: maps float32 images (b, H, H, C) to logits (b, 4, 5
            or 8). Called with b = min(N, 64) only: the last batch is padded, so the
            logits of an image must not depend on the other images.
        images: (N, H, H, C), N >= 1, of any type.

    Returns:
        The accuracy over the 4 N images (chance: 0.25), and the confusion matrix,
        int64 (4, 4): entry (i, j) counts images of orientation i predicted as j.

    Raises:
        ValueError: the logits are not finite or of the wrong shape.
    """
    size = min(len(images), _BATCH_SIZE)
    confusion = np.zeros((4, 4), np.int64)
    for start in range(0, len(images), size):
        batch = images[start : start + size].astype(np.float32)
        count = len(batch)
        batch = np.concatenate([batch, np.repeat(batch[:1], size - count, axis=0)])
        for turns in range(4):
            rotated = np.ascontiguousarray(np.rot90(batch, k=turns, axes=(1, 2)))
            logits = np.asarray(predict_rotation_logits(rotated))
            if (
                logits.ndim != 2
                or len(logits) != size
                or logits.shape[1] not in rotation.HEAD_SIZES
                or not np.isfinite(logits).all()
            ):
                raise ValueError(
                    f"Rotation logits must be finite and of shape ({size}, 4, 5 or "
                    f"8). Received: rotation_logits.shape={logits.shape}, finite="
                    f"{bool(np.isfinite(logits).all())}. Pass the output of the "
                    "rotation head."
                )
            scores = rotation.rotation_scores(tf.constant(logits[:count]))
            predicted = np.argmax(scores, axis=1)
            confusion[turns] += np.bincount(predicted, minlength=4)
    return float(np.trace(confusion) / confusion.sum()), confusion
