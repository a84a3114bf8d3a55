"""What every generator of ours is: latents, and labels if asked, to images."""

import abc

import keras
import tensorflow as tf

from ssgan_tf.networks.base import Composite, GeneratorSpec


class Generator(Composite, keras.Model, abc.ABC):
    """Latent, and label where there are classes, to image.

    A subclass makes its layers, then calls `finish`, and says in `images` how they are
    used.

    Args:
        spec: `GeneratorSpec`.

    Raises:
        ValueError: there are classes, and no layer reads the labels.

    Call arguments:
        latents: float tensor, `(batch, latent_dim)`.
        labels: int tensor, `(batch,)`; None without classes.
        training: bool. Batch moments if True, moving moments if False.

    Returns:
        Images, `(batch, size, size, channels)`, float in [0, 1].
    """

    def __init__(self, spec: GeneratorSpec, name: str = "generator"):
        super().__init__(name=name)
        self.latent_dim = spec.latent_dim
        self.image_shape = tuple(spec.image_shape)
        self.num_classes = spec.num_classes

    def finish(self) -> None:
        """Makes the variables of all layers."""
        labels = keras.KerasTensor((None,), "int32") if self.num_classes else None
        self(keras.KerasTensor((None, self.latent_dim)), labels)
        if self.num_classes and not self._reads_labels():
            raise ValueError(
                "A conditional generator must read its labels. Received: "
                f"num_classes={self.num_classes}, and no layer that does. Take a "
                "conditional norm (in gin: G.batch_norm_fn = @conditional_batch_norm), "
                "or no classes."
            )

    def _reads_labels(self) -> bool:
        """Whether the images depend on the labels, in the graph of the call."""
        specs = (
            tf.TensorSpec((None, self.latent_dim), tf.float32),
            tf.TensorSpec((None,), tf.int32, "labels"),
        )
        call = tf.function(lambda latents, labels: self(latents, labels))
        graph = call.get_concrete_function(*specs).graph
        read, unread = set(), [output.op for output in graph.outputs]
        while unread:
            op = unread.pop()
            if op not in read:
                read.add(op)
                unread += [tensor.op for tensor in op.inputs]
        return any(op.type == "Placeholder" and op.name == "labels" for op in read)

    @abc.abstractmethod
    def images(self, latents, label_vectors, training):
        """The images, given labels as one-hot rows, or None without classes.

        Under mixed precision too they have the dtype of the weights: eight bits of
        mantissa are fewer than an image's.
        """

    def call(self, latents, labels=None, training=False):
        vectors = None
        if self.num_classes:
            if labels is None:
                raise ValueError(
                    "A conditional generator must be called with labels. Received: "
                    f"labels=None. Give integers in [0, {self.num_classes})."
                )
            vectors = tf.one_hot(labels, self.num_classes, dtype=self.compute_dtype)
        return self.images(latents, vectors, training)
