"""Infers the networks from the names and shapes of their variables."""

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
    """Names of the layers whose shapes tell how the networks were built.

    Attributes:
        linear: G's first linear layer.
        first: G's first convolution.
        last: G's last convolution.
        norm: G's first norm.
        d_first: D's first convolution.
    """

    linear: str
    first: str
    last: str
    norm: str
    d_first: str


_RESNET = _Landmarks(
    linear="fc_noise",
    first="B1/up_conv1",
    last="final_conv",
    norm="B1/bn1",
    d_first="B0/same_conv1",
)
_LANDMARKS = {
    "dcgan": _Landmarks(
        linear="g_fc1",
        first="g_dc1",
        last="g_dc4",
        norm="g_bn1",
        d_first="d_conv1",
    ),
    "sndcgan": _Landmarks(
        linear="g_fc1",
        first="g_dc2",
        last="g_dc5",
        norm="g_bn1",
        d_first="d_conv1",
    ),
    "resnet30": _RESNET._replace(
        first="B_0_0/same_conv1", norm="B_0_0/bn1", d_first="color_conv"
    ),
    "resnet_biggan_deep": _RESNET._replace(
        first="B1/conv1/1x1_conv", norm="B1/conv1/bn", d_first="initial_conv"
    ),
    "resnet_biggan": _RESNET._replace(d_first="B1/same_conv1"),
    "resnet5": _RESNET,
    "resnet_stl": _RESNET,
    "resnet_cifar": _RESNET._replace(d_first="B1/same_conv1"),
}
ARCHITECTURES = tuple(_LANDMARKS)
# Architecture -> a variable that no architecture below it has.
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
# Channels of G and of D at full resolution, in widths. Other architectures have 1.
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
    """Infers the networks from the names and shapes of their variables.

    Args:
        shapes: our path of every variable -> its shape.
        architecture: str. See `convert`, also for the next five.
        bn_epsilon: float.
        g_attention: str.
        d_attention: str.
        hierarchical_z: bool.
        image_size: int.
        latent_dim: int. Size of z, if the module has a signature.

    Returns:
        A key of `networks.ARCHITECTURES`, the spec of G and the spec of D.

    Raises:
        ValueError: they fit no architecture, or several networks; the message then
            names the candidates and the flag that decides.
    """
    _check_kernels(shapes)
    architecture = architecture or _architecture(shapes)
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"`architecture` must be one of {', '.join(ARCHITECTURES)}. Received: "
            f"{architecture=}. Take one of them, or leave it out."
        )
    inference = _Inference(shapes, architecture)
    image_shape = inference.image_shape(image_size)
    networks.get_architecture(architecture, image_shape[0])
    latent_dim, num_classes, hierarchical_z = inference.inputs(
        hierarchical_z, latent_dim
    )
    attention = (
        inference.attention("generator", g_attention),
        inference.attention("discriminator", d_attention),
    )
    inference.check_doubts()
    widths = inference.widths(image_shape[0])
    g_vector, d_vector = _vectors(shapes)
    embedding = shapes.get("generator/embed_y/kernel", (0, 0))[1]
    common = {"image_shape": image_shape, "kernel_initializer": "ones"}
    generator = networks.GeneratorSpec(
        latent_dim=latent_dim,
        num_classes=num_classes,
        width=widths[0],
        attention=attention[0],
        spectral_norm=g_vector,
        norm=inference.norm(g_vector, bn_epsilon),
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
        spectral_norm=d_vector,
        rotation_classes=rotation_classes,
        class_predictor="discriminator/predictor_linear/kernel" in shapes,
        layer_norm=any(path.endswith("/ln1/gamma") for path in shapes),
        **common,
    )
    return architecture, generator, discriminator


def _check_kernels(shapes: Shapes) -> None:
    """Checks that kernels have shapes of kernels; all else is inferred from them."""
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
        f"Received: {listed(shapes)}. --architecture names it if another version of "
        "compare_gan wrote the names."
    )


class _Inference:
    """Properties of the networks of an architecture.

    Attributes:
        shapes: our path of every variable -> its shape.
        architecture: one of `ARCHITECTURES`.
        doubts: properties that shapes do not determine, each with the flag that does.
    """

    def __init__(self, shapes: Shapes, architecture: str):
        self.shapes, self.architecture = shapes, architecture
        self.doubts: list[str] = []
        self._landmarks = _LANDMARKS[architecture]

    def check_doubts(self) -> None:
        if self.doubts:
            raise ValueError(
                "Names and shapes must tell one network from another. Received: those "
                f"of a {self.architecture}, which do not determine "
                f"{'; nor '.join(self.doubts)}. Add the flag in parentheses."
            )

    def _shape(self, path: str) -> tuple[int, ...]:
        if path not in self.shapes:
            raise ValueError(
                f"A {self.architecture} must have the variable {path}. Received: "
                f"{listed(self.shapes)}. --architecture names another architecture."
            )
        return self.shapes[path]

    def _channels(self, path: str) -> tuple[int, int]:
        """Input and output channels of a convolution."""
        *_, inputs, outputs = self._shape(f"{path}/kernel")
        # Transposed convolutions have the opposite order.
        return (outputs, inputs) if "/g_dc" in path else (inputs, outputs)

    @property
    def _num_blocks(self) -> int:
        paths = (path for path in self.shapes if path.startswith("generator/B"))
        return len({path.split("/")[1] for path in paths})

    def image_shape(self, image_size: int | None) -> tuple[int, int, int]:
        """The size of the first map, doubled by each upsampling.

        Plain networks have the same first map for several sizes. compare_gan's grey
        images, of MNIST and similar sets, have 28x28 pixels, all others a multiple of
        16.
        """
        area = self._shape(f"generator/{self._landmarks.linear}/kernel")[1]
        area //= self._channels(f"generator/{self._landmarks.first}")[0]
        doublings = {
            "dcgan": 4,
            "sndcgan": 3,
            # Every second block.
            "resnet_biggan_deep": self._num_blocks // 2,
        }.get(
            self.architecture,
            sum(path.endswith("/up_conv1/kernel") for path in self.shapes),
        )
        size, unit = math.isqrt(area) << doublings, 1 << doublings
        colors = self._channels(f"generator/{self._landmarks.last}")[1]
        smallest = size - unit + 1 if self.architecture in _ANY_SIZE else size
        if image_size is None and colors == 1 and smallest <= _GREY < size:
            self.doubts.append(
                f"whether images are of {_GREY}x{_GREY} (--image_size={_GREY}) or of "
                f"{size}x{size} (--image_size={size})"
            )
        if image_size is not None and not smallest <= image_size <= size:
            raise ValueError(
                f"The images of such a {self.architecture} must be of "
                f"{' to '.join(map(str, sorted({smallest, size})))} pixels. Received: "
                f"{image_size=}. Take one of these sizes, or leave it out."
            )
        size = image_size or size
        return size, size, colors

    def widths(self, image_size: int) -> list[int]:
        """Widths of G and D. `convert` compares shapes, so remainders show there."""
        channels = (
            self._channels(f"generator/{self._landmarks.last}")[0],
            self._channels(f"discriminator/{self._landmarks.d_first}")[1],
        )
        multiples = (1, 1)
        if self.architecture in _MULTIPLES:
            g_multiples, d_multiples = _MULTIPLES[self.architecture]
            multiples = g_multiples[image_size][-1], d_multiples[image_size][0]
        return [
            max(1, number // multiple)
            for number, multiple in zip(channels, multiples, strict=True)
        ]

    def inputs(
        self, hierarchical_z: bool | None, latent_dim: int | None
    ) -> tuple[int, int, bool | None]:
        """Size of z, number of classes of G, and whether z is hierarchical.

        The input of a conditional norm is the label, one-hot or embedded, preceded by
        a piece of z of the size that the linear layer gets, if z is hierarchical.
        """
        first = self._shape(f"generator/{self._landmarks.linear}/kernel")[0]
        scope = f"generator/{self._landmarks.norm}"
        norm_input = self.shapes.get(f"{scope}/gamma/kernel", (0,))[0]
        if f"{scope}/hidden/kernel" in self.shapes:
            norm_input = 0
        classes, label = self.shapes.get("generator/embed_y/kernel", (0, 0))[:2]
        if not classes:
            classes = self.shapes.get("discriminator/embedding_fc/kernel", (0,))[0]
            label = classes
        if self.architecture == "resnet_biggan_deep":
            # All layers get z and the label, concatenated.
            if not classes and latent_dim is not None:
                classes = label = first - latent_dim
            if norm_input and not classes:
                self.doubts.append(
                    f"how many of the {first} inputs of G are z, and how many the "
                    "label (the signature of a module does)"
                )
            return first - label, classes, hierarchical_z
        if not norm_input:
            classes = 0
        options = networks.ARCHITECTURES[self.architecture].options
        if "hierarchical_z" not in options:
            return first, norm_input, hierarchical_z
        whole, split = first, first * (self._num_blocks + 1)
        if hierarchical_z is None and latent_dim in (whole, split):
            hierarchical_z = latent_dim == split
        if hierarchical_z is None:
            hierarchical_z = self._is_hierarchical(first, norm_input, label)
        if hierarchical_z is None:
            self.doubts.append(
                f"whether z is split: z_dim is {whole} (--nohierarchical_z) or "
                f"{split} (--hierarchical_z)"
            )
            return first, classes or norm_input, None
        if norm_input and not classes:
            # Without a positive number, `convert` finds the shapes wrong.
            classes = max(1, norm_input - first) if hierarchical_z else norm_input
        return split if hierarchical_z else whole, classes, hierarchical_z

    def _is_hierarchical(self, first: int, norm_input: int, label: int) -> bool | None:
        """Whether blocks get pieces of z; None if shapes do not tell."""
        if norm_input and label:
            return norm_input == label + first
        if self.architecture == "resnet_biggan":
            return None
        # The last norm gets all of z and the label alone.
        for kernel in ("hidden", "gamma"):
            last = self.shapes.get(f"generator/final_norm/{kernel}/kernel")
            if last:
                block = self.shapes.get(f"generator/B1/bn1/{kernel}/kernel", last)
                return last[0] != block[0]
        # Plain norms do not read z. compare_gan's default.
        return False

    def attention(self, player: str, flag: str | None) -> str | None:
        """The block that self-attention follows: it has the same output channels."""
        theta = self.shapes.get(f"{player}/non_local_block/conv2d_theta/kernel")
        if flag is not None or theta is None:
            return flag or "none"
        if self.architecture == "resnet_biggan_deep":
            # Its place is fixed.
            return None
        blocks = [
            match[1]
            for path, shape in self.shapes.items()
            if (match := re.fullmatch(rf"{player}/(B\d+)/\w+_conv2/kernel", path))
            and shape[-1] == theta[-2]
        ]
        if len(blocks) == 1:
            return blocks[0]
        self.doubts.append(
            f"which block of the {player} self-attention follows: "
            f"{' or '.join(sorted(blocks)) or 'none'} has its {theta[-2]} channels "
            f"(--{player[0]}_attention)"
        )
        return None

    def norm(self, vector: str | None, epsilon: float) -> functools.partial:
        """The class of G's norms with their arguments."""
        options = {"spectral_norm": vector, "kernel_initializer": "ones"}
        scope = f"generator/{self._landmarks.norm}"
        if f"{scope}/hidden/kernel" in self.shapes:
            return functools.partial(
                layers.SelfModulatedBatchNorm,
                hidden_units=self.shapes[f"{scope}/hidden/kernel"][1],
                epsilon=epsilon,
                **options,
            )
        if f"{scope}/gamma/kernel" in self.shapes:
            return functools.partial(
                layers.ConditionalBatchNorm,
                center_gain=False,
                epsilon=epsilon,
                **options,
            )
        return functools.partial(layers.BatchNorm, epsilon=epsilon)


def _vectors(shapes: Shapes) -> list[str | None]:
    """Singular vectors that spectral normalization keeps in G and in D, if it is on.

    compare_gan has one setting for both networks, as this package.
    """
    kernels = {
        path: shapes[kernel]
        for path in shapes
        if path.endswith(_SINGULAR)
        and (kernel := path.removesuffix(_SINGULAR) + "/kernel") in shapes
    }
    candidates = [
        vector
        for vector in reversed(VECTORS)
        if all(
            shapes[path] == vector_shape(vector, kernel)
            for path, kernel in kernels.items()
        )
    ]
    if not candidates:
        raise ValueError(
            "The singular vectors must be left, right or the shorter ones of all "
            f"kernels. Received: {listed(kernels)}, which are mixed. There are no such "
            "networks here: take another module."
        )
    return [
        candidates[0] if kernels and _is_normalized(shapes, player) else None
        for player in ("generator", "discriminator")
    ]


def _is_normalized(shapes: Shapes, player: str) -> bool:
    return any(
        path.startswith(f"{player}/") and path.endswith(_SINGULAR) for path in shapes
    )
