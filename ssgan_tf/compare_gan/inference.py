"""What the networks must be, from the names and shapes of their variables."""

import functools
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from ssgan_tf import layers, networks
from ssgan_tf.compare_gan.checkpoint import listed
from ssgan_tf.layers.spectral_norm import VECTORS, vector_shape
from ssgan_tf.networks import architectures

Shapes = Mapping[str, tuple[int, ...]]


class _Landmarks(NamedTuple):
    """Layers that show how the networks of an architecture were built.

    Attributes:
        linear: the first one of G.
        first: G's first convolution.
        last: its last one, before the images.
        norm: its first norm.
        d_first: D's first convolution.
    """

    linear: str
    first: str
    last: str
    norm: str
    d_first: str


_LANDMARKS = {
    "dcgan": _Landmarks("g_fc1", "g_dc1", "g_dc4", "g_bn1", "d_conv1"),
    "sndcgan": _Landmarks("g_fc1", "g_dc2", "g_dc5", "g_bn1", "d_conv1"),
    "resnet30": _Landmarks(
        "fc_noise", "B_0_0/same_conv1", "final_conv", "B_0_0/bn1", "color_conv"
    ),
    "resnet_biggan_deep": _Landmarks(
        "fc_noise", "B1/conv1/1x1_conv", "final_conv", "B1/conv1/bn", "initial_conv"
    ),
} | {
    name: _Landmarks("fc_noise", "B1/up_conv1", "final_conv", "B1/bn1", d_first)
    for name, d_first in (
        ("resnet_biggan", "B1/same_conv1"),
        ("resnet5", "B0/same_conv1"),
        ("resnet_stl", "B0/same_conv1"),
        ("resnet_cifar", "B1/same_conv1"),
    )
}
ARCHITECTURES = tuple(_LANDMARKS)
# A variable that none of the architectures below has.
_MARKS = {
    "dcgan": "generator/g_dc1/kernel",
    "sndcgan": "generator/g_dc5/kernel",
    "resnet30": "generator/B_0_0/same_conv1/kernel",
    "resnet_biggan_deep": "generator/B1/conv1/1x1_conv/kernel",
    "resnet_biggan": "discriminator/final_fc/kernel",
    "resnet5": "generator/B5/same_conv2/kernel",
    "resnet_stl": "discriminator/B0/down_conv2/kernel",
    "resnet_cifar": "discriminator/B4/same_conv2/kernel",
}
# Channels at full resolution of G and of D, in widths; of the others 1.
_MULTIPLES = {
    "resnet_biggan": (architectures.G_BIGGAN, architectures.D_BIGGAN),
    "resnet_biggan_deep": (architectures.G_DEEP, architectures.D_DEEP),
}
_ANY_SIZE, _GREY = ("dcgan", "sndcgan"), 28
_SINGULAR = "/spectral_norm/u"


def infer(
    shapes: Shapes,
    *,
    architecture: str | None = None,
    bn_epsilon: float = 1e-5,
    g_attention: str | None = None,
    d_attention: str | None = None,
    hierarchical_z: bool | None = None,
    image_size: int | None = None,
    latent_dim: int | None = None,
) -> tuple[str, networks.GeneratorSpec, networks.DiscriminatorSpec]:
    """Tells from names and shapes what networks they belong to.

    Args:
        shapes: our path of every variable -> its shape.
        architecture: as the next five, see `convert`.
        bn_epsilon: float.
        g_attention: str.
        d_attention: str.
        hierarchical_z: bool.
        image_size: int.
        latent_dim: int. Size of z, where it is known from elsewhere.

    Returns:
        A key of `networks.ARCHITECTURES`, what to ask of G, and what of D.

    Raises:
        ValueError: they fit no architecture, or more networks than one; the message
            then has the candidates and the flag that decides.
    """
    _check_kernels(shapes)
    architecture = architecture or _architecture(shapes)
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"`architecture` must be one of {', '.join(ARCHITECTURES)}. Received: "
            f"{architecture=}. Take one of them, or leave it out."
        )
    marks = _LANDMARKS[architecture]
    doubts: list[str] = []
    image_shape = _image_shape(shapes, architecture, marks, image_size, doubts)
    networks.get_architecture(architecture, image_shape[0])
    latent_dim, num_classes, hierarchical_z = _inputs(
        shapes, architecture, marks, hierarchical_z, latent_dim, doubts
    )
    attention = [
        _attention(shapes, architecture, player, given, doubts)
        for player, given in (
            ("generator", g_attention),
            ("discriminator", d_attention),
        )
    ]
    if doubts:
        raise ValueError(
            "Names and shapes must tell one network from another. Received: those of "
            f"a {architecture} of which they do not say {'; nor '.join(doubts)}. Add "
            "the flag in parentheses."
        )
    widths = _widths(shapes, architecture, marks, image_shape[0])
    vector = _vector(shapes)
    vectors = [
        vector if _is_normalized(shapes, player) else None
        for player in ("generator", "discriminator")
    ]
    embedding = shapes.get("generator/embed_y/kernel", (0, 0))[1]
    common = {"image_shape": image_shape, "kernel_initializer": "ones"}
    generator = networks.GeneratorSpec(
        latent_dim=latent_dim,
        num_classes=num_classes,
        width=widths[0],
        attention=attention[0],
        spectral_norm=vectors[0],
        norm=_norm(shapes, marks, vectors[0], bn_epsilon),
        plain_norm=functools.partial(layers.BatchNorm, epsilon=bn_epsilon),
        hierarchical_z=hierarchical_z,
        class_embedding=embedding if num_classes else None,
        **common,
    )
    rotation_classes = shapes.get("discriminator/score_classify/kernel", (0, 0))[1]
    discriminator = networks.DiscriminatorSpec(
        num_classes=shapes.get("discriminator/embedding_fc/kernel", (0,))[0],
        width=widths[1],
        attention=attention[1],
        spectral_norm=vectors[1],
        rotation_classes=rotation_classes,
        class_predictor="discriminator/predictor_linear/kernel" in shapes,
        layer_norm=any(path.endswith("/ln1/gamma") for path in shapes),
        **common,
    )
    return architecture, generator, discriminator


def _check_kernels(shapes: Shapes) -> None:
    """What is read of shapes is read of those of kernels."""
    others = [
        f"{path} {shape}"
        for path, shape in shapes.items()
        if path.endswith("/kernel") and (len(shape) not in (2, 4) or 0 in shape)
    ]
    if others:
        raise ValueError(
            "Kernels must be matrices, or those of convolutions. Received: "
            f"{listed(others)}. There are no such networks here: take another module."
        )


def _architecture(shapes: Shapes) -> str:
    for architecture, mark in _MARKS.items():
        if mark in shapes:
            return architecture
    raise ValueError(
        f"Variables must be those of one of {', '.join(ARCHITECTURES)}: G's and D's. "
        f"Received: {listed(shapes)}. --architecture names it where they are, under "
        "names of another version."
    )


def _shape(shapes: Shapes, architecture: str, path: str) -> tuple[int, ...]:
    if path not in shapes:
        raise ValueError(
            f"A {architecture} must have the variable {path}. Received: "
            f"{listed(shapes)}. --architecture names another architecture."
        )
    return shapes[path]


def _kernel(shapes: Shapes, architecture: str, path: str) -> tuple[int, int]:
    """Channels that go into a convolution and that come out of it."""
    *_, before, after = _shape(shapes, architecture, f"{path}/kernel")
    # Transposed ones have them the other way round.
    return (after, before) if "/g_dc" in path else (before, after)


def _image_shape(shapes, architecture, marks, image_size, doubts):
    """From the size of the first map and the number of times that it doubles.

    Plain networks have the same first map for several sizes. compare_gan's grey images,
    of MNIST and its like, are of 28x28, all others of a multiple of 16.
    """
    places = _shape(shapes, architecture, f"generator/{marks.linear}/kernel")[1]
    places //= _kernel(shapes, architecture, f"generator/{marks.first}")[0]
    doublings = {
        "dcgan": 4,
        "sndcgan": 3,
        # Every second block.
        "resnet_biggan_deep": _num_blocks(shapes) // 2,
    }.get(architecture, sum(path.endswith("/up_conv1/kernel") for path in shapes))
    size, unit = math.isqrt(places) << doublings, 1 << doublings
    colors = _kernel(shapes, architecture, f"generator/{marks.last}")[1]
    least = size - unit + 1 if architecture in _ANY_SIZE else size
    if image_size is None and colors == 1 and least <= _GREY < size:
        doubts.append(
            f"whether images are of {_GREY}x{_GREY} (--image_size={_GREY}) or of "
            f"{size}x{size} (--image_size={size})"
        )
    if image_size is not None and not least <= image_size <= size:
        raise ValueError(
            f"The images of such a {architecture} must be of "
            f"{' to '.join(map(str, sorted({least, size})))} pixels. Received: "
            f"{image_size=}. Take one of these sizes, or leave it out."
        )
    size = image_size or size
    return size, size, colors


def _num_blocks(shapes: Shapes) -> int:
    return len(
        {path.split("/")[1] for path in shapes if path.startswith("generator/B")}
    )


def _widths(shapes: Shapes, architecture: str, marks: _Landmarks, size: int):
    """Of G and D. Channels that are no multiple show when shapes are compared."""
    channels = (
        _kernel(shapes, architecture, f"generator/{marks.last}")[0],
        _kernel(shapes, architecture, f"discriminator/{marks.d_first}")[1],
    )
    multiples = (1, 1)
    if architecture in _MULTIPLES:
        g_multiples, d_multiples = _MULTIPLES[architecture]
        multiples = g_multiples[size][-1], d_multiples[size][0]
    return [
        max(1, each // multiple)
        for each, multiple in zip(channels, multiples, strict=True)
    ]


def _inputs(shapes, architecture, marks, hierarchical_z, latent_dim, doubts):
    """Size of z, number of classes that G knows, and whether z is hierarchical.

    A conditional norm shows the length of its vectors: the label, one-hot or embedded,
    and before it, where z is hierarchical, as much of z as the linear layer gets.
    """
    first = _shape(shapes, architecture, f"generator/{marks.linear}/kernel")[0]
    vector = shapes.get(f"generator/{marks.norm}/gamma/kernel", (0,))[0]
    if f"generator/{marks.norm}/hidden/kernel" in shapes:
        vector = 0
    classes, label = shapes.get("generator/embed_y/kernel", (0, 0))[:2]
    if not classes:
        classes = label = shapes.get("discriminator/embedding_fc/kernel", (0,))[0]
    if architecture == "resnet_biggan_deep":
        # All layers get z and the label, one beside the other.
        if not classes and latent_dim is not None:
            classes = label = first - latent_dim
        if vector and not classes:
            doubts.append(
                f"how many of the {first} inputs of G are z, and how many the label "
                "(the signature of a module does)"
            )
        return first - label, classes, hierarchical_z
    if not vector:
        classes = 0
    if "hierarchical_z" not in networks.ARCHITECTURES[architecture].options:
        return first, vector, hierarchical_z
    pieces = _num_blocks(shapes) + 1
    dims = {False: first, True: first * pieces}
    if hierarchical_z is None and latent_dim in dims.values():
        hierarchical_z = latent_dim == dims[True]
    if hierarchical_z is None:
        hierarchical_z = _is_hierarchical(shapes, architecture, first, vector, label)
    if hierarchical_z is None:
        doubts.append(
            f"whether z is split: z_dim is {dims[False]} (--nohierarchical_z) or "
            f"{dims[True]} (--hierarchical_z)"
        )
        return first, classes or vector, None
    if vector and not classes:
        # Not what shapes say, if not positive: they are compared in the end.
        classes = max(1, vector - first) if hierarchical_z else vector
    return dims[hierarchical_z], classes, hierarchical_z


def _is_hierarchical(shapes, architecture, first, vector, label) -> bool | None:
    """Whether pieces of z reach the blocks; None where shapes do not say."""
    if vector and label:
        return vector == label + first
    if architecture == "resnet_biggan":
        return None
    # Its last norm gets all of z and the label as it is.
    for kernel in ("hidden", "gamma"):
        last = shapes.get(f"generator/final_norm/{kernel}/kernel")
        if last:
            return last[0] != shapes.get(f"generator/B1/bn1/{kernel}/kernel", last)[0]
    # Plain norms read no z: as in compare_gan, unless somebody asks for it.
    return False


def _attention(shapes, architecture, player, given, doubts) -> str | None:
    """The block that self-attention follows: as many channels come out of it."""
    theta = shapes.get(f"{player}/non_local_block/conv2d_theta/kernel")
    if given is not None or theta is None:
        return given or "none"
    if architecture == "resnet_biggan_deep":
        # Its place is fixed.
        return None
    blocks = [
        match[1]
        for path, shape in shapes.items()
        if (match := re.fullmatch(rf"{player}/(B\d+)/\w+_conv2/kernel", path))
        and shape[-1] == theta[-2]
    ]
    if len(blocks) == 1:
        return blocks[0]
    flag = f"--{player[0]}_attention"
    doubts.append(
        f"which block of the {player} self-attention follows: "
        f"{' or '.join(sorted(blocks)) or 'none'} has its {theta[-2]} channels ({flag})"
    )
    return None


def _vector(shapes: Shapes) -> str | None:
    """The singular vectors that spectral normalization keeps, by their shapes.

    Of both networks: compare_gan has one setting for them, as we have.
    """
    found = {
        path: shapes[kernel]
        for path in shapes
        if path.endswith(_SINGULAR)
        and (kernel := path.removesuffix(_SINGULAR) + "/kernel") in shapes
    }
    if not found:
        return None
    for vector in reversed(VECTORS):
        if all(
            shapes[path] == vector_shape(vector, kernel)
            for path, kernel in found.items()
        ):
            return vector
    raise ValueError(
        "The singular vectors must be left, right or the shorter ones of all kernels. "
        f"Received: {listed(found)}, which are mixed. There are no such networks here: "
        "take another module."
    )


def _is_normalized(shapes: Shapes, player: str) -> bool:
    return any(
        path.startswith(f"{player}/") and path.endswith(_SINGULAR) for path in shapes
    )


def _norm(shapes: Shapes, marks: _Landmarks, vector: str | None, epsilon: float):
    options = {"spectral_norm": vector, "kernel_initializer": "ones"}
    scope = f"generator/{marks.norm}"
    if f"{scope}/hidden/kernel" in shapes:
        return functools.partial(
            layers.SelfModulatedBatchNorm,
            hidden_units=shapes[f"{scope}/hidden/kernel"][1],
            epsilon=epsilon,
            **options,
        )
    if f"{scope}/gamma/kernel" in shapes:
        return functools.partial(
            layers.ConditionalBatchNorm, center_gain=False, epsilon=epsilon, **options
        )
    return functools.partial(layers.BatchNorm, epsilon=epsilon)
