"""A whole experiment, top to bottom: train, export, score."""

import contextlib
import os
import pathlib
import time

import tensorflow as tf
from absl import logging

from ssgan_tf import callbacks, config, datasets, exporting, files, strategies
from ssgan_tf.gan import GAN
from ssgan_tf.resources import StartUp
from ssgan_tf.run_dir import RunDir, checkpoint_of, restore
from ssgan_tf.scoring import ModuleScorer, ScoreTable

POLL_SECONDS = 10.0


def build(
    experiment: config.Experiment,
    strategy: tf.distribute.Strategy,
    jit_compile: str = "auto",
) -> GAN:
    """The GAN under a strategy, after checking that the batch can be shared out.

    Args:
        experiment: what the config says.
        strategy: where the GAN lives.
        jit_compile: see `strategies.jit_compiles`.

    Raises:
        ValueError: a value of the config cannot be used, or the replicas or the
            rotations do not divide the batch.
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

    Writes checkpoints, the operative config, summaries and sample grids into the run
    directory, exports the last checkpoint and marks the run as done.

    Args:
        gan: made by `build`.
        experiment: what to train.
        run: where to keep it.
        start_up: the parts of this start so far.
        data_dir: folder of prepared TFDS data sets, or None for TFDS's default.

    Raises:
        ValueError: the last checkpoint does not fit the GAN or the configuration.
    """
    steps = run.checkpoint_steps()
    if steps:
        restore(gan, run.checkpoint(steps[-1]))
        logging.info("continuing from %s", run.checkpoint(steps[-1]))
    step = gan.step
    _check_step(step, experiment)
    if step < experiment.options.training_steps:
        images, labels = datasets.open_split(experiment.dataset, "train", data_dir)
        if experiment.label_fraction < 1:
            labels = datasets.keep_labels(
                labels, experiment.label_fraction, experiment.run.seed
            )
        run.write_config(config.operative_config(), step)
        run.train_done.unlink(missing_ok=True)
        start_up.done("data")
        _fit(gan, experiment, run, images, labels, start_up)
    export_checkpoint(experiment, run, gan.step)
    run.train_done.touch()


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


def _fit(gan, experiment, run, images, labels, start_up) -> None:
    settings, options = experiment.run, experiment.options
    strategy = gan.distribute_strategy
    step = gan.step

    def stream(input_context: tf.distribute.InputContext) -> tf.data.Dataset:
        return datasets.training_dataset(
            images,
            labels,
            batch_size=options.batch_size,
            seed=settings.seed,
            d_steps=options.disc_iters,
            start_step=step,
            input_context=input_context,
        )

    manager = tf.train.CheckpointManager(
        checkpoint_of(gan),
        str(run.checkpoints),
        max_to_keep=settings.keep_checkpoint_max,
        checkpoint_name="ckpt",
    )
    logging.info(
        "training %s: steps %d to %d, %d replicas",
        run.path,
        step,
        options.training_steps,
        strategy.num_replicas_in_sync,
    )
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    with contextlib.closing(writer):
        gan.fit(
            # By default a strategy copies the next element to each device while the
            # step runs (`experimental_fetch_to_device`, one element per replica); the
            # stream itself is some elements ahead of that on the host.
            strategy.distribute_datasets_from_function(stream),
            steps_per_epoch=options.training_steps - step,
            shuffle=False,
            verbose=0,
            callbacks=[
                callbacks.Progress(options.training_steps),
                callbacks.FirstStep(start_up, settings.iterations_per_loop),
                callbacks.Scalars(writer, settings.save_summary_steps),
                callbacks.SampleGrid(
                    run, writer, settings.seed, settings.save_checkpoints_steps
                ),
                callbacks.Checkpoints(manager, settings.save_checkpoints_steps),
                callbacks.SaveOnSignal(manager),
            ],
        )


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
) -> pathlib.Path:
    """Exports a checkpoint.

    Args:
        experiment: what was trained.
        run: where the checkpoint lies.
        step: int. Which checkpoint.
        path: folder of the module; None is `tfhub/<step>` of the run, where a module
            that is there and newer than the checkpoint stays.

    Returns:
        The folder of the module.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        OSError: the module cannot be written there.
    """
    prefix = run.checkpoint(step)
    if path is not None:
        _export(experiment, prefix, step, pathlib.Path(path))
        return pathlib.Path(path)
    # A training and its evaluation may want the same module at the same time.
    with files.locked(run.path):
        if not run.has_module(step):
            _export(experiment, prefix, step, run.module(step))
    return run.module(step)


def _export(experiment, prefix: str, step: int, path: pathlib.Path) -> None:
    exporting.check_target(path)
    # Whoever loads a module wants its numbers, not the speed of the training.
    gan = experiment.build_gan(precision="float32")
    restore(gan, prefix)
    batch_norm = exporting.use_standing_moments(
        gan.sampler, gan.latents, experiment.standing_examples, experiment.run.seed
    )
    exporting.export(
        gan.sampler,
        gan.discriminator,
        gan.latents,
        path,
        {
            "step": step,
            "dataset": experiment.dataset,
            "weights": "raw" if gan.average is None else "ema",
            "batch_norm": batch_norm,
            "config": config.operative_config(),
        },
    )


def evaluate(
    experiment: config.Experiment,
    run: RunDir,
    scorer: ModuleScorer,
    table: ScoreTable,
    *,
    every_steps: int,
) -> None:
    """Scores every checkpoint that has no score yet, through its exported module.

    Args:
        experiment: what was trained.
        run: where its checkpoints lie.
        scorer: how to score.
        table: where the scores go.
        every_steps: int. Score checkpoints whose step it divides, and the one at the
            end of training; 0 scores all.
    """
    for step in run.checkpoint_steps():
        last = step == experiment.options.training_steps
        if every_steps and step % every_steps and not last:
            continue
        try:
            path = export_checkpoint(experiment, run, step)
        except (OSError, ValueError):
            if step in run.checkpoint_steps():
                raise
            logging.warning("step %d was deleted by the training before scoring", step)
            continue
        metadata = exporting.read_metadata(path)
        protocol = scorer.protocol(metadata)
        weights = metadata["weights_sha256"]
        if table.has(step, protocol, weights):
            continue
        start = time.monotonic()
        values = scorer.score(exporting.load(path))
        checkpoint = str(run.checkpoints / f"ckpt-{step}")
        table.add(step, checkpoint, values, protocol, metadata["config"], weights)
        logging.info("step %d scored in %.0f s", step, time.monotonic() - start)


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
    """
    operative = config.operative_config()
    while True:
        # Before evaluating: what is there when training is done gets its score.
        done = run.train_done.exists()
        if not allow_config_change:
            run.check_config(operative)
        evaluate(experiment, run, scorer, table, every_steps=every_steps)
        if done:
            return
        logging.log_every_n_seconds(logging.INFO, "waiting for %s", 600, run.train_done)
        time.sleep(POLL_SECONDS)


def train_and_evaluate(
    experiment: config.Experiment,
    run: RunDir,
    *,
    start_up: StartUp,
    schedule: str,
    strategy_name: str,
    jit_compile: str,
    data_dir: str | None,
    inception_path: str | None,
    num_eval_averaging_runs: int,
    eval_every_steps: int,
    score_filename: str,
    allow_config_change: bool,
) -> None:
    """Runs a schedule.

    Args:
        experiment: what the config says.
        run: the run directory.
        start_up: the parts of this start so far.
        schedule: "train"; "eval_after_train": train, then score the checkpoints;
            "continuous_eval": score the checkpoints of a training that another
            process runs, until it is done.
        strategy_name: as `strategies.get_strategy` takes it.
        jit_compile: as `strategies.jit_compiles` takes it.
        data_dir: folder of prepared TFDS data sets, or None.
        inception_path: see `ModuleScorer`.
        num_eval_averaging_runs: int. Sets of fakes per checkpoint.
        eval_every_steps: int. See `evaluate`.
        score_filename: name of the table in the run directory.
        allow_config_change: continue a run that was started with another
            configuration.

    Raises:
        ValueError: something cannot be used; nothing has been written.
        OSError: something is missing or cannot be written.
    """
    # Whatever is wrong must show here, not after days of training.
    run.check_usable()
    table = ScoreTable(run.path / score_filename)
    table.rows()
    strategy = strategies.get_strategy(strategy_name)
    gan = build(experiment, strategy, jit_compile)
    start_up.done("networks")
    if not allow_config_change:
        run.check_config(config.operative_config())
    scorer = None
    if schedule != "train":
        scorer = ModuleScorer(
            experiment.dataset,
            num_runs=num_eval_averaging_runs,
            data_dir=data_dir,
            inception_path=inception_path,
        )
    if schedule == "continuous_eval":
        evaluate_continuously(
            experiment,
            run,
            scorer,
            table,
            every_steps=eval_every_steps,
            allow_config_change=allow_config_change,
        )
        return
    train(gan, experiment, run, start_up=start_up, data_dir=data_dir)
    if scorer is not None:
        evaluate(experiment, run, scorer, table, every_steps=eval_every_steps)
