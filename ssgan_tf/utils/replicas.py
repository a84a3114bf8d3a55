"""Functions of rows, such as images, on all replicas of a tf.distribute strategy."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def on_all_replicas(function: Callable, strategy: tf.distribute.Strategy) -> Callable:
    """Deals the rows of a batch out to all replicas and gathers what they make of them.

    Replica i gets the i-th of equal, contiguous shares. Where the rows do not divide
    evenly, the last shares are filled up with copies of the last row, whose results
    are cut off again: every replica takes part in every call, even of a single row.

    Under several workers every worker makes the same calls with the same rows, and
    gets the whole result; a worker that does not call leaves the others waiting.

    Args:
        function: traced function of tensors `(rows, ...)`, by position or by name,
            that returns a nest of tensors `(rows, ...)`. A row of its results
            depends on the same row of its arguments alone. Its variables were made
            under the strategy's scope; others are copied to each replica per call.
        strategy: where to run. One of a single replica calls `function` as it is.

    Returns:
        A function of whole batches, which are NumPy arrays or tensors, named as
        those of `function`, of any number of rows >= 1, the same for all. It returns
        the nest of the function's results as NumPy arrays with as many rows, in
        order. On several replicas it is traced once for each distinct shape of the
        shares.

    Raises:
        ValueError: by the returned function, the arguments differ in their numbers
            of rows, or have none.
    """
    num_replicas = strategy.num_replicas_in_sync

    # Outside a graph the replicas would run one after the other.
    @tf.function
    def run_and_gather(args, kwargs):
        # Not `function` itself: the strategy would look into it, and check all
        # replicas' values at once against its input signature.
        outputs = strategy.run(lambda *a, **k: function(*a, **k), args, kwargs)
        return tf.nest.map_structure(lambda each: strategy.gather(each, 0), outputs)

    def on_several(args, kwargs, num_rows):
        arrays = tf.nest.map_structure(np.asarray, (args, kwargs))
        share = -(-num_rows // num_replicas)

        def share_of(context):
            start = context.replica_id_in_sync_group * share
            places = np.minimum(np.arange(start, start + share), num_rows - 1)
            # From the host each share goes straight to its replica.
            with tf.device("CPU:0"):
                return tf.nest.map_structure(lambda a: tf.constant(a[places]), arrays)

        shares = strategy.experimental_distribute_values_from_function(share_of)
        return tf.nest.map_structure(
            lambda each: each[:num_rows], run_and_gather(*shares)
        )

    def on_all(*args, **kwargs):
        num_rows = _num_rows(tf.nest.flatten((args, kwargs)))
        if num_replicas == 1:
            outputs = strategy.run(function, args, kwargs)
        else:
            outputs = on_several(args, kwargs, num_rows)
        return tf.nest.map_structure(np.asarray, outputs)

    return on_all


def _num_rows(batches: list) -> int:
    counts = {len(batch) for batch in batches}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "The parts of a batch must have equally many rows, one or more. Received: "
            f"shapes={[tuple(batch.shape) for batch in batches]}. Pass rows that "
            "belong together."
        )
    return counts.pop()
