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
and has `discriminate`, `variables` and `trainable_variables`. Batch normalization uses
stored moments; they are inside. Of a fine-tunable module both calls take `training`
too: True takes moments of the batch, updates the stored ones and advances the vectors
of spectral normalization.

`saved_model.json` beside the weights says where the module comes from, how z is
distributed, how many classes there are and what scores it has; and the size and SHA-256
of every file, itself included, so that a damaged module is never taken for a whole one.
`README.md`, which alone may be changed, says the same to people, with the picture
`samples.png`.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Iterator

import keras
import tensorflow as tf

from ssgan_tf import __version__
from ssgan_tf.latents import Latents, as_arguments, draw_labels, num_classes_of
from ssgan_tf.layers import standing_statistics
from ssgan_tf.modules.card import render_card
from ssgan_tf.modules.metadata import (
    CARD,
    METADATA,
    MOVING_MOMENTS,
    check_target,
    fingerprint,
    seal,
)
from ssgan_tf.randomness import (
    SAMPLING_LABELS_STREAM,
    SAMPLING_STREAM,
    STANDING_STREAM,
    fold,
)
from ssgan_tf.utils import files
from ssgan_tf.utils.pictures import grid, write_png

STANDING_BATCH_SIZE = 64
_GRID_SIZE = 4


def _module(
    generator: keras.Model,
    discriminator: keras.Model,
    latent_dim: int,
    image_shape: tuple[int, int, int],
    fine_tunable: bool,
):
    """What is saved, functions and the variables that they read; and its signatures."""
    networks = (generator, discriminator)
    z_specs, images_specs = (
        [tf.TensorSpec((None, *shape), tf.float32, name)]
        + [tf.TensorSpec((None,), tf.int32, "labels")] * bool(num_classes_of(network))
        for network, shape, name in (
            (generator, (latent_dim,), "z"),
            (discriminator, image_shape, "images"),
        )
    )

    def run_discriminator(images, labels, training):
        outputs = discriminator(images, *as_arguments(labels), training=training)
        return {"prediction": tf.sigmoid(outputs["logits"]), **outputs}

    # An argument that the signature leaves out keeps its default.
    @tf.function(input_signature=z_specs)
    def call(z, labels=None):
        return generator(z, *as_arguments(labels), training=False)

    @tf.function(input_signature=z_specs)
    def generate(z, labels=None):
        return {"generated": call(z, *as_arguments(labels))}

    @tf.function(input_signature=images_specs)
    def discriminate(images, labels=None):
        return run_discriminator(images, labels, training=False)

    # These two have no signature: that would take `training` for a tensor.
    @tf.function
    def call_or_train(z, labels=None, training=False):
        return generator(z, *as_arguments(labels), training=training)

    @tf.function
    def discriminate_or_train(images, labels=None, training=False):
        return run_discriminator(images, labels, training)

    module = tf.__internal__.tracking.AutoTrackable()
    # Tracked as plain variables: a reader needs no Keras.
    module.variables = [v.value for net in networks for v in net.variables]
    module.trainable_variables = [
        v.value for net in networks for v in net.trainable_variables
    ]
    module.regularization_losses = []
    module.__call__, module.generate = call, generate
    module.discriminate = discriminate
    if fine_tunable:
        module.__call__, module.discriminate = call_or_train, discriminate_or_train
        for training in (False, True):
            call_or_train.get_concrete_function(*z_specs, training=training)
            discriminate_or_train.get_concrete_function(
                *images_specs, training=training
            )
    signatures = {
        "serving_default": generate,
        "generator": generate,
        "discriminator": discriminate,
    }
    return module, signatures


def export(
    generator: keras.Model,
    discriminator: keras.Model,
    latents: Latents,
    path: str | os.PathLike,
    metadata: dict,
    *,
    fine_tunable: bool = False,
) -> None:
    """Writes a module, whole or not at all.

    Args:
        generator: built, `keras.Model` as `GAN` takes it; the average where one is
            kept.
        discriminator: built, the same.
        latents: `Latents`. How z is drawn.
        path: folder of the SavedModel; a module that is there is replaced.
        metadata: JSON-ready facts about the module, such as `step`; of those that
            the model card shows, `card.render_card` has a list.
        fine_tunable: whether the module's calls take `training`.

    Raises:
        FileExistsError: there is something else at `path`.
        OSError: it cannot be written.
        ValueError: the networks do not fit each other or `latents`.
    """
    path = pathlib.Path(path)
    check_target(path)
    image_shape, d_columns = _check_networks(generator, discriminator, latents)
    module, signatures = _module(
        generator, discriminator, latents.dim, image_shape, fine_tunable
    )
    facts = {
        "scores": [],
        **metadata,
        # Names of `module.variables`, first the one's, then the other's: they have
        # none of their own that tell them apart.
        "variables": {
            "generator": [v.path for v in generator.variables],
            "discriminator": [v.path for v in discriminator.variables],
        },
        "weights_sha256": hash_weights(generator, discriminator),
        "latents": dataclasses.asdict(latents),
        "image_shape": list(image_shape),
        "num_classes": num_classes_of(generator),
        "discriminator_classes": num_classes_of(discriminator),
        "fine_tunable": fine_tunable,
        "versions": {
            "ssgan_tf": __version__,
            "python": sys.version.split()[0],
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }
    with files.atomic_write(path) as partial, _os_errors():
        tf.saved_model.save(module, str(partial), signatures=signatures)
        picture = _write_samples(partial, generator, latents, image_shape)
        written = sorted(file for file in partial.rglob("*") if file.is_file())
        facts["files"] = {
            file.relative_to(partial).as_posix(): fingerprint(file) for file in written
        }
        if not (partial / "variables" / "variables.index").is_file():
            raise OSError(
                "The weights of a module must be there when it is sealed. Received: "
                f"path={path}, where something removes them. Stop that, or name "
                "another folder, and export again."
            )
        facts["sha256"] = seal(facts)
        (partial / METADATA).write_text(json.dumps(facts, indent=2) + "\n")
        # Not sealed: whoever publishes the module has something to add.
        card = render_card(facts, {"prediction": 1, **d_columns}, picture)
        (partial / CARD).write_text(card)


def _write_samples(
    folder: pathlib.Path, generator: keras.Model, latents: Latents, image_shape
) -> str | None:
    """Writes the images of `LoadedModule.sample(16)` where PNG can show them.

    Returns:
        The name of the file, or None.
    """
    if image_shape[-1] not in (1, 3):
        return None
    num, labels = _GRID_SIZE**2, None
    if num_classes := num_classes_of(generator):
        labels = draw_labels(num, num_classes, [0, SAMPLING_LABELS_STREAM])
    z = latents.sample(num, [0, SAMPLING_STREAM])
    # Not the saved function: calling it would take another trace.
    samples = generator(z, *as_arguments(labels), training=False).numpy()
    write_png(folder / "samples.png", grid(samples, columns=_GRID_SIZE))
    return "samples.png"


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Gives TensorFlow's errors of writing Python's kind."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _check_networks(
    generator: keras.Model, discriminator: keras.Model, latents: Latents
) -> tuple[tuple[int, int, int], dict[str, int]]:
    """The shape of the images, and the columns of D's outputs by name.

    By asking the networks: users' have no attributes.
    """
    classes = [num_classes_of(network) for network in (generator, discriminator)]
    # The D of an S3GAN that compare_gan exported judges images without their labels.
    if classes[1] not in (0, classes[0]):
        raise ValueError(
            "Both networks of a module must know the same classes, or D none. Received:"
            f" generator.num_classes={classes[0]}, "
            f"discriminator.num_classes={classes[1]}. Build them with one number."
        )
    labels = [keras.KerasTensor((None,), "int32") if each else None for each in classes]
    noise = keras.KerasTensor((None, latents.dim))
    images = _output_of(generator, "A generator must take latents", noise, labels[0])
    shape = getattr(images, "shape", ())
    if len(shape) != 4 or None in shape[1:]:
        raise ValueError(
            "A generator must make images (batch, height, width, channels) of one size."
            f" Received: {generator.name}, which makes {_shapes(images)}. Let it end "
            "in a layer whose output has a known height, width and channels."
        )
    outputs = _output_of(
        discriminator, "A discriminator must take images", images, labels[1]
    )
    logits = outputs.get("logits") if isinstance(outputs, dict) else None
    if tuple(getattr(logits, "shape", ())) != (None, 1):
        raise ValueError(
            "A discriminator must return a dict with `logits` (batch, 1). Received: "
            f"{discriminator.name}, which returns {_shapes(outputs)}. Name its output "
            "so."
        )
    columns = {name: output.shape[-1] for name, output in outputs.items()}
    return tuple(shape[1:]), columns


def _output_of(network: keras.Model, rule: str, inputs, labels):
    try:
        return network.compute_output_spec(inputs, *as_arguments(labels))
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
        generator(noise, *as_arguments(labels), training=True)

    standing_statistics(
        generator, lambda i: call(tf.constant(i, tf.int64)), num_batches
    )
    return f"standing moments of {num_batches * STANDING_BATCH_SIZE} samples"


def hash_weights(generator: keras.Model, discriminator: keras.Model) -> str:
    """The SHA-256 of all variables, moments included: which weights a module has."""
    digest = hashlib.sha256()
    for network in (generator, discriminator):
        for variable in network.variables:
            digest.update(variable.value.numpy().tobytes())
    return digest.hexdigest()
