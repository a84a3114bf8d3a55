"""Residual generators and discriminators with pre-activation blocks.

Layers carry compare_gan's names (`B1/up_conv1`, `final_norm`, `disc_final_fc`), so a
variable's path here is its name there.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from ssgan_tf import rotation
from ssgan_tf.layers import Conv2D, Dense

NormFactory = Callable[..., keras.layers.Layer]


class Stage(NamedTuple):
    """One residual block: its output channels and what it does to the resolution."""

    channels: int
    resample: str


class ResNetBlock(keras.layers.Layer):
    """Pre-activation residual block with a convolution on the shortcut.

        y = conv2(relu(norm2(conv1(relu(norm1(x)))))) + conv_shortcut(x)

    The shortcut takes the raw input. G changes the resolution in `conv1`, D in
    `conv2`.

    Args:
        stage: `Stage`. Channels and resampling.
        norm: None, or what makes a normalization layer from a `name`.
        spectral_norm: bool. Normalize all three kernels.
        kernel_initializer: of all three kernels.

    Call arguments:
        inputs: float tensor, `(batch, height, width, in_channels)`.
        latents: float tensor, `(batch, latent_dim)`, for modulated norms.
        training: bool.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        norm: NormFactory | None,
        spectral_norm: bool,
        kernel_initializer,
        **kwargs,
    ):
        super().__init__(**kwargs)

        def conv(resample: str, suffix: str) -> Conv2D:
            prefix = "same" if resample == "none" else resample
            return Conv2D(
                stage.channels,
                resample=resample,
                spectral_norm=spectral_norm,
                kernel_initializer=kernel_initializer,
                name=f"{prefix}_{suffix}",
            )

        upsamples = stage.resample == "up"
        self.channels = stage.channels
        self.shortcut = conv(stage.resample, "conv_shortcut")
        self.conv1 = conv("up" if upsamples else "none", "conv1")
        self.conv2 = conv("none" if upsamples else stage.resample, "conv2")
        self.norm1 = norm(name="bn1") if norm else None
        self.norm2 = norm(name="bn2") if norm else None

    def build(self, inputs_shape, latents_shape=None):
        hidden_shape = (*inputs_shape[:-1], self.channels)
        self.shortcut.build(inputs_shape)
        self.conv1.build(inputs_shape)
        self.conv2.build(hidden_shape)
        for norm, shape in ((self.norm1, inputs_shape), (self.norm2, hidden_shape)):
            if norm is not None:
                norm.build(shape, latents_shape)

    def call(self, inputs, latents=None, training=False):
        outputs = inputs
        for norm, conv in ((self.norm1, self.conv1), (self.norm2, self.conv2)):
            if norm is not None:
                outputs = norm(outputs, latents, training=training)
            outputs = conv(tf.nn.relu(outputs), training=training)
        return outputs + self.shortcut(inputs, training=training)


class ResNetGenerator(keras.Model):
    """Latent to image: linear layer, residual blocks, norm, ReLU, convolution, sigmoid.

    Args:
        latent_dim: int. Size of z.
        image_shape: `(size, size, channels)`.
        start: `(size, channels)` of the map that the linear layer makes.
        stages: the blocks, in order; each "up" doubles the size.
        norm: makes a normalization layer from a `name`.
        spectral_norm: bool. Normalize every kernel.
        kernel_initializer: of every kernel.

    Call arguments:
        latents: float tensor, `(batch, latent_dim)`.
        training: bool. Batch moments if True, moving moments if False.

    Returns:
        Images, `(batch, size, size, channels)`, float in [0, 1].
    """

    def __init__(
        self,
        *,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        start: tuple[int, int],
        stages: Sequence[Stage],
        norm: NormFactory,
        spectral_norm: bool,
        kernel_initializer,
        name: str = "generator",
    ):
        super().__init__(name=name)
        common = dict(
            spectral_norm=spectral_norm, kernel_initializer=kernel_initializer
        )
        size, channels = start
        self.latent_dim = latent_dim
        self.image_shape = tuple(image_shape)
        self.start_shape = (size, size, channels)
        self.fc_noise = Dense(size * size * channels, name="fc_noise", **common)
        self.blocks = [
            ResNetBlock(stage, norm=norm, name=f"B{i + 1}", **common)
            for i, stage in enumerate(stages)
        ]
        self.final_norm = norm(name="final_norm")
        self.final_conv = Conv2D(image_shape[-1], name="final_conv", **common)
        self.build((None, latent_dim))

    def build(self, latents_shape):
        self.fc_noise.build(latents_shape)
        shape = (None, *self.start_shape)
        for block in self.blocks:
            block.build(shape, latents_shape)
            shape = (*shape[:-1], block.channels)
        self.final_norm.build(shape, latents_shape)
        self.final_conv.build(shape)
        self.built = True

    def call(self, latents, training=False):
        outputs = self.fc_noise(latents, training=training)
        outputs = tf.reshape(outputs, (-1, *self.start_shape))
        for block in self.blocks:
            outputs = block(outputs, latents, training=training)
        outputs = tf.nn.relu(self.final_norm(outputs, latents, training=training))
        return tf.sigmoid(self.final_conv(outputs, training=training))


class ResNetDiscriminator(keras.Model):
    """Image to a true/fake logit and, on the same trunk, rotation logits.

    Blocks, ReLU, global mean; one linear layer gives the logit and another one the
    rotation logits.

    Args:
        image_shape: `(size, size, channels)`.
        stages: the blocks, in order; each "down" halves the size.
        spectral_norm: bool. Normalize every kernel, both heads included.
        rotation_head: bool. Whether there is a rotation head.
        kernel_initializer: of every kernel.

    Call arguments:
        images: float tensor, `(batch, size, size, channels)`, in [0, 1].
        training: bool. Whether the spectral-norm vectors advance.

    Returns:
        dict: `logits` (batch, 1), `features` (batch, channels), the input of the
        linear layers, and with a rotation head `rotation_logits` (batch, 4).

    Reference:
        - Chen et al., 2019, figure 1, https://arxiv.org/abs/1811.11212
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        stages: Sequence[Stage],
        spectral_norm: bool,
        rotation_head: bool,
        kernel_initializer,
        name: str = "discriminator",
    ):
        super().__init__(name=name)
        common = dict(
            spectral_norm=spectral_norm, kernel_initializer=kernel_initializer
        )
        self.image_shape = tuple(image_shape)
        self.blocks = [
            ResNetBlock(stage, norm=None, name=f"B{i + 1}", **common)
            for i, stage in enumerate(stages)
        ]
        self.logit_head = Dense(1, name="disc_final_fc", **common)
        self.rotation_head = (
            Dense(rotation.NUM_ROTATIONS, name="score_classify", **common)
            if rotation_head
            else None
        )
        self.build((None, *image_shape))

    def build(self, images_shape):
        shape = images_shape
        for block in self.blocks:
            block.build(shape)
            shape = (*shape[:-1], block.channels)
        self.logit_head.build((None, shape[-1]))
        if self.rotation_head is not None:
            self.rotation_head.build((None, shape[-1]))
        self.built = True

    def call(self, images, training=False):
        hidden = images
        for block in self.blocks:
            hidden = block(hidden, training=training)
        features = tf.reduce_mean(tf.nn.relu(hidden), axis=[1, 2])
        outputs = {
            "features": features,
            "logits": self.logit_head(features, training=training),
        }
        if self.rotation_head is not None:
            outputs["rotation_logits"] = self.rotation_head(features, training=training)
        return outputs
