"""The discriminator of every architecture: a trunk of layers and its heads."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from ssgan_tf import rotation
from ssgan_tf.layers import Dense
from ssgan_tf.networks.base import Composite, DiscriminatorSpec


def mean_pool(hidden: tf.Tensor) -> tf.Tensor:
    """Global mean of the ReLU: `(batch, height, width, c)` -> `(batch, c)`."""
    return tf.reduce_mean(tf.nn.relu(hidden), axis=[1, 2])


def sum_pool(hidden: tf.Tensor) -> tf.Tensor:
    """Global sum of the ReLU: `(batch, height, width, c)` -> `(batch, c)`."""
    return tf.reduce_sum(tf.nn.relu(hidden), axis=[1, 2])


def flatten(hidden: tf.Tensor) -> tf.Tensor:
    """`(batch, height, width, c)` -> `(batch, height * width * c)`, without ReLU."""
    _, height, width, channels = hidden.shape
    return tf.reshape(hidden, (-1, height * width * channels))


class Discriminator(Composite, keras.Model):
    """Image to a true/fake logit and, from the same trunk, the other heads of `spec`.

        features        = to_features(trunk(images))
        logits          = linear(features) + <embedding of the label, features>
        rotation_logits = linear(features)          the paper's second head
        class_logits    = linear(features)

    A D with classes has the inner product: it is a projection discriminator. For the
    label -1 the class predictor's label takes its place, without gradient; without
    predictor the inner product is 0.

    With an eight-way rotation head (SSGAN-LA) D has no separate true/fake head:
    `logits` is logsumexp over the four real classes minus logsumexp over the four fake
    classes, the log-odds that the image is real.

    Args:
        spec: `DiscriminatorSpec`. The heads, and how kernels are made.
        trunk: layers, called in order as `layer(hidden, training=training)`. Those
            with a true attribute `is_block` are the blocks of `block_features`.
        num_features: int. Size of the vector from `to_features`.
        to_features: turns the last layer's output into `(batch, features)`.
        logit_name: name of the true/fake head.
        embedding_initializer: initializer of the class embedding; None for that of
            `spec`.

    Call arguments:
        images: float tensor, `(batch, size, size, channels)`, in [0, 1].
        labels: int tensor, `(batch,)`, -1 for unknown; None without classes.
        training: bool. Whether the spectral-norm vectors advance.

    Returns:
        dict: `logits` (batch, 1); `features` (batch, f), the input of the heads; with
        these heads `rotation_logits` (batch, 4, 5 or 8) and `class_logits`
        (batch, classes).

    References:
        - Chen et al., 2019, figure 1, https://arxiv.org/abs/1811.11212
        - Miyato and Koyama, 2018, equation 3, https://arxiv.org/abs/1802.05637
        - Lucic et al., 2019, section 3, https://arxiv.org/abs/1903.02271
        - Hou et al., 2021, section 4, https://arxiv.org/abs/2106.08601
    """

    def __init__(
        self,
        spec: DiscriminatorSpec,
        *,
        trunk: Sequence[Callable],
        num_features: int,
        to_features: Callable[[tf.Tensor], tf.Tensor] = mean_pool,
        logit_name: str = "disc_final_fc",
        embedding_initializer=None,
        name: str = "discriminator",
    ):
        super().__init__(name=name)
        self.image_shape = tuple(spec.image_shape)
        self.num_classes = spec.num_classes
        self.soft_predictions = spec.soft_predictions
        self.to_features = to_features
        self.trunk = list(trunk)
        self.logit_head = self.rotation_head = self.class_head = self.embedding = None
        # The losses depend on the heads: with mixed precision they stay float32.
        kernels = spec.kernels | {"dtype": self.variable_dtype}
        if spec.rotation_classes != 2 * rotation.NUM_ROTATIONS:
            self.logit_head = Dense(1, name=logit_name, **kernels)
        if spec.rotation_classes:
            self.rotation_head = Dense(
                spec.rotation_classes, name="score_classify", **kernels
            )
        if spec.class_predictor:
            self.class_head = Dense(
                spec.num_classes, name="predictor_linear", **kernels
            )
        if spec.num_classes:
            initializer = embedding_initializer or spec.kernel_initializer
            kernels |= {"kernel_initializer": initializer, "use_bias": False}
            self.embedding = Dense(num_features, name="embedding_fc", **kernels)
        labels = keras.KerasTensor((None,), "int32") if spec.num_classes else None
        self(keras.KerasTensor((None, *self.image_shape)), labels)

    def call(self, images, labels=None, training=False):
        hidden = images
        for layer in self.trunk:
            hidden = layer(hidden, training=training)
        features = self.to_features(tf.cast(hidden, self.variable_dtype))
        outputs = {"features": features}
        if self.rotation_head is not None:
            outputs["rotation_logits"] = self.rotation_head(features, training=training)
        if self.class_head is not None:
            outputs["class_logits"] = self.class_head(features, training=training)
        if self.logit_head is None:
            real, fake = tf.split(outputs["rotation_logits"], 2, axis=1)
            outputs["logits"] = tf.reduce_logsumexp(
                real, axis=1, keepdims=True
            ) - tf.reduce_logsumexp(fake, axis=1, keepdims=True)
        else:
            outputs["logits"] = self.logit_head(features, training=training)
        if self.num_classes:
            outputs["logits"] += self._projection(outputs, labels, training)
        return outputs

    def _projection(self, outputs, labels, training):
        """Inner product of the label's embedding and the features: `(batch, 1)`."""
        if labels is None:
            raise ValueError(
                "A conditional discriminator must be called with labels, -1 for "
                "unknown. Received: labels=None."
            )
        # A label of -1 becomes zeros.
        vectors = tf.one_hot(labels, self.num_classes)
        if self.class_head is not None:
            logits = tf.stop_gradient(outputs["class_logits"])
            predicted = (
                tf.nn.softmax(logits)
                if self.soft_predictions
                else tf.one_hot(tf.argmax(logits, axis=1), self.num_classes)
            )
            vectors = tf.where(labels[:, None] < 0, predicted, vectors)
        embedded = self.embedding(vectors, training=training)
        return tf.reduce_sum(embedded * outputs["features"], axis=1, keepdims=True)

    @property
    def block_names(self) -> list[str]:
        """Names of the blocks of the trunk, in order."""
        return [layer.name for layer in self.trunk if _is_block(layer)]

    def block_features(self, images: tf.Tensor) -> list[tf.Tensor]:
        """The output of every block of the trunk; the heads see the last one.

        Attention belongs to the block before it; a convolution before the first block
        belongs to no block. Pre-activation blocks end with a sum, without a ReLU. The
        spectral-norm vectors do not advance.

        Args:
            images: float tensor, `(batch, size, size, channels)`, in [0, 1].

        Returns:
            `(batch, height, width, channels)` for each of `block_names`.
        """
        hidden, outputs = images, []
        for layer in self.trunk:
            hidden = layer(hidden, training=False)
            if _is_block(layer):
                outputs.append(hidden)
            elif outputs:
                outputs[-1] = hidden
        return outputs


def _is_block(layer: Callable) -> bool:
    return getattr(layer, "is_block", False)
