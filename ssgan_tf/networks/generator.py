"""The base class of the generators: latents, and labels, to images."""

import abc

import keras
import tensorflow as tf

from ssgan_tf.networks.base import Composite, GeneratorSpec


class Generator(Composite, keras.Model, abc.ABC):
    """Latent, and class label of a conditional G, to image.

    A subclass makes its layers, then calls `finish`, and computes the images in
    `images`.

    Args:
        spec: `GeneratorSpec`.

    Raises:
        ValueError: G has classes, but no layer reads the labels.

    Call arguments:
        latents: float tensor, `(batch, latent_dim)`.
        labels: int tensor, `(batch,)`; None for an unconditional G.
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
        """Builds all layers."""
        labels = keras.KerasTensor((None,), "int32") if self.num_classes else None
        self(keras.KerasTensor((None, self.latent_dim)), labels)
        if self.num_classes and not self._reads_labels():
            raise ValueError(
                "A conditional generator must read its labels. Received: num_classes="
                f"{self.num_classes}, and no layer reads labels. Use another norm, in "
                "gin G.batch_norm_fn = @conditional_batch_norm."
            )

    def _reads_labels(self) -> bool:
        """Whether the images depend on the labels, in the graph of a call."""
        latents = tf.TensorSpec((None, self.latent_dim), tf.float32)
        labels = tf.TensorSpec((None,), tf.int32, "labels")
        call = tf.function(lambda *inputs: self(*inputs))
        graph = call.get_concrete_function(latents, labels).graph
        visited, pending = set(), [output.op for output in graph.outputs]
        while pending:
            op = pending.pop()
            if op not in visited:
                visited.add(op)
                pending += [tensor.op for tensor in op.inputs]
        return any(op.type == "Placeholder" and op.name == "labels" for op in visited)

    @abc.abstractmethod
    def images(self, latents, label_vectors, training):
        """The images; `label_vectors` are one-hot rows, or None without classes.

        They have the dtype of the weights, with mixed precision too: bfloat16 has 8
        significant bits, fewer than images need.
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
