"""The training stream: a function of (seed, step), for any number of replicas.

Samples are numbered 0, 1, 2, ... over the whole run. With N images, sample i is the
image at place `i % N` of the order of epoch `i // N`, and that order is a function of
(seed, epoch) and of how often the run has gone back to a checkpoint. Train step s
consumes `d_steps` global batches; batch j of it holds the samples
`(s * d_steps + j) * batch_size + [0, batch_size)`, dealt out in turn: replica r of R
owns the rows r, r + R, r + 2R, ... So a step number is all that a resumed run needs,
and neither the images of a step nor the last n of them depend on the number of
replicas: the last n / R rows of all the shares are the last n rows of the batch.
"""

import numpy as np
import tensorflow as tf

from ssgan_tf.datasets.stored import StoredImages

# Keep the bits of the orders and of the flips apart from each other and from noise
# drawn statelessly from (seed, step).
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
        rollbacks: int. How often the run has gone back to a checkpoint.

    Returns:
        int64 tensor `(N,)`: a permutation of 0 to N - 1, drawn afresh for every
        (seed, epoch, rollbacks), the same in every process.
    """
    # `index_shuffle` would need no table of N numbers, but its cipher has only four
    # rounds: orders of successive epochs are correlated (r = 0.2 at N = 50,000), some
    # are nearly the identity at N = 1,400, and some are the identity at N = 20.
    # The algorithm is named because "auto_select" may differ between devices.
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
    """Which places of an epoch show their image mirrored, left for right.

    Args:
        num_images, seed, epoch, rollbacks: as for `epoch_order`.

    Returns:
        int64 tensor `(N,)` of 0 and 1, each as likely. Like the order it is a function
        of (seed, epoch, rollbacks).
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
    """The infinite stream of one input pipeline, one element per replica and step.

    Made for `strategy.distribute_datasets_from_function`, which pulls one element
    for each local replica, in order. Without a strategy there is one replica.

    Args:
        images: uint8 `(N, height, width, channels)`. A NumPy array is copied once to
            a tensor on the host, a tensor is used as it is; `StoredImages` are decoded
            by all cores as they are needed, a few batches ahead.
        labels: int32 `(N,)`.
        batch_size: int. The global batch: images per D step over all replicas.
        seed: int. The run's seed.
        d_steps: int. D steps, hence batches of real images, per train step.
        start_step: int. The first train step of the stream, counted from 0.
        rollbacks: int. See `epoch_order`.
        flip: bool. Whether every image is mirrored half of the time; `epoch_flips`
            says when.
        input_context: what the strategy hands to the dataset function: the number
            of replicas, and which of them this pipeline feeds. None is one replica.

    Returns:
        A dataset of `(images, labels)`: uint8 `(d_steps * b, height, width,
        channels)` and int32 `(d_steps * b,)`, where `b = batch_size / replicas` and
        rows `[j * b, (j + 1) * b)` belong to D step j. Shapes are static, the order
        is deterministic.

    Raises:
        ValueError: if a count is out of range, `batch_size` does not divide evenly,
            or `images` and `labels` are not as above.
    """
    context = input_context or tf.distribute.InputContext()
    num_replicas = context.num_replicas_in_sync
    local_replicas = num_replicas // context.num_input_pipelines
    first_replica = context.input_pipeline_id * local_replicas
    _check_counts(batch_size, d_steps, start_step, context)
    # On the host: a GPU must not be filled with the data set.
    with tf.device("CPU:0"):
        if not isinstance(images, StoredImages):
            images = tf.convert_to_tensor(images)
        labels = tf.convert_to_tensor(labels)
    _check_tensors(images, labels)

    num_images = images.shape[0]
    replica_batch = batch_size // num_replicas
    samples_per_step = d_steps * batch_size
    first_epoch, first_place = divmod(start_step * samples_per_step, num_images)

    def remaining_order(epoch: tf.Tensor) -> tf.Tensor:
        which = dict(seed=seed, epoch=epoch, rollbacks=rollbacks)
        order = epoch_order(num_images, **which)
        if flip:
            # One number says both: N and more stand for the mirrored images.
            order += num_images * epoch_flips(num_images, **which)
        return order[tf.where(epoch == first_epoch, first_place, 0) :]

    def local_shares(indices: tf.Tensor) -> tf.Tensor:
        shares = tf.reshape(indices, [d_steps, replica_batch, num_replicas])
        shares = shares[..., first_replica : first_replica + local_replicas]
        return tf.reshape(tf.transpose(shares, [2, 0, 1]), [-1])

    indices = (
        tf.data.Dataset.counter(first_epoch)
        .map(remaining_order)
        .rebatch(samples_per_step, drop_remainder=True)
        .map(local_shares)
    )
    options = tf.data.Options()
    # Images decoded in parallel stay in line.
    options.deterministic = True
    return (
        _look_up(indices, images, labels, d_steps * replica_batch, flip)
        # What takes batches apart forgets that the stream never ends.
        .apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        .prefetch(2 * local_replicas)
        .with_options(options)
    )


def _look_up(
    indices: tf.data.Dataset,
    images: tf.Tensor | StoredImages,
    labels: tf.Tensor,
    share: int,
    flip: bool,
) -> tf.data.Dataset:
    """Images and labels, `share` of them an element, for batches of their indices.

    With `flip`, index N + i of N images is image i mirrored.
    """
    num_images = images.shape[0]
    is_stored = isinstance(images, StoredImages)

    def look_up(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One image where they are stored, else a batch of them."""
        place = index % num_images if flip else index
        found = images.look_up(place) if is_stored else tf.gather(images, place)
        if flip:
            mirrored = (index >= num_images)[..., tf.newaxis, tf.newaxis, tf.newaxis]
            found = tf.where(mirrored, tf.reverse(found, axis=[-2]), found)
        return found, tf.gather(labels, place)

    if is_stored:
        # One by one, so that the first batch too is decoded by all cores.
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
            "`open_split` returns them so."
        )
    if labels.dtype != tf.int32 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"`labels` must be int32 of shape ({images.shape[0]},), one per image. "
            f"Received: labels of {labels.dtype.name} and shape {labels.shape}. "
            "`open_split` returns them so."
        )
