"""The variables of compare_gan's files, under our names."""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Collection, Iterator

import numpy as np
import tensorflow as tf

from ssgan_tf.modules.metadata import METADATA, MOVING_MOMENTS

AVERAGE = "/ExponentialMovingAverage"
# What compare_gan leaves in a module whose batch norms it has filled, and the scope
# of the generator there.
FILLED, _FILLED_SCOPE = "model-with-accu.ckpt", "gen_module/"
_RENAMED = {
    r"^discriminator_(rotation|predictor)/": "discriminator/",
    r"^discriminator_projection/": "discriminator/embedding_fc/",
    r"/(sbn|condition)/": "/",
    r"/accu/accu_(mean|variance)$": r"/moving_\1",
    r"/kernel/u_var$": "/spectral_norm/u",
}
# Of the training, not of the networks.
_BOOKKEEPING = re.compile(r"(.*/)?(global_step\w*|beta[12]_power(_\d+)?)")
_ACCUMULATORS = re.compile(r".*/accu/(accu_counter|update_accus)")


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where the value of a variable is.

    Attributes:
        checkpoint: prefix of its files.
        name: compare_gan's.
        counter: name of what it is to be divided by, if anything.
    """

    checkpoint: str
    name: str
    counter: str | None = None


class Checkpoint:
    """The variables of one or two checkpoints, under our names.

    Attributes:
        folder: `pathlib.Path`. Where they lie.
        sources: our name -> `_Source`.
        shapes: our name -> shape.
        others: names of variables that are nothing we know.
        step: int or None.
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
            ours: tuple(maps[source.checkpoint][source.name])
            for ours, source in self.sources.items()
        }
        self.is_module = (self.folder / "saved_model.pb").is_file()
        self.is_filled = len(prefixes) == 2

    def _read(self, prefix: str, name: str) -> np.ndarray:
        with _reading(prefix):
            return self._readers[prefix].get_tensor(name)

    def _add(self, prefix: str, names: set[str]) -> None:
        """Sorts the names of one checkpoint; those of a later one come first."""
        for name in sorted(names):
            weight, slash, _ = name.rpartition("/")
            if _ACCUMULATORS.fullmatch(name):
                continue
            if _BOOKKEEPING.fullmatch(name):
                if name == "global_step":
                    self.step = int(self._read(prefix, name))
                continue
            # Slots and averages lie under their weight; so does a singular vector.
            if slash and weight in names and not name.endswith("/u_var"):
                continue
            ours = path_of(name.removeprefix(_FILLED_SCOPE))
            if not re.match(r"(generator|discriminator)/", ours):
                self.others.append(name)
                continue
            if self.sources.get(ours, _Source("", "")).checkpoint == prefix:
                self.others.append(name)
                continue
            counter = f"{weight}/accu_counter" if "/accu/" in name else None
            if counter and counter not in names:
                self.others.append(name)
                continue
            if name + AVERAGE in names:
                name += AVERAGE
            self.sources[ours] = _Source(prefix, name, counter)

    def value(self, ours: str) -> np.ndarray:
        """A variable, float32."""
        source = self.sources[ours]
        value = self._read(source.checkpoint, source.name)
        if source.counter is not None:
            value = value / self._read(source.checkpoint, source.counter)
        return np.asarray(value, np.float32)

    @property
    def num_batches(self) -> float | None:
        """Batches whose moments are accumulated, least of all norms; None: moving."""
        counters = {(s.checkpoint, s.counter) for s in self.sources.values()}
        counts = [self._read(prefix, name) for prefix, name in counters if name]
        return float(min(counts)) if counts else None

    @property
    def facts(self) -> dict:
        """`weights`, `batch_norm` and, where it is known, `step`."""
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
    """Our path of compare_gan's variable."""
    for theirs, ours in _RENAMED.items():
        name = re.sub(theirs, ours, name)
    return name


def _prefixes(path: pathlib.Path) -> list[str]:
    """The checkpoints that lie at a path, the ones that count more behind."""
    if not path.is_dir():
        if path.with_name(path.name + ".index").is_file():
            return [str(path)]
        raise FileNotFoundError(
            "A checkpoint must be the prefix of its files, without .index, and a "
            f"module a folder. Received: module={path}, which is neither. Look for "
            "files *.index, or a folder with saved_model.pb."
        )
    if (path / METADATA).is_file():
        raise ValueError(
            "What is converted must be compare_gan's. Received: "
            f"module={path}, a module of ours, which loads as it is. Name another."
        )
    if (path / "saved_model.pb").is_file():
        prefixes = [path / "variables" / "variables", path / FILLED]
        return [str(p) for p in prefixes if p.with_name(p.name + ".index").is_file()]
    latest = tf.train.latest_checkpoint(str(path))
    if latest is None:
        raise FileNotFoundError(
            "A folder must hold a module or checkpoints. Received: "
            f"module={path}, with no saved_model.pb and no file `checkpoint` that "
            "names files which are there (in a copied folder it may name those of the "
            "original). Give the prefix of a checkpoint, such as model.ckpt-1000."
        )
    return [latest]


def _open(prefix: str):
    with _reading(prefix):
        reader = tf.train.load_checkpoint(prefix)
        names = reader.get_variable_to_shape_map()
    if "_CHECKPOINTABLE_OBJECT_GRAPH" in names:
        raise ValueError(
            "A checkpoint must be one of TensorFlow 1, with names of variables. "
            f"Received: {prefix}, of TensorFlow 2, which compare_gan never wrote. Name "
            "another."
        )
    return reader


@contextlib.contextmanager
def _reading(prefix: str) -> Iterator[None]:
    try:
        yield
    # What damaged files raise is up to TensorFlow.
    except (ValueError, LookupError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            f"A checkpoint must be whole. Received: {prefix}, which fails with "
            f"{type(error).__name__}: {error}. Copy it again, all of its files."
        ) from error


def listed(names: Collection[str], most: int = 8) -> str:
    """Names for an error, the first ones of many."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
