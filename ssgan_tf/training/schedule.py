"""Schedules: train, train and score, or score beside a training."""

import contextlib
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
from ssgan_tf.evaluation.score_table import ModuleScores, ScoreTable
from ssgan_tf.modules import reading
from ssgan_tf.modules.metadata import read_metadata
from ssgan_tf.training.checkpoint_export import export_checkpoint
from ssgan_tf.training.checkpoints import DamagedCheckpoint
from ssgan_tf.training.loop import build, train
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import strategies
from ssgan_tf.utils.startup import StartUp


def show_scores(folder: str | os.PathLike, step: int, found: ModuleScores) -> None:
    """Writes scores to TensorBoard: means over the seeds, and confusions as pictures.

    In a picture of a confusion the row is the true orientation, the column the
    predicted one, and black is 0, white all of that row.

    Args:
        folder: of the summaries; another one than that of a training that goes on.
        step: int. Of what was scored.
        found: `ModuleScores`.
    """
    writer = tf.summary.create_file_writer(str(folder))
    with contextlib.closing(writer), writer.as_default(step):
        for name, numbers in found.values.items():
            tf.summary.scalar(name, float(np.mean(numbers)))
        for side, confusion in found.confusions.items():
            shares = np.array(confusion) / np.sum(confusion, axis=1, keepdims=True)
            picture = np.kron(shares, np.ones((16, 16)))[None, :, :, None]
            tf.summary.image(f"rotation_confusion_{side}", picture)


POLL_SECONDS = 10.0
# What TensorFlow raises where another process or its connection has ended.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


def evaluate(
    experiment: config.Plan,
    run: RunDir,
    scorer: ModuleScorer,
    table: ScoreTable,
    *,
    every_steps: int,
    skipped: Collection[int] = (),
) -> dict[int, str]:
    """Scores every checkpoint that has no score yet, through its exported module.

    All workers call this: each makes its part of the fakes and of the features. The
    chief decides what is scored, exports and writes.

    Args:
        experiment: what was trained.
        run: where its checkpoints lie.
        scorer: how to score.
        table: where the scores go.
        every_steps: int. Score checkpoints whose step it divides, and the one at the
            end of training; 0 scores all.
        skipped: steps to leave out.

    Returns:
        Why modules could not be scored, by step; empty if all could.
    """
    failures = {}
    workers = strategies.Workers(scorer.strategy)
    steps = [
        step
        for step in run.checkpoints.steps()
        if not every_steps
        or step % every_steps == 0
        or step == experiment.options.training_steps
    ]
    (count,) = workers.from_chief([len(steps)])
    # Of a folder that others see later than the chief, the others' list may be shorter.
    for step in workers.from_chief((steps + count * [0])[:count]):
        if step in skipped:
            continue
        wanted = workers.is_chief and _wants_score(experiment, run, scorer, table, step)
        (wanted,) = workers.from_chief([wanted])
        if not wanted:
            continue
        start = time.monotonic()
        path = run.module(step)
        module = reading.load(path, scorer.strategy)
        try:
            found = scorer.score(module)
        # Of a network that has diverged; others may be well.
        except ValueError as error:
            if workers.count > 1:
                # Another worker may have seen nothing, and would wait for this one.
                raise
            logging.error("step %d cannot be scored: %s", step, error)
            failures[step] = str(error)
            continue
        if workers.is_chief:
            metadata = read_metadata(path)
            table.add(
                step,
                run.checkpoints.prefix(step),
                found,
                scorer.protocol(metadata),
                metadata["config"],
                metadata["weights_sha256"],
                scorer.metrics,
            )
            show_scores(run.score_summaries(scorer.protocol(metadata)), step, found)
            logging.info("step %d scored in %.0f s", step, time.monotonic() - start)
    # Whoever reads the table next finds all of it.
    workers.wait()
    return failures


def _refuse(failures: dict[int, str]) -> None:
    if failures:
        step, why = min(failures.items())
        raise ValueError(
            "All checkpoints must be scored. Received: none for the steps "
            f"{sorted(failures)}; of step {step}: {why}"
        )


def _wants_score(experiment, run: RunDir, scorer, table: ScoreTable, step: int) -> bool:
    """Exports a checkpoint, and says whether its scores are missing."""
    try:
        path = export_checkpoint(experiment, run, step)
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
    # Who polls would say it again and again.
    logging.warning("%s", message)


def evaluate_continuously(
    experiment: config.Plan,
    run: RunDir,
    scorer: ModuleScorer,
    table: ScoreTable,
    *,
    every_steps: int,
    allow_config_change: bool,
) -> None:
    """Scores the checkpoints of a training in another process until that is done.

    The run directory need not be there yet. `evaluate` has the arguments.

    Raises:
        config.ConfigError: the run has another configuration.
        ValueError: when the training is done, if a module could not be scored.
    """
    failures = {}
    operative, bound = config.operative_config(), config.bindings()
    while True:
        # Before evaluating: what is there when training is done gets its score.
        done = run.train_done.exists()
        if not allow_config_change:
            run.check_config(operative, bound)
        failures |= evaluate(
            experiment, run, scorer, table, every_steps=every_steps, skipped=failures
        )
        if done:
            return _refuse(failures)
        logging.log_every_n_seconds(logging.INFO, "waiting for %s", 600, run.train_done)
        time.sleep(POLL_SECONDS)


def train_and_evaluate(
    experiment: config.Plan,
    run: RunDir,
    *,
    start_up: StartUp,
    schedule: str,
    get_strategy: Callable[[], tf.distribute.Strategy],
    jit_compile: str,
    options: ScoringOptions,
    data_dir: str | None,
    eval_every_steps: int,
    score_filename: str,
    allow_config_change: bool,
) -> bool:
    """Runs a schedule.

    Args:
        experiment: what the config says.
        run: the run directory.
        start_up: the parts of this start so far.
        schedule: "train"; "eval_after_train": train, then score the checkpoints;
            "continuous_eval": score the checkpoints of a training that another
            process runs, until it is done.
        get_strategy: makes the strategy, once the rest has been looked at.
        jit_compile: as `strategies.jit_compiles` takes it.
        options: `ScoringOptions`.
        data_dir: folder of prepared TFDS data sets; None for TFDS's default.
        eval_every_steps: int. See `evaluate`.
        score_filename: name of the table in the run directory.
        allow_config_change: continue a run that was started with another
            configuration.

    Returns:
        Whether this is the worker that has written.

    Raises:
        ValueError: something cannot be used; nothing has been written.
        Diverged: a loss or weight is not finite.
        ConnectionError: another worker is gone.
        MemoryError: a device's memory does not do.
        OSError: something is missing or cannot be read or written.
    """
    # Whatever is wrong must show here, not after days of training.
    run.check_usable()
    table = ScoreTable(run.path / score_filename)
    table.rows()
    strategy = get_strategy()
    workers = strategies.Workers(strategy)
    if schedule == "continuous_eval" and workers.count > 1:
        raise ValueError(
            "--schedule=continuous_eval is a process of its own, beside the workers. "
            f"Received: {workers.count} workers. Start it without TF_CONFIG."
        )
    with _explained(run, workers):
        # Before they wait for one another in what only some of them do.
        workers.check_same(
            f"--schedule={schedule} --jit_compile={jit_compile} "
            f"--eval_every_steps={eval_every_steps} "
            f"--metrics={','.join(options.metrics)} "
            f"--split={options.split} --num_fakes={options.num_fakes} "
            f"--num_eval_averaging_runs={options.num_runs}, under TensorFlow "
            f"{tf.__version__} and Keras {keras.__version__}\n{config.bindings()}"
        )
        # What is known of a run that goes on is in its checkpoints.
        (warm,) = workers.from_chief([_begins(schedule, run)])
        gan = build(experiment, strategy, jit_compile, warm=bool(warm))
        start_up.done("networks")
        if not allow_config_change:
            run.check_config(config.operative_config(), config.bindings())
        scorer = None
        if schedule != "train":
            scorer = ModuleScorer(
                experiment.dataset, options, data_dir=data_dir, strategy=strategy
            )
            scorer.check_labels(gan.num_classes)
            if scorer.extractor is not None:
                # Each extracts the features of its part of the images.
                workers.check_same(f"feature network {scorer.extractor.fingerprint}")
        if schedule == "continuous_eval":
            evaluate_continuously(
                experiment,
                run,
                scorer,
                table,
                every_steps=eval_every_steps,
                allow_config_change=allow_config_change,
            )
            return True
        train(gan, experiment, run, start_up=start_up, data_dir=data_dir)
        if scorer is not None:
            _refuse(
                evaluate(experiment, run, scorer, table, every_steps=eval_every_steps)
            )
        return workers.is_chief


def _begins(schedule: str, run: RunDir) -> bool:
    """Whether this schedule takes the first step of a run."""
    return schedule != "continuous_eval" and not run.checkpoints.steps()


@contextlib.contextmanager
def _explained(run: RunDir, workers: strategies.Workers) -> Iterator[None]:
    """Says of what TensorFlow raises in the middle of a run what there is to do."""
    try:
        yield
    except TypeError as error:
        # Keras makes what a layer raises anew, and cannot with these.
        if workers.count > 1 and "UnavailableError.__init__" in str(error):
            raise ConnectionError(
                f"All {workers.count} workers must stay up. Received: another one was "
                "gone while the networks were built. Start all of them again."
            ) from error
        raise
    except tf.errors.OpError as error:
        steps = run.checkpoints.steps()
        again = f"The same command then continues from step {steps[-1] if steps else 0}"
        message = _reason(error)
        received = f"Received: {textwrap.shorten(message, 400)}"
        if workers.count > 1 and isinstance(error, _LOST):
            raise ConnectionError(
                f"All {workers.count} workers must stay up. {received} See the logs of "
                f"the others, and start all of them again. {again}."
            ) from error
        if isinstance(error, tf.errors.PermissionDeniedError) or "No space" in message:
            raise OSError(
                f"`--model_dir` must be writable. {received} Free some space, or make "
                f"the folder writable. {again}."
            ) from error
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise MemoryError(
                f"A step must fit into the memory of its device. {received} Set "
                "options.accumulate = 2 or more, a smaller options.batch_size, or "
                f'options.precision = "mixed_bfloat16". {again}.'
            ) from error
        # What the train step's own mistakes raise is shown as it is.
        if unreadable := re.search(r"Every image of .*?remove the image\.", message):
            raise OSError(f"{unreadable[0]} {again}.") from error
        raise


def _reason(error: tf.errors.OpError) -> str:
    """The message without the Python lines that the op was made by."""
    lines = [
        line
        for line in error.message.splitlines()
        if not line.startswith((" ", "Graph execution error", "Detected at node"))
    ]
    return " ".join(lines)
