"""Self-attention over the places of a feature map."""

import keras
import tensorflow as tf

from ssgan_tf.layers.linear import Conv2D


class SelfAttention(keras.layers.Layer):
    """Adds to every place a mixture of features from all places.

        A = softmax(theta(x) pool(phi(x))^T)        (places, places / 4), rows sum to 1
        y = x + sigma * attn_g(A pool(g(x)))

    theta, phi, g and attn_g are 1x1 convolutions without bias; pool is the maximum
    of 2x2 windows. sigma starts at 0, so the layer starts as the identity.

    Args:
        spectral_norm: None, or the singular vector to keep ("left", "right", "auto")
            while all four kernels are divided by their largest singular value.
        kernel_initializer: of all four kernels.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)`; all but the batch
            are static.
        training: bool. Whether the spectral-norm vectors advance.

    Raises:
        ValueError: fewer than 8 channels (theta and phi have an eighth of them), or
            a map smaller than one 2x2 window.

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
                "Self-attention needs 8 channels or more. Received: "
                f"channels={channels}. Put it after a wider block."
            )
        if min(height, width) < 2:
            raise ValueError(
                "Self-attention needs a map of 2x2 or more. Received: "
                f"height={height}, width={width}. Put it where the map is larger."
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
        theta = _places(self.theta(inputs, training=training))
        phi = _places(_pool(self.phi(inputs, training=training)))
        g = _places(_pool(self.g(inputs, training=training)))
        scores = tf.matmul(theta, phi, transpose_b=True)
        # Sums over all places: not in half precision.
        weights = tf.nn.softmax(tf.cast(scores, self.variable_dtype))
        weights = tf.cast(weights, scores.dtype)
        _, height, width, _ = inputs.shape
        mixed = tf.reshape(tf.matmul(weights, g), (-1, height, width, g.shape[-1]))
        return inputs + self.sigma * self.attn_g(mixed, training=training)


def _places(images):
    """Rows and columns as one axis: `(batch, height * width, channels)`."""
    _, height, width, channels = images.shape
    return tf.reshape(images, (-1, height * width, channels))


def _pool(images):
    return tf.nn.max_pool2d(images, 2, strides=2, padding="VALID")
