"""The table of architectures: stages by name and resolution."""

import dataclasses
import difflib

import keras

from ssgan_tf.networks.resnet import (
    NormFactory,
    ResNetDiscriminator,
    ResNetGenerator,
    Stage,
)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A generator and a discriminator for one resolution.

    Channels are multiples of a width, so a config can shrink a network without
    changing its form.

    Attributes:
        size: int. Height and width of the images.
        start: int. Height and width of the map that G's linear layer makes.
        g_width: int. Channels of G per unit of `g_stages`.
        g_stages: `(multiple, resample)` per block of G; the first multiple is also
            that of the linear layer.
        d_width: int. Channels of D per unit of `d_stages`.
        d_stages: `(multiple, resample)` per block of D.
    """

    size: int
    start: int
    g_width: int
    g_stages: tuple[tuple[int, str], ...]
    d_width: int
    d_stages: tuple[tuple[int, str], ...]


ARCHITECTURES = {
    # Miyato et al., 2018, table 4 (https://arxiv.org/abs/1802.05957), with
    # compare_gan's 3x3 shortcuts, zero insertion and mean pooling.
    "resnet_cifar": Architecture(
        size=32,
        start=4,
        g_width=256,
        g_stages=((1, "up"), (1, "up"), (1, "up")),
        d_width=128,
        d_stages=((1, "down"), (1, "down"), (1, "none"), (1, "none")),
    ),
}


def _find(name: str, image_shape: tuple[int, int, int]) -> Architecture:
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name, ARCHITECTURES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            "`options.architecture` must be one of "
            f"{sorted(ARCHITECTURES)}. Received: architecture={name!r}.{hint}"
        )
    architecture = ARCHITECTURES[name]
    height, width, channels = image_shape
    if height != width:
        raise ValueError(
            "Images must be square: quarter turns change the shape of others. "
            f"Received: image_shape={tuple(image_shape)}. Crop or resize them."
        )
    if height != architecture.size:
        raise ValueError(
            f"{name!r} makes images of size {architecture.size}. Received: "
            f"image_shape={tuple(image_shape)}. Choose a data set of that size."
        )
    if channels not in (1, 3):
        raise ValueError(
            "Images must have 1 or 3 channels. Received: "
            f"image_shape={tuple(image_shape)}."
        )
    return architecture


def _stages(table: tuple[tuple[int, str], ...], width: int) -> list[Stage]:
    return [Stage(multiple * width, resample) for multiple, resample in table]


def _checked_width(width: int | None, default: int, name: str) -> int:
    if width is None:
        return default
    if width < 1:
        raise ValueError(
            f"`{name}` must be a positive number of channels. Received: {name}={width}."
        )
    return width


def build_generator(
    architecture: str,
    *,
    latent_dim: int,
    image_shape: tuple[int, int, int],
    norm: NormFactory,
    width: int | None = None,
    spectral_norm: bool = False,
    kernel_initializer: keras.initializers.Initializer,
) -> ResNetGenerator:
    """Builds a generator by name.

    Args:
        architecture: a key of `ARCHITECTURES`.
        latent_dim: int. Size of z.
        image_shape: `(size, size, channels)`.
        norm: makes a normalization layer from a `name`.
        width: int or None. Channels per unit; None is the paper's.
        spectral_norm: bool. Normalize every kernel.
        kernel_initializer: of every kernel.

    Returns:
        A built `keras.Model`, latents -> images in [0, 1].

    Raises:
        ValueError: unknown name, or a shape or width that it cannot have.
    """
    table = _find(architecture, image_shape)
    width = _checked_width(width, table.g_width, "G.width")
    stages = _stages(table.g_stages, width)
    return ResNetGenerator(
        latent_dim=latent_dim,
        image_shape=image_shape,
        start=(table.start, stages[0].channels),
        stages=stages,
        norm=norm,
        spectral_norm=spectral_norm,
        kernel_initializer=kernel_initializer,
    )


def build_discriminator(
    architecture: str,
    *,
    image_shape: tuple[int, int, int],
    rotation_head: bool,
    width: int | None = None,
    spectral_norm: bool = False,
    kernel_initializer: keras.initializers.Initializer,
) -> ResNetDiscriminator:
    """Builds a discriminator by name.

    Args:
        architecture: a key of `ARCHITECTURES`.
        image_shape: `(size, size, channels)`.
        rotation_head: bool. Whether it predicts rotations too.
        width: int or None. Channels per unit; None is the paper's.
        spectral_norm: bool. Normalize every kernel, both heads included.
        kernel_initializer: of every kernel.

    Returns:
        A built `keras.Model`, images -> dict of logits and features.

    Raises:
        ValueError: unknown name, or a shape or width that it cannot have.
    """
    table = _find(architecture, image_shape)
    width = _checked_width(width, table.d_width, "D.width")
    return ResNetDiscriminator(
        image_shape=image_shape,
        stages=_stages(table.d_stages, width),
        spectral_norm=spectral_norm,
        rotation_head=rotation_head,
        kernel_initializer=kernel_initializer,
    )
