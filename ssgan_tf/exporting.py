"""Generator and discriminator as one TF-Hub module, and modules as generators.

A module is a TensorFlow 2 SavedModel that needs nothing of this package:

    signature                       inputs                   outputs
    serving_default, generator      z (b, dim)               generated (b, H, W, C)
    discriminator                   images (b, H, W, C)      prediction (b, 1)
                                                             logits (b, 1)
                                                             features (b, f)
                                                             rotation_logits (b, 4)

All float32, images in [0, 1], any b; `prediction` is the sigmoid of `logits`;
`rotation_logits` is there when the discriminator has the head. The module itself is
callable, z -> images, and has `variables` and `trainable_variables`. Batch
normalization uses the moving moments; they are inside. `saved_model.json` beside the
weights says where the module comes from and how z is distributed.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from ssgan_tf import files
from ssgan_tf.latents import SAMPLING_STREAM, Latents

METADATA = "saved_model.json"
_WHERE = "Modules of a run lie in <model_dir>/tfhub/<step>."


class _Module(tf.__internal__.tracking.AutoTrackable):
    """What is saved: functions and the variables that they read."""

    def __init__(self, generator: keras.Model, discriminator: keras.Model):
        networks = (generator, discriminator)
        # Tracked as plain variables: a reader needs no Keras.
        self.variables = [v.value for net in networks for v in net.variables]
        self.trainable_variables = [
            v.value for net in networks for v in net.trainable_variables
        ]
        self.regularization_losses = []
        latents_spec = tf.TensorSpec((None, generator.latent_dim), tf.float32, "z")
        images_spec = tf.TensorSpec(
            (None, *generator.image_shape), tf.float32, "images"
        )

        @tf.function(input_signature=[latents_spec])
        def call(z):
            return generator(z, training=False)

        @tf.function(input_signature=[latents_spec])
        def generate(z):
            return {"generated": generator(z, training=False)}

        @tf.function(input_signature=[images_spec])
        def discriminate(images):
            outputs = discriminator(images, training=False)
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
        generator: built; the average where one is kept.
        discriminator: built.
        latents: `Latents`. How z is drawn.
        path: folder of the SavedModel; a module that is there is replaced.
        metadata: JSON-ready facts about the module, such as `step`.

    Raises:
        FileExistsError: there is something else at `path`.
        OSError: it cannot be written.
    """
    path = pathlib.Path(path)
    check_target(path)
    module = _Module(generator, discriminator)
    facts = {
        **metadata,
        "weights_sha256": _hash(module.variables),
        "latents": dataclasses.asdict(latents),
        "image_shape": list(generator.image_shape),
        "versions": {
            "python": sys.version.split()[0],
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }
    with files.replacing(path) as partial:
        tf.saved_model.save(
            module,
            str(partial),
            signatures={
                "serving_default": module.generate,
                "generator": module.generate,
                "discriminator": module.discriminate,
            },
        )
        (partial / METADATA).write_text(json.dumps(facts, indent=2) + "\n")


def _hash(variables) -> str:
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


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
    """A module, ready to sample from.

    Attributes:
        path: str. Where it lies.
        latents: `Latents`. How z is drawn.
        image_shape: `(size, size, channels)`.
        metadata: dict. The facts of `saved_model.json`.
    """

    path: str
    latents: Latents
    image_shape: tuple[int, int, int]
    metadata: dict
    _module: object = dataclasses.field(repr=False)

    @property
    def has_rotation_head(self) -> bool:
        """Whether D predicts rotations."""
        discriminator = self._module.signatures["discriminator"]
        return "rotation_logits" in discriminator.structured_outputs

    def sample(self, num: int, seed: int = 0, batch_size: int = 64) -> np.ndarray:
        """Draws images; image i depends on `seed` and `num` alone.

        Args:
            num: int. How many.
            seed: int. Equal seeds give equal images.
            batch_size: int. Images per call of the network; changes no number
                beyond rounding.

        Returns:
            float32, `(num, size, size, channels)`, in [0, 1].
        """
        latents = self.latents.sample(num, [seed, SAMPLING_STREAM])
        generate = self._module.signatures["generator"]
        batches = [
            generate(z=latents[start : start + batch_size])["generated"].numpy()
            for start in range(0, num, batch_size)
        ]
        return np.concatenate(batches)

    def discriminate(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """What D says of a batch.

        Args:
            images: float32, `(batch, size, size, channels)`, in [0, 1].

        Returns:
            dict with `prediction`, `logits`, `features` and, where D has that head,
            `rotation_logits`.
        """
        outputs = self._module.signatures["discriminator"](
            images=tf.constant(images, tf.float32)
        )
        return {name: value.numpy() for name, value in outputs.items()}


def read_metadata(path: str | os.PathLike) -> dict:
    """The facts of a module's `saved_model.json`, without loading the module.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no module of ours.
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
        Latents(**metadata["latents"])
        tuple(metadata["image_shape"])
    except (ValueError, LookupError, TypeError) as error:
        raise _damaged(path, error) from error
    return metadata


def load(path: str | os.PathLike) -> LoadedModule:
    """Loads a module that `export` wrote.

    Args:
        path: the SavedModel's folder.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no module of ours, or a damaged one.
    """
    path = pathlib.Path(path)
    metadata = read_metadata(path)
    image_shape = tuple(metadata["image_shape"])
    try:
        module = tf.saved_model.load(str(path))
        generated = module.signatures["generator"].structured_outputs["generated"]
        logits = module.signatures["discriminator"].structured_outputs["logits"]
        if generated.shape[1:] != image_shape or logits.shape[1:] != (1,):
            raise ValueError("its signatures make something else")
    # What damaged files raise is up to TensorFlow.
    except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
        raise _damaged(path, error) from error
    return LoadedModule(
        path=str(path),
        latents=Latents(**metadata["latents"]),
        image_shape=image_shape,
        metadata=metadata,
        _module=module,
    )


def _damaged(path: pathlib.Path, error: Exception) -> ValueError:
    return ValueError(
        "A module must be as this package exported it. Received: "
        f"module={path}, which cannot be used: {type(error).__name__}: {error}. "
        "Export it again from its checkpoint."
    )
