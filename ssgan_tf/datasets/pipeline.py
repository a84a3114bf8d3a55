"""The training stream: a function of (seed, step), for any number of replicas.

Samples are numbered 0, 1, 2, ... over the whole run. With N images, sample i is image
`i % N` in the order of epoch `i // N`. This order is a function of the seed, the epoch
and the number of rollbacks to a checkpoint.

Train step s consumes `d_steps` global batches. Its batch j holds the samples
`(s * d_steps + j) * batch_size + [0, batch_size)`. They are dealt to R replicas in
turn: replica r gets the rows r, r + R, r + 2R, ...

A resumed run thus needs only its step number, and the images of a step do not depend
on the number of replicas. Neither do the last n of them: they are the last n / R rows
of all replicas.
"""

import numpy as np
import tensorflow as tf

from ssgan_tf.datasets.stored import StoredImages

# Separate the random bits of orders, of flips and of noise drawn from (seed, step).
_ORDER_STREAM = 0x6F72646572
_FLIP_STREAM = 0x666C6970


def epoch_order(
    num_images: int,
    *,
    seed: int | tf.Tensor,
    epoch: int | tf.Tensor,
    rollbacks: int = 0,
) -> tf.Tensor:
    """The order in which an epoch visits the images.

    Args:
        num_images: int. N, at least 1.
        seed: int64 scalar. The run's seed.
        epoch: int64 scalar, from 0.
        rollbacks: int. Number of rollbacks to a checkpoint so far.

    Returns:
        int64 tensor `(N,)`: a random permutation of 0 to N - 1, independent for every
        (seed, epoch, rollbacks) and the same in every process.
    """
    # `index_shuffle` needs no table of N numbers, but its cipher has only four rounds:
    # orders of successive epochs are correlated (r = 0.2 at N = 50,000), some are
    # nearly the identity at N = 1,400, and some are the identity at N = 20.
    # "auto_select" could choose different algorithms on different devices.
    return tf.random.experimental.stateless_shuffle(
        tf.range(num_images, dtype=tf.int64),
        seed=_epoch_key(seed, epoch, _ORDER_STREAM + rollbacks),
        alg="philox",
    )


def epoch_flips(
    num_images: int,
    *,
    seed: int | tf.Tensor,
    epoch: int | tf.Tensor,
    rollbacks: int = 0,
) -> tf.Tensor:
    """Chooses the places of an epoch whose image is mirrored, left to right.

    Args:
        num_images, seed, epoch, rollbacks: as for `epoch_order`.

    Returns:
        int64 tensor `(N,)` of 0 and 1 with equal probability, a function of
        (seed, epoch, rollbacks).
    """
    return tf.random.stateless_uniform(
        [num_images],
        seed=_epoch_key(seed, epoch, _FLIP_STREAM + rollbacks),
        minval=0,
        maxval=2,
        dtype=tf.int64,
        alg="philox",
    )


def _epoch_key(seed, epoch, stream: int) -> tf.Tensor:
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.experimental.stateless_fold_in(
        key, tf.constant(stream, tf.int64), alg="philox"
    )


def training_dataset(
    images: np.ndarray | tf.Tensor | StoredImages,
    labels: np.ndarray | tf.Tensor,
    *,
    batch_size: int,
    seed: int,
    d_steps: int = 1,
    start_step: int = 0,
    rollbacks: int = 0,
    flip: bool = False,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """The infinite stream of one input pipeline, with an element per replica and step.

    Made for `strategy.distribute_datasets_from_function`, which takes one element
    for each local replica, in order. Without a strategy there is one replica.

    Args:
        images: uint8 `(N, height, width, channels)`. A NumPy array is copied once to
            a tensor on the host. `StoredImages` are decoded on all cores, a few batches
            ahead.
        labels: int32 `(N,)`.
        batch_size: int. The global batch: images per D step over all replicas.
        seed: int. The run's seed.
        d_steps: int. D steps, hence batches of real images, per train step.
        start_step: int. The first train step of the stream, from 0.
        rollbacks: int. See `epoch_order`.
        flip: bool. Mirror every image with probability 1/2, by `epoch_flips`.
        input_context: `tf.distribute.InputContext` of the strategy: the number of
            replicas, and those that this pipeline feeds. None means one replica.

    Returns:
        A dataset of `(images, labels)`: uint8 `(d_steps * b, height, width,
        channels)` and int32 `(d_steps * b,)`, with `b = batch_size / replicas`. Rows
        `[j * b, (j + 1) * b)` belong to D step j. Shapes are static, the order is
        deterministic.

    Raises:
        ValueError: if a count is out of range, `batch_size` is not divisible by the
            number of replicas, or `images` and `labels` are not as above.
    """
    context = input_context or tf.distribute.InputContext()
    _check_counts(batch_size, d_steps, start_step, context)
    # On the host, to keep the data set out of GPU memory.
    with tf.device("CPU:0"):
        if not isinstance(images, StoredImages):
            images = tf.convert_to_tensor(images)
        labels = tf.convert_to_tensor(labels)
    _check_tensors(images, labels)

    replica_batch = batch_size // context.num_replicas_in_sync
    samples_per_step = d_steps * batch_size
    indices = _index_stream(
        images.shape[0],
        start=start_step * samples_per_step,
        flip=flip,
        key={"seed": seed, "rollbacks": rollbacks},
    )
    shares = indices.rebatch(samples_per_step, drop_remainder=True).map(
        lambda step: _local_shares(step, d_steps, replica_batch, context)
    )
    options = tf.data.Options()
    # Keeps the order of images that are decoded in parallel.
    options.deterministic = True
    local_replicas = context.num_replicas_in_sync // context.num_input_pipelines
    return (
        _look_up(shares, images, labels, share=d_steps * replica_batch, flip=flip)
        # `unbatch` and `rebatch` lose the information that the stream is infinite.
        .apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        .prefetch(2 * local_replicas)
        .with_options(options)
    )


def _index_stream(
    num_images: int, *, start: int, flip: bool, key: dict
) -> tf.data.Dataset:
    """The orders of all epochs from sample `start` on, one epoch per element.

    With `flip`, index N + i of N images is image i mirrored.
    """
    first_epoch, first_place = divmod(start, num_images)

    def remaining_order(epoch: tf.Tensor) -> tf.Tensor:
        order = epoch_order(num_images, epoch=epoch, **key)
        if flip:
            order += num_images * epoch_flips(num_images, epoch=epoch, **key)
        return order[tf.where(epoch == first_epoch, first_place, 0) :]

    return tf.data.Dataset.counter(first_epoch).map(remaining_order)


def _local_shares(
    indices: tf.Tensor,
    d_steps: int,
    replica_batch: int,
    context: tf.distribute.InputContext,
) -> tf.Tensor:
    """The indices of a train step for the local replicas, one replica after another."""
    num_replicas = context.num_replicas_in_sync
    local_replicas = num_replicas // context.num_input_pipelines
    first = context.input_pipeline_id * local_replicas
    shares = tf.reshape(indices, [d_steps, replica_batch, num_replicas])
    shares = shares[..., first : first + local_replicas]
    return tf.reshape(tf.transpose(shares, [2, 0, 1]), [-1])


def _look_up(
    indices: tf.data.Dataset,
    images: tf.Tensor | StoredImages,
    labels: tf.Tensor,
    *,
    share: int,
    flip: bool,
) -> tf.data.Dataset:
    """Replaces batches of indices by images and labels, `share` of them per element."""
    num_images = images.shape[0]
    is_stored = isinstance(images, StoredImages)

    def look_up(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes one index of stored images, else a batch of indices."""
        place = index % num_images if flip else index
        pixels = images.look_up(place) if is_stored else tf.gather(images, place)
        if flip:
            mirrored = (index >= num_images)[..., tf.newaxis, tf.newaxis, tf.newaxis]
            pixels = tf.where(mirrored, tf.reverse(pixels, axis=[-2]), pixels)
        return pixels, tf.gather(labels, place)

    if is_stored:
        # One by one, so that all cores decode the first batch too.
        return (
            indices.unbatch()
            .map(look_up, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(share, drop_remainder=True)
        )
    return indices.rebatch(share, drop_remainder=True).map(
        look_up, num_parallel_calls=tf.data.AUTOTUNE
    )


def _check_counts(
    batch_size: int,
    d_steps: int,
    start_step: int,
    context: tf.distribute.InputContext,
) -> None:
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("d_steps", d_steps, 1),
        ("start_step", start_step, 0),
    ):
        if value < least:
            raise ValueError(
                f"`{name}` must be at least {least}. Received: {name}={value}. "
                f"Choose {least} or more."
            )
    num_replicas = context.num_replicas_in_sync
    if num_replicas % context.num_input_pipelines:
        raise ValueError(
            "Every input pipeline must feed the same number of replicas. Received: "
            f"num_replicas={num_replicas}, "
            f"num_input_pipelines={context.num_input_pipelines}. Give every worker the "
            "same number of devices."
        )
    if batch_size % num_replicas:
        below = batch_size // num_replicas * num_replicas
        choices = [str(n) for n in (below, below + num_replicas) if n]
        raise ValueError(
            "`batch_size` must be divisible by the number of replicas. Received: "
            f"batch_size={batch_size}, num_replicas={num_replicas}. Choose "
            f"{' or '.join(choices)}, or another number of replicas."
        )


def _check_tensors(images: tf.Tensor | StoredImages, labels: tf.Tensor) -> None:
    if images.dtype != tf.uint8 or images.shape.rank != 4 or images.shape[0] == 0:
        raise ValueError(
            "`images` must be uint8 of shape (N, height, width, channels), N > 0. "
            f"Received: images of {images.dtype.name} and shape {images.shape}. "
            "Pass images as `open_split` returns them."
        )
    if labels.dtype != tf.int32 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"`labels` must be int32 of shape ({images.shape[0]},), one per image. "
            f"Received: labels of {labels.dtype.name} and shape {labels.shape}. "
            "Pass labels as `open_split` returns them."
        )
