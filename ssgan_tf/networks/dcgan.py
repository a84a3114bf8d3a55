"""Plain convolutional networks: DCGAN and SN-GAN's version of it.

Layers have compare_gan's names (`g_dc2`, `d_conv1`), so a variable's path here is its
name there.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from ssgan_tf.layers import Conv2D, Conv2DTranspose, Dense
from ssgan_tf.networks.base import GeneratorSpec
from ssgan_tf.networks.generator import Generator


class Convolution(NamedTuple):
    """One convolution of a table: its name, channels, kernel size and stride."""

    name: str
    channels: int
    kernel_size: int
    strides: int


class ConvGenerator(Generator):
    """Linear layer, then transposed convolutions, all with a norm and a ReLU before.

    The images are a tanh, mapped to [0, 1]. As in compare_gan no layer has spectral
    normalization.

    Args:
        spec: `GeneratorSpec`.
        channels: int. Channels of the linear layer's output map.
        convolutions: the transposed convolutions, in order.
        norm_before_reshape: bool. True: the first norm sees the linear layer's output
            as a vector, with moments per position and channel. False: it sees a map,
            with moments per channel.

    Raises:
        ValueError: `spec` has spectral normalization.
    """

    def __init__(
        self,
        spec: GeneratorSpec,
        *,
        channels: int,
        convolutions: Sequence[Convolution],
        norm_before_reshape: bool,
    ):
        super().__init__(spec)
        if spec.spectral_norm is not None:
            raise ValueError(
                "A DCGAN generator has no spectral normalization. Received: "
                f"spectral_norm={spec.spectral_norm!r}. Set G.spectral_norm = False."
            )
        size, *sizes = _sizes(spec.size, convolutions)
        self.start_shape = (size, size, channels)
        self.norm_before_reshape = norm_before_reshape
        self.fc_noise = Dense(size * size * channels, name="g_fc1", **spec.kernels)
        names = (f"g_bn{i}" for i, _ in enumerate(convolutions, 1))
        self.norms = [spec.norm(name=name) for name in names]
        self.convolutions = [
            Conv2DTranspose(*numbers, output_size=size, name=name, **spec.kernels)
            for (name, *numbers), size in zip(convolutions, sizes, strict=True)
        ]
        self.finish()

    def images(self, latents, label_vectors, training):
        outputs = self.fc_noise(latents, training=training)
        if not self.norm_before_reshape:
            outputs = tf.reshape(outputs, (-1, *self.start_shape))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            outputs = norm(outputs, latents, label_vectors, training=training)
            outputs = tf.nn.relu(outputs)
            if outputs.shape.rank == 2:
                outputs = tf.reshape(outputs, (-1, *self.start_shape))
            outputs = convolution(outputs, training=training)
        return 0.5 * tf.tanh(tf.cast(outputs, self.variable_dtype)) + 0.5


def _sizes(size: int, convolutions: Sequence[Convolution]) -> list[int]:
    """Sizes of the maps between the convolutions, such as 2, 4, 7, 14 and 28."""
    sizes = [size]
    for layer in reversed(convolutions):
        sizes.append(-(-sizes[-1] // layer.strides))
    return sizes[::-1]


class LeakyConv2D(Conv2D):
    """Convolution and leaky ReLU, a block of these discriminators.

    Args:
        layer: `Convolution`. Name, channels, kernel size and stride.
        leak: float. Slope for negative values.
    """

    is_block = True

    def __init__(self, layer: Convolution, *, leak: float, **kernels):
        name, *numbers = layer
        super().__init__(*numbers, name=name, **kernels)
        self.leak = leak

    def call(self, inputs, training=False):
        return tf.nn.leaky_relu(super().call(inputs, training=training), self.leak)


def centered(images: tf.Tensor, training: bool = False) -> tf.Tensor:
    """[0, 1] to [-1, 1]."""
    return 2.0 * images - 1.0
