"""Checkpoints: written whole, kept by a rule, read back whole or skipped.

`ckpt-<step>.data-00000-of-00001` holds the tensors, `ckpt-<step>.index` where each of
them is, with a checksum. Both are written aside and moved to their places, the index
last: a step that has one was written to the end, whenever the process was killed. What
a dying machine or disk tears afterwards fails its checksum.
"""

import contextlib
import os
import pathlib
import re
import shutil
import textwrap

import tensorflow as tf
from absl import logging

from ssgan_tf.gan import GAN

# What says nothing of the files themselves.
_UNREACHABLE = (
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnavailableError,
)


class DamagedCheckpoint(ValueError):
    """A checkpoint whose files are torn, altered or gone."""


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: where they lie. Made with the first one.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = pathlib.Path(folder)

    def steps(self) -> list[int]:
        """Steps whose checkpoint was written to the end, ascending."""
        return _numbers(self.folder.glob("ckpt-*.index"), r"ckpt-(\d+)\.index")

    def prefix(self, step: int) -> str:
        """What the names of the files of one step begin with."""
        return str(self.folder / f"ckpt-{step}")

    def save(self, gan: GAN) -> None:
        """Writes one of the GAN's step, whole or not at all.

        Raises:
            OSError: it cannot be written; the ones before are as they were.
        """
        step = gan.step
        try:
            self._write(gan, step)
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "message", None) or error
            steps = [each for each in self.steps() if each < step]
            latest = f"step {steps[-1]}" if steps else "none"
            raise OSError(
                "A checkpoint must be writable. Received: "
                f"checkpoint={self.prefix(step)}, which fails with: "
                f"{textwrap.shorten(str(reason), 300)} Free some space, or make the "
                "folder writable; the same command then continues from the last good "
                f"checkpoint ({latest})."
            ) from error
        finally:
            self._sweep()

    def _write(self, gan: GAN, step: int) -> None:
        partial = self.folder / f".ckpt-{step}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _checkpoint_of(gan).write(str(partial / f"ckpt-{step}"))
        for path in sorted(partial.glob("ckpt-*.*")):  # "data" before "index"
            # On the disk before it has its name.
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(self.folder / path.name)

    def keep(self, num_latest: int, every: int | None) -> None:
        """Deletes all but the latest ones and the multiples of `every`.

        Args:
            num_latest: int, at least 1.
            every: int; None for no multiples.
        """
        for step in self.steps()[:-num_latest]:
            if every is None or step % every:
                for path in self._files_of(step):
                    path.unlink(missing_ok=True)

    def restore(self, gan: GAN, step: int) -> None:
        """Gives a GAN the state of a step.

        Raises:
            DamagedCheckpoint: its files are torn, altered or gone.
            ValueError: it belongs to another GAN.
        """
        prefix = self.prefix(step)
        try:
            _checkpoint_of(gan).read(prefix).assert_consumed()
        # What a damaged file raises is up to TensorFlow.
        except (AssertionError, ValueError, LookupError, tf.errors.OpError) as error:
            reason = textwrap.shorten(str(error), 200)
            if isinstance(error, _UNREACHABLE):
                raise OSError(
                    f"A checkpoint must be readable. Received: checkpoint={prefix}, "
                    f"which fails with: {reason} See to its disk and its permissions."
                ) from error
            self.check_whole(step)
            raise ValueError(
                "A checkpoint must fit the configuration. Received: "
                f"checkpoint={prefix}, which does not: {reason} Go back to the "
                "configuration that it was written under."
            ) from error

    def check_whole(self, step: int) -> None:
        """Refuses a step whose files do not fit their checksums.

        Raises:
            DamagedCheckpoint: they are torn, altered or gone.
        """
        prefix = self.prefix(step)
        try:
            reader = tf.train.load_checkpoint(prefix)
            for name in reader.get_variable_to_shape_map():
                # TensorFlow compares the checksums.
                reader.get_tensor(name)
        except (ValueError, LookupError, RuntimeError, tf.errors.OpError) as error:
            raise DamagedCheckpoint(
                f"A checkpoint must be whole. Received: checkpoint={prefix}, which is "
                f"damaged: {textwrap.shorten(str(error), 200)}"
            ) from error

    def restore_latest(self, gan: GAN) -> int | None:
        """Gives a GAN the state of the latest whole checkpoint.

        Damaged ones are skipped and put aside, as `damaged-ckpt-<step>.*`, and the log
        says so. Nobody else may be writing here.

        Returns:
            Its step; None where there are no checkpoints.

        Raises:
            DamagedCheckpoint: there are some, and all are damaged.
            ValueError: the latest whole one belongs to another GAN.
        """
        steps = self.steps()
        damaged = []
        for step in reversed(steps):
            try:
                self.restore(gan, step)
            except DamagedCheckpoint as error:
                logging.warning("skipped: %s", error)
                damaged.append(step)
            else:
                # What comes after this step belongs to the run that is gone on with.
                for each in damaged:
                    self._put_aside(each)
                return step
        if steps:
            raise DamagedCheckpoint(
                "A run must have a whole checkpoint to continue from. Received: "
                f"{self.folder}, where those of steps {steps} are all damaged. Restore "
                "one from a backup, or delete the folder to train from the start."
            )
        return None

    def _put_aside(self, step: int) -> None:
        for path in self._files_of(step):
            with contextlib.suppress(FileNotFoundError):
                path.replace(path.with_name(f"damaged-{path.name}"))

    def _sweep(self) -> None:
        """Removes what a write that failed or was killed has left behind.

        Nobody else may be writing here.
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


def _checkpoint_of(gan: GAN) -> tf.train.Checkpoint:
    """All state of a run: nets, optimizers (the step number with them), average."""
    parts = {
        "generator": gan.generator,
        "discriminator": gan.discriminator,
        "g_optimizer": gan.g_optimizer,
        "d_optimizer": gan.d_optimizer,
    }
    if gan.average is not None:
        parts["average"] = gan.average
    return tf.train.Checkpoint(
        rollbacks=gan.rollbacks.value,
        **{part: state_of(owner) for part, owner in parts.items()},
    )


def state_of(owner) -> dict[str, tf.Variable]:
    """What a checkpoint keeps of a network or an optimizer.

    Every variable is listed, in its owner's order. TensorFlow would look for them by
    itself in the attributes of the networks, but it does not look into Keras's lists
    of layers and says nothing of what it misses. The learning rates are left out:
    they belong to the configuration.
    """
    variables = [v for v in owner.variables if v.name != "learning_rate"]
    # Optimizers begin a slot's name with its layer's, which Keras numbers in the order
    # of birth where it has none: only the end is the same in the next process.
    return {
        f"{i:04d}_{v.name.rpartition('_')[-1]}": v.value
        for i, v in enumerate(variables)
    }
