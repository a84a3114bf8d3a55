"""The parameters of the two networks: weights, norms, G and D."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras

from ssgan_tf import layers, networks
from ssgan_tf.config import checks
from ssgan_tf.config.parser import configurable
from ssgan_tf.layers.spectral_norm import VECTORS

INITIALIZERS = {
    "normal": lambda stddev: keras.initializers.RandomNormal(stddev=stddev),
    "truncated": lambda stddev: keras.initializers.TruncatedNormal(stddev=stddev),
    "orthogonal": lambda stddev: keras.initializers.Orthogonal(),
}


@configurable("weights")
def weights(
    initializer: checks.choice(INITIALIZERS) = "normal",
    # Spectral normalization would divide by zero.
    stddev: checks.Positive = 0.02,
) -> keras.initializers.Initializer:
    """The initializer of every kernel.

    Args:
        initializer: "normal", "truncated" or "orthogonal". "truncated": a normal
            distribution cut off at two deviations.
        stddev: float > 0. Standard deviation; "orthogonal" has none and ignores it.
    """
    return INITIALIZERS[initializer](stddev)


@configurable("spectral_norm")
def spectral_norm(singular_value: checks.choice(VECTORS) = "left") -> str:
    """Spectral normalization of G or D.

    Args:
        singular_value: "left", "right" or "auto". Singular vector of a kernel that is
            kept between steps; "auto": the shorter one.
    """
    return singular_value


class Moments(NamedTuple):
    """Settings of the moments of batch normalization.

    Attributes:
        momentum: float. Decay of the moving moments.
        epsilon: float. Added to the variance.
        standing_examples: int. Samples over which the exported moments are averaged
            after training; 0 for the moving moments of training.
    """

    momentum: float
    epsilon: float
    standing_examples: int

    @property
    def arguments(self) -> dict[str, float]:
        """Arguments of a layer."""
        return {"momentum": self.momentum, "epsilon": self.epsilon}


@configurable("standardize_batch")
def standardize_batch(
    decay: checks.Decay = 0.9,
    epsilon: checks.NonNegative = 1e-5,
    use_moving_averages: checks.Flag = True,
    num_accu_examples: checks.Count = 204800,
) -> Moments:
    """The moments of every batch normalization of G, whatever modulates it.

    Args:
        decay: float in [0, 1). Decay of the moving moments, per step.
        epsilon: float >= 0. Added to the variance.
        use_moving_averages: bool. False: an export holds standing statistics, moments
            averaged over samples after training, in place of the moving ones.
        num_accu_examples: int >= 1. Number of those samples.
    """
    return Moments(decay, epsilon, 0 if use_moving_averages else num_accu_examples)


_NORMS = ["G.batch_norm_fn"]


@configurable("batch_norm", legal_for=_NORMS)
def batch_norm(name: str, spectral_norm: str | None) -> keras.layers.Layer:
    """Batch normalization with a gain and a bias per channel."""
    return layers.BatchNorm(name=name, **standardize_batch().arguments)


@configurable("self_modulated_batch_norm", legal_for=_NORMS)
def self_modulated_batch_norm(
    name: str, spectral_norm: str | None, num_hidden: checks.Count = 32
) -> keras.layers.Layer:
    """Batch normalization whose gain and bias are functions of z: sBN of the paper.

    Args:
        num_hidden: int >= 1. Hidden units of those functions.
    """
    return layers.SelfModulatedBatchNorm(
        name=name,
        hidden_units=num_hidden,
        spectral_norm=spectral_norm,
        kernel_initializer=weights(),
        **standardize_batch().arguments,
    )


@configurable("conditional_batch_norm", legal_for=_NORMS)
def conditional_batch_norm(
    name: str, spectral_norm: str | None, center_gain: checks.Flag = True
) -> keras.layers.Layer:
    """Batch normalization whose gain and bias are functions of the label.

    Args:
        center_gain: bool. True: the gain is centred on 1, so that training starts from
            plain batch normalization (with spectral normalization, which a zero kernel
            cannot have, near it). False: on 0, for compare_gan's weights.
    """
    return layers.ConditionalBatchNorm(
        name=name,
        center_gain=center_gain,
        spectral_norm=spectral_norm,
        kernel_initializer=weights() if spectral_norm else "zeros",
        **standardize_batch().arguments,
    )


def _norm(factory, vector: str | None, name: str) -> keras.layers.Layer:
    return checks.made_by(
        "G.batch_norm_fn", factory, keras.layers.Layer, (name, vector)
    )


def _common(width, attention, use_spectral_norm: bool) -> dict:
    """Fields of the spec that G and D share."""
    return {
        "width": width,
        "attention": attention,
        "spectral_norm": spectral_norm() if use_spectral_norm else None,
        "kernel_initializer": weights(),
    }


@configurable("G")
def generator(
    architecture: str,
    spec_fields: dict,
    batch_norm_fn: Callable = batch_norm,
    spectral_norm: checks.Flag = False,
    width: checks.Count | None = None,
    attention: str | None = None,
    hierarchical_z: checks.Flag | None = None,
) -> keras.Model:
    """The generator.

    Args:
        architecture: `options.architecture`.
        spec_fields: further fields of `networks.GeneratorSpec`.
        batch_norm_fn: reference. Normalization layers; a function of one's name and of
            the singular vector that spectral normalization keeps, or None.
        spectral_norm: bool. Whether kernels are spectrally normalized.
        width: int >= 1, or None. Base number of channels, of which the layers have
            multiples; None: the paper's.
        attention: str or None. The block that self-attention follows, such as "B4", or
            "none"; None: the architecture's own choice.
        hierarchical_z: bool or None. Whether every block gets its own piece of z;
            None: the architecture's own choice.
    """
    common = _common(width, attention, spectral_norm)
    moments = standardize_batch().arguments
    spec = networks.GeneratorSpec(
        norm=functools.partial(_norm, batch_norm_fn, common["spectral_norm"]),
        plain_norm=functools.partial(layers.BatchNorm, **moments),
        hierarchical_z=hierarchical_z,
        **common,
        **spec_fields,
    )
    return networks.build_generator(architecture, spec)


@configurable("D")
def discriminator(
    architecture: str,
    spec_fields: dict,
    spectral_norm: checks.Flag = False,
    layer_norm: checks.Flag = False,
    width: checks.Count | None = None,
    attention: str | None = None,
) -> keras.Model:
    """The discriminator.

    Args:
        architecture: `options.architecture`.
        spec_fields: further fields of `networks.DiscriminatorSpec`.
        spectral_norm: bool. Whether kernels are spectrally normalized.
        layer_norm: bool. Whether residual blocks have layer normalization.
        width: int >= 1, or None. As that of G.
        attention: str or None. As that of G.
    """
    spec = networks.DiscriminatorSpec(
        layer_norm=layer_norm,
        **_common(width, attention, spectral_norm),
        **spec_fields,
    )
    return networks.build_discriminator(architecture, spec)
