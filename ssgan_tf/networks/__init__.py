"""Generators and discriminators, built from one table of stages per family."""

from ssgan_tf.networks.resnet import ResNetDiscriminator, ResNetGenerator
from ssgan_tf.networks.tables import (
    ARCHITECTURES,
    build_discriminator,
    build_generator,
)

__all__ = [
    "ARCHITECTURES",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "build_discriminator",
    "build_generator",
]
