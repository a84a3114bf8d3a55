"""Generator and discriminator as one TF-Hub module, and modules as generators.

A module is a TensorFlow 2 SavedModel that needs nothing of this package:

    signature                    inputs                  outputs
    serving_default, generator   z (b, dim)              generated (b, H, W, C)
                                 labels (b,)
    discriminator                images (b, H, W, C)     prediction (b, 1)
                                 labels (b,)             logits (b, 1)
                                                         features (b, f)
                                                         rotation_logits (b, 4 | 5 | 8)
                                                         class_logits (b, classes)

All float32 but the labels, images in [0, 1], any b; `prediction` is the sigmoid of
`logits`; `rotation_logits` and `class_logits` are there when the discriminator has the
heads. `labels` are there when the GAN is conditional: int32, in [0, classes), for the
discriminator also -1, unknown. The module itself is callable, z [, labels] -> images,
and has `variables` and `trainable_variables`. Batch normalization uses stored moments;
they are inside. `saved_model.json` beside the weights says where the module comes from,
how z is distributed and how many classes there are; and the size and SHA-256 of every
file, itself included, so that a damaged module is never taken for a whole one.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import reprlib
import sys
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from ssgan_tf import files
from ssgan_tf.latents import (
    SAMPLING_LABELS_STREAM,
    SAMPLING_STREAM,
    STANDING_STREAM,
    Latents,
    draw_labels,
    fold,
    if_any,
    num_classes_of,
)
from ssgan_tf.layers import standing_statistics
from ssgan_tf.replicas import on_all_replicas

METADATA = "saved_model.json"
MOVING_MOMENTS = "moving moments"
STANDING_BATCH_SIZE = 64
_WHERE = "Modules of a run lie in <model_dir>/tfhub/<step>."


class _Module(tf.__internal__.tracking.AutoTrackable):
    """What is saved: functions and the variables that they read."""

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        latent_dim: int,
        image_shape: tuple[int, int, int],
    ):
        networks = (generator, discriminator)
        # Tracked as plain variables: a reader needs no Keras.
        self.variables = [v.value for net in networks for v in net.variables]
        self.trainable_variables = [
            v.value for net in networks for v in net.trainable_variables
        ]
        self.regularization_losses = []
        labels_spec = []
        if num_classes_of(generator):
            labels_spec = [tf.TensorSpec((None,), tf.int32, "labels")]
        latents_spec = tf.TensorSpec((None, latent_dim), tf.float32, "z")
        images_spec = tf.TensorSpec((None, *image_shape), tf.float32, "images")

        # An argument that the signature leaves out keeps its default.
        @tf.function(input_signature=[latents_spec, *labels_spec])
        def call(z, labels=None):
            return generator(z, *if_any(labels), training=False)

        @tf.function(input_signature=[latents_spec, *labels_spec])
        def generate(z, labels=None):
            return {"generated": generator(z, *if_any(labels), training=False)}

        @tf.function(input_signature=[images_spec, *labels_spec])
        def discriminate(images, labels=None):
            outputs = discriminator(images, *if_any(labels), training=False)
            return {"prediction": tf.sigmoid(outputs["logits"]), **outputs}

        self.__call__ = call
        self.generate = generate
        self.discriminate = discriminate


def export(
    generator: keras.Model,
    discriminator: keras.Model,
    latents: Latents,
    path: str | os.PathLike,
    metadata: dict,
) -> None:
    """Writes a module, whole or not at all.

    Args:
        generator: built, `keras.Model` as `GAN` takes it; the average where one is
            kept.
        discriminator: built, the same.
        latents: `Latents`. How z is drawn.
        path: folder of the SavedModel; a module that is there is replaced.
        metadata: JSON-ready facts about the module, such as `step`.

    Raises:
        FileExistsError: there is something else at `path`.
        OSError: it cannot be written.
        ValueError: the networks do not fit each other or `latents`.
    """
    path = pathlib.Path(path)
    check_target(path)
    image_shape = _check_networks(generator, discriminator, latents)
    module = _Module(generator, discriminator, latents.dim, image_shape)
    facts = {
        **metadata,
        "weights_sha256": _hash(module.variables),
        "latents": dataclasses.asdict(latents),
        "image_shape": list(image_shape),
        "num_classes": num_classes_of(generator),
        "versions": {
            "python": sys.version.split()[0],
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }
    with files.replacing(path) as partial, _os_errors():
        tf.saved_model.save(
            module,
            str(partial),
            signatures={
                "serving_default": module.generate,
                "generator": module.generate,
                "discriminator": module.discriminate,
            },
        )
        written = sorted(file for file in partial.rglob("*") if file.is_file())
        facts["files"] = {
            file.relative_to(partial).as_posix(): _fingerprint(file) for file in written
        }
        facts["sha256"] = _seal(facts)
        (partial / METADATA).write_text(json.dumps(facts, indent=2) + "\n")


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Gives TensorFlow's errors of writing Python's kind."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _check_networks(
    generator: keras.Model, discriminator: keras.Model, latents: Latents
) -> tuple[int, int, int]:
    """The shape of the images, by asking the networks: users' have no attributes."""
    classes = [num_classes_of(network) for network in (generator, discriminator)]
    if classes[0] != classes[1]:
        raise ValueError(
            "Both networks of a module must know the same classes. Received: "
            f"generator.num_classes={classes[0]}, "
            f"discriminator.num_classes={classes[1]}."
        )
    labels = keras.KerasTensor((None,), "int32") if classes[0] else None
    noise = keras.KerasTensor((None, latents.dim))
    images = _output_of(generator, "A generator must take latents", noise, labels)
    shape = getattr(images, "shape", ())
    if len(shape) != 4 or None in shape[1:]:
        raise ValueError(
            "A generator must make images (batch, height, width, channels) of one size."
            f" Received: {generator.name}, which makes {_shapes(images)}."
        )
    outputs = _output_of(
        discriminator, "A discriminator must take images", images, labels
    )
    logits = outputs.get("logits") if isinstance(outputs, dict) else None
    if tuple(getattr(logits, "shape", ())) != (None, 1):
        raise ValueError(
            "A discriminator must return a dict with `logits` (batch, 1). Received: "
            f"{discriminator.name}, which returns {_shapes(outputs)}."
        )
    return tuple(shape[1:])


def _output_of(network: keras.Model, rule: str, inputs, labels):
    try:
        return network.compute_output_spec(inputs, *if_any(labels))
    # What a network raises is up to its author and Keras.
    except Exception as error:
        raise ValueError(
            f"{rule} of shape {tuple(inputs.shape)}. Received: {network.name}, which "
            f"fails with: {error}"
        ) from error


def _shapes(outputs):
    return keras.tree.map_structure(lambda each: getattr(each, "shape", each), outputs)


def use_standing_moments(
    generator: keras.Model, latents: Latents, num_examples: int, seed: int
) -> str:
    """Replaces the moving moments of a generator by averages over its own samples.

    `layers.standing_statistics` over ceil(num_examples / 64) batches of 64. Noise and
    labels, every class as likely as another, are a function of `seed` alone.

    Args:
        generator: built; its batch norms are those of this package.
        latents: `Latents`. How z is drawn.
        num_examples: int. 0 leaves the generator as it is.
        seed: int. Of the run.

    Returns:
        What the batch norms then use, for the metadata: "moving moments", or
        "standing moments of N samples", N a multiple of 64.

    Raises:
        ValueError: `num_examples` is negative, or the moments are not finite.
    """
    if num_examples == 0:
        return MOVING_MOMENTS
    num_classes = num_classes_of(generator)
    num_batches = -(-num_examples // STANDING_BATCH_SIZE)

    @tf.function
    def call(batch):
        # Even draws are noise and odd ones labels: they never meet.
        noise_seed, labels_seed = (
            fold(seed, STANDING_STREAM, draw) for draw in (2 * batch, 2 * batch + 1)
        )
        labels = None
        if num_classes:
            labels = draw_labels(STANDING_BATCH_SIZE, num_classes, labels_seed)
        noise = latents.sample(STANDING_BATCH_SIZE, noise_seed)
        generator(noise, *if_any(labels), training=True)

    standing_statistics(
        generator, lambda i: call(tf.constant(i, tf.int64)), num_batches
    )
    return f"standing moments of {num_batches * STANDING_BATCH_SIZE} samples"


def _hash(variables) -> str:
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def _fingerprint(path: pathlib.Path) -> dict:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _seal(facts: dict) -> str:
    """The SHA-256 of the facts but for `sha256`, however they are laid out as JSON."""
    sealed = {name: value for name, value in facts.items() if name != "sha256"}
    # Read back, as keys and tuples are others there; sorted, as order says nothing.
    sealed = json.loads(json.dumps(sealed))
    return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()


def check_target(path: str | os.PathLike) -> None:
    """Refuses to write a module over anything but a module or an empty folder.

    Raises:
        FileExistsError: there is something else at `path`.
    """
    path = pathlib.Path(path)
    ours = (path / METADATA).is_file() or (path.is_dir() and not any(path.iterdir()))
    if path.exists() and not ours:
        raise FileExistsError(
            "A module must be written to a new folder, an empty one, or over a module "
            f"of ours, which holds `{METADATA}`. Received: path={path}, which holds "
            "something else. Name another folder, or move that away."
        )


@dataclasses.dataclass(frozen=True)
class LoadedModule:
    """A module, ready to sample from, on all replicas of a strategy.

    Attributes:
        path: str. Where it lies.
        latents: `Latents`. How z is drawn.
        image_shape: `(size, size, channels)`.
        num_classes: int. 0 for an unconditional GAN.
        metadata: dict. The facts of `saved_model.json`.
    """

    path: str
    latents: Latents
    image_shape: tuple[int, int, int]
    num_classes: int
    metadata: dict
    _module: object = dataclasses.field(repr=False)
    _strategy: tf.distribute.Strategy = dataclasses.field(repr=False)

    @functools.cached_property
    def _generate(self):
        return on_all_replicas(self._module.signatures["generator"], self._strategy)

    @functools.cached_property
    def _discriminate(self):
        return on_all_replicas(self._module.signatures["discriminator"], self._strategy)

    @property
    def has_rotation_head(self) -> bool:
        """Whether D predicts rotations."""
        discriminator = self._module.signatures["discriminator"]
        return "rotation_logits" in discriminator.structured_outputs

    def sample(
        self, num: int, seed: int = 0, labels=None, batch_size: int = 64
    ) -> np.ndarray:
        """The batches of `sample_batches` as one array.

        Returns:
            float32, `(num, size, size, channels)`, in [0, 1].

        Raises:
            ValueError: see `sample_batches`.
        """
        return np.concatenate([*self.sample_batches(num, seed, labels, batch_size)])

    def sample_batches(
        self, num: int, seed: int = 0, labels=None, batch_size: int = 64
    ) -> Iterator[np.ndarray]:
        """Draws images; image i depends on `seed`, `num` and its label alone.

        Args:
            num: int. How many.
            seed: int. Equal seeds give equal images.
            labels: of a conditional GAN: integers in [0, num_classes), one for each
                image, or one for all; None draws them, every class as likely as
                another, from the seed.
            batch_size: int. Images per replica and call of the network. Neither it
                nor the number of replicas changes a number beyond rounding.

        Returns:
            The images batch by batch, each made when it is asked for: float32,
            `(batch_size * replicas, size, size, channels)`, in [0, 1]; the last one
            may be smaller. Several workers ask for each in step with one another,
            and all get it whole.

        Raises:
            ValueError: the labels are no such integers, or the GAN is unconditional
                and gets some.
        """
        inputs = {"z": self.latents.sample(num, [seed, SAMPLING_STREAM])}
        if labels is not None:
            inputs["labels"] = self._check_labels(labels, num)
        elif self.num_classes:
            inputs["labels"] = draw_labels(
                num, self.num_classes, [seed, SAMPLING_LABELS_STREAM]
            )
        step = batch_size * self._strategy.num_replicas_in_sync

        def images_from(start):
            rows = slice(start, start + step)
            batch = {name: value[rows] for name, value in inputs.items()}
            return self._generate(**batch)["generated"]

        # Not a generator function: that would look at the labels too late.
        return map(images_from, range(0, num, step))

    def discriminate(self, images: np.ndarray, labels=None) -> dict[str, np.ndarray]:
        """What D says of a batch.

        Args:
            images: float32, `(batch, size, size, channels)`, in [0, 1], batch >= 1;
                dealt out to the replicas.
            labels: of a conditional GAN: integers in [-1, num_classes), one for each
                image, or one for all; -1 is unknown.

        Returns:
            dict with `prediction`, `logits`, `features` and, where D has those heads,
            `rotation_logits` and `class_logits`.

        Raises:
            ValueError: a conditional GAN gets no such labels, or an unconditional one
                gets some; or there are no images.
        """
        inputs = {"images": np.asarray(images, np.float32)}
        if self.num_classes or labels is not None:
            inputs["labels"] = self._check_labels(labels, len(images), lowest=-1)
        return self._discriminate(**inputs)

    def _check_labels(self, labels, num: int, lowest: int = 0) -> np.ndarray:
        """The labels as int32, `(num,)`."""
        received = f"Received: labels={reprlib.repr(labels)}, module={self.path}"
        if not self.num_classes:
            raise ValueError(
                f"Labels must be left out where a GAN is unconditional. {received}."
            )
        values = np.asarray(labels)
        if values.dtype.kind not in "iu" or values.shape not in ((), (num,)):
            raise ValueError(
                "Labels of a conditional GAN must be integers, one for each image or "
                f"one for all. {received}, {num} images. Give that many, or one."
            )
        if np.any(values < lowest) or np.any(values >= self.num_classes):
            raise ValueError(
                f"Labels must be in [{lowest}, {self.num_classes}). {received}. The "
                f"module knows {self.num_classes} classes."
            )
        return np.broadcast_to(values, num).astype(np.int32)


def read_metadata(path: str | os.PathLike) -> dict:
    """The facts of a module's `saved_model.json`, without reading its other files.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no module of ours, or the facts are not as they
            were written.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(
            "A module must be a folder. Received: "
            f"module={path}, which is none. {_WHERE}"
        )
    for name in (METADATA, "saved_model.pb"):
        if not (path / name).is_file():
            raise ValueError(
                f"A module must be a folder that this package exported, with `{name}` "
                f"in it. Received: module={path}, where that is missing. {_WHERE}"
            )
    try:
        metadata = json.loads((path / METADATA).read_text())
        whole = metadata["sha256"] == _seal(metadata)
    # No JSON; or JSON of something else.
    except (ValueError, LookupError, TypeError) as error:
        reason = f"{METADATA} fails with {type(error).__name__}: {error}"
        raise _damaged(path, reason) from error
    if not whole:
        raise _damaged(path, f"{METADATA} is not as it was written")
    return metadata


def check_files(path: str | os.PathLike) -> dict:
    """Compares every file of a module with what `export` wrote, bit by bit.

    Files that were added since are none of its business.

    Returns:
        What `read_metadata` does.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no module of ours, or a damaged one; the message
            names the file.
    """
    path = pathlib.Path(path)
    metadata = read_metadata(path)
    for name, expected in metadata["files"].items():
        try:
            found = _fingerprint(path / name)
        except OSError as error:
            raise _damaged(path, f"{name} cannot be read: {error}") from error
        if found != expected:
            raise _damaged(path, f"{name} has {found}, and was written with {expected}")
    return metadata


def load(
    path: str | os.PathLike, strategy: tf.distribute.Strategy | None = None
) -> LoadedModule:
    """Loads a module that `export` wrote.

    Args:
        path: the SavedModel's folder.
        strategy: on whose replicas the module runs, each with weights of its own;
            None: the strategy in scope, one device by default. Every worker loads
            the module.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no module of ours, or a damaged one.
    """
    path = pathlib.Path(path)
    # TensorFlow's own checksums are of the weights alone.
    metadata = check_files(path)
    strategy = strategy or tf.distribute.get_strategy()
    try:
        with strategy.scope():
            module = tf.saved_model.load(str(path))
    # What files of another version of it raise is up to TensorFlow.
    except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    return LoadedModule(
        path=str(path),
        latents=Latents(**metadata["latents"]),
        image_shape=tuple(metadata["image_shape"]),
        num_classes=metadata["num_classes"],
        metadata=metadata,
        _module=module,
        _strategy=strategy,
    )


def _damaged(path: pathlib.Path, reason: str) -> ValueError:
    return ValueError(
        "A module must be as this package exported it. Received: "
        f"module={path}, which cannot be used: {reason}. Export it again from its "
        "checkpoint."
    )
