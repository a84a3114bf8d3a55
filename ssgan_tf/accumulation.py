"""Gradients of a batch that does not fit, from pieces of it one after another."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


def accumulate(
    compute: Callable[[int], tuple],
    num_pieces: int,
    state: Sequence[keras.Variable],
) -> tuple:
    """Runs `compute` on every piece of a batch, with the memory of one (not under XLA).

    Every piece starts from the same state: spectral-norm vectors, which a piece moves
    as the whole batch would, and moving moments. What stays is the mean of the states
    that the pieces left.

    Args:
        compute: takes the number of the piece, returns `(gradients, logs)`: a list of
            tensors and a dict of scalars.
        num_pieces: int.
        state: float variables that `compute` changes.

    Returns:
        `(gradients, logs)`: sums of the gradients, means of the scalars.
    """
    start = [tf.identity(tf.convert_to_tensor(variable)) for variable in state]
    totals = None
    for piece in range(num_pieces):
        # Side by side, pieces would take as much memory as the batch.
        with tf.control_dependencies(tf.nest.flatten(totals) if totals else []):
            for variable, value in zip(state, start, strict=True):
                variable.assign(value)
            gradients, logs = compute(piece)
            left = [tf.identity(tf.convert_to_tensor(variable)) for variable in state]
            results = gradients, logs, left
            if totals is not None:
                results = tf.nest.map_structure(tf.add, totals, results)
            totals = results
    gradients, logs, left = totals
    for variable, total in zip(state, left, strict=True):
        variable.assign(total / num_pieces)
    return gradients, {name: total / num_pieces for name, total in logs.items()}
