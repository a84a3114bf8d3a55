"""A run directory: what lies where, and which configuration it belongs to.

checkpoints/ckpt-<step>         both nets, both optimizers, the average
operative_config-<step>.gin     every parameter in force from that step on
samples/<step>.png              64 samples from the same noise
tensorboard/                    scalars and sample grids
tfhub/<step>/                   exported module
scores.csv                      one row per scored checkpoint
TRAIN_DONE                      training is over
"""

import difflib
import os
import pathlib
import re
import textwrap

import tensorflow as tf

from ssgan_tf import config, exporting, files
from ssgan_tf.gan import GAN


class RunDir:
    """Paths of one run.

    Args:
        path: the folder, `--model_dir`. Made when something is written.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.tensorboard = self.path / "tensorboard"
        self.train_done = self.path / "TRAIN_DONE"

    def module(self, step: int) -> pathlib.Path:
        """Folder of the module exported at `step`."""
        return self.path / "tfhub" / str(step)

    def has_module(self, step: int) -> bool:
        """Whether there is a module of `step`, newer than its checkpoint."""
        metadata = self.module(step) / exporting.METADATA
        index = pathlib.Path(self.checkpoint(step) + ".index")
        # Older: a run that was deleted but for its modules, and trained anew.
        return metadata.is_file() and metadata.stat().st_mtime >= index.stat().st_mtime

    def checkpoint_steps(self) -> list[int]:
        """Steps that have a complete checkpoint, ascending."""
        state = tf.train.get_checkpoint_state(str(self.checkpoints))
        if state is None:
            return []
        names = (os.path.basename(path) for path in state.all_model_checkpoint_paths)
        return sorted(
            int(match[1])
            for name in names
            if (match := re.fullmatch(r"ckpt-(\d+)", name))
            and (self.checkpoints / f"{name}.index").is_file()
        )

    def checkpoint(self, step: int) -> str:
        """Prefix of the checkpoint at `step`.

        Raises:
            FileNotFoundError: there is none; the message lists those that are.
        """
        steps = self.checkpoint_steps()
        if step not in steps:
            raise FileNotFoundError(
                f"{self.path} must hold a checkpoint of step {step}. Received: "
                f"step={step}; there are checkpoints of steps {steps}."
            )
        return str(self.checkpoints / f"ckpt-{step}")

    def latest_step(self) -> int:
        """Step of the newest checkpoint.

        Raises:
            FileNotFoundError: there is none.
        """
        steps = self.checkpoint_steps()
        if not steps:
            raise FileNotFoundError(
                f"A run must hold a checkpoint. Received: model_dir={self.path}, "
                "which has none. Train it first."
            )
        return steps[-1]

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
        if self.checkpoint_steps() and not self.configs():
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


def _bindings(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return sorted(line for line in lines if line and not line.startswith("#"))


def checkpoint_of(gan: GAN) -> tf.train.Checkpoint:
    """All state of a run: nets, optimizers (the step number with them), average.

    Every variable is listed, in its owner's order. TensorFlow would look for them by
    itself in the attributes of the networks, but it does not look into Keras's lists
    of layers and says nothing of what it misses. The learning rates are left out:
    they belong to the configuration.
    """
    parts = {
        "generator": gan.generator,
        "discriminator": gan.discriminator,
        "g_optimizer": gan.g_optimizer,
        "d_optimizer": gan.d_optimizer,
    }
    if gan.average is not None:
        parts["average"] = gan.average
    return tf.train.Checkpoint(
        **{part: _state_of(owner) for part, owner in parts.items()}
    )


def _state_of(owner) -> dict[str, tf.Variable]:
    variables = [v for v in owner.variables if v.name != "learning_rate"]
    # Optimizers begin a slot's name with its layer's, which Keras numbers in the order
    # of birth where it has none: only the end is the same in the next process.
    return {
        f"{i:04d}_{v.name.rpartition('_')[-1]}": v.value
        for i, v in enumerate(variables)
    }


def restore(gan: GAN, prefix: str) -> None:
    """Gives a GAN the state of a checkpoint.

    Raises:
        ValueError: the checkpoint is damaged or belongs to another GAN.
    """
    try:
        checkpoint_of(gan).restore(prefix).assert_consumed()
    # What a damaged file raises is up to TensorFlow.
    except (AssertionError, ValueError, LookupError, tf.errors.OpError) as error:
        raise ValueError(
            "A checkpoint must be whole and fit the configuration. Received: "
            f"checkpoint={prefix}, which cannot be restored: "
            f"{textwrap.shorten(str(error), 200)} Go back to the configuration that it "
            "was written under, or delete its files if they are damaged: the run then "
            "continues from the checkpoint before."
        ) from error
