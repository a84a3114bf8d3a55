"""The table of architectures: both networks by name, for all legal image sizes.

The numbers are google/compare_gan's. Channels are multiples of a width, so a config
can make a network smaller without changing its form.
"""

import dataclasses
import difflib
import functools
import itertools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from ssgan_tf.layers import Conv2D, LayerNorm, SelfAttention
from ssgan_tf.networks import dcgan
from ssgan_tf.networks.base import DiscriminatorSpec, GeneratorSpec
from ssgan_tf.networks.discriminator import Discriminator, flatten, sum_pool
from ssgan_tf.networks.resnet import (
    BottleneckBlock,
    ResNetBlock,
    ResNetGenerator,
    Stage,
    joined_latents,
    split_latents,
    whole_latents,
)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes:
        generator: `GeneratorSpec` -> a built `keras.Model`, see `Generator`.
        discriminator: `DiscriminatorSpec` -> a built `keras.Model`, see
            `Discriminator`.
        sizes: the legal image sizes, in words.
        fits: whether a size is legal.
        options: the optional attributes of a spec that this architecture supports.
    """

    generator: Callable[[GeneratorSpec], keras.Model]
    discriminator: Callable[[DiscriminatorSpec], keras.Model]
    sizes: str = "any"
    fits: Callable[[int], bool] = lambda size: True
    options: tuple[str, ...] = ()


# ------------------------------------------------------------------- small helpers


def _blocks(multiples: Sequence[int], resamples: Sequence[str], width: int, first=1):
    """Blocks B1, B2, ...; the resamples are repeated as often as needed."""
    stages = zip(multiples, itertools.cycle(resamples), strict=False)
    return [
        (f"B{i}", Stage(multiple * width, resample))
        for i, (multiple, resample) in enumerate(stages, first)
    ]


def _halvings(size: int) -> int:
    """Number of halvings of an image down to 4 to 7 pixels."""
    return size.bit_length() - 3


def _deal(spec: GeneratorSpec, default: bool) -> Callable:
    """The function that distributes z to the layers."""
    hierarchical = default if spec.hierarchical_z is None else spec.hierarchical_z
    return split_latents if hierarchical else whole_latents


def _trunk(
    spec: DiscriminatorSpec,
    blocks: Sequence[tuple[str, Stage]],
    in_channels: int,
    block: Callable[..., keras.layers.Layer] = ResNetBlock,
    attention: str | None = None,
) -> list[keras.layers.Layer]:
    """Residual blocks of a discriminator, and self-attention after one of them."""
    norm = (
        {"norm": LayerNorm, "norm_prefix": "ln"} if spec.layer_norm else {"norm": None}
    )
    layers = []
    for name, stage in blocks:
        layers.append(block(stage, in_channels, name=name, **norm, **spec.kernels))
        if name == attention:
            layers.append(SelfAttention(name="non_local_block", **spec.kernels))
        in_channels = stage.channels
    return layers


def _resnet_generator(spec, start, multiples, resamples, *, width: int, **options):
    """A generator of `ResNetBlock`s; the first multiple is for the linear layer."""
    width = spec.width or width
    return ResNetGenerator(
        spec,
        start=(start, multiples[0] * width),
        blocks=_blocks(multiples[1:], resamples, width),
        **options,
    )


def _resnet_discriminator(spec, multiples, resamples, *, width: int, first: int):
    blocks = _blocks(multiples, resamples, spec.width or width, first)
    return Discriminator(
        spec,
        trunk=_trunk(spec, blocks, spec.image_shape[-1]),
        num_features=blocks[-1][1].channels,
    )


# -------------------------------------------------------------------- the residual


def _cifar_generator(spec: GeneratorSpec) -> ResNetGenerator:
    """Miyato et al., 2018, table 4, with 3x3 shortcuts, zero insertion, mean pooling.

    https://arxiv.org/abs/1802.05957
    """
    deal = _deal(spec, default=False)
    return _resnet_generator(spec, 4, 4 * [1], ["up"], width=256, deal=deal)


def _cifar_discriminator(spec: DiscriminatorSpec) -> Discriminator:
    resamples = ("down", "down", "none", "none")
    return _resnet_discriminator(spec, 4 * [1], resamples, width=128, first=1)


def _stl_generator(spec: GeneratorSpec) -> ResNetGenerator:
    """Miyato et al., 2018, table 5. compare_gan calls its last norm `batch_norm`."""
    return _resnet_generator(
        spec,
        6,
        (8, 4, 2, 1),
        ["up"],
        width=64,
        final_norm_name="batch_norm",
        ends_normalized=False,
    )


def _stl_discriminator(spec: DiscriminatorSpec) -> Discriminator:
    resamples = 4 * ["down"] + ["none"]
    return _resnet_discriminator(spec, (1, 2, 4, 8, 16), resamples, width=64, first=0)


def _resnet5_generator(spec: GeneratorSpec) -> ResNetGenerator:
    """Five blocks, of which the first ones double the size, from 4 pixels on."""
    resamples = _halvings(spec.size) * ["up"] + 2 * ["none"]
    multiples = (8, 8, 4, 4, 2, 1)
    return _resnet_generator(
        spec, 4, multiples, resamples, width=64, ends_normalized=False
    )


def _resnet5_discriminator(spec: DiscriminatorSpec) -> Discriminator:
    multiples = (1, 2, 4, 4, 8, 8)
    return _resnet_discriminator(spec, multiples, ["down"], width=64, first=0)


def _resnet_generator_of_any_size(spec: GeneratorSpec) -> ResNetGenerator:
    """From 4 to 7 pixels on; channels, at most 8 units, halve as the size doubles."""
    num_up = _halvings(spec.size)
    multiples = [min(8, 2 ** (num_up - i)) for i in range(num_up + 1)]
    return _resnet_generator(spec, spec.size >> num_up, multiples, ["up"], width=64)


def _resnet_discriminator_of_any_size(spec: DiscriminatorSpec) -> Discriminator:
    """Down to 4 to 7 pixels, then one block; channels double as the size halves."""
    num_down = _halvings(spec.size)
    multiples = [min(8, 2**i) for i in range(num_down)]
    resamples = num_down * ["down"] + ["none"]
    return _resnet_discriminator(
        spec, [*multiples, multiples[-1]], resamples, width=64, first=1
    )


def _resnet30_blocks(multiples: Sequence[int], resample: str, width: int):
    """Groups of five blocks, and a block between groups that changes the size."""
    blocks = []
    for group, multiple in enumerate(multiples):
        if group:
            # compare_gan names them "up" in D too.
            change = Stage(multiple * width, resample)
            blocks.append((f"B_{group - 1}_up", change))
        same = Stage(multiple * width, "none")
        blocks += [(f"B_{group}_{i}", same) for i in range(5)]
    return blocks


def _resnet30_generator(spec: GeneratorSpec) -> ResNetGenerator:
    """After Gulrajani et al., 2017, with one more doubling. No norm at the end.

    https://arxiv.org/abs/1704.00028
    """
    width = spec.width or 16
    return ResNetGenerator(
        spec,
        start=(4, 32 * width),
        blocks=_resnet30_blocks((32, 16, 8, 4, 2, 1), "up", width),
        final_norm_name=None,
        ends_normalized=False,
    )


def _resnet30_discriminator(spec: DiscriminatorSpec) -> Discriminator:
    width = spec.width or 16
    blocks = _resnet30_blocks((1, 2, 4, 8, 16, 32), "down", width)
    stem = Conv2D(width, name="color_conv", **spec.raw_kernels)
    return Discriminator(
        spec,
        trunk=[stem, *_trunk(spec, blocks, width)],
        num_features=4 * 4 * 32 * width,
        to_features=flatten,
    )


# ------------------------------------------------------------------------- BigGAN


CLASS_EMBEDDING = 128
G_BIGGAN = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
D_BIGGAN = {
    32: (2, 2, 2, 2),
    64: (2, 4, 8, 16, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}
G_DEEP = {
    32: 8 * (4,),
    64: 4 * (16,) + 2 * (8,) + (4, 4, 2),
    128: 4 * (16,) + 2 * (8,) + (4, 4, 2, 2, 1),
    256: 4 * (16,) + 4 * (8,) + (4, 4, 2, 2, 1),
    512: 4 * (16,) + 4 * (8,) + (4, 4, 2, 2, 1, 1, 1),
}
D_DEEP = {
    32: 8 * (2,),
    64: (2, 4, 4) + 2 * (8,) + 4 * (16,),
    128: (1, 2, 2, 4, 4) + 2 * (8,) + 4 * (16,),
    256: (1, 2, 2, 4, 4) + 4 * (8,) + 4 * (16,),
    512: (1, 1, 1, 2, 2, 4, 4) + 4 * (8,) + 4 * (16,),
}


def _attention_block(spec, blocks: Sequence[tuple[str, Stage]], size: int):
    """The block before self-attention; None for no attention.

    By default the map has 64x64 positions. compare_gan's default in D is B1 at all
    sizes, which needs 4 GiB per image at 512 pixels.

    Args:
        spec: specification of the network.
        blocks: its blocks.
        size: height and width of the first block's input.

    Returns:
        Name of the block, by default in G the first with such a map, in D the last.
    """
    names = [name for name, _ in blocks]
    if spec.attention is None:
        fitting = []
        for name, stage in blocks:
            size = {"up": 2 * size, "down": size // 2, "none": size}[stage.resample]
            fitting += [name] * (size == 64)
        in_generator = isinstance(spec, GeneratorSpec)
        return fitting[0 if in_generator else -1] if fitting else None
    if spec.attention == "none":
        return None
    if spec.attention not in names:
        raise ValueError(
            f"Self-attention must follow one of {', '.join(names)}, or be 'none'. "
            f"Received: attention={spec.attention!r}. Name one, or leave it out."
        )
    return spec.attention


def _tanh_images(outputs: tf.Tensor) -> tf.Tensor:
    return (tf.tanh(outputs) + 1.0) / 2.0


def _big_generator(spec, blocks, start: int, **options) -> ResNetGenerator:
    """The common part of both BigGANs; `start`: channels of the linear layer."""
    size = spec.class_embedding
    return ResNetGenerator(
        spec,
        start=(4, start),
        blocks=blocks,
        attention=_attention_block(spec, blocks, 4),
        class_embedding=CLASS_EMBEDDING if size is None else size,
        final_norm=spec.plain_norm,
        to_images=_tanh_images,
        **options,
    )


def _big_discriminator(spec, blocks, trunk) -> Discriminator:
    return Discriminator(
        spec,
        trunk=trunk,
        num_features=blocks[-1][1].channels,
        to_features=sum_pool,
        logit_name="final_fc",
        embedding_initializer="glorot_normal",
    )


def _biggan_generator(spec: GeneratorSpec) -> ResNetGenerator:
    """Brock et al., 2019, appendix B, table 4. https://arxiv.org/abs/1809.11096"""
    first, *multiples = G_BIGGAN[spec.size]
    width = spec.width or 96
    return _big_generator(
        spec,
        _blocks(multiples, ["up"], width),
        first * width,
        block=functools.partial(ResNetBlock, shortcut=1),
        deal=_deal(spec, default=True),
    )


def _biggan_block(stage: Stage, in_channels: int, **options) -> ResNetBlock:
    shortcut = 0 if stage.channels == in_channels else 1
    return ResNetBlock(stage, in_channels, shortcut=shortcut, **options)


def _biggan_discriminator(spec: DiscriminatorSpec) -> Discriminator:
    multiples = D_BIGGAN[spec.size]
    resamples = (len(multiples) - 1) * ["down"] + ["none"]
    blocks = _blocks(multiples, resamples, spec.width or 96)
    # Images of 32 and 64 pixels have no such map behind a block.
    small = spec.attention is None and spec.size <= 64
    attention = "B1" if small else _attention_block(spec, blocks, spec.size)
    colors = spec.image_shape[-1]
    trunk = _trunk(spec, blocks, colors, _biggan_block, attention=attention)
    return _big_discriminator(spec, blocks, trunk)


def _deep_generator(spec: GeneratorSpec) -> ResNetGenerator:
    """Brock et al., 2019, appendix B, table 7. https://arxiv.org/abs/1809.11096"""
    first, *multiples = G_DEEP[spec.size]
    width = spec.width or 128
    return _big_generator(
        spec,
        _blocks(multiples, ["none", "up"], width),
        first * width,
        block=BottleneckBlock,
        deal=joined_latents,
    )


def _deep_discriminator(spec: DiscriminatorSpec) -> Discriminator:
    first, *multiples = D_DEEP[spec.size]
    width = spec.width or 128
    blocks = _blocks(multiples, ["down", "none"], width)
    attention = _attention_block(spec, blocks, spec.size)
    stem = Conv2D(first * width, name="initial_conv", **spec.kernels)
    trunk = _trunk(spec, blocks, first * width, BottleneckBlock, attention=attention)
    return _big_discriminator(spec, blocks, [stem, *trunk])


# ---------------------------------------------------------------- the plain ones


def _conv_generator(spec, table, *, norm_before_reshape: bool) -> dcgan.ConvGenerator:
    """Names, kernel sizes and strides of four convolutions; widths halve."""
    width = spec.width or 64
    channels = (4 * width, 2 * width, width, spec.image_shape[-1])
    return dcgan.ConvGenerator(
        spec,
        channels=8 * width,
        convolutions=[
            dcgan.Convolution(name, units, *sizes)
            for units, (name, *sizes) in zip(channels, table, strict=True)
        ],
        norm_before_reshape=norm_before_reshape,
    )


def _conv_discriminator(spec, table, *, leak, logit_name, before=()) -> Discriminator:
    """Multiples of the width, kernel sizes and strides of convolutions d_conv1, ..."""
    width, layers, size = spec.width or 64, list(before), spec.size
    for i, (multiple, kernel_size, strides) in enumerate(table, 1):
        row = dcgan.Convolution(f"d_conv{i}", multiple * width, kernel_size, strides)
        layers.append(dcgan.LeakyConv2D(row, leak=leak, **spec.kernels))
        size = -(-size // strides)
    return Discriminator(
        spec,
        trunk=layers,
        num_features=size**2 * layers[-1].units,
        to_features=flatten,
        logit_name=logit_name,
    )


def _sndcgan_generator(spec: GeneratorSpec) -> dcgan.ConvGenerator:
    """Miyato et al., 2018, table 3. https://arxiv.org/abs/1802.05957"""
    table = (("g_dc2", 4, 2), ("g_dc3", 4, 2), ("g_dc4", 4, 2), ("g_dc5", 3, 1))
    return _conv_generator(spec, table, norm_before_reshape=True)


def _sndcgan_discriminator(spec: DiscriminatorSpec) -> Discriminator:
    rows = ((1, 3, 1), (2, 4, 2), (2, 3, 1), (4, 4, 2), (4, 3, 1), (8, 4, 2), (8, 3, 1))
    before = [dcgan.centered]
    return _conv_discriminator(spec, rows, leak=0.1, logit_name="d_fc1", before=before)


def _dcgan_generator(spec: GeneratorSpec) -> dcgan.ConvGenerator:
    """After Radford et al., 2016. https://arxiv.org/abs/1511.06434"""
    table = [(f"g_dc{i}", 5, 2) for i in (1, 2, 3, 4)]
    return _conv_generator(spec, table, norm_before_reshape=False)


def _dcgan_discriminator(spec: DiscriminatorSpec) -> Discriminator:
    table = [(multiple, 5, 2) for multiple in (1, 2, 4, 8)]
    return _conv_discriminator(spec, table, leak=0.2, logit_name="d_fc4")


# --------------------------------------------------------------------- the table


def _one_of(*sizes: int):
    return ", ".join(map(str, sizes)), sizes.__contains__


def _at_least(least: int):
    return f"{least} or more", lambda size: size >= least


def _is_doubled(size: int) -> bool:
    return size >= 8 and size % 2 ** _halvings(size) == 0


ARCHITECTURES: dict[str, Architecture] = {
    "resnet_cifar": Architecture(
        _cifar_generator,
        _cifar_discriminator,
        *_one_of(32),
        options=("hierarchical_z", "layer_norm"),
    ),
    "resnet_stl": Architecture(
        _stl_generator, _stl_discriminator, *_one_of(48), options=("layer_norm",)
    ),
    "resnet5": Architecture(
        _resnet5_generator,
        _resnet5_discriminator,
        *_one_of(32, 64, 128),
        options=("layer_norm",),
    ),
    "resnet30": Architecture(
        _resnet30_generator,
        _resnet30_discriminator,
        *_one_of(128),
        options=("layer_norm",),
    ),
    "resnet": Architecture(
        _resnet_generator_of_any_size,
        _resnet_discriminator_of_any_size,
        "4, 5, 6 or 7 times a power of two",
        _is_doubled,
        options=("layer_norm",),
    ),
    "resnet_biggan": Architecture(
        _biggan_generator,
        _biggan_discriminator,
        *_one_of(*G_BIGGAN),
        options=("attention", "hierarchical_z", "class_embedding", "layer_norm"),
    ),
    "resnet_biggan_deep": Architecture(
        _deep_generator,
        _deep_discriminator,
        *_one_of(*G_DEEP),
        options=("attention", "class_embedding"),
    ),
    "sndcgan": Architecture(_sndcgan_generator, _sndcgan_discriminator, *_at_least(8)),
    "dcgan": Architecture(_dcgan_generator, _dcgan_discriminator, *_at_least(8)),
}


def get_architecture(name: str, size: int) -> Architecture:
    """The row `name` of `ARCHITECTURES`, for images of this size.

    Raises:
        ValueError: unknown name or illegal size; the message lists the legal ones.
    """
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(str(name), ARCHITECTURES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            "`options.architecture` must be one of "
            f"{sorted(ARCHITECTURES)}. Received: architecture={name!r}.{hint}"
        )
    architecture = ARCHITECTURES[name]
    if not architecture.fits(size):
        fitting = [other for other, row in ARCHITECTURES.items() if row.fits(size)]
        raise ValueError(
            f"{name!r} makes images of size {architecture.sizes}. Received: size="
            f"{size}. Architectures for that size: {', '.join(sorted(fitting)) or '-'}."
        )
    return architecture


# Options that only some architectures have.
_OPTIONS = ("attention", "hierarchical_z", "class_embedding", "layer_norm")


def _find(name: str, spec) -> Architecture:
    """The architecture; refuses options that it would silently ignore."""
    architecture = get_architecture(name, spec.size)
    for option in _OPTIONS:
        value = getattr(spec, option, None)
        able = [key for key, row in ARCHITECTURES.items() if option in row.options]
        if value not in (None, False, 0, "none") and name not in able:
            raise ValueError(
                f"{name!r} has no `{option}`; {', '.join(able)} have. Received: "
                f"{option}={value!r}. Use another architecture, or leave it out."
            )
    return architecture


def build_generator(architecture: str, spec: GeneratorSpec) -> keras.Model:
    """Builds a generator by name.

    Args:
        architecture: a key of `ARCHITECTURES`.
        spec: `GeneratorSpec`.

    Returns:
        A built `keras.Model`, latents (and labels) -> images in [0, 1].

    Raises:
        ValueError: unknown name, or an option that it does not support.
    """
    return _find(architecture, spec).generator(spec)


def build_discriminator(architecture: str, spec: DiscriminatorSpec) -> keras.Model:
    """Builds a discriminator by name.

    Args:
        architecture: a key of `ARCHITECTURES`.
        spec: `DiscriminatorSpec`.

    Returns:
        A built `keras.Model`, images (and labels) -> dict of logits and features.

    Raises:
        ValueError: unknown name, or an option that it does not support.
    """
    return _find(architecture, spec).discriminator(spec)
