"""A run directory: what lies where, and which configuration it belongs to.

checkpoints/ckpt-<step>.*       both nets, both optimizers, the average
operative_config-<step>.gin     every parameter in force from that step on
folder.txt                      which state of its folder of images, if it has one
samples/<step>.png              64 samples from the same noise
tensorboard/                    scalars and sample grids
tfhub/<step>/                   exported module
scores.csv                      one row per scored checkpoint
probe.csv                       accuracies of a linear classifier on D's blocks
TRAIN_DONE                      training is over
"""

import contextlib
import difflib
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator

from absl import logging

from ssgan_tf import config, exporting, files
from ssgan_tf.checkpoints import Checkpoints


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
        metadata = self.module(step) / exporting.METADATA
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
                f"step={step}; there are checkpoints of steps {steps}."
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
        with files.claimed(self.path / ".training") as others:
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
        return [path for _, path in self._configs()]

    def _configs(self) -> list[tuple[int, pathlib.Path]]:
        pattern = re.compile(r"operative_config-(\d+)\.gin")
        return sorted(
            (int(match.group(1)), path)
            for path in self.path.glob("operative_config-*.gin")
            if (match := pattern.fullmatch(path.name))
        )

    def latest_config(self) -> pathlib.Path:
        """The newest operative config.

        Raises:
            FileNotFoundError: the folder holds no run.
        """
        configs = self.configs()
        if not configs:
            raise FileNotFoundError(
                "`--model_dir` must hold a run: a file operative_config-<step>.gin. "
                f"Received: model_dir={self.path}, which has none."
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

    def check_config(self, operative: str) -> None:
        """Refuses a configuration other than the one the run was started with.

        Args:
            operative: the configuration in force now, as gin text.

        Raises:
            config.ConfigError: they differ; the message shows the difference.
        """
        configs = self.configs()
        if not configs:
            return
        before = _bindings(configs[-1].read_text())
        now = _bindings(operative)
        if before == now:
            return
        difference = [
            line
            for line in difflib.unified_diff(before, now, lineterm="", n=0)
            if not line.startswith(("---", "+++", "@@"))
        ]
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
        for later, path in self._configs():
            if later > step:
                path.unlink()
        configs = self.configs()
        if not configs or _bindings(configs[-1].read_text()) != _bindings(operative):
            files.write_text(self.path / f"operative_config-{step}.gin", operative)

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


def _bindings(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return sorted(line for line in lines if line and not line.startswith("#"))
