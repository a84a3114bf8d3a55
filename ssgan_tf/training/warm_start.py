"""Weights of an exported module, as those that another training starts from."""

import dataclasses
import os
import pathlib
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

# The layers of a discriminator that another objective may have, or lack: rotations,
# class predictions, projection.
HEADS = ("score_classify", "predictor_linear", "embedding_fc")
_SHOWN = 5


class Weight(NamedTuple):
    """A variable's value in a module.

    Attributes:
        path: str. The variable's path in Keras.
        value: its value.
    """

    path: str
    value: np.ndarray


@dataclasses.dataclass(frozen=True)
class ModuleWeights:
    """What the networks of a module hold.

    Attributes:
        path: str. Where it lies.
        metadata: dict. The facts of `saved_model.json`.
        generator: one for each of G's variables, in its order.
        discriminator: the same of D.
    """

    path: str
    metadata: dict
    generator: tuple[Weight, ...]
    discriminator: tuple[Weight, ...]


def read(module: str | os.PathLike) -> ModuleWeights:
    """Reads the weights of a module that `writing.export` wrote, bit by bit.

    Args:
        module: its folder, its .tar.gz archive, or its address on TF-Hub.

    Raises:
        ConnectionError: TF-Hub could not resolve the address.
        FileNotFoundError: there is no such folder or archive.
        ValueError: that is no module of ours, or a damaged one.
    """
    folder = pathlib.Path(hub.resolve(module))
    if _is_foreign(folder):
        raise ValueError(
            "A training starts from a module that this package exported, with "
            f"`{METADATA}` in it. Received: warm_start={module}, without. "
            "If it is one of compare_gan, or a checkpoint of it, convert it first: "
            "ssgan convert --module=... --output_dir=..."
        )
    metadata = check_files(folder)
    if "variables" not in metadata:
        raise ValueError(
            f"`{METADATA}` must name the variables of a module. Received: "
            f"warm_start={module}, which an earlier version exported. Export it again "
            "from its checkpoint."
        )
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    paths = metadata["variables"]
    weights = [
        Weight(path, reader.get_tensor(f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE"))
        for i, path in enumerate([*paths["generator"], *paths["discriminator"]])
    ]
    num_generator = len(paths["generator"])
    return ModuleWeights(
        str(folder),
        metadata,
        tuple(weights[:num_generator]),
        tuple(weights[num_generator:]),
    )


def _is_foreign(path: pathlib.Path) -> bool:
    """Whether a path is a module of another kind, or a checkpoint."""
    kinds = [path / "saved_model.pb", path.with_name(path.name + ".index")]
    found = [kind for kind in [*kinds, *path.glob("*.index")] if kind.is_file()]
    return bool(found) and not (path / METADATA).is_file()


def unnumbered(paths: Sequence[str]) -> list[str]:
    """Names for the variables of a network that are the same in every process.

    Keras numbers layers that were given no name in the order of birth, so that they
    are called otherwise when the network is built a second time: a number at the end
    of a name becomes its rank among the names around it that differ in nothing else.

        a/dense_7/kernel, a/dense_9/kernel -> a#0/dense#0/kernel#0, a#0/dense#1/kernel#0

    Variables of the same path are told apart by their order.

    Args:
        paths: of all variables, in the network's order.

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
    seen = Counter()
    names = []
    for steps in split_paths:
        name = "/".join(
            f"{family[-1]}#{ranks[family][number]}" for family, number in steps
        )
        names.append(f"{name}#{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def _split_number(name: str) -> tuple[str, int]:
    """`dense_7` is (dense, 7); `dense`, which comes before `dense_1`, (dense, -1)."""
    stem, _, number = name.rpartition("_")
    if stem and number.isdecimal():
        return stem, int(number)
    return name, -1


class Fit(NamedTuple):
    """How the weights of a module fit a network.

    Attributes:
        pairs: the variables that get a value, with it.
        fresh: heads that keep the values that they have.
        left_out: heads of the module whose values nobody gets.
        faults: what keeps the rest from fitting, in words; empty if it fits.
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
        variables: of the network, in its order.
        weights: of a module's network.
        heads: names of layers that either may lack, or have in another shape; they
            are taken as a whole or not at all.
    """
    ours = dict(zip(unnumbered([v.path for v in variables]), variables, strict=True))
    theirs = dict(zip(unnumbered([w.path for w in weights]), weights, strict=True))
    fresh, left_out = [], []
    for head in heads:
        mine = {k: tuple(v.shape) for k, v in ours.items() if _is_in(v.path, head)}
        other = {k: w.value.shape for k, w in theirs.items() if _is_in(w.path, head)}
        if mine != other:
            fresh += [head] if mine else []
            left_out += [head] if other else []
            ours = {k: v for k, v in ours.items() if k not in mine}
            theirs = {k: w for k, w in theirs.items() if k not in other}
    both = {k: (v, theirs[k].value) for k, v in ours.items() if k in theirs}
    wrong = {
        "missing in the module": [v.path for k, v in ours.items() if k not in theirs],
        "unknown to this run": [w.path for k, w in theirs.items() if k not in ours],
        "of another shape": [
            f"{variable.path} {value.shape} instead of {tuple(variable.shape)}"
            for variable, value in both.values()
            if value.shape != tuple(variable.shape)
        ],
    }
    faults = [f"{len(v)} {what}: {_some(v)}" for what, v in wrong.items() if v]
    return Fit(list(both.values()), fresh, left_out, faults)


def _is_in(path: str, layer: str) -> bool:
    return layer in path.split("/")


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def start(gan: GAN, weights: ModuleWeights) -> None:
    """Gives both networks, and the average where one is kept, a module's weights.

    Moments of batch norms and vectors of spectral norms are among them; the optimizers
    stay as they are. What G holds in a module of a run with an average is that
    average. Under a strategy, call this in its scope. The log says which heads of D
    start fresh.

    Args:
        gan: of the same architecture as the module but for the heads of D. Changed.
        weights: the module's.

    Raises:
        ValueError: the networks are others; the GAN is as it was.
    """
    fits = {
        "G": fit(gan.generator.variables, weights.generator),
        "D": fit(gan.discriminator.variables, weights.discriminator, HEADS),
    }
    others = _other_facts(gan, weights.metadata)
    faults = [
        f"{name}, {fault}" for name, each in fits.items() for fault in each.faults
    ]
    if faults:
        raise ValueError(
            "The networks of `run_config.warm_start` must be those of this run, but "
            f"for D's {', '.join(HEADS)}. Received: warm_start={weights.path}, with\n  "
            + "\n  ".join([*others, *faults])
            + "\nTake over options.architecture, options.z_dim, widths, norms and "
            f"image size of its configuration, which its `{METADATA}` holds; "
            "or another module."
        )
    if gan.average is not None:
        fits["average"] = fit(gan.average.variables, weights.generator)
    for each in fits.values():
        for variable, value in each.pairs:
            variable.assign(value)
    of_d = fits["D"]
    logging.info(
        "starting from %s, weights %s; heads of D that start fresh: %s; that are left "
        "out: %s",
        weights.path,
        weights.metadata["weights_sha256"],
        ", ".join(of_d.fresh) or "none",
        ", ".join(of_d.left_out) or "none",
    )
    if others:
        logging.warning("%s has %s", weights.path, "; ".join(others))


def _other_facts(gan: GAN, metadata: dict) -> list[str]:
    """What else the module was trained with, in words."""
    theirs = {
        **metadata["latents"],
        "image_shape": tuple(metadata["image_shape"]),
        "num_classes": metadata["num_classes"],
    }
    ours = {
        **dataclasses.asdict(gan.latents),
        "image_shape": gan.image_shape,
        "num_classes": gan.num_classes,
    }
    names = {"dim": "z_dim", "distribution": "distribution of z"}
    return [
        f"{names.get(name, name)} {theirs[name]} instead of {value}"
        for name, value in ours.items()
        if theirs[name] != value
    ]
