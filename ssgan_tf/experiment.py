"""A whole experiment, top to bottom: train, export, score."""

import os
import time

import tensorflow as tf
from absl import logging

from ssgan_tf import callbacks, config, datasets, exporting, strategies
from ssgan_tf.gan import GAN
from ssgan_tf.run_dir import RunDir, checkpoint_of
from ssgan_tf.scoring import ModuleScorer, ScoreTable

POLL_SECONDS = 10.0


def build(experiment: config.Experiment, strategy: tf.distribute.Strategy) -> GAN:
    """The GAN under a strategy, after checking that the batch can be shared out.

    Raises:
        ValueError: the replicas or the rotations do not divide the batch.
    """
    replicas = strategy.num_replicas_in_sync
    batch_size = experiment.options.batch_size
    if batch_size % replicas:
        raise config.ConfigError(
            "`options.batch_size` must be divisible by the number of replicas. "
            f"Received: batch_size={batch_size}, replicas={replicas}."
        )
    try:
        with strategy.scope():
            gan = experiment.build_gan()
    except RuntimeError as error:
        if "Required bindings" not in str(error):
            raise
        raise config.missing_parameter(error) from error
    if gan.rotation_task is not None:
        gan.rotation_task.num_rotated(batch_size // replicas, replicas)
    return gan


def train(
    experiment: config.Experiment,
    run: RunDir,
    *,
    strategy: tf.distribute.Strategy,
    data_dir: str | None = None,
    allow_config_change: bool = False,
) -> None:
    """Trains to `options.training_steps`, from the last checkpoint if there is one.

    Writes checkpoints, the operative config, summaries and sample grids into the run
    directory, exports the last checkpoint and marks the run as done.

    Args:
        experiment: what to train.
        run: where to keep it.
        strategy: where to compute it.
        data_dir: folder of prepared TFDS data sets, or None for TFDS's default.
        allow_config_change: continue a run that was started with another
            configuration.

    Raises:
        config.ConfigError: the run directory holds a run with another configuration.
    """
    settings, options = experiment.run, experiment.options
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    images, labels = datasets.load_split(experiment.dataset, "train", data_dir)
    gan = build(experiment, strategy)
    operative = config.operative_config()
    if not allow_config_change:
        run.check_config(operative)

    checkpoint = checkpoint_of(gan)
    manager = tf.train.CheckpointManager(
        checkpoint,
        str(run.checkpoints),
        max_to_keep=settings.keep_checkpoint_max,
        checkpoint_name="ckpt",
    )
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
        logging.info("continuing from %s", manager.latest_checkpoint)
    step = int(gan.step)
    if step < options.training_steps:
        run.train_done.unlink(missing_ok=True)
        run.write_config(operative, step)
        _fit(gan, experiment, run, manager, strategy, images, labels)
    export_checkpoint(experiment, run, int(gan.step))
    run.train_done.touch()


def _fit(gan, experiment, run, manager, strategy, images, labels) -> None:
    settings, options = experiment.run, experiment.options
    step = int(gan.step)

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

    writer = tf.summary.create_file_writer(str(run.tensorboard))
    logging.info(
        "training %s: steps %d to %d, %d replicas",
        run.path,
        step,
        options.training_steps,
        strategy.num_replicas_in_sync,
    )
    gan.fit(
        strategy.distribute_datasets_from_function(stream),
        steps_per_epoch=options.training_steps - step,
        shuffle=False,
        verbose=0,
        callbacks=[
            callbacks.Progress(options.training_steps),
            callbacks.Scalars(writer, settings.save_summary_steps),
            callbacks.SampleGrid(
                run, writer, settings.seed, settings.save_checkpoints_steps
            ),
            callbacks.Checkpoints(manager, settings.save_checkpoints_steps),
        ],
    )
    writer.close()


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
) -> exporting.LoadedModule:
    """Exports a checkpoint and loads the module back.

    Args:
        experiment: what was trained.
        run: where the checkpoint lies.
        step: int. Which checkpoint.
        path: folder of the module; by default `tfhub/<step>` of the run.

    Raises:
        FileNotFoundError: there is no such checkpoint.
    """
    prefix = run.checkpoint(step)
    path = run.module(step) if path is None else path
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    gan = experiment.build_gan()
    checkpoint_of(gan).restore(prefix).assert_existing_objects_matched()
    exporting.export(
        gan.sampler,
        gan.discriminator,
        gan.latents,
        path,
        {
            "step": step,
            "dataset": experiment.dataset,
            "weights": "raw" if gan.average is None else "ema",
            "config": config.operative_config(),
        },
    )
    return exporting.load(path)


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
        if run.module(step).is_dir():
            module = exporting.load(run.module(step))
        else:
            module = export_checkpoint(experiment, run, step)
        protocol = scorer.protocol(module.metadata)
        if table.has(step, protocol):
            continue
        start = time.monotonic()
        values = scorer.score(module)
        table.add(
            step, run.checkpoint(step), values, protocol, module.metadata["config"]
        )
        logging.info("step %d scored in %.0f s", step, time.monotonic() - start)


def train_and_evaluate(
    experiment: config.Experiment,
    run: RunDir,
    *,
    schedule: str,
    strategy_name: str,
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
        schedule: "train"; "eval_after_train": train, then score the checkpoints;
            "continuous_eval": score the checkpoints of a training that another
            process runs, until it is done.
        strategy_name: as `strategies.get_strategy` takes it.
        data_dir: folder of prepared TFDS data sets, or None.
        inception_path: see `ModuleScorer`.
        num_eval_averaging_runs: int. Sets of fakes per checkpoint.
        eval_every_steps: int. See `evaluate`.
        score_filename: name of the table in the run directory.
        allow_config_change: see `train`.
    """
    scorer = None
    table = ScoreTable(run.path / score_filename)
    if schedule != "train":
        # Before training: a missing feature network must not show after days.
        scorer = ModuleScorer(
            experiment.dataset,
            num_runs=num_eval_averaging_runs,
            data_dir=data_dir,
            inception_path=inception_path,
        )
    if schedule == "continuous_eval":
        while True:
            done = run.train_done.exists()
            evaluate(experiment, run, scorer, table, every_steps=eval_every_steps)
            if done:
                return
            time.sleep(POLL_SECONDS)
    train(
        experiment,
        run,
        strategy=strategies.get_strategy(strategy_name),
        data_dir=data_dir,
        allow_config_change=allow_config_change,
    )
    if scorer is not None:
        evaluate(experiment, run, scorer, table, every_steps=eval_every_steps)
