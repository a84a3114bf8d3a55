"""Dense and convolution layers with optional spectral normalization."""

import keras
import tensorflow as tf

from ssgan_tf.layers.resampling import RESAMPLED_CONVS
from ssgan_tf.layers.spectral_norm import SpectralNorm


class _Linear(keras.layers.Layer):
    """Base of dense and convolution layers: kernel, bias, spectral norm."""

    def __init__(
        self,
        units: int,
        *,
        spectral_norm: str | None = None,
        use_bias: bool = True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check_positive(units=units)
        self.units = units
        self.use_bias = use_bias
        # An initializer draws its seed when it is made: a shared one would give every
        # kernel the same numbers. A clone draws another seed.
        self.kernel_initializer = keras.initializers.get(kernel_initializer).clone()
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.spectral_norm = self.bias = None
        if spectral_norm is not None:
            self.spectral_norm = SpectralNorm(spectral_norm, name="spectral_norm")

    def _build_weights(self, kernel_shape):
        self.kernel = self.add_weight(
            shape=kernel_shape,
            initializer=self.kernel_initializer,
            # With mixed precision the spectral norm is that of the float32 kernel.
            autocast=False,
            name="kernel",
        )
        if self.use_bias:
            initializer = self.bias_initializer
            self.bias = self.add_weight((self.units,), initializer, name="bias")
        if self.spectral_norm is not None:
            self.spectral_norm.build(kernel_shape)

    def _effective_kernel(self, training):
        kernel = tf.convert_to_tensor(self.kernel)
        if self.spectral_norm is not None:
            kernel = self.spectral_norm(kernel, training=training)
        return tf.cast(kernel, self.compute_dtype)

    def _add_bias(self, outputs):
        return outputs if self.bias is None else tf.nn.bias_add(outputs, self.bias)


class Dense(_Linear):
    """`outputs = inputs @ kernel + bias`, optionally with a spectral norm.

    Args:
        units: int. Output features.
        spectral_norm: None, or the singular vector to keep ("left", "right", "auto")
            while the kernel is divided by its largest singular value.
        use_bias: bool.
        kernel_initializer: as `keras.initializers.get` takes it.
        bias_initializer: the same.

    Call arguments:
        inputs: float tensor, `(batch, features)`.
        training: bool. Whether the spectral-norm vector advances.
    """

    def build(self, input_shape):
        self._build_weights((input_shape[-1], self.units))

    def call(self, inputs, training=False):
        return self._add_bias(tf.matmul(inputs, self._effective_kernel(training)))


class Conv2D(_Linear):
    """Convolution, zero padded ("SAME"), that may double or halve the resolution.

    Args:
        units: int. Output channels.
        kernel_size: int. Height and width of the kernel.
        strides: int. The output has `ceil(size / strides)` rows and columns.
        resample: "none"; "up" (insert zeros, then convolve); "down" (convolve, then
            average 2x2 windows). "up" and "down" require kernel size 1 or 3 and
            strides 1.
        spectral_norm: None, or the singular vector to keep ("left", "right", "auto")
            while the stored kernel is divided by its largest singular value.
        use_bias: bool.
        kernel_initializer: as `keras.initializers.get` takes it.
        bias_initializer: the same.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)`; height and width
            are static.
        training: bool. Whether the spectral-norm vector advances.

    Raises:
        ValueError: `resample` is unknown, or does not support the kernel size or the
            strides; a size is below 1.
    """

    def __init__(
        self,
        units: int,
        kernel_size: int = 3,
        strides: int = 1,
        resample: str = "none",
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        _check_positive(kernel_size=kernel_size, strides=strides)
        if resample not in RESAMPLED_CONVS:
            raise ValueError(
                f"`resample` must be one of {sorted(RESAMPLED_CONVS)}. Received: "
                f"resample={resample!r}."
            )
        if resample != "none" and (kernel_size not in (1, 3) or strides != 1):
            raise ValueError(
                "A resampling convolution must have kernel size 1 or 3 and strides 1. "
                f"Received: {resample=}, {kernel_size=}, {strides=}."
            )
        self.kernel_size = kernel_size
        self.strides = strides
        self.resample = resample

    def build(self, input_shape):
        size = self.kernel_size
        self._build_weights((size, size, input_shape[-1], self.units))

    def call(self, inputs, training=False):
        kernel = self._effective_kernel(training)
        if self.resample == "none":
            outputs = tf.nn.conv2d(inputs, kernel, self.strides, padding="SAME")
        else:
            outputs = RESAMPLED_CONVS[self.resample](inputs, kernel)
        return self._add_bias(outputs)


class Conv2DTranspose(_Linear):
    """Transposed convolution: each input pixel adds a scaled kernel to the output.

    It is the gradient of a "SAME" convolution with these strides by its input.

    The kernel is `(size, size, units, channels)`: the last axis, the columns for
    spectral normalization, holds the INPUT channels, as in compare_gan.

    Args:
        units: int. Output channels.
        kernel_size: int. Height and width of the kernel.
        strides: int. Output rows per input row; columns alike.
        output_size: int or None. Height and width of a square output; the input has
            `ceil(output_size / strides)` rows. None: `strides` times the input size.
        spectral_norm: None, or the singular vector to keep ("left", "right", "auto")
            while the stored kernel is divided by its largest singular value.
        use_bias: bool.
        kernel_initializer: as `keras.initializers.get` takes it.
        bias_initializer: the same.

    Call arguments:
        inputs: float tensor, `(batch, height, width, channels)`; height and width
            are static.
        training: bool. Whether the spectral-norm vector advances.

    Raises:
        ValueError: a size is below 1.
    """

    def __init__(
        self,
        units: int,
        kernel_size: int,
        strides: int,
        output_size: int | None = None,
        **kwargs,
    ):
        super().__init__(units, **kwargs)
        _check_positive(kernel_size=kernel_size, strides=strides)
        self.kernel_size = kernel_size
        self.strides = strides
        self.output_size = output_size

    def build(self, input_shape):
        size = self.kernel_size
        self._build_weights((size, size, self.units, input_shape[-1]))

    def call(self, inputs, training=False):
        batch, height, width, _ = inputs.shape
        batch = tf.shape(inputs)[0] if batch is None else batch
        size = self.strides * height, self.strides * width
        if self.output_size is not None:
            size = self.output_size, self.output_size
        outputs = tf.nn.conv2d_transpose(
            inputs,
            self._effective_kernel(training),
            output_shape=[batch, *size, self.units],
            strides=self.strides,
            padding="SAME",
        )
        return self._add_bias(outputs)


def _check_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {name}={value}.")
