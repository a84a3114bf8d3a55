"""A whole experiment, top to bottom: train, export, score."""

import contextlib

import tensorflow as tf
from absl import logging

from ssgan_tf import config, datasets
from ssgan_tf.datasets import folders
from ssgan_tf.gan import GAN, Diverged
from ssgan_tf.training import callbacks, warm_start
from ssgan_tf.training.checkpoint_export import export_checkpoint
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import environment, strategies
from ssgan_tf.utils.startup import StartUp

_MAX_ROLLBACKS = 3


def build(
    experiment: config.Plan,
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
    experiment: config.Plan,
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


def _open_data(experiment: config.Plan, data_dir: str | None):
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


def _check_step(step: int, experiment: config.Plan) -> None:
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
