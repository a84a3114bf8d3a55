"""Files in, networks out; the two compared where the files can be run."""

import contextlib
import math
import os
import pathlib
from collections.abc import Iterator
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

# Largest difference between images of a module and of what became of it.
_TOLERANCE = 1e-3
_NUM_COMPARED = 4


class Converted(NamedTuple):
    """Networks with compare_gan's weights.

    Attributes:
        generator: built `networks.Generator`.
        discriminator: built `networks.Discriminator`.
        latents: `Latents`. How z is drawn.
        facts: JSON-ready, as `writing.export` takes them: `source`; `step` where it
            is known; `weights`, "raw" or "ema"; `batch_norm`; `difference`, of images
            from those of the module itself, None of a checkpoint; and `config`,
            bindings that give such networks.
    """

    generator: keras.Model
    discriminator: keras.Model
    latents: Latents
    facts: dict


def convert(
    path: str | os.PathLike,
    *,
    architecture: str | None = None,
    bn_epsilon: float = 1e-5,
    g_attention: str | None = None,
    d_attention: str | None = None,
    hierarchical_z: bool | None = None,
    image_size: int | None = None,
    z_distribution: str | None = None,
    standing_examples: int = 0,
) -> Converted:
    """Builds the networks of a checkpoint or a module of compare_gan.

    Of a module a few images and D's predictions are compared with those of its graphs.

    Args:
        path: a module in the format of TensorFlow 1 (folder, .tar.gz archive or
            address); a folder of checkpoints, of which the last is taken; or the
            prefix of a checkpoint, such as "run/model.ckpt-1000".
        architecture: one of `ARCHITECTURES`. None: what names and shapes show, as with
            the four further below.
        bn_epsilon: float. What G's batch norms add to the variance, which no
            checkpoint says. compare_gan's configs set 1e-5; its code, 1e-3.
        g_attention: the block of G that self-attention follows, such as "B4"; "none".
        d_attention: the same of D.
        hierarchical_z: bool. Whether every block gets a piece of z of its own.
        image_size: int. Height and width of the images.
        z_distribution: "uniform" on [-1, 1) or "normal", which no file says either.
            None: uniform, compare_gan's default, with a warning.
        standing_examples: int. Samples over which G's batch norms average their
            moments now; 0: those of the files. Where compare_gan accumulates moments,
            it does so when it scores a module: before, there are none.

    Raises:
        ConnectionError: TF-Hub could not resolve the address.
        FileNotFoundError: there is no such checkpoint, folder or archive.
        ValueError: names and shapes do not show what the networks are; a variable is
            missing, unused or of another shape; files are damaged or not
            compare_gan's; a batch norm has no moments; the networks do not give the
            module's numbers.
    """
    checkpoint = Checkpoint(hub.resolve(path))
    is_empty = (checkpoint.num_batches or 1.0) < 1.0
    if is_empty and not standing_examples:
        raise ValueError(
            "Batch norms must have their moments. Received: "
            f"module={path}, where none have been accumulated. Let --standing_examples="
            "204800 do it now, as many as compare_gan takes; or let compare_gan score "
            f"the module: it then leaves `{FILLED}` in its folder, which is read."
        )
    module = None
    if checkpoint.is_module and not checkpoint.is_filled and not is_empty:
        # Its graph knows z, and makes the images that ours must make.
        module = published.load(
            checkpoint.folder,
            tf.distribute.get_strategy(),
            # No z is drawn from it.
            z_distribution=published.DEFAULT_DISTRIBUTION,
        )
    with _naming(path):
        architecture, g_spec, d_spec = infer(
            checkpoint.shapes,
            architecture=architecture,
            bn_epsilon=bn_epsilon,
            g_attention=g_attention,
            d_attention=d_attention,
            hierarchical_z=hierarchical_z,
            image_size=image_size or module and module.image_shape[0],
            latent_dim=module and module.latent_dim,
        )
        generator = networks.build_generator(architecture, g_spec)
        discriminator = networks.build_discriminator(architecture, d_spec)
        variables = [*generator.variables, *discriminator.variables]
        _check_variables(variables, checkpoint)
        _check_averages(generator, checkpoint)
        if d_spec.num_classes not in (0, g_spec.num_classes):
            raise ValueError(
                "G must read the labels that D does. Received: a projection of "
                f"{d_spec.num_classes} classes in D, and norms in G that read none. "
                "There are no such networks here: take another module."
            )
        if module is not None and module.image_shape != g_spec.image_shape:
            raise ValueError(
                f"The images must be the module's, of {module.image_shape}. Received: "
                f"--image_size={image_size}. Leave it out."
            )
    for variable in variables:
        variable.assign(checkpoint.value(variable.path))
    latents = published.choose_latents(path, g_spec.latent_dim, z_distribution)
    difference = None
    if module is not None:
        difference, of_predictions = _differences(
            module, generator, discriminator, latents
        )
        _check_difference(
            path, "images", difference, f"--bn_epsilon={bn_epsilon}, --g_attention"
        )
        _check_difference(path, "predictions", of_predictions, "--d_attention")
    config = _bindings(architecture, g_spec, d_spec, bn_epsilon, latents)
    facts = {"source": _public(path)} | checkpoint.facts
    facts |= {"difference": difference, "config": config}
    if standing_examples:
        facts["batch_norm"] = writing.use_standing_moments(
            generator, latents, standing_examples, seed=0
        )
    return Converted(generator, discriminator, latents, facts)


def _public(path: str | os.PathLike) -> str:
    """An address as it is; of a path what others may know."""
    name = os.fspath(path)
    return name if "://" in name else pathlib.PurePath(os.path.abspath(name)).name


def summary(found: Converted) -> str:
    """What was converted, in one line."""
    generator, facts = found.generator, found.facts
    size, _, colors = generator.image_shape
    count = sum(math.prod(v.shape) for v in generator.trainable_variables)
    parts = [
        f"{size}x{size}x{colors} images",
        f"z {found.latents.dim} {found.latents.distribution}",
        f"{generator.num_classes or 'no'} classes",
        f"{count:,} weights of G, {facts['weights']}",
        facts["batch_norm"],
    ]
    if facts["difference"] is not None:
        parts.append(f"images within {facts['difference']:.1e} of the original's")
    return "; ".join(parts)


@contextlib.contextmanager
def _naming(path) -> Iterator[None]:
    """Says of what cannot be built of which files it was to be built."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"module={path} cannot be converted. {error}") from error


def _check_variables(variables: list[keras.Variable], checkpoint: Checkpoint) -> None:
    wanted = {variable.path: tuple(variable.shape) for variable in variables}
    shapes = checkpoint.shapes
    others = [
        f"{path} {shapes[path]} instead of {shape}"
        for path, shape in wanted.items()
        if path in shapes and shapes[path] != shape
    ]
    problems = {
        "missing": wanted.keys() - shapes.keys(),
        "unused": [*(shapes.keys() - wanted.keys()), *checkpoint.others],
        "of another shape": others,
    }
    found = [f"{what}: {listed(names)}" for what, names in problems.items() if names]
    if found:
        raise ValueError(
            "Variables must be those of the networks, one for one. Received: "
            f"{'; '.join(found)}. --architecture, --g_attention, --d_attention, "
            "--hierarchical_z and --image_size say what names and shapes do not; of "
            "some settings of compare_gan there are no networks here: "
            "export/README.md lists them."
        )


def _check_averages(generator: keras.Model, checkpoint: Checkpoint) -> None:
    """Averaged weights beside others make no network that ever was."""
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


def _check_difference(path, what: str, difference: float, suspects: str) -> None:
    # Written so that NaN fails too.
    if not difference <= _TOLERANCE:
        raise ValueError(
            f"Converted networks must give the {what} of the module. Received: "
            f"module={path}, whose {what} differ by {difference:.1e}. What names and "
            f"shapes do not say may be wrong: {suspects}."
        )


def _differences(
    module: LoadedModule, generator, discriminator, latents: Latents
) -> tuple[float, float]:
    """Largest ones of a module's images, and of D's predictions, from the networks'."""
    noise = latents.sample(_NUM_COMPARED, [0, 0])
    labels = None
    if module.num_classes:
        labels = np.arange(_NUM_COMPARED, dtype=np.int32) % module.num_classes
    # Once: every call of a module moves the vectors of its spectral normalization.
    images = module.generate(noise, labels)
    predictions = module.discriminate(images, labels)["prediction"]
    logits = discriminator(images, labels, training=False)["logits"]
    return tuple(
        float(np.max(np.abs(theirs - ours)))
        for theirs, ours in (
            (images, generator(noise, labels, training=False)),
            (predictions, tf.sigmoid(logits)),
        )
    )


def _bindings(architecture, g_spec, d_spec, bn_epsilon, latents) -> str:
    """What a config must say for `ssgan train` to build such networks."""
    options = networks.ARCHITECTURES[architecture].options
    norm = {
        layers.BatchNorm: "batch_norm",
        layers.SelfModulatedBatchNorm: "self_modulated_batch_norm",
        layers.ConditionalBatchNorm: "conditional_batch_norm",
    }[g_spec.norm.func]
    bound = {
        "options.architecture": f'"{architecture}"',
        "options.z_dim": latents.dim,
        "z.distribution_fn": f"@{latents.distribution}",
        "standardize_batch.epsilon": bn_epsilon,
        "G.batch_norm_fn": f"@{norm}",
    }
    if hidden := g_spec.norm.keywords.get("hidden_units"):
        bound["self_modulated_batch_norm.num_hidden"] = hidden
    if g_spec.norm.func is layers.ConditionalBatchNorm:
        bound["conditional_batch_norm.center_gain"] = False
    if g_spec.num_classes:
        bound["ModularGAN.conditional"] = True
    if g_spec.hierarchical_z is not None:
        bound["G.hierarchical_z"] = g_spec.hierarchical_z
    for player, spec in (("G", g_spec), ("D", d_spec)):
        bound[f"{player}.width"] = spec.width
        bound[f"{player}.spectral_norm"] = spec.spectral_norm is not None
        if spec.spectral_norm is not None:
            bound["spectral_norm.singular_value"] = f'"{spec.spectral_norm}"'
        # "none" too: it is not what these have if nothing is said.
        if "attention" in options and spec.attention is not None:
            bound[f"{player}.attention"] = f'"{spec.attention}"'
    if d_spec.layer_norm:
        bound["D.layer_norm"] = True
    lines = [f"{name} = {value}" for name, value in bound.items()]
    size = g_spec.class_embedding
    if "class_embedding" in options and size not in (
        None,
        architectures.CLASS_EMBEDDING,
    ):
        lines.append(
            f"# The label's embedding has {size} numbers, for which there is no "
            f"parameter: a config makes one of {architectures.CLASS_EMBEDDING}."
        )
    return "\n".join(["# The networks; the rest is not in a checkpoint.", *lines, ""])
