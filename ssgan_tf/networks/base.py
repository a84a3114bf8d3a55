"""The specifications of generator and discriminator, for every architecture."""

import dataclasses
from collections.abc import Callable

import keras

from ssgan_tf import rotation
from ssgan_tf.layers import BatchNorm

NormFactory = Callable[..., keras.layers.Layer]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Spec:
    """The attributes that both networks have.

    Attributes:
        image_shape: `(size, size, channels)`, one or three channels.
        num_classes: int. 0 for an unconditional network.
        width: int or None. Channels per unit of the architecture's table; None for the
            paper's.
        attention: str or None. The block before self-attention, such as "B4"; "none"
            for no attention; None for the architecture's default.
        spectral_norm: None, or the singular vector to keep: "left", "right", "auto".
        kernel_initializer: initializer of every kernel, see `keras.initializers.get`.

    Raises:
        ValueError: the images are not square or have another number of channels; a
            number is out of range.
    """

    image_shape: tuple[int, int, int]
    num_classes: int = 0
    width: int | None = None
    attention: str | None = None
    spectral_norm: str | None = None
    kernel_initializer: object = "glorot_uniform"

    def __post_init__(self):
        height, width, channels = self.image_shape
        if height != width or channels not in (1, 3):
            raise ValueError(
                "Images must be square, with 1 or 3 channels. Received: image_shape="
                f"{tuple(self.image_shape)}. Crop, resize or convert them."
            )
        if self.width is not None and self.width < 1:
            raise ValueError(
                "The width of a network must be a positive number of channels. "
                f"Received: width={self.width}. For the default, leave it out."
            )

    @property
    def size(self) -> int:
        """Height and width of the images."""
        return self.image_shape[0]

    @property
    def kernels(self) -> dict:
        """Arguments of layers: how their kernels are made."""
        return {
            "spectral_norm": self.spectral_norm,
            "kernel_initializer": self.kernel_initializer,
        }

    @property
    def raw_kernels(self) -> dict:
        """The same for layers without spectral normalization."""
        return self.kernels | {"spectral_norm": None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratorSpec(_Spec):
    """Specification of a generator; see `_Spec` for the common attributes.

    Attributes:
        latent_dim: int. Size of z.
        norm: makes a normalization layer from a `name`.
        plain_norm: the same, for norms that depend neither on z nor on labels, as
            BigGAN's last one.
        hierarchical_z: bool or None. Whether every block gets its own piece of z; None
            for the architecture's default.
        class_embedding: int or None. Size of the label embedding that the norms share;
            0 for the one-hot label; None for the architecture's default.
    """

    latent_dim: int
    norm: NormFactory
    plain_norm: NormFactory = BatchNorm
    hierarchical_z: bool | None = None
    class_embedding: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorSpec(_Spec):
    """Specification of a discriminator; see `_Spec` for the common attributes.

    With classes, D has a projection head.

    Attributes:
        rotation_classes: int. Outputs of the rotation head: 0 for no head; 4 for
            SS-GAN; 5 with a class for fakes (SS-GAN-MS); 8 for rotations of reals and
            fakes (SSGAN-LA), which replace the true/fake head.
        class_predictor: bool. Whether D predicts the class of images without label.
        soft_predictions: bool. True: the predicted label is the softmax of the
            predictor. False: it is the most likely class.
        layer_norm: bool. Layer normalization in the residual blocks.

    Raises:
        ValueError: see `_Spec`; or two of the heads exclude each other.
    """

    rotation_classes: int = 0
    class_predictor: bool = False
    soft_predictions: bool = False
    layer_norm: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.rotation_classes not in (0, *rotation.HEAD_SIZES):
            raise ValueError(
                "The rotation head must have 4, 5 or 8 outputs, or 0 for no head. "
                f"Received: rotation_classes={self.rotation_classes}. SS-GAN uses 4."
            )
        if self.class_predictor and not self.num_classes:
            raise ValueError(
                "A class predictor needs classes. Received: num_classes=0. Make the "
                "GAN conditional."
            )
        if self.rotation_classes == 8 and self.num_classes:
            raise ValueError(
                "An eight-way rotation head reads no labels. Received: "
                f"rotation_classes=8, num_classes={self.num_classes}."
            )


class Composite:
    """A layer without variables of its own, built by its first call.

    To build a layer without a `build` method Keras traces its call, at every level of
    nesting again: minutes for the deepest networks.
    """

    def build(self, *args, **kwargs):
        """Does nothing: the first call builds the sub-layers."""
