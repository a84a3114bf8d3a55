"""A loaded module: samples of its generator, outputs of its discriminator."""

import dataclasses
import functools
import reprlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from ssgan_tf.latents import Latents, draw_labels
from ssgan_tf.randomness import SAMPLING_LABELS_STREAM, SAMPLING_STREAM
from ssgan_tf.utils.replicas import on_all_replicas


@dataclasses.dataclass(frozen=True)
class SavedFunction:
    """A network of a module.

    Attributes:
        load: returns the network: a function from tensors `(batch, ...)`, by name, to a
            dict of tensors.
        inputs: names of the inputs: `z` or `images`, and perhaps `labels`.
        outputs: names of the outputs.
        batch_size: int. Fixed batch size of the network; None takes any batch.
    """

    load: Callable[[], Callable[..., dict[str, tf.Tensor]]]
    inputs: frozenset[str]
    outputs: frozenset[str]
    batch_size: int | None = None


@dataclasses.dataclass(frozen=True)
class LoadedModule:
    """A module, ready to sample from, on all replicas of a strategy.

    Attributes:
        path: str. The module's folder.
        latents: `Latents`. The distribution of z.
        image_shape: `(size, size, channels)`.
        num_classes: int. 0 for an unconditional GAN.
        metadata: dict. The facts of `saved_model.json`; for a published module see
            `published.load`.
        generator: `SavedFunction`.
        discriminator: `SavedFunction`; None if the module has none.
        strategy: the networks run on its replicas.
    """

    path: str
    latents: Latents
    image_shape: tuple[int, int, int]
    num_classes: int
    metadata: dict
    generator: SavedFunction = dataclasses.field(repr=False)
    discriminator: SavedFunction | None = dataclasses.field(repr=False)
    strategy: tf.distribute.Strategy = dataclasses.field(repr=False)

    @functools.cached_property
    def _generate(self):
        return on_all_replicas(self.generator.load(), self.strategy)

    @functools.cached_property
    def _discriminate(self):
        return on_all_replicas(self.discriminator.load(), self.strategy)

    @property
    def latent_dim(self) -> int:
        """Size of z."""
        return self.latents.dim

    @property
    def has_rotation_head(self) -> bool:
        """Whether the module has a discriminator with a rotation head."""
        return self._discriminator_gives("rotation_logits")

    @property
    def has_logits(self) -> bool:
        """Whether the module has a discriminator with logits."""
        return self._discriminator_gives("logits")

    def _discriminator_gives(self, output: str) -> bool:
        network = self.discriminator
        return network is not None and output in network.outputs

    def sample(
        self,
        num: int,
        seed: int = 0,
        labels=None,
        truncation: float | None = None,
        batch_size: int = 64,
    ) -> np.ndarray:
        """The batches of `sample_batches` as one array.

        Returns:
            float32, `(num, size, size, channels)`, in [0, 1].

        Raises:
            ValueError: see `sample_batches`.
        """
        options = {"truncation": truncation, "batch_size": batch_size}
        batches = self.sample_batches(num, seed, labels, **options)
        return self._gathered(batches, num)

    def generate(self, z, labels=None, batch_size: int = 64) -> np.ndarray:
        """The batches of `generate_batches` as one array.

        Returns:
            float32, `(num, size, size, channels)`, in [0, 1].

        Raises:
            ValueError: see `generate_batches`.
        """
        return self._gathered(self.generate_batches(z, labels, batch_size), len(z))

    def _gathered(self, batches: Iterator[np.ndarray], num: int) -> np.ndarray:
        # Concatenating would hold all images twice.
        images = np.empty((num, *self.image_shape), np.float32)
        start = 0
        for batch in batches:
            images[start : start + len(batch)] = batch
            start += len(batch)
        return images

    def draw_latents(
        self, num: int, seed: int = 0, truncation: float | None = None
    ) -> np.ndarray:
        """The latents of samples.

        Args:
            num: int. Number of samples.
            seed: int. Seed of the samples.
            truncation: float, or None. See `Latents.sample`.

        Returns:
            float32, `(num, latent_dim)`.

        Raises:
            ValueError: an argument is out of range.
        """
        if num < 0:
            raise ValueError(f"`num` must be 0 or more. Received: {num=}.")
        if not -(2**63) <= seed < 2**63:
            raise ValueError(f"`seed` must have 64 bits or fewer. Received: {seed=}.")
        return self.latents.sample(num, [seed, SAMPLING_STREAM], truncation).numpy()

    def draw_labels(self, num: int, seed: int = 0) -> np.ndarray | None:
        """The default labels of samples.

        Args:
            num: int. Number of samples.
            seed: int. Seed of the samples.

        Returns:
            int32, `(num,)`, with equally likely classes; None for an unconditional GAN.
        """
        if not self.num_classes:
            return None
        seeds = [seed, SAMPLING_LABELS_STREAM]
        return draw_labels(num, self.num_classes, seeds).numpy()

    def sample_batches(
        self,
        num: int,
        seed: int = 0,
        labels=None,
        truncation: float | None = None,
        batch_size: int = 64,
    ) -> Iterator[np.ndarray]:
        """Draws images; image i depends on `seed`, `num`, its label and `truncation`.

        Args:
            num: int. Number of images.
            seed: int. Equal seeds give equal images.
            labels: see `generate_batches`; None: those of `draw_labels`.
            truncation: float > 0, or None. Threshold of z, see `Latents.sample`.
            batch_size: see `generate_batches`.

        Returns:
            See `generate_batches`.

        Raises:
            ValueError: see `generate_batches` and `draw_latents`.
        """
        z = self.draw_latents(num, seed, truncation)
        if labels is None:
            labels = self.draw_labels(num, seed)
        return self.generate_batches(z, labels, batch_size)

    def generate_batches(
        self, z, labels=None, batch_size: int = 64
    ) -> Iterator[np.ndarray]:
        """Images of given latents; image i depends on `z[i]` and its label alone.

        Args:
            z: float, `(num, latent_dim)`.
            labels: for a conditional GAN only: integers in [0, num_classes), one per
                image, or one for all.
            batch_size: int. Images per replica and call of the network; a network's
                fixed batch size takes precedence. Neither it nor the number of replicas
                changes an image beyond rounding.

        Returns:
            Iterator of batches, computed on request: float32,
            `(batch_size * replicas, size, size, channels)`, in [0, 1]; the last one may
            be smaller. Collective: all workers request and get every batch.

        Raises:
            ValueError: `z` or the labels are not as described.
        """
        z = np.asarray(z, np.float32)
        if z.shape[1:] != (self.latent_dim,):
            raise ValueError(
                f"Latents must be of shape (num, {self.latent_dim}). Received: z.shape="
                f"{z.shape}, module={self.path}. `draw_latents` returns such latents."
            )
        inputs = {"z": z}
        if self.num_classes or labels is not None:
            inputs["labels"] = self._check_labels(labels, len(z))
        batch_size = self.generator.batch_size or batch_size
        step = batch_size * self.strategy.num_replicas_in_sync

        def images_from(start):
            rows = slice(start, start + step)
            batch = {name: value[rows] for name, value in inputs.items()}
            return self._generate(**batch)["generated"]

        # Not a generator function, which would check the labels too late.
        return map(images_from, range(0, len(z), step))

    def discriminate(self, images: np.ndarray, labels=None) -> dict[str, np.ndarray]:
        """Outputs of D for a batch.

        Args:
            images: float32, `(batch, size, size, channels)`, in [0, 1], batch >= 1;
                divided among the replicas.
            labels: for a conditional GAN only: integers in [-1, num_classes), one per
                image, or one for all; -1 is unknown. A D without label input ignores
                them.

        Returns:
            dict with `prediction`, `logits`, `features` and, if D has these heads,
            `rotation_logits` and `class_logits`. The outputs of a published module's
            graph, `prediction`, for such a module.

        Raises:
            ValueError: the labels are missing or not as described, or there are no
                images, or no D.
        """
        if self.discriminator is None:
            raise ValueError(
                f"The module has no discriminator. Received: module={self.path}."
            )
        inputs = {"images": np.asarray(images, np.float32)}
        takes_labels = "labels" in self.discriminator.inputs
        if takes_labels or labels is not None:
            labels = self._check_labels(labels, len(images), lowest=-1)
        if takes_labels:
            inputs["labels"] = labels
        return self._discriminate(**inputs)

    def _check_labels(self, labels, num: int, lowest: int = 0) -> np.ndarray:
        """The labels as int32, `(num,)`."""
        received = f"Received: labels={reprlib.repr(labels)}, module={self.path}"
        if not self.num_classes:
            raise ValueError(
                f"An unconditional GAN takes no labels. {received}. Omit them."
            )
        values = np.asarray(labels)
        if values.dtype.kind not in "iu" or values.shape not in ((), (num,)):
            raise ValueError(
                "Labels of a conditional GAN must be integers, one per image or one "
                f"for all. {received}, {num} images."
            )
        if np.any(values < lowest) or np.any(values >= self.num_classes):
            raise ValueError(
                f"Labels must be in [{lowest}, {self.num_classes}). {received}, which "
                f"has {self.num_classes} classes."
            )
        return np.broadcast_to(values, num).astype(np.int32)
