"""The run directory: its files, and the configuration that it belongs to.

checkpoints/ckpt-<step>.*       both networks, both optimizers, the average
operative_config-<step>.gin     every parameter in force from that step on
environment-<step>.json         machine and packages of the session that began there
folder.txt                      fingerprint of the folder of images, if there is one
samples/<step>.png              64 samples from the same noise
tensorboard/                    scalars and sample grids
tfhub/<step>/                   exported module
scores.csv                      one row per scored checkpoint
probe.csv                       accuracies of a linear classifier on D's blocks
TRAIN_DONE                      exists when training is done
"""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator

from absl import logging

from ssgan_tf import config
from ssgan_tf.modules.metadata import METADATA
from ssgan_tf.training.checkpoints import Checkpoints
from ssgan_tf.utils import files

# The star is a step.
_CONFIG = "operative_config-*.gin"
_ENVIRONMENT = "environment-*.json"
# The keys of `environment.facts` that other files read.
_FACTS = ("commit", "cpu", "cores", "devices")


class RunDir:
    """Paths of one run.

    Args:
        path: the folder, `--model_dir`. It is made with the first file.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.samples = self.path / "samples"
        self.tensorboard = self.path / "tensorboard"
        self.train_done = self.path / "TRAIN_DONE"

    def module(self, step: int) -> pathlib.Path:
        """Folder of the module exported at `step`."""
        return self.path / "tfhub" / str(step)

    def score_summaries(self, protocol: str) -> pathlib.Path:
        """Folder of the TensorBoard curves of scores under a protocol."""
        # A curve must not mix protocols.
        digest = hashlib.sha256(protocol.encode()).hexdigest()[:8]
        return self.tensorboard / f"scores-{digest}"

    def has_module(self, step: int) -> bool:
        """Whether the module of `step` exists and is newer than its checkpoint."""
        metadata = self.module(step) / METADATA
        index = pathlib.Path(self.checkpoints.prefix(step) + ".index")
        # It is older if a run was deleted without its modules, and trained again.
        return metadata.is_file() and metadata.stat().st_mtime >= index.stat().st_mtime

    def check_step(self, step: int) -> None:
        """Refuses a step without a checkpoint.

        Raises:
            FileNotFoundError: it has no checkpoint; the message lists those that have.
        """
        steps = self.checkpoints.steps()
        if step not in steps:
            raise FileNotFoundError(
                f"{self.path} has no checkpoint of step={step}. Name one of its "
                f"checkpoints of steps {steps}."
            )

    def latest_step(self) -> int:
        """Step of the newest checkpoint.

        Raises:
            FileNotFoundError: the run has no checkpoints.
        """
        steps = self.checkpoints.steps()
        if not steps:
            raise FileNotFoundError(
                f"The run model_dir={self.path} has no checkpoint. Train it first."
            )
        return steps[-1]

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keeps other processes from training here, for a `with` block.

        The claim ends with the process, even if that is killed.

        Raises:
            OSError: another process trains here, or the folder cannot be written.
        """
        with files.try_lock(self.path / ".training") as others:
            if others is not None:
                raise OSError(
                    "One process at a time may train in a `--model_dir`. In "
                    f"model_dir={self.path} {others} is training. Stop it, wait for "
                    "it, or name another folder. (--schedule=continuous_eval may run "
                    "beside it.)"
                )
            yield

    def configs(self) -> list[pathlib.Path]:
        """The operative configs, oldest first."""
        return [path for _, path in self._by_step(_CONFIG)]

    def _by_step(self, pattern: str) -> list[tuple[int, pathlib.Path]]:
        """The files that match a pattern, with their steps, in order of steps."""
        before, after = pattern.split("*")
        paths = (
            (path.name.removeprefix(before).removesuffix(after), path)
            for path in self.path.glob(pattern)
        )
        return sorted((int(step), path) for step, path in paths if step.isdecimal())

    def _forget_after(self, step: int, pattern: str) -> None:
        for later, path in self._by_step(pattern):
            if later > step:
                path.unlink()

    def latest_config(self) -> pathlib.Path:
        """The newest operative config.

        Raises:
            FileNotFoundError: the folder holds no run.
        """
        configs = self.configs()
        if not configs:
            raise FileNotFoundError(
                f"model_dir={self.path} holds no run: there is no file "
                "operative_config-<step>.gin. Name a folder that `ssgan train` wrote."
            )
        return configs[-1]

    def check_usable(self) -> None:
        """Refuses a path that cannot hold a run. Writes nothing.

        Raises:
            OSError: it is no folder or cannot be written.
            ValueError: it holds checkpoints without their configuration.
        """
        nearest = next(p for p in (self.path, *self.path.parents) if p.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise OSError(
                f"model_dir={self.path} cannot be written: {nearest} is no writable "
                "folder. Name another `--model_dir`."
            )
        if self.checkpoints.steps() and not self.configs():
            raise ValueError(
                f"model_dir={self.path} has checkpoints but no file "
                "operative_config-<step>.gin. Restore the file, or name another folder."
            )

    def check_config(self, operative: str, bound: str) -> None:
        """Refuses a configuration other than the one the run was started with.

        A parameter that the run does not know, and that is not bound now, was added by
        a later version: its default is the behaviour of before.

        Args:
            operative: the configuration in force now, as gin text.
            bound: the part that files and flags bind, as gin text.

        Raises:
            config.ConfigError: they differ; the message shows the difference.
        """
        configs = self.configs()
        if not configs:
            return
        before, now = bindings(configs[-1].read_text()), bindings(operative)
        known = before.keys() | bindings(bound).keys()
        difference = [
            f"{sign}{key} = {values[key]}"
            for key in sorted(before.keys() | (now.keys() & known))
            if before.get(key) != now.get(key)
            for sign, values in (("-", before), ("+", now))
            if key in values
        ]
        if difference:
            raise config.ConfigError(
                f"`--model_dir` holds a run with another configuration. Received: "
                f"model_dir={self.path}. Then (-) and now (+):\n  "
                + "\n  ".join(difference)
                + "\nChoose another folder, or continue the run under the new "
                "configuration with --allow_config_change."
            )

    def write_config(self, operative: str, step: int) -> None:
        """Records the configuration in force from `step` on, if it has changed.

        Records of later steps are removed: the run went back to an earlier checkpoint.
        """
        self._forget_after(step, _CONFIG)
        configs = self.configs()
        if not configs or bindings(configs[-1].read_text()) != bindings(operative):
            path = self.path / _CONFIG.replace("*", str(step))
            files.write_text(path, operative)

    def environments(self) -> dict[int, dict]:
        """The facts of each training session, by its first step.

        Raises:
            ValueError: a file is damaged.
        """
        sessions = {}
        for step, path in self._by_step(_ENVIRONMENT):
            try:
                facts = json.loads(path.read_text())
                if not isinstance(facts, dict) or not facts.keys() >= set(_FACTS):
                    raise ValueError(f"it must be an object with {', '.join(_FACTS)}")
            except ValueError as error:
                raise ValueError(f"{path} is damaged: {error}. Remove it.") from error
            sessions[step] = facts
        return sessions

    def write_environment(self, facts: dict, step: int) -> None:
        """Records the facts of the session that begins at `step`.

        Records of later steps are removed: the run went back to an earlier checkpoint.
        """
        self._forget_after(step, _ENVIRONMENT)
        path = self.path / _ENVIRONMENT.replace("*", str(step))
        files.write_text(path, json.dumps(facts, indent=2) + "\n")

    def note_folder(self, fingerprint: str) -> None:
        """Records the fingerprint of the folder of images; warns if it has changed."""
        path = self.path / "folder.txt"
        if path.is_file() and path.read_text().strip() != fingerprint:
            logging.warning(
                "the folder of images has changed since %s was trained before: "
                "training continues with its present files",
                self.path,
            )
        files.write_text(path, f"{fingerprint}\n")


def bindings(operative: str) -> dict[str, str]:
    """The parameters of an operative config, with their values as gin writes them."""
    values: dict[str, str] = {}
    for line in operative.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(" ") and values:
            # gin breaks long values.
            name = [*values][-1]
            values[name] += f" {line.strip()}"
        else:
            name, _, value = line.partition(" = ")
            values[name.strip()] = value.strip().removesuffix("\\")
    return {name: value.strip() for name, value in values.items()}
