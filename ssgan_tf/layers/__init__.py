"""Layers that Keras lacks or builds otherwise than the paper."""

from ssgan_tf.layers.batch_norm import BatchNorm, SelfModulatedBatchNorm
from ssgan_tf.layers.linear import Conv2D, Dense
from ssgan_tf.layers.spectral_norm import SpectralNorm

__all__ = [
    "BatchNorm",
    "Conv2D",
    "Dense",
    "SelfModulatedBatchNorm",
    "SpectralNorm",
]
