"""Spectral normalization as a reparametrization of a kernel."""

import math

import keras
import tensorflow as tf

# Avoids 0 / 0 for zero vectors; compare_gan's value.
EPSILON = 1e-12

VECTORS = ("auto", "left", "right")


def _keeps_left(vector: str, rows: int, columns: int) -> bool:
    return vector == "left" or (vector == "auto" and rows <= columns)


def vector_shape(vector: str, kernel_shape: tuple[int, ...]) -> tuple[int, int]:
    """Shape of the stored singular vector of a kernel; see `SpectralNorm`."""
    rows, columns = math.prod(kernel_shape[:-1]), kernel_shape[-1]
    return (rows, 1) if _keeps_left(vector, rows, columns) else (1, columns)


class SpectralNorm(keras.layers.Layer):
    """Divides a kernel by an estimate of its largest singular value.

        W = reshape(kernel, (rows, columns))       columns: the kernel's last axis

    One power iteration per call, from the stored singular vector u:

        left:   v = W^T u / |W^T u|,   u' = W v / |W v|,     sigma = u'^T W v
        right:  v = u W^T / |u W^T|,   u' = v W / |v W|,     sigma = v W u'^T

        output = kernel / sigma

    Both converge to the same sigma and differ in the vector that a checkpoint stores.

    The stored kernel stays unnormalized, and the gradient passes through sigma but not
    through u and v: with G the gradient by the output, a and b the left and the right
    vector, it is G / sigma - <G, W> / sigma^2 a b^T. (Keras's `SpectralNormalization`
    overwrites the kernel and has no gradient through sigma.)

    `training=True` stores u'. `training=False` runs the same iteration and stores
    nothing, so inference is a pure function.

    The vector and sigma are float32 for every dtype of the kernel, with mixed precision
    too. All replicas compute the same update from the same kernel.

    Args:
        vector: the singular vector to store, as weight `u`. "left", of shape
            `(rows, 1)`; "right", `(1, columns)`; "auto", the one with fewer entries,
            left if they are equal.

    Call arguments:
        kernel: float tensor of rank 2 or more.
        training: bool. Whether the vector advances.

    Raises:
        ValueError: `vector` is unknown, or the kernel's rank is below 2.

    Reference:
        - Miyato et al., 2018, algorithm 1, https://arxiv.org/abs/1802.05957
    """

    def __init__(self, vector: str = "left", **kwargs):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        if vector not in VECTORS:
            raise ValueError(
                f"The singular vector to keep must be one of {list(VECTORS)}. "
                f"Received: {vector=}. For no normalization pass spectral_norm=None."
            )
        self.vector = vector

    def build(self, kernel_shape):
        if len(kernel_shape) < 2:
            raise ValueError(
                "A spectrally normalized kernel must have rank 2 or more. Received: "
                f"kernel_shape={tuple(kernel_shape)}."
            )
        rows, columns = math.prod(kernel_shape[:-1]), kernel_shape[-1]
        self.keeps_left = _keeps_left(self.vector, rows, columns)
        self.u = self.add_weight(
            shape=vector_shape(self.vector, kernel_shape),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            trainable=False,
            name="u",
        )

    def call(self, kernel, training=False):
        matrix = tf.reshape(tf.cast(kernel, tf.float32), (-1, kernel.shape[-1]))
        start = tf.convert_to_tensor(self.u)
        if not self.keeps_left:
            # The right vector of W is the left vector of its transpose.
            start, matrix = tf.transpose(start), tf.transpose(matrix)
        frozen = tf.stop_gradient(matrix)
        v = tf.math.l2_normalize(
            tf.matmul(frozen, start, transpose_a=True), epsilon=EPSILON
        )
        u = tf.math.l2_normalize(tf.matmul(frozen, v), epsilon=EPSILON)
        if training:
            self.u.assign(u if self.keeps_left else tf.transpose(u))
        sigma = tf.reduce_sum(u * tf.matmul(matrix, v))
        return kernel / tf.cast(sigma, kernel.dtype)

    def compute_output_shape(self, kernel_shape):
        return kernel_shape
