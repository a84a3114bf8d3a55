"""Schedules: train; train, then score; score beside a process that trains."""

import contextlib
import dataclasses
import functools
import os
import re
import textwrap
import time
from collections.abc import Callable, Collection, Iterator

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
        eval_every_steps: int. See `evaluate`.
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
        if not settings.allow_config_change:
            run.check_config(config.operative_config(), config.bindings())
        scorer = None
        if settings.schedule != "train":
            scorer = _scorer(plan, settings, strategy, workers)
            scorer.check_labels(gan.num_classes)
        if settings.schedule == "continuous_eval":
            evaluate_continuously(plan, run, scorer, table, settings=settings)
            return workers.is_chief
        train(gan, plan, run, start_up=start_up, data_dir=settings.data_dir)
        if scorer is not None:
            steps = settings.eval_every_steps
            _refuse(evaluate(plan, run, scorer, table, every_steps=steps))
        return workers.is_chief


def _check_workers(workers: Workers, settings: Settings) -> None:
    """Refuses workers with different settings, which would wait for one another."""
    if settings.schedule == "continuous_eval" and workers.count > 1:
        raise ValueError(
            "--schedule=continuous_eval is a process of its own, beside the workers. "
            f"Received: {workers.count} workers. Start it without TF_CONFIG."
        )
    scoring = settings.scoring
    workers.check_same(
        f"--schedule={settings.schedule} --jit_compile={settings.jit_compile} "
        f"--eval_every_steps={settings.eval_every_steps} "
        f"--metrics={','.join(scoring.metrics)} "
        f"--split={scoring.split} --num_fakes={scoring.num_fakes} "
        f"--num_eval_averaging_runs={scoring.num_runs}, under TensorFlow "
        f"{tf.__version__} and Keras {keras.__version__}\n{config.bindings()}"
    )


def _scorer(
    plan, settings: Settings, strategy: tf.distribute.Strategy, workers: Workers
) -> ModuleScorer:
    scorer = ModuleScorer(
        plan.dataset, settings.scoring, data_dir=settings.data_dir, strategy=strategy
    )
    if scorer.extractor is not None:
        # Each worker extracts the features of its part of the images.
        workers.check_same(f"feature network {scorer.extractor.fingerprint}")
    return scorer


def evaluate_continuously(
    plan: config.Plan,
    run: RunDir,
    scorer: ModuleScorer,
    table: ScoreTable,
    *,
    settings: Settings,
) -> None:
    """Scores the checkpoints of a run that another process trains, until it is done.

    The run directory need not exist yet.

    Args:
        plan: the configuration.
        run: the run directory.
        scorer: scores modules.
        table: receives the scores.
        settings: `eval_every_steps` and `allow_config_change` are used.

    Raises:
        config.ConfigError: the run has another configuration.
        ValueError: training is done, and a module could not be scored.
    """
    failures = {}
    operative, bound = config.operative_config(), config.bindings()
    while True:
        # Read before evaluating, so that the last checkpoints are scored too.
        done = run.train_done.exists()
        if not settings.allow_config_change:
            run.check_config(operative, bound)
        failures |= evaluate(
            plan,
            run,
            scorer,
            table,
            every_steps=settings.eval_every_steps,
            skipped=failures,
        )
        if done:
            return _refuse(failures)
        logging.log_every_n_seconds(logging.INFO, "waiting for %s", 600, run.train_done)
        time.sleep(POLL_SECONDS)


def evaluate(
    plan: config.Plan,
    run: RunDir,
    scorer: ModuleScorer,
    table: ScoreTable,
    *,
    every_steps: int,
    skipped: Collection[int] = (),
) -> dict[int, str]:
    """Scores every checkpoint that has no score yet, through its exported module.

    All workers call this: each generates its part of the fakes and extracts its part
    of the features. The chief decides which steps are scored, exports and writes.

    Args:
        plan: the configuration.
        run: the run directory.
        scorer: scores modules.
        table: receives the scores.
        every_steps: int. Score checkpoints whose step is a multiple of this, and the
            one at the end of training; 0 scores all.
        skipped: steps to leave out.

    Returns:
        Step -> reason, for modules that could not be scored; empty if all could.
    """
    failures = {}
    workers = Workers(scorer.strategy)
    steps = [
        step
        for step in run.checkpoints.steps()
        if not every_steps
        or step % every_steps == 0
        or step == plan.options.training_steps
    ]
    (count,) = workers.from_chief([len(steps)])
    # On a network file system a worker may not see the newest checkpoints yet.
    for step in workers.from_chief((steps + count * [0])[:count]):
        if step in skipped:
            continue
        is_due = workers.is_chief and _is_due(plan, run, step, scorer, table=table)
        (is_due,) = workers.from_chief([is_due])
        if is_due:
            failure = _score(run, step, scorer, table, workers=workers)
            if failure:
                failures[step] = failure
    # The table must be complete before another worker reads it.
    workers.wait()
    return failures


def _is_due(plan, run: RunDir, step: int, scorer, *, table: ScoreTable) -> bool:
    """Exports a checkpoint; returns whether its scores are missing."""
    try:
        path = export_checkpoint(plan, run, step)
    except (DamagedCheckpoint, FileNotFoundError) as error:
        if step not in run.checkpoints.steps():
            logging.warning("step %d was deleted by the training before scoring", step)
        elif isinstance(error, DamagedCheckpoint):
            _warn_once(f"step {step} is not scored: {error}")
        else:
            raise
        return False
    metadata = read_metadata(path)
    protocol = scorer.protocol(metadata)
    return not table.has(step, protocol, metadata["weights_sha256"], scorer.metrics)


@functools.cache
def _warn_once(message: str) -> None:
    # `evaluate_continuously` would repeat the message at every poll.
    logging.warning("%s", message)


def _score(
    run: RunDir, step: int, scorer, table: ScoreTable, *, workers: Workers
) -> str | None:
    """Scores the module of a step; returns the reason if it cannot be scored."""
    start = time.monotonic()
    module = reading.load(run.module(step), scorer.strategy)
    try:
        scores = scorer.score(module)
    # The network may have diverged; other checkpoints may be good.
    except ValueError as error:
        if workers.count > 1:
            # Another worker may have no error, and would wait for this one.
            raise
        logging.error("step %d cannot be scored: %s", step, error)
        return str(error)
    if workers.is_chief:
        metadata = read_metadata(run.module(step))
        protocol = scorer.protocol(metadata)
        table.add(
            scores,
            step=step,
            checkpoint=run.checkpoints.prefix(step),
            weights_sha256=metadata["weights_sha256"],
            protocol=protocol,
            config=metadata["config"],
            metrics=scorer.metrics,
        )
        show_scores(run.score_summaries(protocol), step, scores)
        logging.info("step %d scored in %.0f s", step, time.monotonic() - start)
    return None


def _refuse(failures: dict[int, str]) -> None:
    if failures:
        step, reason = min(failures.items())
        raise ValueError(
            f"Not all checkpoints could be scored: steps {sorted(failures)}. Step "
            f"{step}: {reason}"
        )


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
            raise ConnectionError(
                f"All {workers.count} workers must stay up, but one has ended: {short} "
                "See the logs of the others, and start all of them again. "
                f"{again}."
            ) from error
        if isinstance(error, tf.errors.PermissionDeniedError) or "No space" in message:
            raise OSError(
                f"`--model_dir` cannot be written: {short} Free some space, or make "
                f"the folder writable. {again}."
            ) from error
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise MemoryError(
                f"A step does not fit into the memory of its device: {short} Set "
                "options.accumulate = 2 or more, a smaller options.batch_size, or "
                f'options.precision = "mixed_bfloat16". {again}.'
            ) from error
        # Other errors are faults of the train step, and are shown unchanged.
        if unreadable := re.search(r"Every image of .*?remove the image\.", message):
            raise OSError(f"{unreadable[0]} {again}.") from error
        raise


def _reason(error: tf.errors.OpError) -> str:
    """The message without the Python lines that created the op."""
    lines = [
        line
        for line in error.message.splitlines()
        if not line.startswith((" ", "Graph execution error", "Detected at node"))
    ]
    return " ".join(lines)
