"""The variables of compare_gan's files, under our names."""

import contextlib
import pathlib
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ssgan_tf.modules.metadata import METADATA, MOVING_MOMENTS

AVERAGE = "/ExponentialMovingAverage"
# The checkpoint that compare_gan adds to a module when it has accumulated the moments
# of its batch norms, and the scope of the generator there.
FILLED, _FILLED_SCOPE = "model-with-accu.ckpt", "gen_module/"
_RENAMED = {
    r"^discriminator_(rotation|predictor)/": "discriminator/",
    r"^discriminator_projection/": "discriminator/embedding_fc/",
    r"/(sbn|condition)/": "/",
    r"/accu/accu_(mean|variance)$": r"/moving_\1",
    r"/kernel/u_var$": "/spectral_norm/u",
}
# Variables of training, not of the networks.
_BOOKKEEPING = re.compile(r"(.*/)?(global_step\w*|beta[12]_power(_\d+)?)")
_ACCUMULATORS = re.compile(r".*/accu/(accu_counter|update_accus)")


class _Source(NamedTuple):
    """The place of a variable's value.

    Attributes:
        prefix: of the checkpoint's files.
        name: compare_gan's name.
        counter: name of the variable that divides it, if any.
    """

    prefix: str
    name: str
    counter: str | None = None


class Checkpoint:
    """The variables of one or two checkpoints, under our names.

    Attributes:
        folder: `pathlib.Path`. Their folder, or the prefix of the checkpoint.
        sources: our name -> `_Source`.
        shapes: our name -> shape.
        others: names of unknown variables.
        step: int, or None if unknown.
    """

    def __init__(self, path: str):
        prefixes = _prefixes(pathlib.Path(path))
        self.folder = pathlib.Path(path)
        self._readers = {prefix: _open(prefix) for prefix in prefixes}
        self.sources, self.others, self.step = {}, [], None
        maps = {p: r.get_variable_to_shape_map() for p, r in self._readers.items()}
        for prefix, names in maps.items():
            self._add(prefix, set(names))
        self.shapes = {
            ours: tuple(maps[source.prefix][source.name])
            for ours, source in self.sources.items()
        }
        self.is_module = (self.folder / "saved_model.pb").is_file()
        self.is_filled = len(prefixes) == 2

    def _read(self, prefix: str, name: str) -> np.ndarray:
        with _reading(prefix):
            return self._readers[prefix].get_tensor(name)

    def _add(self, prefix: str, names: set[str]) -> None:
        """Adds the names of one checkpoint; they replace those of earlier ones."""
        for name in sorted(names):
            weight, slash, _ = name.rpartition("/")
            if _ACCUMULATORS.fullmatch(name):
                continue
            if _BOOKKEEPING.fullmatch(name):
                if name == "global_step":
                    self.step = int(self._read(prefix, name))
                continue
            # Skip slots and averages, whose names extend that of their weight.
            if slash and weight in names and not name.endswith("/u_var"):
                continue
            ours = path_of(name.removeprefix(_FILLED_SCOPE))
            counter = f"{weight}/accu_counter" if "/accu/" in name else None
            is_known = re.match(r"(generator|discriminator)/", ours)
            is_second = ours in self.sources and self.sources[ours].prefix == prefix
            if not is_known or is_second or (counter and counter not in names):
                self.others.append(name)
                continue
            if name + AVERAGE in names:
                name += AVERAGE
            self.sources[ours] = _Source(prefix, name, counter)

    def value(self, ours: str) -> np.ndarray:
        """The value of a variable, float32."""
        source = self.sources[ours]
        value = self._read(source.prefix, source.name)
        if source.counter is not None:
            value = value / self._read(source.prefix, source.counter)
        return np.asarray(value, np.float32)

    @property
    def num_batches(self) -> float | None:
        """Least number of accumulated batches of any norm; None: moving moments."""
        counters = {(s.prefix, s.counter) for s in self.sources.values()}
        counts = [self._read(prefix, name) for prefix, name in counters if name]
        return float(min(counts)) if counts else None

    @property
    def facts(self) -> dict:
        """`weights`, `batch_norm` and, if known, `step`."""
        names = [source.name for source in self.sources.values()]
        facts = {
            "weights": "ema" if any(n.endswith(AVERAGE) for n in names) else "raw",
            "batch_norm": MOVING_MOMENTS,
        }
        if (count := self.num_batches) is not None:
            facts["batch_norm"] = f"accumulated moments of {count:.0f} batches"
        if self.step is not None:
            facts["step"] = self.step
        return facts


def path_of(name: str) -> str:
    """Our path of a variable of compare_gan."""
    for theirs, ours in _RENAMED.items():
        name = re.sub(theirs, ours, name)
    return name


def _prefixes(path: pathlib.Path) -> list[str]:
    """The prefixes of the checkpoints at a path; later ones take precedence."""
    if not path.is_dir():
        if path.with_name(path.name + ".index").is_file():
            return [str(path)]
        raise FileNotFoundError(
            f"There is no checkpoint or module at module={path}. Name the prefix of a "
            "checkpoint's files, without .index, or a folder with saved_model.pb."
        )
    if (path / METADATA).is_file():
        raise ValueError(
            "A module to convert must be compare_gan's. Received: "
            f"module={path}, a module of ours, which loads as it is. Name another."
        )
    if (path / "saved_model.pb").is_file():
        prefixes = [path / "variables" / "variables", path / FILLED]
        return [str(p) for p in prefixes if p.with_name(p.name + ".index").is_file()]
    latest = tf.train.latest_checkpoint(str(path))
    if latest is None:
        raise FileNotFoundError(
            f"The folder module={path} holds neither a saved_model.pb nor a file "
            "`checkpoint` that names existing files (in a copied folder it may name "
            "those of the original). Name the prefix of a checkpoint, such as "
            "model.ckpt-1000."
        )
    return [latest]


def _open(prefix: str):
    with _reading(prefix):
        reader = tf.train.load_checkpoint(prefix)
        names = reader.get_variable_to_shape_map()
    if "_CHECKPOINTABLE_OBJECT_GRAPH" in names:
        raise ValueError(
            f"The checkpoint {prefix} is of TensorFlow 2; compare_gan's are of "
            "TensorFlow 1. Name another."
        )
    return reader


@contextlib.contextmanager
def _reading(prefix: str) -> Iterator[None]:
    try:
        yield
    # TensorFlow raises any of these for damaged files.
    except (ValueError, LookupError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            f"The checkpoint {prefix} is damaged: {type(error).__name__}: {error}. "
            "Copy all of its files again."
        ) from error


def listed(names: Collection[str], most: int = 8) -> str:
    """Names for an error message, cut after the first `most`."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
