"""Generators and discriminators, built from one table of stages per family."""

from ssgan_tf.networks.discriminator import Discriminator
from ssgan_tf.networks.generator import Generator
from ssgan_tf.networks.spec import DiscriminatorSpec, GeneratorSpec, NormFactory
from ssgan_tf.networks.tables import (
    ARCHITECTURES,
    Architecture,
    build_discriminator,
    build_generator,
    get_architecture,
)

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
