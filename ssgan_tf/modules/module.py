"""A generator and its discriminator, read from files, as one thing to sample from."""

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
        load: gives the network, a function of tensors by name, `(batch, ...)`, that
            returns a dict of such.
        inputs: their names: `z` or `images`, and `labels` where it takes some.
        outputs: names.
        batch_size: int. The rows that it computes at once, however few are asked
            for; None: as many as are asked for.
    """

    load: Callable[[], Callable[..., dict[str, tf.Tensor]]]
    inputs: frozenset[str]
    outputs: frozenset[str]
    batch_size: int | None = None


@dataclasses.dataclass(frozen=True)
class LoadedModule:
    """A module, ready to sample from, on all replicas of a strategy.

    Attributes:
        path: str. Where it lies.
        latents: `Latents`. How z is drawn.
        image_shape: `(size, size, channels)`.
        num_classes: int. 0 for an unconditional GAN.
        metadata: dict. The facts of `saved_model.json`; of a published module what
            `published.load` knows.
    """

    path: str
    latents: Latents
    image_shape: tuple[int, int, int]
    num_classes: int
    metadata: dict
    _generator: SavedFunction = dataclasses.field(repr=False)
    _discriminator: SavedFunction | None = dataclasses.field(repr=False)
    _strategy: tf.distribute.Strategy = dataclasses.field(repr=False)

    @functools.cached_property
    def _generate(self):
        return on_all_replicas(self._generator.load(), self._strategy)

    @functools.cached_property
    def _discriminate(self):
        return on_all_replicas(self._discriminator.load(), self._strategy)

    @property
    def latent_dim(self) -> int:
        """Size of z."""
        return self.latents.dim

    @property
    def has_rotation_head(self) -> bool:
        """Whether D predicts rotations; it need not be there."""
        return self._discriminator_gives("rotation_logits")

    @property
    def has_logits(self) -> bool:
        """Whether D gives logits; it need not be there."""
        return self._discriminator_gives("logits")

    def _discriminator_gives(self, output: str) -> bool:
        network = self._discriminator
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
        batches = self.sample_batches(num, seed, labels, truncation, batch_size)
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
            num: int. How many samples.
            seed: int. Theirs.
            truncation: float, or None. See `Latents.sample`.

        Returns:
            float32, `(num, latent_dim)`.

        Raises:
            ValueError: there is no such number, seed or threshold.
        """
        if num < 0:
            raise ValueError(
                f"`num` must be 0 or more. Received: {num=}. Ask for some images."
            )
        if not -(2**63) <= seed < 2**63:
            raise ValueError(
                f"`seed` must have 64 bits or fewer. Received: {seed=}. Take a smaller "
                "one."
            )
        return self.latents.sample(num, [seed, SAMPLING_STREAM], truncation).numpy()

    def draw_labels(self, num: int, seed: int = 0) -> np.ndarray | None:
        """The labels that samples have unless others are asked for.

        Args:
            num: int. How many samples.
            seed: int. Theirs.

        Returns:
            int32, `(num,)`, every class as likely as another; None of an unconditional
            GAN.
        """
        if not self.num_classes:
            return None
        return draw_labels(
            num, self.num_classes, [seed, SAMPLING_LABELS_STREAM]
        ).numpy()

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
            num: int. How many.
            seed: int. Equal seeds give equal images.
            labels: as those of `generate_batches`; but None draws them, every class
                as likely as another, from the seed.
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
            labels: of a conditional GAN: integers in [0, num_classes), one for each
                image, or one for all.
            batch_size: int. Images per replica and call of the network; where the
                network has a batch size of its own, that counts. Neither it nor the
                number of replicas changes a number beyond rounding.

        Returns:
            The images batch by batch, each made when it is asked for: float32,
            `(batch_size * replicas, size, size, channels)`, in [0, 1]; the last one
            may be smaller. Several workers ask for each in step with one another,
            and all get it whole.

        Raises:
            ValueError: `z` has another shape; the labels are no such integers, or the
                GAN is unconditional and gets some.
        """
        z = np.asarray(z, np.float32)
        if z.shape[1:] != (self.latent_dim,):
            raise ValueError(
                f"Latents must be of shape (num, {self.latent_dim}). Received: z.shape="
                f"{z.shape}, module={self.path}. `draw_latents` returns them so."
            )
        inputs = {"z": z}
        if self.num_classes or labels is not None:
            inputs["labels"] = self._check_labels(labels, len(z))
        batch_size = self._generator.batch_size or batch_size
        step = batch_size * self._strategy.num_replicas_in_sync

        def images_from(start):
            rows = slice(start, start + step)
            batch = {name: value[rows] for name, value in inputs.items()}
            return self._generate(**batch)["generated"]

        # Not a generator function: that would look at the labels too late.
        return map(images_from, range(0, len(z), step))

    def discriminate(self, images: np.ndarray, labels=None) -> dict[str, np.ndarray]:
        """What D says of a batch.

        Args:
            images: float32, `(batch, size, size, channels)`, in [0, 1], batch >= 1;
                dealt out to the replicas.
            labels: of a conditional GAN: integers in [-1, num_classes), one for each
                image, or one for all; -1 is unknown. Looked at by a D that takes some,
                which the D of a conditional GAN need not.

        Returns:
            dict with `prediction`, `logits`, `features` and, where D has those heads,
            `rotation_logits` and `class_logits`. Of a published module whatever its
            graph returns: `prediction`.

        Raises:
            ValueError: a D that takes labels gets no such ones, or an unconditional
                GAN gets some; or there are no images, or no D.
        """
        if self._discriminator is None:
            raise ValueError(
                "A module must have a discriminator to judge images. Received: "
                f"module={self.path}, which has none. Take another module."
            )
        inputs = {"images": np.asarray(images, np.float32)}
        takes_labels = "labels" in self._discriminator.inputs
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
                f"Labels must be left out where a GAN is unconditional. {received}. "
                "Leave them out."
            )
        values = np.asarray(labels)
        if values.dtype.kind not in "iu" or values.shape not in ((), (num,)):
            raise ValueError(
                "Labels of a conditional GAN must be integers, one for each image or "
                f"one for all. {received}, {num} images. Give that many, or one."
            )
        if np.any(values < lowest) or np.any(values >= self.num_classes):
            raise ValueError(
                f"Labels must be in [{lowest}, {self.num_classes}). {received}. Take "
                f"those of the module's {self.num_classes} classes."
            )
        return np.broadcast_to(values, num).astype(np.int32)
