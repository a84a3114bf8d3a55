"""The paper's self-supervised task: which quarter turn was an image given?

Chen et al., "Self-Supervised GANs via Auxiliary Rotation Loss", CVPR 2019,
https://arxiv.org/abs/1811.11212, section 3. Rotations are integers 0 to 3, quarter
turns counter-clockwise, R = {0, 90, 180, 270} degrees. Pure functions of tensors.
"""

import tensorflow as tf

NUM_ROTATIONS = 4


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


def append_rotated(images: tf.Tensor, num_rotated: int) -> tf.Tensor:
    """Appends the last images of a batch, turned by 90, 180 and 270 degrees.

    The upright originals stay where they are, so the last `4 * num_rotated` images
    of the result are the chosen images in all four orientations and the first
    `batch` are the batch itself: one pass through D serves both of its heads.

    Args:
        images: `(batch, size, size, channels)`.
        num_rotated: int in [1, batch]. How many images are shown in every
            orientation.

    Returns:
        `(batch + 3 * num_rotated, size, size, channels)`. The labels of its last
        `4 * num_rotated` rows are `rotation_labels(num_rotated)`.
    """
    chosen = images[-num_rotated:]
    turned = [rotate(chosen, rotation) for rotation in range(1, NUM_ROTATIONS)]
    return tf.concat([images, *turned], axis=0)


def rotation_labels(num_rotated: int) -> tf.Tensor:
    """Labels of the last rows of `append_rotated`: n zeros, n ones, n twos, n threes.

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
        logits: `(batch, 4)`, before the softmax.
        rotations: int, `(batch,)`, in [0, 4).

    Returns:
        Scalar, in nats; log(4) = 1.386 means that the head knows nothing.
    """
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=rotations, logits=logits)
    )


def rotation_accuracy(logits: tf.Tensor, rotations: tf.Tensor) -> tf.Tensor:
    """Share of images whose turn the head names.

    Args:
        logits: `(batch, 4)`.
        rotations: int32, `(batch,)`, in [0, 4).

    Returns:
        Scalar in [0, 1]; chance is 0.25.
    """
    named = tf.argmax(logits, axis=-1, output_type=rotations.dtype)
    return tf.reduce_mean(tf.cast(tf.equal(named, rotations), tf.float32))
