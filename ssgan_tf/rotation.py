"""The paper's self-supervised task: which quarter turn was an image given?

Chen et al., "Self-Supervised GANs via Auxiliary Rotation Loss", CVPR 2019,
https://arxiv.org/abs/1811.11212, section 3. Rotations are integers 0 to 3, quarter
turns counter-clockwise, R = {0, 90, 180, 270} degrees. Pure functions of tensors.
"""

import tensorflow as tf

NUM_ROTATIONS = 4

# Outputs of a rotation head: the four turns; a class for fakes as well (SS-GAN-MS);
# turns of reals, then of fakes (SSGAN-LA).
HEAD_SIZES = (NUM_ROTATIONS, NUM_ROTATIONS + 1, 2 * NUM_ROTATIONS)


def rotate(images: tf.Tensor, rotation: int) -> tf.Tensor:
    """Turns square images counter-clockwise, as `np.rot90` does.

    Args:
        images: `(batch, size, size, channels)`, any dtype.
        rotation: int. Quarter turns; taken modulo 4.

    Returns:
        Tensor of the shape and dtype of `images`.
    """
    turns = {
        0: lambda x: x,
        1: lambda x: tf.reverse(tf.transpose(x, [0, 2, 1, 3]), axis=[1]),
        2: lambda x: tf.reverse(x, axis=[1, 2]),
        3: lambda x: tf.transpose(tf.reverse(x, axis=[1]), [0, 2, 1, 3]),
    }
    return turns[rotation % NUM_ROTATIONS](images)


def chosen(
    rows: tf.Tensor, num_rotated: int, rotation: int, each_in_one: bool = False
) -> tf.Tensor:
    """The rows of a batch that are shown in one orientation.

    Args:
        rows: `(batch, ...)`: images, their labels, or what D says of them.
        num_rotated: int. n, how many are shown in each orientation; in [1, batch], or
            in [1, batch / 4] where every image is shown in one.
        rotation: int in [0, 4).
        each_in_one: False: the last n rows, for every rotation alike, as compare_gan
            does. True: the n rows from `rotation * n` on, so that every image is shown
            in one orientation, as mimicry does.

    Returns:
        `(num_rotated, ...)`.
    """
    if each_in_one:
        return rows[rotation * num_rotated : (rotation + 1) * num_rotated]
    return rows[-num_rotated:]


def rotated_views(
    images: tf.Tensor, num_rotated: int, each_in_one: bool = False
) -> tf.Tensor:
    """Chosen images turned by 90, 180 and 270 degrees.

    Those that are shown upright are in the batch already: behind it, these serve both
    heads of D in one pass.

    Args:
        images: `(batch, size, size, channels)`.
        num_rotated: int. Images per orientation; see `chosen`.
        each_in_one: see `chosen`.

    Returns:
        `(3 * num_rotated, size, size, channels)`: n images turned once, n twice, n
        three times.
    """
    return tf.concat(
        [
            rotate(chosen(images, num_rotated, rotation, each_in_one), rotation)
            for rotation in range(1, NUM_ROTATIONS)
        ],
        axis=0,
    )


def rotation_labels(num_rotated: int) -> tf.Tensor:
    """Rotations of n upright images and their `rotated_views`: n zeros, n ones, ...

    Args:
        num_rotated: int. The number n of images shown in every orientation.

    Returns:
        int32, `(4 * num_rotated,)`.
    """
    return tf.repeat(tf.range(NUM_ROTATIONS), num_rotated)


def rotation_loss(logits: tf.Tensor, rotations: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of the rotation head.

        - E_x E_{r ~ R} log Q_D(R = r | x^r)

    Both players minimize it: D on real images (weight beta = 1), G on its own
    samples (weight alpha = 0.2). The term is collaborative, not adversarial.

    Args:
        logits: `(batch, classes)`, before the softmax; 4 classes in SS-GAN.
        rotations: int, `(batch,)`, in [0, classes).

    Returns:
        Scalar, in nats; log(4) = 1.386 means that the head knows nothing.
    """
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=rotations, logits=logits)
    )


def rotation_scores(logits: tf.Tensor) -> tf.Tensor:
    """What a rotation head of any kind says of the four rotations.

    Args:
        logits: `(batch, 4)`; `(batch, 5)` with a class for fakes, which is left out;
            `(batch, 8)`, rotations of reals, then of fakes, which are added up as
            probabilities.

    Returns:
        `(batch, 4)`, logits of the rotations.
    """
    if logits.shape[-1] == 2 * NUM_ROTATIONS:
        return tf.reduce_logsumexp(tf.stack(tf.split(logits, 2, axis=-1)), axis=0)
    return logits[:, :NUM_ROTATIONS]


def rotation_accuracy(logits: tf.Tensor, rotations: tf.Tensor) -> tf.Tensor:
    """Share of images whose turn the head names.

    Args:
        logits: `(batch, 4)`, or 5 or 8 as `rotation_scores` takes them.
        rotations: int32, `(batch,)`, in [0, 4).

    Returns:
        Scalar in [0, 1]; chance is 0.25.
    """
    scores = rotation_scores(logits)
    named = tf.argmax(scores, axis=-1, output_type=rotations.dtype)
    return tf.reduce_mean(tf.cast(tf.equal(named, rotations), tf.float32))
