"""Schedules: train; train, then score; score beside a process that trains."""

import contextlib
import dataclasses
import functools
import os
import re
import textwrap
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf import config
from ssgan_tf.evaluation.module_scorer import ModuleScorer, ScoringOptions
from ssgan_tf.evaluation.score_table import FILENAME, ModuleScores, ScoreTable
from ssgan_tf.modules import reading
from ssgan_tf.modules.metadata import read_metadata
from ssgan_tf.training.checkpoint_export import export_checkpoint
from ssgan_tf.training.checkpoints import DamagedCheckpoint
from ssgan_tf.training.loop import build, train
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils.startup import StartUp
from ssgan_tf.utils.strategies import Workers

POLL_SECONDS = 10.0
# TensorFlow's errors when another process or its connection has ended.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of `train_and_evaluate` that are not part of the plan.

    Attributes:
        schedule: "train"; "eval_after_train": train, then score the checkpoints;
            "continuous_eval": score the checkpoints of a run that another process
            trains, until it is done.
        jit_compile: see `strategies.jit_compiles`.
        scoring: how to score.
        data_dir: folder of prepared TFDS data sets; None for TFDS's default.
        eval_every_steps: int. See `Evaluation`.
        score_filename: name of the table in the run directory.
        allow_config_change: continue a run begun under another configuration.
    """

    schedule: str = "train"
    jit_compile: str = "auto"
    scoring: ScoringOptions = dataclasses.field(default_factory=ScoringOptions)
    data_dir: str | None = None
    eval_every_steps: int = 5000
    score_filename: str = FILENAME
    allow_config_change: bool = False


def train_and_evaluate(
    plan: config.Plan,
    run: RunDir,
    settings: Settings,
    *,
    start_up: StartUp,
    get_strategy: Callable[[], tf.distribute.Strategy],
) -> bool:
    """Runs a schedule. All workers call this.

    Args:
        plan: the configuration.
        run: the run directory.
        settings: the schedule and its settings.
        start_up: the parts of this start so far.
        get_strategy: makes the strategy. It is called after the cheap checks.

    Returns:
        Whether this worker is the chief, which writes.

    Raises:
        ValueError: a setting cannot be used; nothing has been written.
        Diverged: a loss or weight is not finite.
        ConnectionError: another worker is gone.
        MemoryError: a step does not fit into the memory of a device.
        OSError: a file is missing or cannot be read or written.
    """
    # Fail here, not after days of training.
    run.check_usable()
    table = ScoreTable(run.path / settings.score_filename)
    table.rows()
    strategy = get_strategy()
    workers = Workers(strategy)
    with explain_errors(run, workers):
        _check_workers(workers, settings)
        # A run that continues takes its weights from its checkpoints.
        begins = settings.schedule != "continuous_eval" and not run.checkpoints.steps()
        (begins,) = workers.from_chief([begins])
        gan = build(plan, strategy, settings.jit_compile, warm=bool(begins))
        start_up.done("networks")
        operative, bound = config.operative_config(), config.bindings()

        def check_config():
            if not settings.allow_config_change:
                run.check_config(operative, bound)

        check_config()
        if settings.schedule != "train":
            scorer = ModuleScorer(
                plan.dataset,
                settings.scoring,
                data_dir=settings.data_dir,
                strategy=strategy,
            )
            if scorer.extractor is not None:
                # Each worker extracts the features of its part of the images.
                workers.check_same(f"feature network {scorer.extractor.fingerprint}")
            scorer.check_labels(gan.num_classes)
        if settings.schedule != "continuous_eval":
            train(gan, plan, run, start_up=start_up, data_dir=settings.data_dir)
        if settings.schedule != "train":
            steps = settings.eval_every_steps
            Evaluation(plan, run, scorer, table, steps).follow(check_config)
        return workers.is_chief


def _check_workers(workers: Workers, settings: Settings) -> None:
    """Refuses workers with different settings, which would wait for one another."""
    if settings.schedule == "continuous_eval" and workers.count > 1:
        raise ValueError(
            "--schedule=continuous_eval is a process of its own, beside the workers. "
            f"Received: {workers.count} workers. Start it without TF_CONFIG."
        )
    # Paths may differ from host to host.
    scoring = dataclasses.replace(
        settings.scoring, inception_path=None, classifier_path=None
    )
    same = dataclasses.replace(settings, scoring=scoring, data_dir=None)
    workers.check_same(
        f"{same}, under TensorFlow {tf.__version__} and Keras {keras.__version__}\n"
        f"{config.bindings()}"
    )


@dataclasses.dataclass
class Evaluation:
    """Scores the checkpoints of a run that have no score yet, through their modules.

    All workers call its methods: each generates its part of the fakes and extracts its
    part of the features. The chief decides which steps are scored, exports and writes.

    Attributes:
        plan: the configuration.
        run: the run directory.
        scorer: `ModuleScorer`.
        table: receives the scores.
        every_steps: int. Score checkpoints whose step is a multiple of this, and the
            one at the end of training; 0 scores all.
    """

    plan: config.Plan
    run: RunDir
    scorer: ModuleScorer
    table: ScoreTable
    every_steps: int

    def __post_init__(self):
        self.workers = Workers(self.scorer.strategy)

    def follow(self, check_config: Callable[[], None]) -> None:
        """Scores the checkpoints until training, in any process, is done.

        The run directory need not exist yet.

        Args:
            check_config: is called before each look at the checkpoints.

        Raises:
            ValueError: a module could not be scored.
        """
        failures: dict[int, str] = {}
        done = False
        while not done:
            # Read before evaluating, so that the last checkpoints are scored too.
            (done,) = self.workers.from_chief([self.run.train_done.exists()])
            check_config()
            for step in self._steps():
                if step not in failures and self._is_due(step):
                    if failure := self._score(step):
                        failures[step] = failure
            # The table must be complete before another worker reads it.
            self.workers.wait()
            if not done:
                logging.log_every_n_seconds(
                    logging.INFO, "waiting for %s", 600, self.run.train_done
                )
                time.sleep(POLL_SECONDS)
        if failures:
            step, reason = min(failures.items())
            raise ValueError(
                f"Not all checkpoints could be scored: steps {sorted(failures)}. Step "
                f"{step}: {reason}"
            )

    def _steps(self) -> list[int]:
        """The steps that the chief sees and `every_steps` selects."""
        steps = [
            step
            for step in self.run.checkpoints.steps()
            if not self.every_steps
            or step % self.every_steps == 0
            or step == self.plan.options.training_steps
        ]
        (count,) = self.workers.from_chief([len(steps)])
        # On a network file system a worker may not see the newest checkpoints yet.
        return self.workers.from_chief((steps + count * [0])[:count])

    def _is_due(self, step: int) -> bool:
        """Exports a checkpoint; returns whether its scores are missing."""
        is_due = False
        if self.workers.is_chief:
            try:
                path = export_checkpoint(self.plan, self.run, step)
                row = self._row(step, read_metadata(path))
                is_due = not self.table.has(
                    step, row["protocol"], row["weights_sha256"], row["metrics"]
                )
            except (DamagedCheckpoint, FileNotFoundError) as error:
                is_deleted = step not in self.run.checkpoints.steps()
                if not is_deleted and isinstance(error, FileNotFoundError):
                    raise
                reason = (
                    "training deleted its checkpoint first" if is_deleted else error
                )
                _warn_once(f"step {step} is not scored: {reason}")
        return bool(self.workers.from_chief([is_due])[0])

    def _row(self, step: int, metadata: dict) -> dict:
        """The columns of a module's scores that are known before."""
        return {
            "step": step,
            "checkpoint": self.run.checkpoints.prefix(step),
            "weights_sha256": metadata["weights_sha256"],
            "protocol": self.scorer.protocol(metadata),
            "config": metadata["config"],
            "metrics": self.scorer.metrics,
        }

    def _score(self, step: int) -> str | None:
        """Scores the module of a step; returns the reason if it cannot be scored."""
        start = time.monotonic()
        module = reading.load(self.run.module(step), self.scorer.strategy)
        try:
            scores = self.scorer.score(module)
        # The network may have diverged; other checkpoints may be good.
        except ValueError as error:
            if self.workers.count > 1:
                # Another worker may have no error, and would wait for this one.
                raise
            logging.error("step %d cannot be scored: %s", step, error)
            return str(error)
        if self.workers.is_chief:
            row = self._row(step, module.metadata)
            self.table.add(scores, **row)
            show_scores(self.run.score_summaries(row["protocol"]), step, scores)
            logging.info("step %d scored in %.0f s", step, time.monotonic() - start)
        return None


@functools.cache
def _warn_once(message: str) -> None:
    # `Evaluation.follow` would repeat the message at every poll.
    logging.warning("%s", message)


def show_scores(folder: str | os.PathLike, step: int, scores: ModuleScores) -> None:
    """Writes scores to TensorBoard: means over the seeds, and confusions as pictures.

    In the picture of a confusion the row is the true orientation, the column the
    predicted one; black is 0 and white the whole row.

    Args:
        folder: folder of the summaries, not that of a run in training.
        step: int. Step of the checkpoint.
        scores: `ModuleScores`.
    """
    writer = tf.summary.create_file_writer(str(folder))
    with contextlib.closing(writer), writer.as_default(step):
        for name, numbers in scores.values.items():
            tf.summary.scalar(name, float(np.mean(numbers)))
        for side, confusion in scores.confusions.items():
            shares = np.array(confusion) / np.sum(confusion, axis=1, keepdims=True)
            picture = np.kron(shares, np.ones((16, 16)))[None, :, :, None]
            tf.summary.image(f"rotation_confusion_{side}", picture)


@contextlib.contextmanager
def explain_errors(run: RunDir, workers: Workers) -> Iterator[None]:
    """Turns TensorFlow's errors in the middle of a run into errors with a cure."""
    try:
        yield
    except TypeError as error:
        # Keras cannot construct these errors again, as it does for errors of layers.
        if workers.count > 1 and "UnavailableError.__init__" in str(error):
            raise ConnectionError(
                f"All {workers.count} workers must stay up, but one ended while the "
                "networks were built. See the logs of the others, and start all of "
                "them again."
            ) from error
        raise
    except tf.errors.OpError as error:
        steps = run.checkpoints.steps()
        again = f"The same command then continues from step {steps[-1] if steps else 0}"
        message = _reason(error)
        short = textwrap.shorten(message, 400)
        if workers.count > 1 and isinstance(error, _LOST):
            kind = ConnectionError
            text = (
                f"All {workers.count} workers must stay up, but one has ended: {short} "
                "See the logs of the others, and start all of them again."
            )
        elif isinstance(error, tf.errors.PermissionDeniedError) or (
            "No space" in message
        ):
            kind = OSError
            text = (
                f"`--model_dir` cannot be written: {short} Free some space, or make "
                "the folder writable."
            )
        elif isinstance(error, tf.errors.ResourceExhaustedError):
            kind = MemoryError
            text = (
                f"A step does not fit into the memory of its device: {short} Set "
                "options.accumulate = 2 or more, a smaller options.batch_size, or "
                'options.precision = "mixed_bfloat16".'
            )
        elif lost := re.search(r"Every image of .*?remove the image\.", message):
            kind, text = OSError, lost[0]
        else:
            # A fault of the train step is shown unchanged.
            raise
        raise kind(f"{text} {again}.") from error


def _reason(error: tf.errors.OpError) -> str:
    """The message without the Python lines that created the op."""
    lines = [
        line
        for line in error.message.splitlines()
        if not line.startswith((" ", "Graph execution error", "Detected at node"))
    ]
    return " ".join(lines)
