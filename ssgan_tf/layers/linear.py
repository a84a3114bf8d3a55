"""Dense and convolution layers with optional spectral normalization."""

import keras
import tensorflow as tf

from ssgan_tf.layers.resampling import RESAMPLED_CONVS
from ssgan_tf.layers.spectral_norm import SpectralNorm


class _Linear(keras.layers.Layer):
    """What dense and convolution layers share: kernel, bias, spectral norm."""

    def __init__(
        self,
        units: int,
        *,
        spectral_norm: bool = False,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = units
        # An initializer has its seed from birth: shared, it would give every kernel
        # the same numbers. A clone draws a seed of its own.
        self.kernel_initializer = keras.initializers.get(kernel_initializer).clone()
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.spectral_norm = (
            SpectralNorm(name="spectral_norm") if spectral_norm else None
        )

    def _build_weights(self, kernel_shape):
        self.kernel = self.add_weight(
            shape=kernel_shape, initializer=self.kernel_initializer, name="kernel"
        )
        self.bias = self.add_weight(
            shape=(self.units,), initializer=self.bias_initializer, name="bias"
        )
        if self.spectral_norm is not None:
            self.spectral_norm.build(kernel_shape)

    def _effective_kernel(self, training):
        kernel = tf.convert_to_tensor(self.kernel)
        if self.spectral_norm is None:
            return kernel
        return self.spectral_norm(kernel, training=training)


class Dense(_Linear):
    """`outputs = inputs @ kernel + bias`, the kernel spectrally normalized if asked.

    Args:
        units: int. Output features.
        spectral_norm: bool. Divide the kernel by its largest singular value.
        kernel_initializer: as `keras.initializers.get` takes it.
        bias_initializer: the same.

    Call arguments:
        inputs: float tensor, `(batch, features)`.
        training: bool. Whether the spectral-norm vector advances.
    """

    def build(self, input_shape):
        self._build_weights((input_shape[-1], self.units))

    def call(self, inputs, training=False):
        return tf.matmul(inputs, self._effective_kernel(training)) + self.bias


class Conv2D(_Linear):
    """3x3 convolution, zero padded, that keeps, doubles or halves the resolution.

    Args:
        units: int. Output channels.
        resample: "none"; "up" (insert zeros, then convolve); "down" (convolve, then
            average 2x2 windows).
        spectral_norm: bool. Divide the stored kernel by its largest singular value.
        kernel_initializer: as `keras.initializers.get` takes it.
        bias_initializer: the same.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)`; height and width
            are static.
        training: bool. Whether the spectral-norm vector advances.

    Raises:
        ValueError: `resample` is none of the three.
    """

    def __init__(self, units: int, *, resample: str = "none", **kwargs):
        super().__init__(units, **kwargs)
        if resample not in RESAMPLED_CONVS:
            raise ValueError(
                f"`resample` must be one of {sorted(RESAMPLED_CONVS)}. Received: "
                f"resample={resample!r}."
            )
        self.resample = resample

    def build(self, input_shape):
        self._build_weights((3, 3, input_shape[-1], self.units))

    def call(self, inputs, training=False):
        outputs = RESAMPLED_CONVS[self.resample](
            inputs, self._effective_kernel(training)
        )
        return tf.nn.bias_add(outputs, self.bias)
