"""Convolutions that change the resolution, in their cheapest exact form.

compare_gan's networks upsample by inserting zeros before a convolution and downsample
by averaging after one. Computed in this way, three quarters of the multiplications are
by inserted zeros, or serve four values of which only the mean is used. The forms here
give the same numbers up to rounding. All use a 3x3 or 1x1 kernel, `(k, k, in, out)`,
images `(batch, height, width, in)` and zero padding, and add no bias.
"""

import tensorflow as tf


def conv(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolution at the same resolution: `(batch, height, width, out)`."""
    return tf.nn.conv2d(images, kernel, strides=1, padding="SAME")


def insert_zeros(images: tf.Tensor) -> tf.Tensor:
    """Doubles height and width: values at even positions, zeros between.

    Returns:
        `(batch, 2 * height, 2 * width, channels)`.
    """
    _, height, width, channels = images.shape
    # Adds an axis of length 1 after rows and columns, pads it to 2 and merges it.
    apart = tf.reshape(images, (-1, height, 1, width, 1, channels))
    apart = tf.pad(apart, [[0, 0], [0, 0], [0, 1], [0, 0], [0, 1], [0, 0]])
    return tf.reshape(apart, (-1, 2 * height, 2 * width, channels))


def average_pool(images: tf.Tensor) -> tf.Tensor:
    """Means of 2x2 windows; a window at an odd border has fewer values.

    Returns:
        `(batch, ceil(height / 2), ceil(width / 2), channels)`.
    """
    return tf.nn.avg_pool2d(images, 2, strides=2, padding="SAME")


def upsample_conv(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Zero insertion, then a convolution.

    A 1x1 convolution maps zeros to zeros and runs before the insertion. For a 3x3
    kernel both steps are one transposed convolution with stride 2 and the kernel
    rotated by 180 degrees. Both need a quarter of the multiplications.

    Returns:
        `(batch, 2 * height, 2 * width, out)`.
    """
    if kernel.shape[0] == 1:
        return insert_zeros(conv(images, kernel))
    turned = tf.transpose(tf.reverse(kernel, axis=[0, 1]), [0, 1, 3, 2])
    return _transposed_conv(images, turned)


@tf.custom_gradient
def _transposed_conv(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The transpose of a stride-2 convolution padded by one row above, one column left.

    On CPUs oneDNN supports neither this padding nor the gradient by its kernel, and the
    fallback takes twice as long, in bfloat16 25 times. So the convolution runs without
    padding and drops a row and a column, and the gradient gets a padded copy.

    Args:
        images: `(batch, height, width, in)`.
        kernel: `(3, 3, out, in)`.
    """
    batch = tf.shape(images)[0] if images.shape[0] is None else images.shape[0]
    _, height, width, _ = images.shape
    whole = tf.nn.conv2d_transpose(
        images,
        kernel,
        output_shape=[batch, 2 * height + 1, 2 * width + 1, kernel.shape[2]],
        strides=2,
        padding="VALID",
    )

    def gradients(upstream):
        padding = [[0, 0], [1, 0], [1, 0], [0, 0]]
        of_images = tf.nn.conv2d(upstream, kernel, strides=2, padding=padding)
        of_kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=tf.pad(upstream, padding),
            filter_sizes=kernel.shape,
            out_backprop=images,
            strides=[1, 2, 2, 1],
            padding="VALID",
        )
        return of_images, of_kernel

    return whole[:, 1:, 1:], gradients


def conv_downsample(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A convolution, then the mean of each 2x2 window.

    Both are linear, so the 2x2 mean may come first. Before a 1x1 kernel it is the
    pooling itself. Before a 3x3 kernel it runs at stride 1 and the convolution at
    stride 2, at a quarter of the positions. Odd sizes take the plain form: their
    border windows have fewer values, and there mean and kernel do not commute.

    Returns:
        `(batch, ceil(height / 2), ceil(width / 2), out)`.
    """
    _, height, width, _ = images.shape
    if kernel.shape[0] == 1:
        return conv(average_pool(images), kernel)
    if height % 2 or width % 2:
        return average_pool(conv(images, kernel))
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    means = tf.nn.avg_pool2d(padded, 2, strides=1, padding="VALID")
    return tf.nn.conv2d(means, kernel, strides=2, padding="VALID")


RESAMPLED_CONVS = {"none": conv, "up": upsample_conv, "down": conv_downsample}
