"""Checkpoints: written whole, kept by a rule, read back whole or skipped.

`ckpt-<step>.data-00000-of-00001` holds the tensors, `ckpt-<step>.index` their places
and checksums. Both are written to a temporary folder and moved, the index last: a step
that has an index was written to the end, whenever the process was killed. Files that a
failing disk damages later do not match their checksums.

`loop.py` resumes a run: the chief chooses the step, all workers restore it.
"""

import contextlib
import os
import pathlib
import re
import shutil
import textwrap
from collections.abc import Mapping

import keras
import tensorflow as tf
from absl import logging

# Errors of access: the files may be whole.
_UNREACHABLE = (
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnavailableError,
)

# `ssgan forget` once used tf.train.CheckpointManager, which saves this too.
_SAVE_COUNTER = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"

# The state of a run, by name.
Parts = Mapping[str, keras.Model | keras.optimizers.Optimizer | keras.Variable]


class DamagedCheckpoint(ValueError):
    """A checkpoint whose files are torn, altered or gone."""


class Checkpoints:
    """The checkpoints of a run.

    Example:

        checkpoints = Checkpoints("run/checkpoints")
        parts = {"network": network, "optimizer": optimizer}
        step = checkpoints.restore_latest(parts) or 0
        ...
        checkpoints.save(step, parts)
        checkpoints.keep(1)

    Args:
        folder: the folder of the files. It is made with the first checkpoint.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = pathlib.Path(folder)

    def steps(self) -> list[int]:
        """Steps whose checkpoint was written to the end, ascending."""
        return _numbers(self.folder.glob("ckpt-*.index"), r"ckpt-(\d+)\.index")

    def prefix(self, step: int) -> str:
        """The path of a step's files, without their suffixes."""
        return str(self.folder / f"ckpt-{step}")

    def save(self, step: int, parts: Parts) -> None:
        """Writes a checkpoint, whole or not at all.

        Args:
            step: int.
            parts: networks, optimizers and variables, by name. Learning rates are left
                out: they belong to the configuration.

        Raises:
            OSError: it cannot be written; the earlier ones are unchanged.
        """
        try:
            self._write(step, parts)
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "message", None) or error
            steps = [earlier for earlier in self.steps() if earlier < step]
            latest = f"step {steps[-1]}" if steps else "none"
            raise OSError(
                f"The checkpoint {self.prefix(step)} cannot be written: "
                f"{textwrap.shorten(str(reason), 300)} Free some space, or make the "
                "folder writable; the same command then continues from the last good "
                f"checkpoint ({latest})."
            ) from error
        finally:
            self._remove_partial()

    def _write(self, step: int, parts: Parts) -> None:
        partial = self.folder / f".ckpt-{step}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _checkpoint(parts).write(str(partial / f"ckpt-{step}"))
        for path in sorted(partial.glob("ckpt-*.*")):  # "data" before "index"
            # The content must be on the disk before the file has its name.
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(self.folder / path.name)

    def keep(self, num_latest: int, every: int | None = None) -> None:
        """Deletes all but the latest checkpoints and the multiples of a step.

        Args:
            num_latest: int, at least 1.
            every: int; None for no multiples.
        """
        for step in self.steps()[:-num_latest]:
            if every is None or step % every:
                for path in self._files_of(step):
                    path.unlink(missing_ok=True)

    def restore(self, step: int, parts: Parts) -> None:
        """Assigns the state of a step.

        Args:
            step: int.
            parts: as they were saved.

        Raises:
            DamagedCheckpoint: the files are torn, altered or gone.
            ValueError: the checkpoint has other parts, or of other shapes.
            OSError: the files cannot be accessed.
        """
        prefix = self.prefix(step)
        try:
            checkpoint = _checkpoint(parts)
            if tf.train.load_checkpoint(prefix).has_tensor(_SAVE_COUNTER):
                # TensorFlow creates the counter on first access.
                _ = checkpoint.save_counter
            checkpoint.read(prefix).assert_consumed()
        # The exception for a damaged file depends on the version of TensorFlow.
        except (AssertionError, ValueError, LookupError, tf.errors.OpError) as error:
            reason = textwrap.shorten(str(error), 200)
            if isinstance(error, _UNREACHABLE):
                raise OSError(
                    f"The checkpoint {prefix} cannot be read: {reason} Check its disk "
                    "and its permissions."
                ) from error
            self.check_whole(step)
            raise ValueError(
                "A checkpoint must fit the configuration. Received: "
                f"checkpoint={prefix}, which does not: {reason} Go back to the "
                "configuration that it was written under."
            ) from error

    def check_whole(self, step: int) -> None:
        """Refuses a step whose files do not match their checksums.

        Raises:
            DamagedCheckpoint: the files are torn, altered or gone.
        """
        prefix = self.prefix(step)
        try:
            reader = tf.train.load_checkpoint(prefix)
            for name in reader.get_variable_to_shape_map():
                # Reading compares the checksums.
                reader.get_tensor(name)
        except (ValueError, LookupError, RuntimeError, tf.errors.OpError) as error:
            raise DamagedCheckpoint(
                f"The checkpoint {prefix} is damaged: "
                f"{textwrap.shorten(str(error), 200)}"
            ) from error

    def restore_latest(self, parts: Parts) -> int | None:
        """Assigns the state of the latest whole checkpoint.

        Damaged ones are logged and renamed to `damaged-ckpt-<step>.*`. No other process
        may write here.

        Returns:
            Its step; None without checkpoints.

        Raises:
            DamagedCheckpoint: all checkpoints are damaged.
            ValueError: the latest whole one has other parts, or of other shapes.
            OSError: the files cannot be accessed.
        """
        steps = self.steps()
        damaged = []
        for step in reversed(steps):
            try:
                self.restore(step, parts)
            except DamagedCheckpoint as error:
                logging.warning("skipped: %s", error)
                damaged.append(step)
            else:
                # The run writes the later steps again.
                for later in damaged:
                    self._put_aside(later)
                return step
        if steps:
            raise DamagedCheckpoint(
                f"All checkpoints in {self.folder} are damaged: steps {steps}. Restore "
                "one from a backup, or delete the folder to train from the start."
            )
        return None

    def _put_aside(self, step: int) -> None:
        for path in self._files_of(step):
            with contextlib.suppress(FileNotFoundError):
                path.replace(path.with_name(f"damaged-{path.name}"))

    def _remove_partial(self) -> None:
        """Removes the files of writes that failed or were killed.

        No other process may write here.
        """
        with contextlib.suppress(OSError):
            for path in self.folder.glob(".ckpt-*.partial"):
                shutil.rmtree(path)
            whole = set(self.steps())
            data = list(self.folder.glob("ckpt-*.data-*"))
            for step in set(_numbers(data, r"ckpt-(\d+)\.data-.*")) - whole:
                for path in self._files_of(step):
                    path.unlink(missing_ok=True)

    def _files_of(self, step: int) -> list[pathlib.Path]:
        """The index first: without it the rest is no checkpoint."""
        index = pathlib.Path(f"{self.prefix(step)}.index")
        return [index, *self.folder.glob(f"ckpt-{step}.data-*")]


def _numbers(paths, pattern: str) -> list[int]:
    matches = (re.fullmatch(pattern, path.name) for path in paths)
    return sorted({int(match[1]) for match in matches if match})


def _checkpoint(parts: Parts) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(**{name: _state(part) for name, part in parts.items()})


def _state(part) -> tf.Variable | dict[str, tf.Variable]:
    """The variables of a part that a checkpoint keeps.

    They are listed one by one, in the part's order: TensorFlow would search the
    attributes of a network, but not Keras's lists of layers, and would not report the
    variables that are missing.
    """
    if isinstance(part, keras.Variable):
        return part.value
    variables = [v for v in part.variables if v.name != "learning_rate"]
    # Optimizers begin a slot's name with its layer's. Keras numbers layers without a
    # name in the order of birth, so that only the end is the same in every process.
    return {
        f"{i:04d}_{v.name.rpartition('_')[-1]}": v.value
        for i, v in enumerate(variables)
    }
