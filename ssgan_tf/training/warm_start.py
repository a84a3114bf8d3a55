"""Warm start: a run whose networks start from the weights of an exported module."""

import dataclasses
import itertools
import os
import pathlib
import textwrap
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf.gan import GAN
from ssgan_tf.modules import hub
from ssgan_tf.modules.metadata import METADATA, check_files

# Layers of D that only some objectives have: rotations, class predictions, projection.
HEADS = ("score_classify", "predictor_linear", "embedding_fc")


_VARIABLE = "variables/{}/.ATTRIBUTES/VARIABLE_VALUE"


class Weight(NamedTuple):
    """The value of a variable in a module.

    Attributes:
        path: str. Path of the variable in Keras.
        value: array.
    """

    path: str
    value: np.ndarray


@dataclasses.dataclass(frozen=True)
class ModuleWeights:
    """The weights of a module.

    Attributes:
        path: str. Folder of the module.
        metadata: dict. The facts of `saved_model.json`.
        generator: a `Weight` for each variable of G, in its order.
        discriminator: the same for D.
    """

    path: str
    metadata: dict
    generator: Sequence[Weight]
    discriminator: Sequence[Weight]


def read(module: str | os.PathLike) -> ModuleWeights:
    """Reads the weights of a module that `writing.export` wrote, exactly.

    Args:
        module: its folder, its .tar.gz archive, or its address on TF-Hub.

    Raises:
        ConnectionError: TF-Hub could not resolve the address.
        FileNotFoundError: the folder or archive does not exist.
        ValueError: it is another kind of module, or a damaged one.
    """
    folder = pathlib.Path(hub.resolve(module))
    # A checkpoint is named without the ending of its files.
    is_there = folder.is_dir() or folder.with_name(f"{folder.name}.index").is_file()
    if is_there and not (folder / METADATA).is_file():
        raise ValueError(
            "`run_config.warm_start` must be a module that this package exported, with "
            f"a file `{METADATA}`. Received: warm_start={module}, without. Convert a "
            "module or checkpoint of compare_gan first: ssgan convert --module=... "
            "--output_dir=..."
        )
    metadata = check_files(folder)
    if "variables" not in metadata:
        raise ValueError(
            f"`{METADATA}` must name the variables of a module. Received: "
            f"warm_start={module}, which an earlier version exported. Export it again "
            "from its checkpoint."
        )
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    # The variables of D have the numbers after those of G.
    numbers = itertools.count()
    networks = {
        player: [
            Weight(path, reader.get_tensor(_VARIABLE.format(next(numbers))))
            for path in metadata["variables"][player]
        ]
        for player in ("generator", "discriminator")
    }
    return ModuleWeights(str(folder), metadata, **networks)


def unnumbered(paths: Sequence[str]) -> list[str]:
    """Renames the variables of a network, such that every process has the same names.

    Keras numbers layers without a name in the order of birth: a second network of the
    same code has other names. Here a number at the end of a name becomes its rank among
    its neighbours that differ in nothing else.

        a/dense_7/kernel, a/dense_9/kernel -> a#0/dense#0/kernel#0, a#0/dense#1/kernel#0

    Variables of the same path are numbered in their order.

    Args:
        paths: paths of all variables, in the network's order.

    Returns:
        As many names, all different.
    """
    numbers: dict[tuple[str, ...], set[int]] = {}
    split_paths = []
    for path in paths:
        parent, steps = (), []
        for part in path.split("/"):
            name, number = _split_number(part)
            numbers.setdefault((*parent, name), set()).add(number)
            steps.append(((*parent, name), number))
            parent = (*parent, part)
        split_paths.append(steps)
    ranks = {
        family: {number: rank for rank, number in enumerate(sorted(members))}
        for family, members in numbers.items()
    }
    counts = Counter()
    names = []
    for steps in split_paths:
        name = "/".join(
            f"{family[-1]}#{ranks[family][number]}" for family, number in steps
        )
        names.append(f"{name}#{counts[name]}" if counts[name] else name)
        counts[name] += 1
    return names


def _split_number(name: str) -> tuple[str, int]:
    """`dense_7` is (dense, 7); `dense`, which comes before `dense_1`, (dense, -1)."""
    stem, _, number = name.rpartition("_")
    if stem and number.isdecimal():
        return stem, int(number)
    return name, -1


class Fit(NamedTuple):
    """The assignment of a module's weights to the variables of a network.

    Attributes:
        pairs: variables with their new values.
        fresh: heads of the network that keep their values.
        left_out: heads of the module that are not used.
        faults: reasons why the other layers do not fit; empty if they fit.
    """

    pairs: list[tuple[keras.Variable, np.ndarray]]
    fresh: list[str]
    left_out: list[str]
    faults: list[str]


def fit(
    variables: Sequence[keras.Variable],
    weights: Sequence[Weight],
    heads: Collection[str] = (),
) -> Fit:
    """Finds the value of every variable of a network, by path and shape.

    Args:
        variables: variables of the network, in its order.
        weights: weights of a module's network.
        heads: names of layers that either may lack, or have in another shape. A head
            is used as a whole or not at all.
    """
    ours = dict(zip(unnumbered([v.path for v in variables]), variables, strict=True))
    theirs = dict(zip(unnumbered([w.path for w in weights]), weights, strict=True))
    fresh, left_out = [], []
    for head in heads:
        mine = {k: tuple(v.shape) for k, v in ours.items() if head in v.path.split("/")}
        other = {
            k: w.value.shape for k, w in theirs.items() if head in w.path.split("/")
        }
        if mine != other:
            fresh += [head] if mine else []
            left_out += [head] if other else []
            ours = {k: v for k, v in ours.items() if k not in mine}
            theirs = {k: w for k, w in theirs.items() if k not in other}
    both = {k: (v, theirs[k].value) for k, v in ours.items() if k in theirs}
    names_by_fault = {
        "missing in the module": [v.path for k, v in ours.items() if k not in theirs],
        "unknown to this run": [w.path for k, w in theirs.items() if k not in ours],
        "of another shape": [
            f"{variable.path} {value.shape} instead of {tuple(variable.shape)}"
            for variable, value in both.values()
            if value.shape != tuple(variable.shape)
        ],
    }
    faults = [
        f"{len(names)} {fault}: {textwrap.shorten(', '.join(names), 400)}"
        for fault, names in names_by_fault.items()
        if names
    ]
    return Fit(list(both.values()), fresh, left_out, faults)


def start(gan: GAN, weights: ModuleWeights) -> None:
    """Assigns a module's weights to both networks, and to the average if there is one.

    They include moments of batch norms and vectors of spectral norms, but no state of
    optimizers. G of a module holds the average if its run kept one. The log names the
    heads of D that start fresh. Under a strategy, call this in its scope.

    Args:
        gan: its architecture is the module's, except for the heads of D. Changed.
        weights: the module's weights.

    Raises:
        ValueError: the networks do not fit; the GAN is unchanged.
    """
    fits = {
        "G": fit(gan.generator.variables, weights.generator),
        "D": fit(gan.discriminator.variables, weights.discriminator, HEADS),
    }
    others = _other_facts(gan, weights.metadata)
    faults = [
        f"{name}, {fault}" for name, part in fits.items() for fault in part.faults
    ]
    if faults:
        raise ValueError(
            "The networks of `run_config.warm_start` must be those of this run, but "
            f"for D's {', '.join(HEADS)}. Received: warm_start={weights.path}, with\n  "
            + "\n  ".join([*others, *faults])
            + "\nCopy options.architecture, options.z_dim, widths, norms and image "
            f"size from its configuration in `{METADATA}`, or name another module."
        )
    if gan.average is not None:
        fits["average"] = fit(gan.average.variables, weights.generator)
    for part in fits.values():
        for variable, value in part.pairs:
            variable.assign(value)
    logging.info(
        "starting from %s, weights %s; heads of D that start fresh: %s; that are left "
        "out: %s",
        weights.path,
        weights.metadata["weights_sha256"],
        ", ".join(fits["D"].fresh) or "none",
        ", ".join(fits["D"].left_out) or "none",
    )
    if others:
        logging.warning("%s has %s", weights.path, "; ".join(others))


def _other_facts(gan: GAN, metadata: dict) -> list[str]:
    """The differences in latents, image shape and classes, in words."""
    latents = metadata["latents"]
    facts = {
        "z_dim": (latents["dim"], gan.latents.dim),
        "distribution of z": (latents["distribution"], gan.latents.distribution),
        "image_shape": (tuple(metadata["image_shape"]), gan.image_shape),
        "num_classes": (metadata["num_classes"], gan.num_classes),
    }
    return [
        f"{name} {theirs} instead of {ours}"
        for name, (theirs, ours) in facts.items()
        if theirs != ours
    ]
