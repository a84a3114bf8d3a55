"""Layers that Keras lacks or implements differently from the papers."""

from ssgan_tf.layers.attention import SelfAttention
from ssgan_tf.layers.batch_norm import (
    BatchNorm,
    ConditionalBatchNorm,
    SelfModulatedBatchNorm,
    standing_statistics,
)
from ssgan_tf.layers.layer_norm import LayerNorm
from ssgan_tf.layers.linear import Conv2D, Conv2DTranspose, Dense
from ssgan_tf.layers.spectral_norm import SpectralNorm

__all__ = [
    "BatchNorm",
    "ConditionalBatchNorm",
    "Conv2D",
    "Conv2DTranspose",
    "Dense",
    "LayerNorm",
    "SelfAttention",
    "SelfModulatedBatchNorm",
    "SpectralNorm",
    "standing_statistics",
]
