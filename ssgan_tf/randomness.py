"""Random numbers of a train step: functions of (seed, step), dealt to the shares."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# Second number of a seed: draws for different purposes never meet.
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


def random_uniform(shape: tuple[int, ...], seed) -> tf.Tensor:
    """Uniform numbers, the same on every device, compiled by XLA or not.

    TensorFlow's own are not: XLA makes them of the same random bits in another way.

    Args:
        shape: of the result.
        seed: two integers, or an integer tensor `(2,)`.

    Returns:
        float32, multiples of 2^-24 in [0, 1).
    """
    # As many bits as a float has: 24 of 32.
    return tf.cast(random_bits(shape, seed) // 2**8, tf.float32) * 2.0**-24


def random_bits(shape: tuple[int, ...], seed) -> tf.Tensor:
    # The algorithm is named, since the one that TensorFlow would choose depends on the
    # device and on whether XLA compiles.
    return tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )


def fold(seed: int | tf.Tensor, stream: int | tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    """The seed of one draw.

    Args:
        seed: int, or an int64 scalar. Of the run.
        stream: int, or an int64 scalar. What the numbers are for; one of the streams
            above, or one of those beyond.
        draw: int64 scalar. How often such numbers have been drawn before.

    Returns:
        int64, `(2,)`.
    """
    key = tf.stack([tf.convert_to_tensor(each, tf.int64) for each in (seed, stream)])
    return tf.random.experimental.stateless_fold_in(key, draw, alg="philox")


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
    draw: tf.Tensor,
) -> tf.Tensor:
    """A share's rows of what `sample(all rows, seed)` draws.

    Args:
        sample: draws `(rows, ...)` from an integer tensor `(2,)`.
        rows: int. Rows of the share.
        share: which of them.
        seed, stream, draw: of the numbers, see `randomness.fold`.

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
