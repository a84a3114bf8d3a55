"""A run directory: what lies where, and which configuration it belongs to.

checkpoints/ckpt-<step>.*       both nets, both optimizers, the average
operative_config-<step>.gin     every parameter in force from that step on
environment-<step>.json         what the session that began there ran on
folder.txt                      which state of its folder of images, if it has one
samples/<step>.png              64 samples from the same noise
tensorboard/                    scalars and sample grids
tfhub/<step>/                   exported module
scores.csv                      one row per scored checkpoint
probe.csv                       accuracies of a linear classifier on D's blocks
TRAIN_DONE                      training is over
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

# The star stands for a step.
_CONFIG = "operative_config-*.gin"
_ENVIRONMENT = "environment-*.json"
# What of `environment.facts` is looked up by name.
_FACTS = ("commit", "cpu", "cores", "devices")


class RunDir:
    """Paths of one run.

    Args:
        path: the folder, `--model_dir`. Made when something is written.
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
        # Curves of two protocols are none.
        digest = hashlib.sha256(protocol.encode()).hexdigest()[:8]
        return self.tensorboard / f"scores-{digest}"

    def has_module(self, step: int) -> bool:
        """Whether there is a module of `step`, newer than its checkpoint."""
        metadata = self.module(step) / METADATA
        index = pathlib.Path(self.checkpoints.prefix(step) + ".index")
        # Older: a run that was deleted but for its modules, and trained anew.
        return metadata.is_file() and metadata.stat().st_mtime >= index.stat().st_mtime

    def check_step(self, step: int) -> None:
        """Refuses a step without a checkpoint.

        Raises:
            FileNotFoundError: there is none; the message lists those that are.
        """
        steps = self.checkpoints.steps()
        if step not in steps:
            raise FileNotFoundError(
                f"{self.path} must hold a checkpoint of step {step}. Received: "
                f"step={step}; there are checkpoints of steps {steps}. Name one of "
                "them."
            )

    def latest_step(self) -> int:
        """Step of the newest checkpoint.

        Raises:
            FileNotFoundError: there is none.
        """
        steps = self.checkpoints.steps()
        if not steps:
            raise FileNotFoundError(
                f"A run must hold a checkpoint. Received: model_dir={self.path}, "
                "which has none. Train it first."
            )
        return steps[-1]

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keeps other processes from training here, for a block.

        The claim ends with the process, however that ends.

        Raises:
            OSError: another process trains here, or the folder cannot be written.
        """
        with files.try_lock(self.path / ".training") as others:
            if others is not None:
                raise OSError(
                    "One process at a time may train in a `--model_dir`. Received: "
                    f"model_dir={self.path}, where {others} is training. Stop that "
                    "one, wait for it, or name another folder. (--schedule="
                    "continuous_eval may run beside it.)"
                )
            yield

    def configs(self) -> list[pathlib.Path]:
        """The operative configs, oldest first."""
        return [path for _, path in self._by_step(_CONFIG)]

    def _by_step(self, pattern: str) -> list[tuple[int, pathlib.Path]]:
        """The files that have a step where the pattern has its star, in that order."""
        before, after = pattern.split("*")
        found = (
            (path.name.removeprefix(before).removesuffix(after), path)
            for path in self.path.glob(pattern)
        )
        return sorted((int(step), path) for step, path in found if step.isdecimal())

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
                "`--model_dir` must hold a run: a file operative_config-<step>.gin. "
                f"Received: model_dir={self.path}, which has none. Name the folder "
                "that `ssgan train` wrote."
            )
        return configs[-1]

    def check_usable(self) -> None:
        """Refuses a path where no run can be kept. Makes nothing.

        Raises:
            OSError: it is no folder or cannot be written.
            ValueError: it holds checkpoints without the configuration they belong to.
        """
        nearest = self.path
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise OSError(
                "`--model_dir` must be a writable folder, or a path where one can be "
                f"made. Received: model_dir={self.path}, but {nearest} is "
                f"{'not writable' if nearest.is_dir() else 'no folder'}. Name another."
            )
        if self.checkpoints.steps() and not self.configs():
            raise ValueError(
                "`--model_dir` must hold a file operative_config-<step>.gin beside its "
                f"checkpoints. Received: model_dir={self.path}, which has none. Put it "
                "back, or name another folder."
            )

    def check_config(self, operative: str, bound: str) -> None:
        """Refuses a configuration other than the one the run was started with.

        A parameter that the run does not know, and that nobody has bound, is of a later
        version: its default is what was done before there was one.

        Args:
            operative: the configuration in force now, as gin text.
            bound: what of it files and flags have bound, likewise.

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
        """Records the configuration in force from `step` on, unless it was before.

        A run that went back to an earlier checkpoint forgets what came after it.
        """
        self._forget_after(step, _CONFIG)
        configs = self.configs()
        if not configs or bindings(configs[-1].read_text()) != bindings(operative):
            path = self.path / _CONFIG.replace("*", str(step))
            files.write_text(path, operative)

    def environments(self) -> dict[int, dict]:
        """What each training session ran on, by the step at which it began.

        Raises:
            ValueError: a file is damaged.
        """
        found = {}
        for step, path in self._by_step(_ENVIRONMENT):
            try:
                facts = json.loads(path.read_text())
                if not isinstance(facts, dict) or not facts.keys() >= set(_FACTS):
                    raise ValueError("something is missing")
            except ValueError as error:
                raise ValueError(
                    "A file environment-<step>.json must be a JSON object with "
                    f"{', '.join(_FACTS)}. Received: {path}, which fails with: "
                    f"{error}. Remove it."
                ) from error
            found[step] = facts
        return found

    def write_environment(self, facts: dict, step: int) -> None:
        """Records what a training session runs on that begins at `step`.

        A run that went back to an earlier checkpoint forgets what came after it.
        """
        self._forget_after(step, _ENVIRONMENT)
        path = self.path / _ENVIRONMENT.replace("*", str(step))
        files.write_text(path, json.dumps(facts, indent=2) + "\n")

    def note_folder(self, fingerprint: str) -> None:
        """Records the state of the folder of images; warns if it was another."""
        path = self.path / "folder.txt"
        if path.is_file() and path.read_text().strip() != fingerprint:
            logging.warning(
                "the files of the folder of images, or their times, are others than "
                "when %s was trained before: it goes on with what is there now",
                self.path,
            )
        files.write_text(path, f"{fingerprint}\n")


def bindings(operative: str) -> dict[str, str]:
    """The parameters of an operative config, with their values as gin writes them."""
    found: dict[str, str] = {}
    for line in operative.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(" ") and found:
            # gin breaks values that are long.
            name = [*found][-1]
            found[name] += f" {line.strip()}"
        else:
            name, _, value = line.partition(" = ")
            found[name.strip()] = value.strip().removesuffix("\\")
    return {name: value.strip() for name, value in found.items()}
