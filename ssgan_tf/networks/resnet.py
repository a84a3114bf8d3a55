"""Residual networks with pre-activation blocks.

Layers have compare_gan's names (`B1/up_conv1`, `final_norm`, `disc_final_fc`), so a
variable's path here is its name there.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from ssgan_tf.layers import Conv2D, Dense, SelfAttention
from ssgan_tf.layers.resampling import average_pool, insert_zeros
from ssgan_tf.networks.base import Composite, GeneratorSpec, NormFactory
from ssgan_tf.networks.generator import Generator


class Stage(NamedTuple):
    """One residual block: output channels, and "up", "down" or "none"."""

    channels: int
    resample: str


class ResNetBlock(Composite, keras.layers.Layer):
    """Pre-activation residual block with a convolution on the shortcut.

        hidden  = conv1(relu(norm1(inputs)))
        outputs = conv2(relu(norm2(hidden))) + conv_shortcut(inputs)

    G changes the resolution in `conv1`, D in `conv2`.

    Args:
        stage: `Stage`. Channels and resampling.
        in_channels: int. Channels of the input.
        norm: None, or a function that makes a normalization layer from a `name`.
        norm_prefix: str. The names of the norms are this, and 1 or 2.
        shortcut: int. Kernel size of the shortcut; 0 for a block without shortcut.
        spectral_norm: None, or the singular vector to keep, for all kernels.
        kernel_initializer: initializer of all kernels.

    Call arguments:
        inputs: float tensor, `(batch, height, width, in_channels)`.
        latents: float tensor, `(batch, n)`, for modulated norms.
        label_vectors: float tensor, `(batch, m)`, for conditional norms.
        training: bool.
    """

    is_block = True

    def __init__(
        self,
        stage: Stage,
        in_channels: int,
        *,
        norm: NormFactory | None,
        norm_prefix: str = "bn",
        shortcut: int = 3,
        name: str,
        **kernels,
    ):
        super().__init__(name=name)
        channels, resample = stage

        def conv(resample: str, suffix: str, kernel_size: int = 3) -> Conv2D:
            prefix = "same" if resample == "none" else resample
            return Conv2D(
                channels,
                kernel_size,
                resample=resample,
                name=f"{prefix}_{suffix}",
                **kernels,
            )

        upsamples = resample == "up"
        self.shortcut = conv(resample, "conv_shortcut", shortcut) if shortcut else None
        self.conv1 = conv("up" if upsamples else "none", "conv1")
        self.conv2 = conv("none" if upsamples else resample, "conv2")
        self.norm1 = norm(name=f"{norm_prefix}1") if norm else None
        self.norm2 = norm(name=f"{norm_prefix}2") if norm else None

    def call(self, inputs, latents=None, label_vectors=None, training=False):
        outputs = inputs
        for norm, conv in ((self.norm1, self.conv1), (self.norm2, self.conv2)):
            if norm is not None:
                outputs = norm(outputs, latents, label_vectors, training=training)
            outputs = conv(tf.nn.relu(outputs), training=training)
        if self.shortcut is None:
            return outputs
        return outputs + self.shortcut(inputs, training=training)


class _NormConv(Composite, keras.layers.Layer):
    """Norm, ReLU, convolution: one of four in a bottleneck block."""

    def __init__(self, channels, kernel_size, resample, *, norm, name, **kernels):
        super().__init__(name=name)
        self.norm = norm(name="bn") if norm else None
        self.conv = Conv2D(
            channels,
            kernel_size,
            resample=resample,
            name=f"{kernel_size}x{kernel_size}_conv",
            **kernels,
        )

    def call(self, inputs, latents=None, label_vectors=None, training=False):
        outputs = inputs
        if self.norm is not None:
            outputs = self.norm(outputs, latents, label_vectors, training=training)
        return self.conv(tf.nn.relu(outputs), training=training)


class _IdentityShortcut(Composite, keras.layers.Layer):
    """Identity on the common channels: drops input channels, or adds new ones."""

    def __init__(self, stage: Stage, in_channels: int, *, name, **kernels):
        super().__init__(name=name)
        self.stage = stage
        missing = stage.channels - in_channels
        self.add_channels = None
        if missing > 0:
            self.add_channels = Conv2D(missing, 1, name="add_channels", **kernels)

    def call(self, inputs, training=False):
        channels, resample = self.stage
        outputs = inputs[..., :channels]
        if resample == "up":
            outputs = insert_zeros(outputs)
        if resample == "down":
            outputs = average_pool(outputs)
        if self.add_channels is not None:
            added = self.add_channels(outputs, training=training)
            outputs = tf.concat([outputs, added], axis=-1)
        return outputs


class BottleneckBlock(Composite, keras.layers.Layer):
    """BigGAN-deep's block: 1x1, 3x3, 3x3, 1x1 convolutions and an identity shortcut.

    The middle layers have a quarter of the larger number of channels. G changes the
    resolution before the first 3x3 convolution, D before the last 1x1 convolution. The
    shortcut drops surplus channels; a 1x1 convolution makes missing ones.

    Arguments: those of `ResNetBlock`, but for `norm_prefix` and `shortcut`.

    Reference:
        - Brock et al., 2019, appendix B, https://arxiv.org/abs/1809.11096
    """

    is_block = True

    def __init__(
        self,
        stage: Stage,
        in_channels: int,
        *,
        norm: NormFactory | None,
        name: str,
        **kernels,
    ):
        super().__init__(name=name)
        channels, resample = stage
        middle = max(in_channels, channels) // 4
        table = (
            (middle, 1, "none"),
            (middle, 3, "up" if resample == "up" else "none"),
            (middle, 3, "none"),
            (channels, 1, "down" if resample == "down" else "none"),
        )
        self.convs = [
            _NormConv(*row, norm=norm, name=f"conv{i + 1}", **kernels)
            for i, row in enumerate(table)
        ]
        shortcut = _IdentityShortcut(stage, in_channels, name="shortcut", **kernels)
        self.shortcut = shortcut

    def call(self, inputs, latents=None, label_vectors=None, training=False):
        outputs = inputs
        for conv in self.convs:
            outputs = conv(outputs, latents, label_vectors, training=training)
        return outputs + self.shortcut(inputs, training=training)


class _Inputs(NamedTuple):
    """The inputs of the linear layer (`first`) and of the norms of every block."""

    first: tf.Tensor
    latents: list[tf.Tensor]
    label_vectors: list[tf.Tensor | None]


def whole_latents(latents, label_vectors, num_blocks: int) -> _Inputs:
    """The linear layer and all norms get the whole z, norms also the labels."""
    return _Inputs(latents, [latents] * num_blocks, [label_vectors] * num_blocks)


def split_latents(latents, label_vectors, num_blocks: int) -> _Inputs:
    """BigGAN's hierarchical z: equal pieces, the first for the linear layer.

    The norms of a block get its piece of z, and the labels joined with that piece.
    """
    first, *pieces = tf.split(latents, num_blocks + 1, axis=1)
    vectors = [None] * num_blocks
    if label_vectors is not None:
        vectors = [tf.concat([piece, label_vectors], axis=1) for piece in pieces]
    return _Inputs(first, pieces, vectors)


def joined_latents(latents, label_vectors, num_blocks: int) -> _Inputs:
    """BigGAN-deep: the linear layer and all norms get z joined with the labels."""
    if label_vectors is None:
        return whole_latents(latents, None, num_blocks)
    joined = tf.concat([latents, label_vectors], axis=1)
    return whole_latents(joined, joined, num_blocks)


class ResNetGenerator(Generator):
    """Linear layer, residual blocks, norm, ReLU, convolution, sigmoid.

    Args:
        spec: `GeneratorSpec`.
        start: `(size, channels)` of the linear layer's output map.
        blocks: `(name, stage)` per block, in order; each "up" doubles the size.
        block: makes a block, as `ResNetBlock`.
        attention: str or None. Name of the block before self-attention.
        deal: distributes z and the labels to the layers: `whole_latents`,
            `split_latents` or `joined_latents`.
        class_embedding: int. Size of the label embedding that all norms share; 0 for
            the one-hot label.
        final_norm: makes the norm after the blocks; None for `spec.norm`.
        final_norm_name: str or None. None for neither norm nor ReLU after the blocks.
        ends_normalized: bool. Whether the first and the last layer have spectral
            normalization too.
        to_images: turns the last layer's output into images in [0, 1].

    Raises:
        ValueError: `split_latents` cannot split z into equal pieces.
    """

    def __init__(
        self,
        spec: GeneratorSpec,
        *,
        start: tuple[int, int],
        blocks: Sequence[tuple[str, Stage]],
        block: Callable[..., keras.layers.Layer] = ResNetBlock,
        attention: str | None = None,
        deal: Callable[..., _Inputs] = whole_latents,
        class_embedding: int = 0,
        final_norm: NormFactory | None = None,
        final_norm_name: str | None = "final_norm",
        ends_normalized: bool = True,
        to_images: Callable[[tf.Tensor], tf.Tensor] = tf.sigmoid,
    ):
        super().__init__(spec)
        if deal is split_latents and spec.latent_dim % (len(blocks) + 1):
            raise ValueError(
                "A hierarchical z must split into equal pieces. Received: "
                f"z_dim={spec.latent_dim}. Choose a multiple of {len(blocks) + 1}."
            )
        size, channels = start
        self.start_shape = (size, size, channels)
        self.deal = deal
        self.to_images = to_images
        ends = spec.kernels if ends_normalized else spec.raw_kernels
        self.class_embedding = None
        if class_embedding and spec.num_classes:
            self.class_embedding = Dense(
                class_embedding, use_bias=False, name="embed_y", **spec.raw_kernels
            )
        self.fc_noise = Dense(size * size * channels, name="fc_noise", **ends)
        self.blocks, options = [], {"norm": spec.norm, **spec.kernels}
        for name, stage in blocks:
            self.blocks.append(block(stage, channels, name=name, **options))
            channels = stage.channels
        self.attention_after = attention
        self.attention = None
        if attention:
            self.attention = SelfAttention(name="non_local_block", **spec.kernels)
        self.final_norm = None
        if final_norm_name:
            self.final_norm = (final_norm or spec.norm)(name=final_norm_name)
        self.final_conv = Conv2D(spec.image_shape[-1], name="final_conv", **ends)
        self.finish()

    def images(self, latents, label_vectors, training):
        if self.class_embedding is not None:
            label_vectors = self.class_embedding(label_vectors, training=training)
        first, *dealt = self.deal(latents, label_vectors, len(self.blocks))
        outputs = self.fc_noise(first, training=training)
        outputs = tf.reshape(outputs, (-1, *self.start_shape))
        for block, *modulation in zip(self.blocks, *dealt, strict=True):
            outputs = block(outputs, *modulation, training=training)
            if block.name == self.attention_after:
                outputs = self.attention(outputs, training=training)
        if self.final_norm is not None:
            outputs = tf.nn.relu(
                self.final_norm(outputs, latents, label_vectors, training=training)
            )
        outputs = self.final_conv(outputs, training=training)
        return self.to_images(tf.cast(outputs, self.variable_dtype))
