"""What is asked of a network, whatever its architecture."""

import dataclasses
from collections.abc import Callable

import keras

from ssgan_tf import rotation
from ssgan_tf.layers import BatchNorm

NormFactory = Callable[..., keras.layers.Layer]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Spec:
    """What both networks are asked.

    Attributes:
        image_shape: `(size, size, channels)`, one or three channels.
        num_classes: int. 0 for a network that knows no labels.
        width: int or None. Channels per unit of the architecture's table; None is the
            paper's.
        attention: str or None. Block that self-attention follows, such as "B4";
            "none" for no attention; None is the architecture's own choice.
        spectral_norm: None, or the singular vector that is kept: "left", "right",
            "auto".
        kernel_initializer: of every kernel, as `keras.initializers.get` takes it.

    Raises:
        ValueError: the images are not square or have other colours; a number is out of
            range.
    """

    image_shape: tuple[int, int, int]
    num_classes: int = 0
    width: int | None = None
    attention: str | None = None
    spectral_norm: str | None = None
    kernel_initializer: object = "glorot_uniform"

    def __post_init__(self):
        height, width, channels = self.image_shape
        if height != width:
            raise ValueError(
                "Images must be square: quarter turns change the shape of others. "
                f"Received: image_shape={tuple(self.image_shape)}. Crop or resize them."
            )
        if channels not in (1, 3):
            raise ValueError(
                "Images must have 1 or 3 channels. Received: "
                f"image_shape={tuple(self.image_shape)}. Convert them to grey or RGB."
            )
        if self.width is not None and self.width < 1:
            raise ValueError(
                "The width of a network must be a positive number of channels. "
                f"Received: width={self.width}. For the architecture's own, leave "
                "it out."
            )

    @property
    def size(self) -> int:
        """Height and width of the images."""
        return self.image_shape[0]

    @property
    def kernels(self) -> dict:
        """The arguments that make a layer's kernel."""
        return {
            "spectral_norm": self.spectral_norm,
            "kernel_initializer": self.kernel_initializer,
        }

    @property
    def raw_kernels(self) -> dict:
        """The same for layers that spectral normalization does not reach."""
        return self.kernels | {"spectral_norm": None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratorSpec(_Spec):
    """What is asked of a generator; the rest of the attributes is in `_Spec`.

    Attributes:
        latent_dim: int. Size of z.
        norm: makes a normalization layer from a `name`.
        plain_norm: the same, for a norm that neither z nor labels modulate; BigGAN
            ends with one.
        hierarchical_z: bool or None. Whether every block gets a piece of z of its own;
            None is the architecture's own choice.
        class_embedding: int or None. Size of the embedding of the label that the norms
            share; 0 for the one-hot label; None is the architecture's own choice.
    """

    latent_dim: int
    norm: NormFactory
    plain_norm: NormFactory = BatchNorm
    hierarchical_z: bool | None = None
    class_embedding: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorSpec(_Spec):
    """What is asked of a discriminator; the rest of the attributes is in `_Spec`.

    With classes, D has a projection head.

    Attributes:
        rotation_classes: int. Outputs of the rotation head: 0 for none, 4 for SS-GAN,
            5 with a class for fakes (SS-GAN-MS), 8 for real and fake turns
            (SSGAN-LA), which replace the true/fake head.
        class_predictor: bool. Whether D predicts the class of an image without label.
        soft_predictions: bool. Whether a predicted label is the softmax of the
            predictor, or its likeliest class.
        layer_norm: bool. Layer normalization in the residual blocks.

    Raises:
        ValueError: also for heads that cannot go together.
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
                f"Received: rotation_classes={self.rotation_classes}. SS-GAN takes 4."
            )
        if self.class_predictor and not self.num_classes:
            raise ValueError(
                "A class predictor needs classes to choose from. Received: "
                "num_classes=0. Make the GAN conditional."
            )
        if self.rotation_classes == 8 and self.num_classes:
            raise ValueError(
                "The eight-way rotation head is the true/fake head too, and labels "
                "have no part in it. Received: rotation_classes=8, "
                f"num_classes={self.num_classes}. Make the GAN unconditional."
            )


class Composite:
    """A layer whose sub-layers make their variables when they are first called.

    Keras would trace the call of a layer without `build` for the sake of building it,
    once more for each level of nesting: minutes for the deepest networks.
    """

    def build(self, *args, **kwargs):
        """Makes nothing: this layer has no variables of its own."""
