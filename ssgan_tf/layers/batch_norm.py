"""Batch normalization over the global batch, plain and self-modulated."""

import keras
import tensorflow as tf

from ssgan_tf.layers.linear import Dense


def cross_replica_moments(
    inputs: tf.Tensor, axes: list[int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and biased variance over `axes` and over all replicas.

    The replicas share their means first, then their variances about the common mean:
    a mean square less the squared mean would lose the variance of a channel whose
    mean is large. All replicas must hold equally many values.

    Args:
        inputs: float tensor.
        axes: list of int. The axes to reduce.

    Returns:
        `(mean, variance)`, each of the shape of the axes that remain, differentiable
        through the exchange.
    """
    mean, variance = tf.nn.moments(inputs, axes)
    if _num_replicas() == 1:
        return mean, variance
    replica = tf.distribute.get_replica_context()
    common = replica.all_reduce(tf.distribute.ReduceOp.MEAN, mean)
    variance = replica.all_reduce(
        tf.distribute.ReduceOp.MEAN, variance + tf.square(mean - common)
    )
    return common, variance


def _num_replicas() -> int:
    replica = tf.distribute.get_replica_context()
    return 1 if replica is None else replica.num_replicas_in_sync


class _BatchNorm(keras.layers.Layer):
    """Standardization over batch and space; subclasses supply gain and bias."""

    def __init__(self, *, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(
                f"`momentum` must be in [0, 1). Received: momentum={momentum}."
            )
        if epsilon <= 0.0:
            raise ValueError(
                f"`epsilon` must be positive. Received: epsilon={epsilon}."
            )
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape):
        channels = (input_shape[-1],)
        self.moving_mean = self.add_weight(
            shape=channels, initializer="zeros", trainable=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            shape=channels, initializer="ones", trainable=False, name="moving_variance"
        )

    def _normalize(self, inputs, gain, bias, training):
        """Standardizes and modulates; gain and bias broadcast against the inputs."""
        if not training:
            mean = tf.convert_to_tensor(self.moving_mean)
            variance = tf.convert_to_tensor(self.moving_variance)
        elif gain.shape.rank == 1 and _num_replicas() == 1:
            return self._fused(inputs, gain, bias)
        else:
            mean, variance = cross_replica_moments(inputs, [0, 1, 2])
            self._store(mean, variance)
        return tf.nn.batch_normalization(
            inputs, mean, variance, bias, gain, self.epsilon
        )

    def _fused(self, inputs, gain, bias):
        """Training on one replica with one gain per channel: one kernel for it all."""
        # The public wrapper raises epsilon to 1.001e-5.
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gain,
            offset=bias,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
        # The kernel reports N / (N - 1) times the variance that it divided by.
        self._store(mean, variance * (count - 1.0) / count)
        return outputs

    def _store(self, mean, variance):
        # The moments are those of the global batch already: every replica stores
        # the same update.
        for moving, moment in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(
                self.momentum * moving
                + (1.0 - self.momentum) * tf.stop_gradient(moment)
            )


class BatchNorm(_BatchNorm):
    """Batch normalization whose moments span all replicas.

        y = (x - mean) / sqrt(var + epsilon) * gamma + beta

    The moving variance averages the biased variance, as compare_gan's does.

    Args:
        momentum: float in [0, 1). Decay of the moving moments, per call.
        epsilon: float. Added to the variance.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)`.
        latents: ignored; every normalization of G is called alike.
        training: bool. Moments of the batch if True, moving moments if False.

    Reference:
        - Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167
    """

    def build(self, inputs_shape, latents_shape=None):
        super().build(inputs_shape)
        channels = (inputs_shape[-1],)
        self.gamma = self.add_weight(shape=channels, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=channels, initializer="zeros", name="beta")

    def call(self, inputs, latents=None, training=False):
        return self._normalize(
            inputs,
            tf.convert_to_tensor(self.gamma),
            tf.convert_to_tensor(self.beta),
            training,
        )


class SelfModulatedBatchNorm(_BatchNorm):
    """Batch normalization whose gain and bias are functions of the latent.

        h = relu(U z + c)
        y = (x - mean) / sqrt(var + epsilon) * (W_g h + b_g) + (W_b h + b_b)

    b_g starts at 1 and the weights near 0, so training starts close to plain batch
    normalization.

    Args:
        hidden_units: int. Width of `h`; the paper and compare_gan use 32.
        spectral_norm: bool. Normalize U, W_g and W_b.
        kernel_initializer: of U, W_g and W_b.
        momentum: float in [0, 1). Decay of the moving moments, per call.
        epsilon: float. Added to the variance.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)`.
        latents: float tensor, `(batch, latent_dim)`. Row i modulates image i.
        training: bool. Moments of the batch if True, moving moments if False.

    Reference:
        - Chen et al., 2019, https://arxiv.org/abs/1810.01365
    """

    def __init__(
        self,
        *,
        hidden_units: int = 32,
        spectral_norm: bool = False,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._dense = dict(
            spectral_norm=spectral_norm, kernel_initializer=kernel_initializer
        )
        self.hidden = Dense(hidden_units, name="hidden", **self._dense)

    def build(self, inputs_shape, latents_shape):
        super().build(inputs_shape)
        channels = inputs_shape[-1]
        self.gamma = Dense(
            channels, name="gamma", bias_initializer="ones", **self._dense
        )
        self.beta = Dense(channels, name="beta", **self._dense)
        self.hidden.build(latents_shape)
        for modulation in (self.gamma, self.beta):
            modulation.build((None, self.hidden.units))

    def call(self, inputs, latents, training=False):
        hidden = tf.nn.relu(self.hidden(latents, training=training))
        gain = self.gamma(hidden, training=training)[:, None, None, :]
        bias = self.beta(hidden, training=training)[:, None, None, :]
        return self._normalize(inputs, gain, bias, training)
