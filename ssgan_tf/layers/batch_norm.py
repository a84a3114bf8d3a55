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
    """Standardization over all axes but the last; subclasses supply gain and bias."""

    def __init__(self, *, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(
                f"`momentum` must be in [0, 1). Received: momentum={momentum}. The "
                "default is 0.9."
            )
        if epsilon <= 0.0:
            raise ValueError(
                f"`epsilon` must be positive. Received: epsilon={epsilon}. The default "
                "is 1e-5."
            )
        self.momentum = momentum
        self.epsilon = epsilon

    def _build_moments(self, inputs_shape):
        if len(inputs_shape) not in (2, 4):
            raise ValueError(
                "The inputs must have rank 2 or 4. Received: "
                f"inputs_shape={tuple(inputs_shape)}. Reshape them to (batch, "
                "channels) or (batch, height, width, channels)."
            )
        per_channel = dict(shape=(inputs_shape[-1],), autocast=False)
        self.moving_mean = self.add_weight(
            initializer="zeros", trainable=False, name="moving_mean", **per_channel
        )
        self.moving_variance = self.add_weight(
            initializer="ones", trainable=False, name="moving_variance", **per_channel
        )

    def _normalize(self, inputs, gain, bias, training):
        """Standardizes and modulates.

        Gain and bias are `(channels,)`, for all alike, or `(batch, channels)`, row i
        for example i. Under mixed precision moments keep the precision of the
        weights; the outputs have that of the inputs.
        """
        shared = gain.shape.rank == 1
        if not shared and inputs.shape.rank == 4:
            gain, bias = gain[:, None, None, :], bias[:, None, None, :]
        if training and _num_replicas() == 1:
            if shared:
                return self._fused(inputs, gain, bias)
            # The kernel knows no gain per example: that comes after.
            channels = inputs.shape[-1]
            standard = self._fused(inputs, tf.ones(channels), tf.zeros(channels))
            return standard * gain + bias
        wide, gain, bias = (
            tf.cast(each, self.variable_dtype) for each in (inputs, gain, bias)
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
        """Training on one replica: one kernel takes moments and standardizes."""
        images = inputs
        if inputs.shape.rank == 2:
            # The kernel knows images only: one of a single pixel per example.
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
        # The kernel reports N / (N - 1) times the variance that it divided by.
        self._store(mean, variance * (count - 1.0) / count)
        return outputs if inputs.shape.rank == 4 else outputs[:, 0, 0, :]

    def _store(self, mean, variance):
        # The moments are those of the global batch already: every replica stores
        # the same update.
        for moving, moment in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            update = tf.stop_gradient(moment)
            # Not `0 * moving`: `standing_statistics` puts NaN there.
            if self.momentum:
                update = self.momentum * moving + (1.0 - self.momentum) * update
            moving.assign(update)


class BatchNorm(_BatchNorm):
    """Batch normalization whose moments span all replicas.

        y = (x - mean) / sqrt(var + epsilon) * gamma + beta

    The moving variance averages the biased variance, as compare_gan's does.

    Args:
        momentum: float in [0, 1). Decay of the moving moments, per call.
        epsilon: float. Added to the variance.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)` or
            `(batch, channels)`.
        latents: ignored, as are `label_vectors`; every normalization of G is called
            alike.
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
        spectral_norm: None, or the singular vector to keep ("left", "right", "auto")
            while U, W_g and W_b are divided by their largest singular values.
        kernel_initializer: of U, W_g and W_b.
        momentum: float in [0, 1). Decay of the moving moments, per call.
        epsilon: float. Added to the variance.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)` or
            `(batch, channels)`.
        latents: float tensor, `(batch, latent_dim)`. Row i modulates example i.
        label_vectors: ignored; every normalization of G is called alike.
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
        self.gamma = Dense(
            channels, name="gamma", bias_initializer="ones", **self._dense
        )
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
            "A self-modulated norm needs the latents. Received: latents=None. Pass z, "
            "or take a norm that does not read it, as `BatchNorm`."
        )


class ConditionalBatchNorm(_BatchNorm):
    """Batch normalization whose gain and bias are linear in the label.

        y = (x - mean) / sqrt(var + epsilon) * (1 + W_g c) + W_b c

    With the default zero kernels training starts as plain batch normalization.

    Args:
        center_gain: bool. False leaves out the 1, as compare_gan does: only for its
            weights. A gain that starts near 0 blocks the signal; runs were lost so.
        spectral_norm: None, or the singular vector to keep ("left", "right", "auto")
            while W_g and W_b are divided by their largest singular values.
        kernel_initializer: of W_g and W_b.
        momentum: float in [0, 1). Decay of the moving moments, per call.
        epsilon: float. Added to the variance.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)` or
            `(batch, channels)`.
        latents: ignored; every normalization of G is called alike.
        label_vectors: float tensor, `(batch, n)`: one-hot labels, or what the network
            makes of them. Row i modulates example i.
        training: bool. Moments of the batch if True, moving moments if False.

    Raises:
        ValueError: no label vectors, or not of rank 2; spectral normalization of
            kernels that start at zero, whose largest singular value is zero.

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
                "A spectrally normalized kernel must not start at zero: 0 / 0. "
                f"Received: spectral_norm={spectral_norm!r}, "
                f"kernel_initializer={kernel_initializer!r}. Pass another "
                "kernel_initializer, as 'orthogonal', or spectral_norm=None."
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
                "The label vectors must have shape (batch, n). Received: "
                f"label_vectors_shape={tuple(label_vectors_shape)}. Integer labels "
                "become vectors with `tf.one_hot`."
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
            "network conditional (in gin: ModularGAN.conditional = True), or take a "
            "norm that does not read them, as `BatchNorm`."
        )


def standing_statistics(
    model: keras.layers.Layer, call: Callable[[int], object], num_batches: int
) -> None:
    """Replaces the moving moments by averages over many batches (BigGAN).

        moving_mean      <- 1 / num_batches * sum_i mean of batch i
        moving_variance  <- 1 / num_batches * sum_i (biased) variance of batch i

    for every batch norm in `model`, summed in float64. Spectral-norm vectors, which
    advance during the calls, get back the values that they had. After an error the
    moving moments get theirs back too.

    Args:
        model: a built layer or model.
        call: runs the model with `training=True` on batch i, i = 0, 1, ... It must be
            an eager function, or a `tf.function` that has not run yet: for the time of
            the calls every norm has momentum 0, which a trace reads once. For the
            same reason do not use that `tf.function` afterwards.
        num_batches: int, 1 or more.

    Raises:
        ValueError: `num_batches` is below 1; or a call leaves no finite moments of
            its own in some norm, because `call` was traced before or does not train.

    Reference:
        - Brock et al., 2019, https://arxiv.org/abs/1809.11096
    """
    if num_batches < 1:
        raise ValueError(
            f"`num_batches` must be at least 1. Received: num_batches={num_batches}. "
            "Choose 1 or more."
        )
    norms = [n for n in model._flatten_layers() if isinstance(n, _BatchNorm)]
    moving = [m for norm in norms for m in (norm.moving_mean, norm.moving_variance)]
    momenta = [norm.momentum for norm in norms]
    before = [(v, np.array(v)) for v in model.non_trainable_variables]
    sums = [np.zeros(m.shape, np.float64) for m in moving]
    try:
        for norm in norms:
            # A training call then leaves the moments of its batch, and no others.
            norm.momentum = 0.0
        for i in range(num_batches):
            for moment in moving:
                # What a call does not overwrite must not pass for its moments.
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
