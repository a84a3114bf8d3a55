"""Batched functions on all replicas of a tf.distribute strategy."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def on_all_replicas(function: Callable, strategy: tf.distribute.Strategy) -> Callable:
    """Splits the rows of a batch among all replicas and gathers their results.

    Replica i gets the i-th of equal, contiguous shares. If the rows do not divide
    evenly, the last shares are padded with copies of the last row, whose results are
    dropped: every replica takes part in every call, even of a single row.

    With several workers, every worker must make the same calls with the same rows, and
    gets the whole result.

    Args:
        function: traced function of tensors `(rows, ...)`, by position or name, that
            returns a nest of tensors `(rows, ...)`. A row of its results depends only
            on the same row of its arguments. Its variables were created under the
            strategy's scope; others are copied to each replica in each call.
        strategy: with a single replica `function` is called as it is.

    Returns:
        A function of whole batches, NumPy arrays or tensors with the same number of
        rows >= 1. It returns the nest of the function's results as NumPy arrays with
        as many rows, in order. On several replicas it is traced once per shape of the
        shares.

    Raises:
        ValueError: by the returned function, if the arguments have no rows or
            different numbers of rows.
    """
    if strategy.num_replicas_in_sync == 1:

        def run(args, kwargs, num_rows):
            return strategy.run(function, args, kwargs)

    else:
        run = _run_on_several(function, strategy)

    def on_all(*args, **kwargs):
        num_rows = _num_rows(tf.nest.flatten((args, kwargs)))
        return tf.nest.map_structure(np.asarray, run(args, kwargs, num_rows))

    return on_all


def _run_on_several(function: Callable, strategy: tf.distribute.Strategy) -> Callable:
    """Returns a function of (args, kwargs, num_rows) that runs on several replicas."""
    num_replicas = strategy.num_replicas_in_sync

    # Without a graph the replicas would run one after another.
    @tf.function
    def run_and_gather(args, kwargs):
        # The lambda hides the input signature of `function`, against which the
        # strategy would check the values of all replicas at once.
        outputs = strategy.run(lambda *a, **k: function(*a, **k), args, kwargs)
        return tf.nest.map_structure(lambda part: strategy.gather(part, 0), outputs)

    def run(args, kwargs, num_rows):
        arrays = tf.nest.map_structure(np.asarray, (args, kwargs))
        share = -(-num_rows // num_replicas)

        def share_of(context):
            start = context.replica_id_in_sync_group * share
            rows = np.minimum(np.arange(start, start + share), num_rows - 1)
            # Each share goes from the host to its replica alone.
            with tf.device("CPU:0"):
                return tf.nest.map_structure(lambda a: tf.constant(a[rows]), arrays)

        shares = strategy.experimental_distribute_values_from_function(share_of)
        outputs = run_and_gather(*shares)
        return tf.nest.map_structure(lambda rows: rows[:num_rows], outputs)

    return run


def _num_rows(batches: list) -> int:
    counts = {len(batch) for batch in batches}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "The parts of a batch must have the same number of rows, at least one. "
            f"Received: shapes={[tuple(batch.shape) for batch in batches]}."
        )
    return counts.pop()
