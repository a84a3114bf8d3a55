"""Spectral normalization as a reparametrization of a kernel."""

import keras
import tensorflow as tf

# Guards the normalization of a zero vector; compare_gan's value.
EPSILON = 1e-12


class SpectralNorm(keras.layers.Layer):
    """Divides a kernel by an estimate of its largest singular value.

        W = reshape(kernel, (rows, channels))      channels: the kernel's last axis
        v = W^T u / |W^T u|,   u' = W v / |W v|    one power iteration per call
        sigma = u'^T W v,      output = kernel / sigma

    The stored kernel stays raw, and the gradient passes through sigma but not
    through u and v: d|W/sigma| = G / sigma - <G, W> / sigma^2 u v^T. (Keras's own
    `SpectralNormalization` overwrites the kernel and has no gradient through sigma:
    a projection, not this.)

    `training=True` stores u'. `training=False` runs the same iteration from the
    stored vector and stores nothing, so inference is a pure function.

    The vector is float32 whatever the kernel's dtype. Under several replicas every
    replica computes the same update from the same kernel.

    Call arguments:
        kernel: float tensor of rank 2 or more, last axis the output channels.
        training: bool. Whether the vector advances.

    Reference:
        - Miyato et al., 2018, algorithm 1, https://arxiv.org/abs/1802.05957
    """

    def build(self, kernel_shape):
        if len(kernel_shape) < 2:
            raise ValueError(
                "A spectrally normalized kernel must have rank 2 or more. Received: "
                f"kernel_shape={tuple(kernel_shape)}."
            )
        rows = 1
        for size in kernel_shape[:-1]:
            rows *= size
        self.u = self.add_weight(
            shape=(rows, 1),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            dtype="float32",
            trainable=False,
            name="u",
        )

    def call(self, kernel, training=False):
        matrix = tf.reshape(tf.cast(kernel, tf.float32), (-1, kernel.shape[-1]))
        frozen = tf.stop_gradient(matrix)
        v = tf.math.l2_normalize(
            tf.matmul(frozen, self.u, transpose_a=True), epsilon=EPSILON
        )
        u = tf.math.l2_normalize(tf.matmul(frozen, v), epsilon=EPSILON)
        if training:
            self.u.assign(u)
        sigma = tf.reduce_sum(u * tf.matmul(matrix, v))
        return kernel / tf.cast(sigma, kernel.dtype)

    def compute_output_shape(self, kernel_shape):
        return kernel_shape
