"""The training loop: builds the GAN, resumes, trains, exports the last checkpoint."""

import contextlib
import dataclasses

import tensorflow as tf
from absl import logging

from ssgan_tf import config, datasets
from ssgan_tf.datasets import folders
from ssgan_tf.gan import GAN
from ssgan_tf.training import callbacks, warm_start
from ssgan_tf.training.checkpoint_export import export_checkpoint
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import environment, strategies
from ssgan_tf.utils.startup import StartUp
from ssgan_tf.utils.step_model import Diverged

_MAX_ROLLBACKS = 3


def build(
    plan: config.Plan,
    strategy: tf.distribute.Strategy,
    jit_compile: str = "auto",
    *,
    warm: bool = True,
) -> GAN:
    """Builds the GAN under a strategy. All workers call this.

    Args:
        plan: the configuration.
        strategy: where the GAN lives.
        jit_compile: see `strategies.jit_compiles`.
        warm: bool. Whether to start from the module `run_config.warm_start`, if there
            is one. A checkpoint that is restored afterwards needs no module.

    Raises:
        ValueError: a value of the configuration cannot be used; the replicas or the
            rotations do not divide the batch; the module does not fit the networks, or
            workers read different modules.
        OSError: the module does not exist.
    """
    if plan.run.deterministic:
        tf.config.experimental.enable_op_determinism()
    replicas = strategy.num_replicas_in_sync
    batch_size, pieces = plan.options.batch_size, plan.options.accumulate
    compiles = strategies.jit_compiles(jit_compile, strategy, pieces)
    shares = replicas * pieces
    if batch_size % shares:
        raise config.ConfigError(
            "`options.batch_size` must be a multiple of the number of replicas times "
            f"`options.accumulate`. Received: accumulate={pieces}, batch_size="
            f"{batch_size}, replicas={replicas}. Choose a multiple of {shares}, or "
            "--strategy=one_device."
        )
    with strategy.scope():
        gan = dataclasses.replace(plan, jit_compile=compiles).build_gan()
    gan.check_batch(batch_size, shares)
    if warm and plan.run.warm_start is not None:
        weights = warm_start.read(plan.run.warm_start)
        # Each worker reads its own copy.
        digest = weights.metadata["weights_sha256"]
        strategies.Workers(strategy).check_same(
            f"run_config.warm_start = {plan.run.warm_start!r}, weights {digest}"
        )
        with strategy.scope():
            warm_start.start(gan, weights)
    return gan


def train(
    gan: GAN,
    plan: config.Plan,
    run: RunDir,
    *,
    start_up: StartUp,
    data_dir: str | None = None,
) -> None:
    """Trains to `options.training_steps`, from the last checkpoint if there is one.

    Writes checkpoints, the operative config, summaries and sample grids into the run
    directory, exports the last checkpoint and marks the run as done. All workers call
    this; the chief writes.

    Args:
        gan: made by `build`.
        plan: the configuration.
        run: the run directory.
        start_up: the parts of this start so far.
        data_dir: folder of prepared TFDS data sets, or None for TFDS's default.

    Raises:
        ValueError: the last checkpoint does not fit the GAN or the configuration.
        Diverged: a loss or weight is not finite, and `run_config.on_nan` is "stop".
        OSError: another process trains in the run directory, or it cannot be written.
    """
    workers = strategies.Workers(gan.distribute_strategy)
    last_step, data = plan.options.training_steps, None
    if max(run.checkpoints.steps(), default=0) < last_step:
        # Fail on missing data before the run directory is made.
        data = _open_data(plan, data_dir)
    with run.claimed() if workers.is_chief else contextlib.nullcontext():
        step = _resume(gan, run, workers)
        if step is not None:
            logging.info("continuing from %s", run.checkpoints.prefix(step))
        loop = plan.run.iterations_per_loop
        if gan.step % loop or gan.step > last_step:
            raise config.ConfigError(
                "A run continues from a multiple of `run_config.iterations_per_loop`, "
                f"up to `options.training_steps`. Received: step={gan.step}, "
                f"iterations_per_loop={loop}, training_steps={last_step}. Restore the "
                "former values."
            )
        if gan.step < last_step:
            data = data or _open_data(plan, data_dir)
            if workers.is_chief:
                run.write_config(config.operative_config(), gan.step)
                run.write_environment(environment.facts(), gan.step)
                if plan.spec.folder:
                    run.note_folder(folders.state(plan.dataset))
                run.train_done.unlink(missing_ok=True)
            start_up.done("data")
            _fit(gan, plan, run, data=data, workers=workers, start_up=start_up)
        if workers.is_chief:
            export_checkpoint(plan, run, gan.step)
            run.train_done.touch()
        # The other workers read these files next.
        workers.wait()


def _open_data(plan: config.Plan, data_dir: str | None):
    """Images and labels of the training split, as `datasets.open_split`."""
    images, labels = datasets.open_split(plan.dataset, "train", data_dir)
    if plan.data.label_file:
        labels = datasets.read_labels(
            plan.data.label_file, len(labels), plan.spec.num_classes
        )
    if plan.data.label_fraction < 1:
        labels = datasets.keep_labels(labels, plan.data.label_fraction, plan.run.seed)
    return images, labels


def _resume(gan: GAN, run: RunDir, workers: strategies.Workers) -> int | None:
    """Restores on all workers the checkpoint that the chief chooses.

    Returns:
        Its step; None without checkpoints.
    """
    step = run.checkpoints.restore_latest(gan.parts) if workers.is_chief else None
    (step,) = workers.from_chief([-1 if step is None else step])
    if step < 0:
        return None
    if not workers.is_chief:
        if step not in run.checkpoints.steps():
            raise FileNotFoundError(
                "All workers must share `--model_dir` on one file system. In "
                f"{run.path} the chief has a checkpoint of step {step} and this worker "
                "none. Mount the same folder on all hosts."
            )
        run.checkpoints.restore(step, gan.parts)
    return step


def _fit(gan: GAN, plan: config.Plan, run: RunDir, *, data, workers, start_up) -> None:
    """Trains to the last step; goes back to a checkpoint if the plan says so."""
    settings, last_step = plan.run, plan.options.training_steps
    save = callbacks.SaveCheckpoints(run.checkpoints, workers, settings)
    on_signal = callbacks.SaveOnSignal(save, workers)
    all_callbacks = [save, on_signal]
    with contextlib.ExitStack() as stack:
        if workers.is_chief:
            writer = tf.summary.create_file_writer(str(run.tensorboard))
            stack.enter_context(contextlib.closing(writer))
            interval = settings.save_checkpoints_steps
            all_callbacks = [
                callbacks.Progress(start_up, last_step),
                callbacks.Scalars(writer, settings.save_summary_steps),
                callbacks.SingularValues(writer, interval),
                callbacks.SampleGrid(
                    run.samples, writer, seed=settings.seed, interval=interval
                ),
                *all_callbacks,
            ]
        stack.enter_context(on_signal.listening())
        last_good, tries = None, 0
        while gan.step < last_step:
            logging.info(
                "training %s: steps %d to %d, %d replicas",
                run.path,
                gan.step,
                last_step,
                gan.distribute_strategy.num_replicas_in_sync,
            )
            try:
                gan.fit(
                    _stream(gan, plan, *data),
                    steps_per_epoch=last_step - gan.step,
                    shuffle=False,
                    verbose=0,
                    callbacks=all_callbacks,
                )
            except Diverged as error:
                if settings.on_nan == "stop":
                    cure = 'run_config.on_nan = "rollback" does the last by itself.'
                    raise Diverged(f"{error} {cure}") from error
                step = _resume(gan, run, workers)
                tries = tries + 1 if step == last_good else 1
                if step is None or tries > _MAX_ROLLBACKS:
                    raise
                last_good = step
                # The checkpoint holds the same number at each restore.
                gan.rollbacks.assign(gan.rollbacks.numpy() + tries)
                logging.warning("%s Back to step %d.", error, step)
        on_signal.end_if_asked()


def _stream(gan: GAN, plan: config.Plan, images, labels):
    """The batches from the GAN's step on, distributed to the replicas.

    By default a strategy copies the next element to each device while the step runs
    (`experimental_fetch_to_device`, one element per replica). The stream itself runs
    some elements ahead of that on the host.
    """
    options, step = plan.options, gan.step
    rollbacks = int(gan.rollbacks.numpy())
    return gan.distribute_strategy.distribute_datasets_from_function(
        lambda context: datasets.training_dataset(
            images,
            labels,
            batch_size=options.batch_size,
            seed=plan.run.seed,
            d_steps=options.disc_iters,
            start_step=step,
            rollbacks=rollbacks,
            flip=plan.data.flip,
            input_context=context,
        )
    )
