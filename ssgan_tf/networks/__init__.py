"""Generators and discriminators, by the name of their architecture."""

from ssgan_tf.networks.architectures import (
    ARCHITECTURES,
    Architecture,
    build_discriminator,
    build_generator,
    get_architecture,
)
from ssgan_tf.networks.base import DiscriminatorSpec, GeneratorSpec, NormFactory
from ssgan_tf.networks.discriminator import Discriminator
from ssgan_tf.networks.generator import Generator

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Discriminator",
    "DiscriminatorSpec",
    "Generator",
    "GeneratorSpec",
    "NormFactory",
    "build_discriminator",
    "build_generator",
    "get_architecture",
]
