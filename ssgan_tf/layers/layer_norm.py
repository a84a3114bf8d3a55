"""Layer normalization of images."""

import keras
import tensorflow as tf


class LayerNorm(keras.layers.Layer):
    """Normalization of every example by its own moments.

        outputs = (inputs - mean) / sqrt(var + epsilon) * gamma + beta

    Mean and biased variance are over all axes of an example, channels included; gamma
    and beta are per channel. The examples do not depend on one another, so it suits a
    discriminator with a gradient penalty.

    Args:
        epsilon: float. Added to the variance; 1e-12 in compare_gan.

    Call arguments:
        inputs: float tensor, `(batch, ..., channels)`, rank 2 or more.
        latents, label_vectors, training: ignored; all norms have the same call.

    Raises:
        ValueError: epsilon is not positive, or the inputs have rank 1.

    Reference:
        - Ba et al., 2016, https://arxiv.org/abs/1607.06450
    """

    def __init__(self, *, epsilon: float = 1e-12, **kwargs):
        super().__init__(**kwargs)
        if epsilon <= 0.0:
            raise ValueError(f"`epsilon` must be positive. Received: {epsilon=}.")
        self.epsilon = epsilon

    def build(self, inputs_shape, latents_shape=None, label_vectors_shape=None):
        if len(inputs_shape) < 2:
            raise ValueError(
                "The inputs must have rank 2 or more. Received: "
                f"inputs_shape={tuple(inputs_shape)}. Add the batch as the first axis."
            )
        per_channel = dict(shape=(inputs_shape[-1],), autocast=False)
        self.gamma = self.add_weight(initializer="ones", name="gamma", **per_channel)
        self.beta = self.add_weight(initializer="zeros", name="beta", **per_channel)

    def call(self, inputs, latents=None, label_vectors=None, training=False):
        axes = list(range(1, inputs.shape.rank))
        # With mixed precision the moments have the dtype of the weights.
        wide = tf.cast(inputs, self.variable_dtype)
        mean, variance = tf.nn.moments(wide, axes, keepdims=True)
        outputs = tf.nn.batch_normalization(
            wide,
            mean,
            variance,
            tf.convert_to_tensor(self.beta),
            tf.convert_to_tensor(self.gamma),
            self.epsilon,
        )
        return tf.cast(outputs, inputs.dtype)
