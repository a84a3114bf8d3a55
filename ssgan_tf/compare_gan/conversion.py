"""Converts compare_gan's files to networks and compares their outputs."""

import math
import os
import pathlib
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ssgan_tf import layers, networks
from ssgan_tf.compare_gan.checkpoint import AVERAGE, FILLED, Checkpoint, listed
from ssgan_tf.compare_gan.inference import infer
from ssgan_tf.latents import Latents
from ssgan_tf.modules import hub, published, writing
from ssgan_tf.modules.module import LoadedModule
from ssgan_tf.networks import architectures

# Largest difference between the images of a module and of the converted network.
_TOLERANCE = 1e-3
_NUM_COMPARED = 4


class Converted(NamedTuple):
    """Networks with compare_gan's weights.

    Attributes:
        generator: built `networks.Generator`.
        discriminator: built `networks.Discriminator`.
        latents: `Latents`. The distribution of z.
        facts: JSON-ready, for `writing.export`: `source`; `step`, if known; `weights`,
            "raw" or "ema"; `batch_norm`; `difference` between the images of these
            networks and of the module, None for a checkpoint; and `config`, bindings
            for such networks.
    """

    generator: keras.Model
    discriminator: keras.Model
    latents: Latents
    facts: dict


def convert(
    path: str | os.PathLike,
    *,
    image_size: int | None = None,
    z_distribution: str | None = None,
    standing_examples: int = 0,
    **hints,
) -> Converted:
    """Builds the networks of a checkpoint or a module of compare_gan.

    Compares a few images and predictions with those of the module's own graphs.

    Args:
        path: a module in the format of TensorFlow 1 (folder, .tar.gz archive or
            address); a folder of checkpoints, whose last one is used; or the prefix of
            a checkpoint, such as "run/model.ckpt-1000".
        image_size: int. Height and width of the images. None: names and shapes decide.
        z_distribution: "uniform" on [-1, 1) or "normal", which no file records either.
            None: uniform, compare_gan's default, with a warning.
        standing_examples: int. Samples over which to average the moments of G's batch
            norms now; 0: the moments of the files. compare_gan accumulates moments
            only when it scores a module.
        **hints: further arguments of `infer`: `architecture`, `bn_epsilon`,
            `g_attention`, `d_attention`, `hierarchical_z`.

    Raises:
        ConnectionError: TF-Hub could not resolve the address.
        FileNotFoundError: there is no such checkpoint, folder or archive.
        ValueError: names and shapes do not determine the networks; a variable is
            missing, unused or of another shape; files are damaged or not
            compare_gan's; a batch norm has no moments; the networks do not reproduce
            the module's outputs.
    """
    checkpoint = Checkpoint(hub.resolve(path))
    module = _original(path, checkpoint, standing_examples)
    try:
        architecture, g_spec, d_spec = infer(
            checkpoint.shapes,
            image_size=image_size or module and module.image_shape[0],
            latent_dim=module and module.latent_dim,
            **hints,
        )
        generator = networks.build_generator(architecture, g_spec)
        discriminator = networks.build_discriminator(architecture, d_spec)
        _check_variables(generator, discriminator, checkpoint)
        _check_specs(g_spec, d_spec, module)
        for variable in [*generator.variables, *discriminator.variables]:
            variable.assign(checkpoint.value(variable.path))
        latents = published.choose_latents(path, g_spec.latent_dim, z_distribution)
        difference = None
        if module is not None:
            epsilon = g_spec.norm.keywords["epsilon"]
            difference = _compare(
                module, generator, discriminator, latents, epsilon=epsilon
            )
    except ValueError as error:
        raise ValueError(f"module={path} cannot be converted. {error}") from error
    facts = {"source": _public(path)} | checkpoint.facts
    facts["difference"] = difference
    facts["config"] = _bindings(architecture, g_spec, d_spec, latents)
    if standing_examples:
        facts["batch_norm"] = writing.use_standing_moments(
            generator, latents, standing_examples, seed=0
        )
    return Converted(generator, discriminator, latents, facts)


def _original(
    path: str | os.PathLike, checkpoint: Checkpoint, standing_examples: int
) -> LoadedModule | None:
    """The module whose outputs can be compared, or None."""
    is_empty = (checkpoint.num_batches or 1.0) < 1.0
    if is_empty and not standing_examples:
        raise ValueError(
            "Batch norms must have their moments. Received: "
            f"module={path}, where none have been accumulated. Let --standing_examples="
            "204800 do it now, as many as compare_gan takes; or let compare_gan score "
            f"the module: it then leaves `{FILLED}` in its folder, which is read."
        )
    if not checkpoint.is_module or checkpoint.is_filled or is_empty:
        return None
    return published.load(
        checkpoint.folder,
        tf.distribute.get_strategy(),
        # The comparison passes its own z.
        z_distribution=published.DEFAULT_DISTRIBUTION,
    )


def _public(path: str | os.PathLike) -> str:
    """An address, or the last component of a path."""
    name = os.fspath(path)
    return name if "://" in name else pathlib.PurePath(os.path.abspath(name)).name


def summary(converted: Converted) -> str:
    """A description of the networks, in one line."""
    generator, _, latents, facts = converted
    size, _, colors = generator.image_shape
    count = sum(math.prod(v.shape) for v in generator.trainable_variables)
    parts = [
        f"{size}x{size}x{colors} images",
        f"z {latents.dim} {latents.distribution}",
        f"{generator.num_classes or 'no'} classes",
        f"{count:,} weights of G, {facts['weights']}",
        facts["batch_norm"],
    ]
    if facts["difference"] is not None:
        parts.append(f"images within {facts['difference']:.1e} of the original's")
    return "; ".join(parts)


def _check_variables(
    generator: keras.Model, discriminator: keras.Model, checkpoint: Checkpoint
) -> None:
    """Checks that the checkpoint has exactly the variables of the networks."""
    variables = [*generator.variables, *discriminator.variables]
    expected = {variable.path: tuple(variable.shape) for variable in variables}
    shapes = checkpoint.shapes
    mismatched = [
        f"{path} {shapes[path]} instead of {shape}"
        for path, shape in expected.items()
        if path in shapes and shapes[path] != shape
    ]
    problems = {
        "missing": expected.keys() - shapes.keys(),
        "unused": [*(shapes.keys() - expected.keys()), *checkpoint.others],
        "of another shape": mismatched,
    }
    messages = [f"{kind}: {listed(names)}" for kind, names in problems.items() if names]
    if messages:
        raise ValueError(
            "Variables must be those of the networks, one for one. Received: "
            f"{'; '.join(messages)}. --architecture, --g_attention, --d_attention, "
            "--hierarchical_z and --image_size decide where names and shapes do not. "
            "export/README.md lists settings of compare_gan without networks here."
        )
    _check_averages(generator, checkpoint)


def _check_averages(generator: keras.Model, checkpoint: Checkpoint) -> None:
    """Refuses a mixture of averaged and raw weights, which no network ever had."""
    raw = {
        variable.path
        for variable in generator.trainable_variables
        if not checkpoint.sources[variable.path].name.endswith(AVERAGE)
    }
    if 0 < len(raw) < len(generator.trainable_variables):
        raise ValueError(
            "All weights of G must have averages, or none. Received: "
            f"{listed(raw)} without. Copy the checkpoint again, all of its files."
        )


def _check_specs(
    g_spec: networks.GeneratorSpec,
    d_spec: networks.DiscriminatorSpec,
    module: LoadedModule | None,
) -> None:
    """Checks that the networks fit each other and the module."""
    if d_spec.num_classes not in (0, g_spec.num_classes):
        raise ValueError(
            "G must read the labels that D does. Received: a projection of "
            f"{d_spec.num_classes} classes in D, and norms in G that read none. "
            "There are no such networks here: take another module."
        )
    if module is not None and module.image_shape != g_spec.image_shape:
        raise ValueError(
            f"The images must be the module's, of {module.image_shape}. Received: "
            f"--image_size={g_spec.image_shape[0]}. Leave it out."
        )


def _compare(
    module: LoadedModule,
    generator: keras.Model,
    discriminator: keras.Model,
    latents: Latents,
    *,
    epsilon: float,
) -> float:
    """Compares the outputs of a module and of the networks.

    Returns:
        The largest difference of their images.

    Raises:
        ValueError: the images or D's predictions differ.
    """
    noise, labels = latents.sample(_NUM_COMPARED, [0, 0]), None
    if module.num_classes:
        labels = np.arange(_NUM_COMPARED, dtype=np.int32) % module.num_classes
    # Every call of a module advances its spectral normalization, so it is called once.
    images = module.generate(noise, labels)
    predictions = module.discriminate(images, labels)["prediction"]
    logits = discriminator(images, labels, training=False)["logits"]
    differences = []
    for outputs, theirs, ours, flags in (
        (
            "images",
            images,
            generator(noise, labels, training=False),
            f"--bn_epsilon={epsilon}, --g_attention",
        ),
        ("predictions", predictions, tf.sigmoid(logits), "--d_attention"),
    ):
        differences.append(float(np.max(np.abs(theirs - ours))))
        # Written so that NaN fails too.
        if not differences[-1] <= _TOLERANCE:
            raise ValueError(
                f"The {outputs} must be those of the module. Received: {outputs} "
                f"differ by {differences[-1]:.1e}. A property that names and shapes do "
                f"not determine may be wrong: {flags}."
            )
    return differences[0]


def _bindings(architecture: str, g_spec, d_spec, latents: Latents) -> str:
    """Bindings with which `ssgan train` builds such networks, as gin text."""
    options = networks.ARCHITECTURES[architecture].options
    norm = {
        layers.BatchNorm: "batch_norm",
        layers.SelfModulatedBatchNorm: "self_modulated_batch_norm",
        layers.ConditionalBatchNorm: "conditional_batch_norm",
    }[g_spec.norm.func]
    vector = d_spec.spectral_norm or g_spec.spectral_norm
    bindings = {
        "options.architecture": f'"{architecture}"',
        "options.z_dim": latents.dim,
        "z.distribution_fn": f"@{latents.distribution}",
        "standardize_batch.epsilon": g_spec.norm.keywords["epsilon"],
        "G.batch_norm_fn": f"@{norm}",
        "self_modulated_batch_norm.num_hidden": g_spec.norm.keywords.get(
            "hidden_units"
        ),
        "conditional_batch_norm.center_gain": g_spec.norm.keywords.get("center_gain"),
        "ModularGAN.conditional": g_spec.num_classes > 0,
        "G.hierarchical_z": g_spec.hierarchical_z,
        "spectral_norm.singular_value": vector and f'"{vector}"',
        "D.layer_norm": d_spec.layer_norm,
    }
    for player, spec in (("G", g_spec), ("D", d_spec)):
        bindings[f"{player}.width"] = spec.width
        bindings[f"{player}.spectral_norm"] = spec.spectral_norm is not None
        # "none" too, which is not the default of these architectures.
        if "attention" in options and spec.attention is not None:
            bindings[f"{player}.attention"] = f'"{spec.attention}"'
    lines = [
        f"{name} = {value}" for name, value in bindings.items() if value is not None
    ]
    size, default = g_spec.class_embedding, architectures.CLASS_EMBEDDING
    if "class_embedding" in options and size not in (None, default):
        lines.append(
            f"# The label's embedding has {size} numbers, for which there is no "
            f"parameter: a config makes one of {default}."
        )
    return "\n".join(["# The networks; the rest is not in a checkpoint.", *lines, ""])
