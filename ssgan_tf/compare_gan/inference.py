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
    """Names of the layers that tell how the networks were built.

    Attributes:
        mark: a layer that no architecture further down the table has.
        linear: G's first linear layer.
        first: G's first convolution.
        last: G's last convolution.
        norm: G's first norm.
        d_first: D's first convolution.
    """

    mark: str
    linear: str
    first: str
    last: str
    norm: str
    d_first: str


_DCGAN = _Landmarks(
    mark="generator/g_dc1",
    linear="g_fc1",
    first="g_dc1",
    last="g_dc4",
    norm="g_bn1",
    d_first="d_conv1",
)
_RESNET = _Landmarks(
    mark="discriminator/B4/same_conv2",
    linear="fc_noise",
    first="B1/up_conv1",
    last="final_conv",
    norm="B1/bn1",
    d_first="B1/same_conv1",
)
_LANDMARKS = {
    "dcgan": _DCGAN,
    "sndcgan": _DCGAN._replace(mark="generator/g_dc5", first="g_dc2", last="g_dc5"),
    "resnet30": _RESNET._replace(
        mark="generator/B_0_0/same_conv1",
        first="B_0_0/same_conv1",
        norm="B_0_0/bn1",
        d_first="color_conv",
    ),
    "resnet_biggan_deep": _RESNET._replace(
        mark="generator/B1/conv1/1x1_conv",
        first="B1/conv1/1x1_conv",
        norm="B1/conv1/bn",
        d_first="initial_conv",
    ),
    "resnet_biggan": _RESNET._replace(mark="discriminator/final_fc"),
    "resnet5": _RESNET._replace(
        mark="generator/B5/same_conv2", d_first="B0/same_conv1"
    ),
    "resnet_stl": _RESNET._replace(
        mark="discriminator/B0/down_conv2", d_first="B0/same_conv1"
    ),
    "resnet_cifar": _RESNET,
}
ARCHITECTURES = tuple(_LANDMARKS)
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
        architecture: one of `ARCHITECTURES`. If it is None, names and shapes decide;
            so too for `g_attention`, `d_attention`, `hierarchical_z`, `image_size`.
        bn_epsilon: float. The epsilon of G's batch norms, which no checkpoint records.
            compare_gan's configs set 1e-5; its code, 1e-3.
        g_attention: the block of G that self-attention follows, such as "B4"; "none".
        d_attention: the same of D.
        hierarchical_z: bool. Whether every block gets its own piece of z.
        image_size: int. Height and width of the images.
        latent_dim: int. Size of z, if the module has a signature.

    Returns:
        A key of `networks.ARCHITECTURES`, the spec of G and the spec of D.

    Raises:
        ValueError: they fit no architecture, or several networks; the message then
            names the candidates and the flag that decides.
    """
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
    g_attention = inference.attention("generator", g_attention)
    d_attention = inference.attention("discriminator", d_attention)
    inference.check_doubts()
    g_width, d_width = inference.widths(image_shape[0])
    g_vector, d_vector = inference.vectors()
    embedding = inference.kernel("generator/embed_y")[1]
    common = {"image_shape": image_shape, "kernel_initializer": "ones"}
    generator = networks.GeneratorSpec(
        latent_dim=latent_dim,
        num_classes=num_classes,
        width=g_width,
        attention=g_attention,
        spectral_norm=g_vector,
        norm=inference.norm(g_vector, bn_epsilon),
        plain_norm=functools.partial(layers.BatchNorm, epsilon=bn_epsilon),
        hierarchical_z=hierarchical_z,
        class_embedding=embedding if num_classes else None,
        **common,
    )
    discriminator = networks.DiscriminatorSpec(
        num_classes=inference.kernel("discriminator/embedding_fc")[0],
        width=d_width,
        attention=d_attention,
        spectral_norm=d_vector,
        rotation_classes=inference.kernel("discriminator/score_classify")[1],
        class_predictor="discriminator/predictor_linear/kernel" in shapes,
        layer_norm=any(path.endswith("/ln1/gamma") for path in shapes),
        **common,
    )
    return architecture, generator, discriminator


def _architecture(shapes: Shapes) -> str:
    for architecture, landmarks in _LANDMARKS.items():
        if f"{landmarks.mark}/kernel" in shapes:
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

    def kernel(self, path: str) -> tuple[int, ...]:
        """The shape of a layer's kernel, `(0, 0)` if there is no such layer."""
        shape = self.shapes.get(f"{path}/kernel", ())
        return shape if len(shape) in (2, 4) and 0 not in shape else (0, 0)

    def _required(self, path: str) -> tuple[int, ...]:
        shape = self.kernel(path)
        if shape == (0, 0):
            raise ValueError(
                f"A {self.architecture} must have the variable {path}/kernel, of two "
                f"or four dimensions. Received: {listed(self.shapes)}. --architecture "
                "names another architecture."
            )
        return shape

    def _channels(self, path: str) -> tuple[int, int]:
        """Input and output channels of a convolution."""
        *_, inputs, outputs = self._required(path)
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
        area = self._required(f"generator/{self._landmarks.linear}")[1]
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

    def widths(self, image_size: int) -> tuple[int, int]:
        """Widths of G and D. `convert` compares shapes, so remainders show there."""
        _, d_channels = self._channels(f"discriminator/{self._landmarks.d_first}")
        g_channels, _ = self._channels(f"generator/{self._landmarks.last}")
        if self.architecture in _MULTIPLES:
            g_multiples, d_multiples = _MULTIPLES[self.architecture]
            g_channels //= g_multiples[image_size][-1]
            d_channels //= d_multiples[image_size][0]
        return max(1, g_channels), max(1, d_channels)

    def inputs(
        self, hierarchical_z: bool | None, latent_dim: int | None
    ) -> tuple[int, int, bool | None]:
        """Size of z, number of classes of G, and whether z is hierarchical.

        The input of a conditional norm is the label, one-hot or embedded, preceded by
        a piece of z of the size that the linear layer gets, if z is hierarchical.
        """
        first = self._required(f"generator/{self._landmarks.linear}")[0]
        is_modulated = self._norm_kernel("hidden") != (0, 0)
        norm_input = 0 if is_modulated else self._norm_kernel("gamma")[0]
        classes, label = self.kernel("generator/embed_y")[:2]
        if not classes:
            classes = label = self.kernel("discriminator/embedding_fc")[0]
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
            last = self.kernel(f"generator/final_norm/{kernel}")[0]
            if last:
                return self._norm_kernel(kernel)[0] not in (0, last)
        # Plain norms do not read z. compare_gan's default.
        return False

    def attention(self, player: str, flag: str | None) -> str | None:
        """The block that self-attention follows: it has the same output channels."""
        channels = self.kernel(f"{player}/non_local_block/conv2d_theta")[-2]
        if flag is not None or not channels:
            return flag or "none"
        if self.architecture == "resnet_biggan_deep":
            # Its place is fixed.
            return None
        blocks = [
            match[1]
            for path in self.shapes
            if (match := re.fullmatch(rf"{player}/(B\d+)/\w+_conv2/kernel", path))
            and self.kernel(path.removesuffix("/kernel"))[-1] == channels
        ]
        if len(blocks) == 1:
            return blocks[0]
        self.doubts.append(
            f"which block of the {player} self-attention follows: "
            f"{' or '.join(sorted(blocks)) or 'none'} has its {channels} channels "
            f"(--{player[0]}_attention)"
        )
        return None

    def norm(self, vector: str | None, epsilon: float) -> functools.partial:
        """The class of G's norms with their arguments."""
        options = {"spectral_norm": vector, "kernel_initializer": "ones"}
        if hidden := self._norm_kernel("hidden")[1]:
            options["hidden_units"] = hidden
            kind = layers.SelfModulatedBatchNorm
        elif self._norm_kernel("gamma")[1]:
            options["center_gain"] = False
            kind = layers.ConditionalBatchNorm
        else:
            return functools.partial(layers.BatchNorm, epsilon=epsilon)
        return functools.partial(kind, epsilon=epsilon, **options)

    def _norm_kernel(self, layer: str) -> tuple[int, ...]:
        return self.kernel(f"generator/{self._landmarks.norm}/{layer}")

    def vectors(self) -> list[str | None]:
        """Singular vectors that spectral normalization keeps in G and in D, or None.

        compare_gan has one setting for both networks, as this package.
        """
        kernels = {
            path: self.kernel(path.removesuffix(_SINGULAR))
            for path in self.shapes
            if path.endswith(_SINGULAR)
        }
        candidates = [
            vector
            for vector in reversed(VECTORS)
            if all(
                self.shapes[path] == vector_shape(vector, kernel)
                for path, kernel in kernels.items()
                if kernel != (0, 0)
            )
        ]
        if not candidates:
            raise ValueError(
                "The singular vectors must be left, right or the shorter ones of all "
                f"kernels. Received: {listed(kernels)}, which are mixed. There are no "
                "such networks here: take another module."
            )
        return [
            candidates[0] if any(path.startswith(player) for path in kernels) else None
            for player in ("generator/", "discriminator/")
        ]
