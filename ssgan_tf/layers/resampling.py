"""3x3 convolutions that change the resolution, in their cheapest exact form.

The networks of compare_gan upsample by inserting zeros before a convolution and
downsample by averaging after one. Written so, three quarters of the multiplications
meet an inserted zero, or compute four values to keep their mean. These forms give
the same numbers up to rounding. All take a 3x3 kernel, `(3, 3, in, out)`, images
`(batch, height, width, in)`, NHWC, zero padding, and add no bias.
"""

import tensorflow as tf


def conv(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolution at the same resolution: `(batch, height, width, out)`."""
    return tf.nn.conv2d(images, kernel, strides=1, padding="SAME")


def upsample_conv(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Zero insertion (values at even places), then a convolution.

    Equal to one transposed convolution with stride 2 and the kernel turned by 180
    degrees: a quarter of the multiplications.

    Returns:
        `(batch, 2 * height, 2 * width, out)`.
    """
    batch = tf.shape(images)[0] if images.shape[0] is None else images.shape[0]
    _, height, width, _ = images.shape
    turned = tf.transpose(tf.reverse(kernel, axis=[0, 1]), [0, 1, 3, 2])
    return tf.nn.conv2d_transpose(
        images,
        turned,
        output_shape=[batch, 2 * height, 2 * width, kernel.shape[-1]],
        strides=2,
        padding=[[0, 0], [1, 0], [1, 0], [0, 0]],
    )


def conv_downsample(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A convolution, then the mean of each 2x2 window.

    Both are linear, so the 2x2 mean may come first, at stride 1, and the convolution
    then runs at stride 2: a quarter of the positions. Windows at the border of an odd
    size hold fewer than four values, where the two do not commute: those sizes take
    the plain form.

    Returns:
        `(batch, ceil(height / 2), ceil(width / 2), out)`.
    """
    _, height, width, _ = images.shape
    if height % 2 or width % 2:
        return tf.nn.avg_pool2d(conv(images, kernel), 2, strides=2, padding="SAME")
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    means = tf.nn.avg_pool2d(padded, 2, strides=1, padding="VALID")
    return tf.nn.conv2d(means, kernel, strides=2, padding="VALID")


RESAMPLED_CONVS = {"none": conv, "up": upsample_conv, "down": conv_downsample}
