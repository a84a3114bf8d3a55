"""Exports generator and discriminator as one TF-Hub module.

A module is a TensorFlow 2 SavedModel that needs TensorFlow only:

    signature                    inputs                  outputs
    serving_default, generator   z (b, dim)              generated (b, H, W, C)
                                 labels (b,)
    discriminator                images (b, H, W, C)     prediction (b, 1)
                                 labels (b,)             logits (b, 1)
                                                         features (b, f)
                                                         rotation_logits (b, 4 | 5 | 8)
                                                         class_logits (b, classes)

float32 but for the labels, images in [0, 1], any b. `prediction` is the sigmoid of
`logits`. Modules have `rotation_logits` and `class_logits` if the discriminator has
these heads, and `labels` if the GAN is conditional: int32 in [0, classes), and -1,
unknown, for the discriminator. The module itself is callable, z [, labels] -> images,
and has `discriminate`, `variables` and `trainable_variables`. Batch normalization uses
stored moments. The two calls of a fine-tunable module take `training` too: if True,
they use moments of the batch, update the stored ones and advance the vectors of
spectral normalization.

`saved_model.json` beside the weights holds the module's origin, the distribution of z,
the number of classes, the scores, and the size and SHA-256 of every file, itself
included, so that a damaged module is refused. `README.md` shows the same facts to
people, with the picture `samples.png`; it alone may be changed.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import sys

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
        generator: built, `keras.Model` as `GAN` takes it; the averaged one if the GAN
            keeps an average.
        discriminator: built, `keras.Model` as `GAN` takes it.
        latents: `Latents`. The distribution of z.
        path: folder of the SavedModel; an existing module is replaced.
        metadata: JSON-ready facts about the module, such as `step`. `card.render_card`
            lists those that the model card shows.
        fine_tunable: whether the module's calls take `training`.

    Raises:
        FileExistsError: `path` holds something else than a module.
        OSError: it cannot be written.
        ValueError: the networks do not fit each other or `latents`.
    """
    path = pathlib.Path(path)
    check_target(path)
    image_shape, d_columns = _check_networks(generator, discriminator, latents)
    module, signatures = _make_module(
        generator,
        discriminator,
        z_specs=_input_specs(generator, (latents.dim,), "z"),
        images_specs=_input_specs(discriminator, image_shape, "images"),
        fine_tunable=fine_tunable,
    )
    facts = {
        "scores": [],
        **metadata,
        # Names of `module.variables`, which have no unique names themselves.
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
    with files.atomic_write(path) as partial:
        try:
            tf.saved_model.save(module, str(partial), signatures=signatures)
            picture = _write_samples(partial, generator, latents, image_shape)
        except tf.errors.OpError as error:
            raise OSError(error.message) from error
        facts["files"] = _fingerprints(partial)
        facts["sha256"] = seal(facts)
        (partial / METADATA).write_text(json.dumps(facts, indent=2) + "\n")
        # The card is not sealed: publishers may add to it.
        card = render_card(facts, {"prediction": 1, **d_columns}, picture)
        (partial / CARD).write_text(card)


def use_standing_moments(
    generator: keras.Model, latents: Latents, num_examples: int, seed: int
) -> str:
    """Replaces the moving moments of a generator by averages over its own samples.

    `layers.standing_statistics` over ceil(num_examples / 64) batches of 64. Noise and
    labels, with equally likely classes, are a function of `seed` alone.

    Args:
        generator: built; its batch norms are those of this package.
        latents: `Latents`. The distribution of z.
        num_examples: int. 0 leaves the generator as it is.
        seed: int. The run's seed.

    Returns:
        The moments in use, for the metadata: "moving moments", or "standing moments of
        N samples", N a multiple of 64.

    Raises:
        ValueError: `num_examples` is negative, or the moments are not finite.
    """
    if num_examples < 0:
        raise ValueError(
            "The number of samples for standing moments must be at least 0. Received: "
            f"num_examples={num_examples}. 0 keeps the moving moments."
        )
    if num_examples == 0:
        return MOVING_MOMENTS
    num_classes = num_classes_of(generator)
    num_batches = -(-num_examples // STANDING_BATCH_SIZE)

    @tf.function
    def call(batch):
        # Even draws are noise and odd draws labels: no draw is used twice.
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
    """The SHA-256 of all variables, moments included: identifies a module's weights."""
    digest = hashlib.sha256()
    for network in (generator, discriminator):
        for variable in network.variables:
            digest.update(variable.value.numpy().tobytes())
    return digest.hexdigest()


def _make_module(
    generator: keras.Model,
    discriminator: keras.Model,
    *,
    z_specs: list[tf.TensorSpec],
    images_specs: list[tf.TensorSpec],
    fine_tunable: bool,
):
    """Makes the object to be saved, and its signatures."""

    def call(z, labels=None, training=False):
        return generator(z, *as_arguments(labels), training=training)

    def discriminate(images, labels=None, training=False):
        outputs = discriminator(images, *as_arguments(labels), training=training)
        return {"prediction": tf.sigmoid(outputs["logits"]), **outputs}

    # Without a spec of its own, `labels` keeps its default.
    @tf.function(input_signature=z_specs)
    def infer(z, labels=None):
        return call(z, labels)

    @tf.function(input_signature=z_specs)
    def generate(z, labels=None):
        return {"generated": infer(z, *as_arguments(labels))}

    @tf.function(input_signature=images_specs)
    def judge(images, labels=None):
        return discriminate(images, labels)

    # An object that tracks the variables, as a reader of TF-Hub expects.
    module = tf.__internal__.tracking.AutoTrackable()
    networks = generator, discriminator
    # Plain variables: a reader needs no Keras.
    module.variables = [v.value for net in networks for v in net.variables]
    module.trainable_variables = [
        v.value for net in networks for v in net.trainable_variables
    ]
    module.regularization_losses = []
    module.generate = generate
    module.__call__, module.discriminate = infer, judge
    if fine_tunable:
        # Without input signatures, which would make `training` a tensor.
        free_call, free_judge = tf.function(call), tf.function(discriminate)
        module.__call__, module.discriminate = free_call, free_judge
        for mode in (False, True):
            free_call.get_concrete_function(*z_specs, training=mode)
            free_judge.get_concrete_function(*images_specs, training=mode)
    signatures = {
        "serving_default": generate,
        "generator": generate,
        "discriminator": judge,
    }
    return module, signatures


def _input_specs(
    network: keras.Model, row_shape: tuple[int, ...], name: str
) -> list[tf.TensorSpec]:
    specs = [tf.TensorSpec((None, *row_shape), tf.float32, name)]
    if num_classes_of(network):
        specs.append(tf.TensorSpec((None,), tf.int32, "labels"))
    return specs


def _fingerprints(folder: pathlib.Path) -> dict[str, dict]:
    """Fingerprints of all files in a folder, by relative path."""
    written = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): fingerprint(file) for file in written}


def _write_samples(
    folder: pathlib.Path, generator: keras.Model, latents: Latents, image_shape
) -> str | None:
    """Writes the images of `LoadedModule.sample(16)`.

    Returns:
        The name of the file; None if PNG does not support the number of channels.
    """
    if image_shape[-1] not in (1, 3):
        return None
    num, labels = _GRID_SIZE**2, None
    if num_classes := num_classes_of(generator):
        labels = draw_labels(num, num_classes, [0, SAMPLING_LABELS_STREAM])
    z = latents.sample(num, [0, SAMPLING_STREAM])
    # Not the saved function, which would be traced once more.
    samples = generator(z, *as_arguments(labels), training=False).numpy()
    write_png(folder / "samples.png", grid(samples, columns=_GRID_SIZE))
    return "samples.png"


def _check_networks(
    generator: keras.Model, discriminator: keras.Model, latents: Latents
) -> tuple[tuple[int, int, int], dict[str, int]]:
    """The shape of the images, and the columns of D's outputs by name.

    They are computed symbolically: users' networks have no attributes for them.
    """
    g_classes, d_classes = map(num_classes_of, (generator, discriminator))
    # An S3GAN that compare_gan exported has a D without labels.
    if d_classes not in (0, g_classes):
        raise ValueError(
            "Both networks of a module must have the same number of classes, or D "
            f"none. Received: generator.num_classes={g_classes}, "
            f"discriminator.num_classes={d_classes}. Build them with one number."
        )
    noise = keras.KerasTensor((None, latents.dim))
    images = _output_of(generator, "A generator must take latents", noise)
    shape = getattr(images, "shape", ())
    if len(shape) != 4 or None in shape[1:]:
        raise ValueError(
            "A generator must make images (batch, height, width, channels) of one size."
            f" Received: {generator.name}, which makes {_shapes(images)}. The shape of "
            "its last layer must be known."
        )
    outputs = _output_of(discriminator, "A discriminator must take images", images)
    logits = outputs.get("logits") if isinstance(outputs, dict) else None
    if tuple(getattr(logits, "shape", ())) != (None, 1):
        raise ValueError(
            "A discriminator must return a dict with `logits` (batch, 1). Received: "
            f"{discriminator.name}, which returns {_shapes(outputs)}."
        )
    columns = {name: output.shape[-1] for name, output in outputs.items()}
    return tuple(shape[1:]), columns


def _output_of(network: keras.Model, rule: str, inputs):
    labels = keras.KerasTensor((None,), "int32") if num_classes_of(network) else None
    try:
        return network.compute_output_spec(inputs, *as_arguments(labels))
    # A user's network may raise anything.
    except Exception as error:
        raise ValueError(
            f"{rule} of shape {tuple(inputs.shape)}. Received: {network.name}, which "
            f"fails with: {error}"
        ) from error


def _shapes(outputs):
    return keras.tree.map_structure(lambda out: getattr(out, "shape", out), outputs)
