"""Random numbers as functions of (seed, stream, draw), dealt to replicas.

The order of this file: streams, the seed of a draw, random numbers, shares of a batch,
dealing.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# Streams: the second number of a seed, one for each purpose.
(
    TRAINING_STREAM,
    SAMPLING_STREAM,
    TRAINING_LABELS_STREAM,
    SAMPLING_LABELS_STREAM,
    PENALTY_STREAM,
    AUGMENTATION_STREAM,
    STANDING_STREAM,
) = range(7)
NUM_STREAMS = 7


def fold(seed: int | tf.Tensor, stream: int | tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    """The seed of one draw.

    Args:
        seed: int, or an int64 scalar. Seed of the run.
        stream: int, or an int64 scalar. Purpose of the numbers: a stream above, or a
            larger number.
        draw: int64 scalar. Number of earlier draws from this stream.

    Returns:
        int64, `(2,)`.
    """
    key = tf.stack([tf.convert_to_tensor(part, tf.int64) for part in (seed, stream)])
    return tf.random.experimental.stateless_fold_in(key, draw, alg="philox")


def random_bits(shape: tuple[int, ...], seed) -> tf.Tensor:
    """Random uint32 numbers, the same on every device, with or without XLA."""
    # By default TensorFlow chooses the algorithm by device and compiler.
    return tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )


def random_uniform(shape: tuple[int, ...], seed) -> tf.Tensor:
    """Uniform numbers, the same on every device, with or without XLA.

    XLA derives TensorFlow's own uniform numbers from the same bits in another way.

    Args:
        shape: shape of the result.
        seed: two integers, or an integer tensor `(2,)`.

    Returns:
        float32, multiples of 2^-24 in [0, 1).
    """
    # A float32 has 24 significant bits.
    return tf.cast(random_bits(shape, seed) // 2**8, tf.float32) * 2.0**-24


class Share(NamedTuple):
    """One of n equal shares of the global batch: row j of share i is row j n + i.

    The last rows of all shares are the last rows of the batch. So the rotated images
    and all noise are the same for every number of shares.

    Attributes:
        index: int, or an integer scalar tensor.
        count: int. Number of shares.
    """

    index: int | tf.Tensor
    count: int

    @classmethod
    def of_replica(cls) -> "Share":
        """The share of the calling replica; the whole batch without a strategy."""
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
    draw: tf.Tensor,
) -> tf.Tensor:
    """Draws random rows for the global batch and returns those of one share.

    Args:
        sample: `sample(rows, seed)` draws `(rows, ...)` from an integer tensor `(2,)`.
        rows: int. Rows of the share.
        share: the share.
        seed, stream, draw: see `fold`.

    Returns:
        `(rows, ...)`.
    """
    drawn = sample(rows * share.count, fold(seed, stream, draw))
    dealt = tf.reshape(drawn, [rows, share.count, *drawn.shape[1:]])
    return tf.gather(dealt, share.index, axis=1)


def uniform(shape: tuple[int, ...]) -> Callable:
    """A `sample` for `deal`: numbers in [0, 1), every row of this shape."""

    def sample(num: int, seed: tf.Tensor) -> tf.Tensor:
        return random_uniform((num, *shape), seed)

    return sample
