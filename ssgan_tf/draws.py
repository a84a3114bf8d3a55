"""Random numbers of a train step: functions of (seed, step), dealt to the shares."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from ssgan_tf.latents import fold, random_uniform


class Share(NamedTuple):
    """Which rows of the global batch: row j of share i of n is row j n + i.

    So the last rows of all the shares are the last rows of the batch, and neither the
    images that are rotated nor their noise depend on the number of shares.

    Attributes:
        index: int, or an integer scalar tensor.
        count: int. How many shares there are.
    """

    index: int | tf.Tensor
    count: int

    @classmethod
    def of_replica(cls) -> "Share":
        """The share of the replica that calls; outside of any strategy, everything."""
        replica = tf.distribute.get_replica_context()
        return cls(replica.replica_id_in_sync_group, replica.num_replicas_in_sync)

    def piece(self, index: int, count: int) -> "Share":
        """One of `count` equal pieces of this share: rows index, index + count, ..."""
        return Share(index * self.count + self.index, count * self.count)


def deal(
    sample: Callable,
    rows: int,
    share: Share,
    *,
    seed: int | tf.Tensor,
    stream: int | tf.Tensor,
    draw: tf.Tensor
) -> tf.Tensor:
    """A share's rows of what `sample(all rows, seed)` draws.

    Args:
        sample: draws `(rows, ...)` from an integer tensor `(2,)`.
        rows: int. Rows of the share.
        share: which of them.
        seed, stream, draw: of the numbers, see `latents.fold`.

    Returns:
        `(rows, ...)`.
    """
    drawn = sample(rows * share.count, fold(seed, stream, draw))
    dealt = tf.reshape(drawn, [rows, share.count, *drawn.shape[1:]])
    return tf.gather(dealt, share.index, axis=1)


def uniform(shape: tuple[int, ...]) -> Callable:
    """A `sample` for `deal`: numbers in [0, 1), rows of this shape."""

    def sample(num: int, seed: tf.Tensor) -> tf.Tensor:
        return random_uniform((num, *shape), seed)

    return sample
