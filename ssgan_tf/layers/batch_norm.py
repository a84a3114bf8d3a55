"""Batch normalization over the global batch: plain, self-modulated, conditional."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ssgan_tf.layers.linear import Dense


def cross_replica_moments(
    inputs: tf.Tensor, axes: list[int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and biased variance over `axes` and over all replicas.

    The replicas exchange their means first, then their variances about the common mean:
    E[a^2] - E[a]^2 would be inaccurate for channels with a large mean. All replicas
    must have the same number of values.

    Args:
        inputs: float tensor.
        axes: list of int. The axes to reduce.

    Returns:
        `(mean, variance)`, both of the shape of the other axes, differentiable through
        the exchange.
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
    """Standardization over all axes but the last; subclasses supply gain and bias."""

    def __init__(self, *, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"`momentum` must be in [0, 1). Received: {momentum=}.")
        if epsilon <= 0.0:
            raise ValueError(f"`epsilon` must be positive. Received: {epsilon=}.")
        self.momentum = momentum
        self.epsilon = epsilon

    def _build_moments(self, inputs_shape):
        if len(inputs_shape) not in (2, 4):
            raise ValueError(
                "The inputs must have rank 2 or 4: vectors or images. Received: "
                f"inputs_shape={tuple(inputs_shape)}."
            )
        per_channel = dict(shape=(inputs_shape[-1],), autocast=False)
        self.moving_mean = self.add_weight(
            initializer="zeros", trainable=False, name="moving_mean", **per_channel
        )
        self.moving_variance = self.add_weight(
            initializer="ones", trainable=False, name="moving_variance", **per_channel
        )

    def _normalize(self, inputs, gain, bias, training):
        """Standardizes, then applies gain and bias.

        These are `(channels,)`, or `(batch, channels)` with row i for example i. With
        mixed precision the moments have the dtype of the weights, the outputs that of
        the inputs.
        """
        shared = gain.shape.rank == 1
        if not shared and inputs.shape.rank == 4:
            gain, bias = gain[:, None, None, :], bias[:, None, None, :]
        if training and _num_replicas() == 1:
            if shared:
                return self._fused(inputs, gain, bias)
            # The fused kernel has no gain per example.
            channels = inputs.shape[-1]
            standard = self._fused(inputs, tf.ones(channels), tf.zeros(channels))
            return standard * gain + bias
        wide, gain, bias = (
            tf.cast(tensor, self.variable_dtype) for tensor in (inputs, gain, bias)
        )
        if training:
            axes = list(range(inputs.shape.rank - 1))
            mean, variance = cross_replica_moments(wide, axes)
            self._store(mean, variance)
        else:
            mean = tf.convert_to_tensor(self.moving_mean)
            variance = tf.convert_to_tensor(self.moving_variance)
        outputs = tf.nn.batch_normalization(
            wide, mean, variance, bias, gain, self.epsilon
        )
        return tf.cast(outputs, inputs.dtype)

    def _fused(self, inputs, gain, bias):
        """Training on one replica: moments and standardization in one kernel."""
        images = inputs
        if inputs.shape.rank == 2:
            # The kernel needs images: here of a single pixel.
            images = inputs[:, None, None, :]
        # The public wrapper raises epsilon to 1.001e-5.
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=images,
            scale=gain,
            offset=bias,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
        # The kernel returns the unbiased variance and divides by the biased one.
        self._store(mean, variance * (count - 1.0) / count)
        return outputs if inputs.shape.rank == 4 else outputs[:, 0, 0, :]

    def _store(self, mean, variance):
        # These are moments of the global batch: every replica stores the same update.
        moving = self.moving_mean, self.moving_variance
        for variable, moment in zip(moving, (mean, variance), strict=True):
            update = tf.stop_gradient(moment)
            # Not `0 * moving`, which is NaN in `standing_statistics`.
            if self.momentum:
                update = self.momentum * variable + (1.0 - self.momentum) * update
            variable.assign(update)


class BatchNorm(_BatchNorm):
    """Batch normalization whose moments span all replicas.

        outputs = (inputs - mean) / sqrt(var + epsilon) * gamma + beta

    The moving variance is an average of the biased variance, as in compare_gan.

    Args:
        momentum: float in [0, 1). Decay of the moving moments, per call.
        epsilon: float. Added to the variance.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)` or
            `(batch, channels)`.
        latents, label_vectors: ignored; all norms of G have the same call.
        training: bool. Moments of the batch if True, moving moments if False.

    Reference:
        - Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167
    """

    def build(self, inputs_shape, latents_shape=None, label_vectors_shape=None):
        self._build_moments(inputs_shape)
        per_channel = dict(shape=(inputs_shape[-1],), autocast=False)
        self.gamma = self.add_weight(initializer="ones", name="gamma", **per_channel)
        self.beta = self.add_weight(initializer="zeros", name="beta", **per_channel)

    def call(self, inputs, latents=None, label_vectors=None, training=False):
        gamma, beta = map(tf.convert_to_tensor, (self.gamma, self.beta))
        return self._normalize(inputs, gamma, beta, training)


class SelfModulatedBatchNorm(_BatchNorm):
    """Batch normalization whose gain and bias are functions of the latent.

        h = relu(U z + c)
        outputs = standardized inputs * (W_g h + b_g) + (W_b h + b_b)

    b_g starts at 1 and the weights near 0, so training starts close to plain batch
    normalization. z is the latent.

    Args:
        hidden_units: int. Width of `h`; the paper and compare_gan use 32.
        spectral_norm: None, or the singular vector to keep ("left", "right", "auto")
            while U, W_g and W_b are divided by their largest singular values.
        kernel_initializer: of U, W_g and W_b.
        momentum: float in [0, 1). Decay of the moving moments, per call.
        epsilon: float. Added to the variance.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)` or
            `(batch, channels)`.
        latents: float tensor, `(batch, latent_dim)`. Row i modulates example i.
        label_vectors: ignored; all norms of G have the same call.
        training: bool. Moments of the batch if True, moving moments if False.

    Raises:
        ValueError: no latents.

    Reference:
        - Chen et al., 2019, https://arxiv.org/abs/1810.01365
    """

    def __init__(
        self,
        *,
        hidden_units: int = 32,
        spectral_norm: str | None = None,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._dense = dict(
            spectral_norm=spectral_norm,
            kernel_initializer=kernel_initializer,
            dtype=self.dtype_policy,
        )
        self.hidden = Dense(hidden_units, name="hidden", **self._dense)

    def build(self, inputs_shape, latents_shape=None, label_vectors_shape=None):
        _check_latents(latents_shape)
        self._build_moments(inputs_shape)
        channels = inputs_shape[-1]
        gamma = {"name": "gamma", "bias_initializer": "ones"}
        self.gamma = Dense(channels, **gamma, **self._dense)
        self.beta = Dense(channels, name="beta", **self._dense)
        self.hidden.build(latents_shape)
        for modulation in (self.gamma, self.beta):
            modulation.build((None, self.hidden.units))

    def call(self, inputs, latents=None, label_vectors=None, training=False):
        _check_latents(latents)
        hidden = tf.nn.relu(self.hidden(latents, training=training))
        gain = self.gamma(hidden, training=training)
        bias = self.beta(hidden, training=training)
        return self._normalize(inputs, gain, bias, training)


def _check_latents(latents):
    if latents is None:
        raise ValueError(
            "A self-modulated norm must be called with z. Received: latents=None. Pass "
            "the latents, or use `BatchNorm`."
        )


class ConditionalBatchNorm(_BatchNorm):
    """Batch normalization whose gain and bias are linear in the label.

        outputs = standardized inputs * (1 + W_g c) + W_b c

    c is the label vector. With the default zero kernels training starts as plain batch
    normalization.

    Args:
        center_gain: bool. False omits the 1, as in compare_gan: use it only with
            compare_gan's weights. A gain near 0 blocks the signal, and training fails.
        spectral_norm: None, or the singular vector to keep ("left", "right", "auto")
            while W_g and W_b are divided by their largest singular values.
        kernel_initializer: of W_g and W_b.
        momentum: float in [0, 1). Decay of the moving moments, per call.
        epsilon: float. Added to the variance.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)` or
            `(batch, channels)`.
        latents: ignored; all norms of G have the same call.
        label_vectors: float tensor, `(batch, n)`: one-hot labels or their embeddings.
            Row i modulates example i.
        training: bool. Moments of the batch if True, moving moments if False.

    Raises:
        ValueError: no label vectors, or not of rank 2; spectral normalization of
            kernels that start at zero.

    Reference:
        - De Vries et al., 2017, https://arxiv.org/abs/1707.00683
    """

    def __init__(
        self,
        *,
        center_gain: bool = True,
        spectral_norm: str | None = None,
        kernel_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if spectral_norm is not None and isinstance(
            keras.initializers.get(kernel_initializer), keras.initializers.Zeros
        ):
            raise ValueError(
                "A spectrally normalized kernel must not start at zero. Received: "
                f"{spectral_norm=}, {kernel_initializer=}. Pass another initializer, "
                "such as 'orthogonal', or spectral_norm=None."
            )
        self.center_gain = center_gain
        self._dense = dict(
            use_bias=False,
            spectral_norm=spectral_norm,
            kernel_initializer=kernel_initializer,
            dtype=self.dtype_policy,
        )

    def build(self, inputs_shape, latents_shape=None, label_vectors_shape=None):
        _check_label_vectors(label_vectors_shape)
        if len(label_vectors_shape) != 2:
            raise ValueError(
                "The label vectors must be (batch, n), as of `tf.one_hot`. Received: "
                f"label_vectors_shape={tuple(label_vectors_shape)}."
            )
        self._build_moments(inputs_shape)
        self.gamma = Dense(inputs_shape[-1], name="gamma", **self._dense)
        self.beta = Dense(inputs_shape[-1], name="beta", **self._dense)
        self.gamma.build(label_vectors_shape)
        self.beta.build(label_vectors_shape)

    def call(self, inputs, latents=None, label_vectors=None, training=False):
        _check_label_vectors(label_vectors)
        gain = self.gamma(label_vectors, training=training)
        bias = self.beta(label_vectors, training=training)
        if self.center_gain:
            gain += 1.0
        return self._normalize(inputs, gain, bias, training)


def _check_label_vectors(label_vectors):
    if label_vectors is None:
        raise ValueError(
            "A conditional norm needs labels. Received: label_vectors=None. Make the "
            "network conditional (in gin: ModularGAN.conditional = True)."
        )


def standing_statistics(
    model: keras.layers.Layer, call: Callable[[int], object], num_batches: int
) -> None:
    """Replaces the moving moments by averages over many batches (BigGAN).

        moving_mean      <- 1 / num_batches * sum_i mean of batch i
        moving_variance  <- 1 / num_batches * sum_i (biased) variance of batch i

    for every batch norm in `model`, summed in float64. Afterwards spectral-norm vectors
    are restored, and after an error the moving moments too.

    Args:
        model: a built layer or model.
        call: runs the model with `training=True` on batch i, i = 0, 1, ... It must be
            eager, or a new `tf.function`, not used elsewhere: a trace fixes the norms'
            momentum, which is 0 during the calls.
        num_batches: int, 1 or more.

    Raises:
        ValueError: `num_batches` is below 1; or a call does not write finite moments
            to every norm.

    Reference:
        - Brock et al., 2019, https://arxiv.org/abs/1809.11096
    """
    if num_batches < 1:
        raise ValueError(f"`num_batches` must be at least 1. Received: {num_batches=}.")
    norms = [n for n in model._flatten_layers() if isinstance(n, _BatchNorm)]
    moving = [m for norm in norms for m in (norm.moving_mean, norm.moving_variance)]
    momenta = [norm.momentum for norm in norms]
    before = [(v, np.array(v)) for v in model.non_trainable_variables]
    sums = [np.zeros(m.shape, np.float64) for m in moving]
    try:
        for norm in norms:
            # A call then stores the moments of its batch alone.
            norm.momentum = 0.0
        for i in range(num_batches):
            for moment in moving:
                # Shows moments that a call does not write.
                moment.assign(np.full(moment.shape, np.nan, np.float32))
            call(i)
            for total, moment in zip(sums, moving, strict=True):
                total += np.array(moment)
                if not np.isfinite(total).all():
                    raise ValueError(
                        "Every call must leave finite moments in every batch norm. "
                        f"Received: {moment.path} after call({i}). Pass an eager "
                        "function or a new `tf.function`, with training=True."
                    )
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for variable, value in before:
            variable.assign(value)
    for moment, total in zip(moving, sums, strict=True):
        moment.assign((total / num_batches).astype(np.float32))
