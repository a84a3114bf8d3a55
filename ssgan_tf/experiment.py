"""A whole experiment, top to bottom: train, export, score."""

import contextlib
import functools
import json
import os
import pathlib
import re
import textwrap
import time
from collections.abc import Callable, Collection, Iterator

import keras
import tensorflow as tf
from absl import logging

from ssgan_tf import (
    callbacks,
    config,
    datasets,
    environment,
    exporting,
    files,
    strategies,
    warm_start,
)
from ssgan_tf.checkpoints import DamagedCheckpoint
from ssgan_tf.datasets import folders
from ssgan_tf.gan import GAN, Diverged
from ssgan_tf.resources import StartUp
from ssgan_tf.run_dir import RunDir
from ssgan_tf.scoring import ModuleScorer, ScoreTable, Scoring

POLL_SECONDS = 10.0
_MAX_ROLLBACKS = 3
# What TensorFlow raises where another process or its connection has ended.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


def build(
    experiment: config.Experiment,
    strategy: tf.distribute.Strategy,
    jit_compile: str = "auto",
    *,
    warm: bool = True,
) -> GAN:
    """The GAN under a strategy, after checking that the batch can be shared out.

    All workers call this.

    Args:
        experiment: what the config says.
        strategy: where the GAN lives.
        jit_compile: see `strategies.jit_compiles`.
        warm: whether it gets the weights of `run_config.warm_start`, where that names
            a module; what a checkpoint follows for needs none.

    Raises:
        ValueError: a value of the config cannot be used; the replicas or the rotations
            do not divide the batch; the module to start from does not fit the
            networks, or is another one for another worker.
        OSError: the module is not there.
    """
    if experiment.run.deterministic:
        tf.config.experimental.enable_op_determinism()
    replicas = strategy.num_replicas_in_sync
    batch_size, pieces = experiment.options.batch_size, experiment.options.accumulate
    compiles = strategies.jit_compiles(jit_compile, strategy, pieces)
    if batch_size % replicas:
        raise config.ConfigError(
            "`options.batch_size` must be divisible by the number of replicas. "
            f"Received: batch_size={batch_size}, replicas={replicas}. Choose a "
            f"multiple of {replicas}, or --strategy=one_device."
        )
    shares = replicas * pieces
    if batch_size % shares:
        raise config.ConfigError(
            "`options.accumulate` must divide a replica's share of the batch. "
            f"Received: accumulate={pieces}, batch_size={batch_size}, replicas="
            f"{replicas}. Choose a divisor of {batch_size // replicas}."
        )
    with strategy.scope():
        gan = experiment.build_gan()
    for task in gan.tasks:
        task.check(batch_size // shares, shares)
    gan.jit_compile = compiles
    if warm and experiment.run.warm_start is not None:
        weights = warm_start.read(experiment.run.warm_start)
        # Each worker reads its own copy.
        digest = weights.metadata["weights_sha256"]
        strategies.Workers(strategy).check_same(
            f"run_config.warm_start = {experiment.run.warm_start!r}, weights {digest}"
        )
        with strategy.scope():
            warm_start.start(gan, weights)
    return gan


def train(
    gan: GAN,
    experiment: config.Experiment,
    run: RunDir,
    *,
    start_up: StartUp,
    data_dir: str | None = None,
) -> None:
    """Trains to `options.training_steps`, from the last checkpoint if there is one.

    Without one it starts from the weights that the GAN has.

    Writes checkpoints, the operative config, summaries and sample grids into the run
    directory, exports the last checkpoint and marks the run as done. All workers call
    this; the chief writes.

    Args:
        gan: made by `build`.
        experiment: what to train.
        run: where to keep it.
        start_up: the parts of this start so far.
        data_dir: folder of prepared TFDS data sets, or None for TFDS's default.

    Raises:
        ValueError: the last checkpoint does not fit the GAN or the configuration.
        Diverged: a loss or weight is not finite, and `run_config.on_nan` says stop.
        OSError: another process trains in the run directory, or it cannot be written.
    """
    workers = strategies.Workers(gan.distribute_strategy)
    last_step, data = experiment.options.training_steps, None
    if max(run.checkpoints.steps(), default=0) < last_step:
        # What is missing must show before the run directory is made.
        data = _open_data(experiment, data_dir)
    with run.claimed() if workers.is_chief else contextlib.nullcontext():
        step = _resume(gan, run, workers)
        if step is not None:
            logging.info("continuing from %s", run.checkpoints.prefix(step))
        _check_step(gan.step, experiment)
        if gan.step < last_step:
            data = data or _open_data(experiment, data_dir)
            if workers.is_chief:
                run.write_config(config.operative_config(), gan.step)
                run.write_environment(environment.facts(), gan.step)
                if experiment.spec.folder:
                    run.note_folder(folders.state(experiment.dataset))
                run.train_done.unlink(missing_ok=True)
            start_up.done("data")
            _fit(gan, experiment, run, workers, data, start_up)
        if workers.is_chief:
            export_checkpoint(experiment, run, gan.step)
            run.train_done.touch()
        # What the others ask for next is there.
        workers.wait()


def _open_data(experiment: config.Experiment, data_dir: str | None):
    """Images and labels of the training split, as `datasets.open_split` gives them."""
    images, labels = datasets.open_split(experiment.dataset, "train", data_dir)
    if experiment.label_file:
        labels = datasets.read_labels(
            experiment.label_file, len(labels), experiment.spec.num_classes
        )
    if experiment.label_fraction < 1:
        labels = datasets.keep_labels(
            labels, experiment.label_fraction, experiment.run.seed
        )
    return images, labels


def _resume(gan: GAN, run: RunDir, workers: strategies.Workers) -> int | None:
    """Gives all workers the state of the checkpoint that the chief chooses."""
    step = run.checkpoints.restore_latest(gan) if workers.is_chief else None
    (step,) = workers.from_chief([-1 if step is None else step])
    if step < 0:
        return None
    if not workers.is_chief:
        if step not in run.checkpoints.steps():
            raise FileNotFoundError(
                "All workers must see the same `--model_dir`, on a file system that "
                f"they share. Received: model_dir={run.path}, where the chief has a "
                f"checkpoint of step {step} and this worker has none. Mount the same "
                "folder on all hosts."
            )
        run.checkpoints.restore(gan, step)
    return step


def _check_step(step: int, experiment: config.Experiment) -> None:
    """Refuses to continue from a step that the configuration cannot reach."""
    loop = experiment.run.iterations_per_loop
    last = experiment.options.training_steps
    if step % loop or step > last:
        raise config.ConfigError(
            "A run continues from a multiple of `run_config.iterations_per_loop`, up "
            f"to `options.training_steps`. Received: step={step}, iterations_per_loop="
            f"{loop}, training_steps={last}. Go back to the former values."
        )


def _fit(gan, experiment, run, workers, data, start_up) -> None:
    """Trains to the last step, going back to a checkpoint where the config says so."""
    settings = experiment.run
    last_step = experiment.options.training_steps
    with contextlib.ExitStack() as stack:
        save = callbacks.SaveCheckpoints(run.checkpoints, workers, settings)
        on_signal = callbacks.SaveOnSignal(save, workers)
        everyone = [save, on_signal]
        if workers.is_chief:
            writer = tf.summary.create_file_writer(str(run.tensorboard))
            stack.enter_context(contextlib.closing(writer))
            grids = callbacks.SampleGrid(
                run, writer, settings.seed, settings.save_checkpoints_steps
            )
            everyone = [
                callbacks.Progress(last_step),
                callbacks.FirstSteps(start_up, settings.iterations_per_loop, last_step),
                callbacks.Scalars(writer, settings.save_summary_steps),
                callbacks.SingularValues(writer, settings.save_checkpoints_steps),
                grids,
                *everyone,
            ]
        stack.enter_context(on_signal.listening())
        last_good, tries = None, 0
        while gan.step < last_step:
            stream = _stream(gan, experiment, *data)
            logging.info(
                "training %s: steps %d to %d, %d replicas",
                run.path,
                gan.step,
                last_step,
                gan.distribute_strategy.num_replicas_in_sync,
            )
            try:
                gan.fit(
                    stream,
                    steps_per_epoch=last_step - gan.step,
                    shuffle=False,
                    verbose=0,
                    callbacks=everyone,
                )
            except Diverged as error:
                if settings.on_nan == "stop":
                    raise
                step = _resume(gan, run, workers)
                tries = tries + 1 if step == last_good else 1
                if step is None or tries > _MAX_ROLLBACKS:
                    raise
                last_good = step
                # What the checkpoint holds is the same whenever it is restored.
                gan.rollbacks.assign(gan.rollbacks.numpy() + tries)
                logging.warning("%s Back to step %d.", error, step)
        on_signal.end_if_asked()


def _stream(gan, experiment, images, labels):
    """The batches from the GAN's step on, dealt out to the replicas.

    By default a strategy copies the next element to each device while the step runs
    (`experimental_fetch_to_device`, one element per replica); the stream itself is some
    elements ahead of that on the host.
    """
    options, step = experiment.options, gan.step
    rollbacks = int(gan.rollbacks.numpy())

    def stream(input_context: tf.distribute.InputContext) -> tf.data.Dataset:
        return datasets.training_dataset(
            images,
            labels,
            batch_size=options.batch_size,
            seed=experiment.run.seed,
            d_steps=options.disc_iters,
            start_step=step,
            rollbacks=rollbacks,
            flip=experiment.flip,
            input_context=input_context,
        )

    return gan.distribute_strategy.distribute_datasets_from_function(stream)


def load_run(model_dir: str) -> tuple[config.Experiment, RunDir]:
    """A run directory and the experiment that its latest operative config describes.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    run = RunDir(model_dir)
    config.parse([str(run.latest_config())])
    return config.experiment(), run


def export_checkpoint(
    experiment: config.Experiment,
    run: RunDir,
    step: int,
    path: str | os.PathLike | None = None,
    *,
    weights: str | None = None,
    fine_tunable: bool = False,
    table: ScoreTable | None = None,
) -> pathlib.Path:
    """Exports a checkpoint.

    Args:
        experiment: what was trained.
        run: where the checkpoint lies.
        step: int. Which checkpoint.
        path: folder of the module; None is `tfhub/<step>` of the run, where a module
            that is there and newer than the checkpoint stays.
        weights: "ema" or "raw": which weights of G; None: the average where one is
            kept.
        fine_tunable: see `exporting.export`.
        table: the scores that the module's metadata repeat, where they are of its
            weights; None: no scores.

    Returns:
        The folder of the module.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        OSError: the module cannot be written there.
        ValueError: the run has kept no average, and that is asked for; or the module
            of the run itself is to be another one than training exports.
    """
    run.check_step(step)
    how = {"weights": weights, "fine_tunable": fine_tunable, "table": table}
    if path is not None:
        _export(experiment, run, step, pathlib.Path(path), **how)
        return pathlib.Path(path)
    if weights is not None or fine_tunable:
        raise ValueError(
            "A module with other weights, or one for fine-tuning, must have a folder "
            f"of its own. Received: weights={weights}, fine_tunable={fine_tunable}, "
            f"and {run.module(step)}, which is scored. Name an --output_dir."
        )
    # A training and its evaluation may want the same module at the same time.
    with files.locked(run.path):
        if not run.has_module(step):
            _export(experiment, run, step, run.module(step), **how)
    return run.module(step)


def _export(
    experiment,
    run: RunDir,
    step: int,
    path: pathlib.Path,
    *,
    weights: str | None,
    fine_tunable: bool,
    table: ScoreTable | None,
) -> None:
    exporting.check_target(path)
    # Networks cost more than a look.
    run.checkpoints.check_whole(step)
    # Whoever loads a module wants its numbers, not the speed of the training.
    gan = experiment.build_gan(precision="float32")
    weights = weights or ("raw" if gan.average is None else "ema")
    generator = {"raw": gan.generator, "ema": gan.average}[weights]
    if generator is None:
        raise ValueError(
            "Averaged weights must have been kept in training. Received: weights=ema "
            f"and {run.path}, which kept none (ModularGAN.g_use_ema = False). Export "
            "weights=raw."
        )
    run.checkpoints.restore(gan, step)
    batch_norm = exporting.use_standing_moments(
        generator, gan.latents, experiment.standing_examples, experiment.run.seed
    )
    scores = []
    if table is not None:
        digest = exporting.hash_weights(generator, gan.discriminator)
        scores = _scores_of(table, step, digest)
    exporting.export(
        generator,
        gan.discriminator,
        gan.latents,
        path,
        {
            "step": step,
            "dataset": experiment.dataset,
            "weights": weights,
            "batch_norm": batch_norm,
            "config": config.operative_config(),
            "scores": scores,
        },
        fine_tunable=fine_tunable,
    )


def _scores_of(table: ScoreTable, step: int, weights: str) -> list[dict]:
    """All scores of a module, one dict for each protocol; a number for each seed."""
    return [
        {
            "values": {
                name.removesuffix("_list"): json.loads(numbers)
                for name, numbers in row.items()
                if name.endswith("_list") and numbers
            },
            "protocol": row["protocol"],
            "versions": row["versions"],
        }
        for row in table.rows()
        if (row["step"], row["weights_sha256"]) == (str(step), weights)
    ]


def evaluate(
    experiment: config.Experiment,
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
        module = exporting.load(path, scorer.strategy)
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
            metadata = exporting.read_metadata(path)
            table.add(
                step,
                run.checkpoints.prefix(step),
                found,
                scorer.protocol(metadata),
                metadata["config"],
                metadata["weights_sha256"],
                scorer.metrics,
            )
            callbacks.show_scores(
                run.score_summaries(scorer.protocol(metadata)), step, found
            )
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
    metadata = exporting.read_metadata(path)
    protocol = scorer.protocol(metadata)
    return not table.has(step, protocol, metadata["weights_sha256"], scorer.metrics)


@functools.cache
def _warn_once(message: str) -> None:
    # Who polls would say it again and again.
    logging.warning("%s", message)


def evaluate_continuously(
    experiment: config.Experiment,
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
    experiment: config.Experiment,
    run: RunDir,
    *,
    start_up: StartUp,
    schedule: str,
    get_strategy: Callable[[], tf.distribute.Strategy],
    jit_compile: str,
    how: Scoring,
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
        how: `Scoring`. How to score, and where the data sets are.
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
            f"--eval_every_steps={eval_every_steps} --metrics={','.join(how.metrics)} "
            f"--split={how.split} --num_fakes={how.num_fakes} "
            f"--num_eval_averaging_runs={how.num_runs}, under TensorFlow "
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
            scorer = ModuleScorer(experiment.dataset, how, strategy=strategy)
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
        train(gan, experiment, run, start_up=start_up, data_dir=how.data_dir)
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
