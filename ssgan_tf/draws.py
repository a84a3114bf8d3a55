"""Random numbers of a train step: functions of (seed, step), dealt to the replicas."""

from collections.abc import Callable

import tensorflow as tf

from ssgan_tf.latents import fold


def deal(
    sample: Callable, rows: int, *, seed: int, stream: int, draw: tf.Tensor
) -> tf.Tensor:
    """This replica's rows of what `sample(all rows, seed)` draws.

    Dealt out like the real images: row j of replica r of R is row j R + r, so the last
    rows of all the shares are the last rows of the batch, and neither the images that
    are rotated nor their noise depend on the number of replicas. Must be called within
    a replica, or outside of any strategy, which is one replica.

    Args:
        sample: draws `(rows, ...)` from an integer tensor `(2,)`.
        rows: int. Rows of one replica.
        seed, stream, draw: of the numbers, see `latents.fold`.

    Returns:
        `(rows, ...)`.
    """
    replica = tf.distribute.get_replica_context()
    replicas = replica.num_replicas_in_sync
    drawn = sample(rows * replicas, fold(seed, stream, draw))
    dealt = tf.reshape(drawn, [rows, replicas, *drawn.shape[1:]])
    return tf.gather(dealt, replica.replica_id_in_sync_group, axis=1)


def uniform(shape: tuple[int, ...]) -> Callable:
    """A `sample` for `deal`: numbers in [0, 1), rows of this shape."""

    def sample(num: int, seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform((num, *shape), seed, alg="philox")

    return sample
