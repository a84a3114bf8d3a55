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
    flip: bool = False,
) -> tf.Tensor:
    """The order in which an epoch visits the images.

    Args:
        num_images: int. N, at least 1.
        seed: int64 scalar. The run's seed.
        epoch: int64 scalar, from 0.
        rollbacks: int. Number of rollbacks to a checkpoint so far.
        flip: bool. Mirror each image, left to right, with probability 1/2: index N + i
            is image i mirrored.

    Returns:
        int64 tensor `(N,)`: a random permutation of 0 to N - 1, plus N where the image
        is mirrored. Independent for every (seed, epoch, rollbacks) and the same in
        every process.
    """

    def key(stream: int) -> tf.Tensor:
        return tf.random.experimental.stateless_fold_in(
            tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)]),
            tf.constant(stream + rollbacks, tf.int64),
            alg="philox",
        )

    # `index_shuffle` needs no table of N numbers, but its cipher has only four rounds:
    # orders of successive epochs are correlated (r = 0.2 at N = 50,000), some are
    # nearly the identity at N = 1,400, and some are the identity at N = 20.
    # "auto_select" could choose different algorithms on different devices.
    order = tf.random.experimental.stateless_shuffle(
        tf.range(num_images, dtype=tf.int64), seed=key(_ORDER_STREAM), alg="philox"
    )
    if not flip:
        return order
    mirrored = tf.random.stateless_uniform(
        [num_images],
        seed=key(_FLIP_STREAM),
        minval=0,
        maxval=2,
        dtype=tf.int64,
        alg="philox",
    )
    return order + num_images * mirrored


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
        flip: bool. Mirror every image with probability 1/2, by `epoch_order`.
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

    num_replicas = context.num_replicas_in_sync
    replica_batch = batch_size // num_replicas
    samples_per_step = d_steps * batch_size
    num_images = images.shape[0]
    first_epoch, first_place = divmod(start_step * samples_per_step, num_images)

    def remaining_order(epoch: tf.Tensor) -> tf.Tensor:
        order = epoch_order(
            num_images, seed=seed, epoch=epoch, rollbacks=rollbacks, flip=flip
        )
        return order[tf.where(epoch == first_epoch, first_place, 0) :]

    orders = tf.data.Dataset.counter(first_epoch).map(remaining_order)
    local_replicas = num_replicas // context.num_input_pipelines
    first = context.input_pipeline_id * local_replicas

    def local_shares(indices: tf.Tensor) -> tf.Tensor:
        """The indices of a step for the local replicas, one replica after another."""
        shares = tf.reshape(indices, [d_steps, replica_batch, num_replicas])
        shares = shares[..., first : first + local_replicas]
        return tf.reshape(tf.transpose(shares, [2, 0, 1]), [-1])

    shares = orders.rebatch(samples_per_step, drop_remainder=True).map(local_shares)
    return (
        _look_up(shares, images, labels, share=d_steps * replica_batch, flip=flip)
        # `unbatch` and `rebatch` lose the information that the stream is infinite.
        .apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        .prefetch(2 * local_replicas)
    )


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

    in_order = dict(num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if is_stored:
        # One by one, so that all cores decode the first batch too.
        decoded = indices.unbatch().map(look_up, **in_order)
        return decoded.batch(share, drop_remainder=True)
    return indices.rebatch(share, drop_remainder=True).map(look_up, **in_order)


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
            "Every worker must have the same number of replicas. Received: "
            f"num_replicas={num_replicas} of {context.num_input_pipelines} workers."
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
    are_images = images.dtype == tf.uint8 and images.shape.rank == 4 and images.shape[0]
    if not are_images or labels.dtype != tf.int32 or labels.shape != images.shape[:1]:
        raise ValueError(
            "`images` must be uint8 of shape (N, height, width, channels), N > 0, and "
            f"`labels` int32 of shape (N,). Received: images of {images.dtype.name} "
            f"and shape {images.shape}, labels of {labels.dtype.name} and shape "
            f"{labels.shape}. Pass those of `open_split`."
        )
