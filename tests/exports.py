"""Tiny GANs with random weights, and their exported modules."""

import keras
import oracles

from ssgan_tf import layers
from ssgan_tf.gan import GAN
from ssgan_tf.latents import Latents
from ssgan_tf.modules import reading, writing
from ssgan_tf.modules.module import LoadedModule

LATENT_DIM = 5
CLASSES = 3


def random_gan(distribution="uniform", num_classes=0, **heads) -> GAN:
    """A GAN with random weights and moments, and an average."""
    norm = layers.ConditionalBatchNorm if num_classes else layers.BatchNorm
    small = {"start": (4, 6), "widths": (4,)}
    generator, average = (
        oracles.tiny_generator(norm, num_classes=num_classes, **small) for _ in range(2)
    )
    gan = GAN(
        generator,
        oracles.tiny_discriminator(
            **heads, stages=((8, "down"),), num_classes=num_classes
        ),
        latents=Latents(LATENT_DIM, distribution),
        average=average,
    )
    oracles.randomize(gan.average, 7)
    return gan


def conditional_gan() -> GAN:
    return random_gan(num_classes=CLASSES, class_predictor=True, seed=7)


def export(gan, path, **options) -> LoadedModule:
    facts = {"step": 5, "weights": "ema"}
    writing.export(
        gan.sampler, gan.discriminator, gan.latents, path, metadata=facts, **options
    )
    return reading.load(path)


def functional_pair(
    latent_dim=LATENT_DIM, size=5, logits="logits", channels=3
) -> tuple:
    """A user's networks, without attributes of this package."""
    latents = keras.Input((latent_dim,))
    pixels = keras.layers.Dense(channels * size**2, "sigmoid")(latents)
    images = keras.layers.Reshape((size, size, channels))(pixels)
    inputs = keras.Input((size, size, channels))
    features = keras.layers.Dense(6)(keras.layers.Flatten()(inputs))
    outputs = {logits: keras.layers.Dense(1)(features), "features": features}
    return keras.Model(latents, images), keras.Model(inputs, outputs)


def functional_gan(**options) -> GAN:
    """The fastest to export."""
    return GAN(*functional_pair(**options), latents=Latents(LATENT_DIM))
