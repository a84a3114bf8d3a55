"""Self-attention over the positions of a feature map."""

import keras
import tensorflow as tf

from ssgan_tf.layers.linear import Conv2D


class SelfAttention(keras.layers.Layer):
    """Adds to every position a weighted mean of features from all positions.

        A = softmax(theta(inputs) pool(phi(inputs))^T)      (positions, positions / 4)
        outputs = inputs + sigma * attn_g(A pool(g(inputs)))

    theta, phi, g and attn_g are 1x1 convolutions without bias; pool is the maximum
    of 2x2 windows. sigma starts at 0, so the layer starts as the identity.

    Args:
        spectral_norm: None, or the singular vector to keep ("left", "right", "auto")
            while all four kernels are divided by their largest singular value.
        kernel_initializer: initializer of all four kernels.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)`; all but the batch
            are static.
        training: bool. Whether the spectral-norm vectors advance.

    Raises:
        ValueError: fewer than 8 channels (theta and phi have an eighth of them), or
            a map smaller than 2x2.

    Reference:
        - Zhang et al., 2019, https://arxiv.org/abs/1805.08318
    """

    def __init__(
        self,
        *,
        spectral_norm: str | None = None,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._conv = dict(
            kernel_size=1,
            use_bias=False,
            spectral_norm=spectral_norm,
            kernel_initializer=kernel_initializer,
            dtype=self.dtype_policy,
        )

    def build(self, input_shape):
        _, height, width, channels = input_shape
        if channels < 8:
            raise ValueError(
                f"Self-attention needs 8 channels or more. Received: {channels=}. Put "
                "it after a wider block."
            )
        if min(height, width) < 2:
            raise ValueError(
                f"Self-attention needs a map of 2x2 or more. Received: {height=}, "
                f"{width=}. Put it where the map is larger."
            )
        self.theta = Conv2D(channels // 8, name="conv2d_theta", **self._conv)
        self.phi = Conv2D(channels // 8, name="conv2d_phi", **self._conv)
        self.g = Conv2D(channels // 2, name="conv2d_g", **self._conv)
        self.attn_g = Conv2D(channels, name="conv2d_attn_g", **self._conv)
        for conv in (self.theta, self.phi, self.g):
            conv.build(input_shape)
        self.sigma = self.add_weight(shape=(), initializer="zeros", name="sigma")
        self.attn_g.build((*input_shape[:-1], channels // 2))

    def call(self, inputs, training=False):
        theta = _flatten(self.theta(inputs, training=training))
        phi = _flatten(_pool(self.phi(inputs, training=training)))
        g = _flatten(_pool(self.g(inputs, training=training)))
        scores = tf.matmul(theta, phi, transpose_b=True)
        # Half precision is too inexact for a sum over all positions.
        weights = tf.nn.softmax(tf.cast(scores, self.variable_dtype))
        weights = tf.cast(weights, scores.dtype)
        _, height, width, _ = inputs.shape
        mixed = tf.reshape(tf.matmul(weights, g), (-1, height, width, g.shape[-1]))
        return inputs + self.sigma * self.attn_g(mixed, training=training)


def _flatten(images):
    """Joins rows and columns: `(batch, height * width, channels)`."""
    _, height, width, channels = images.shape
    return tf.reshape(images, (-1, height * width, channels))


def _pool(images):
    return tf.nn.max_pool2d(images, 2, strides=2, padding="VALID")
