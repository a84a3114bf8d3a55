"""Callbacks of training: checkpoints, signals, TensorBoard, sample grids, progress.

All of them count generator steps, `gan.step`: a resumed run continues in phase.
"""

import contextlib
import pathlib
import signal
import threading
import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf.config import RunConfig
from ssgan_tf.randomness import SAMPLING_STREAM
from ssgan_tf.training.checkpoints import Checkpoints
from ssgan_tf.utils import pictures
from ssgan_tf.utils.machine import memory
from ssgan_tf.utils.progress import LOG_SECONDS, clock, terminal_bar
from ssgan_tf.utils.startup import StartUp
from ssgan_tf.utils.strategies import Workers

GRID_SIZE = 8
# Seconds after the first call until the forecast; a shorter run has none.
FORECAST_SECONDS = 2.0


class _EverySteps(keras.callbacks.Callback):
    """Calls `act(step, logs)` of a subclass at multiples of `interval`, and at 0."""

    def __init__(self, interval: int):
        super().__init__()
        self.interval = interval

    def on_train_begin(self, logs=None):
        # A resumed run did this before it was interrupted.
        if self.model.step == 0:
            self.act(0, {})

    def on_train_batch_end(self, batch, logs=None):
        step = self.model.step
        if step % self.interval == 0:
            self.act(step, logs)


class SaveCheckpoints(_EverySteps):
    """Saves all state of the run, if it is finite; the chief writes it.

    Args:
        checkpoints: `Checkpoints` of the run.
        workers: `Workers`. All of them must have this callback.
        settings: `config.RunConfig`, with the intervals and the number to keep.
    """

    def __init__(self, checkpoints: Checkpoints, workers: Workers, settings: RunConfig):
        super().__init__(settings.save_checkpoints_steps)
        self.checkpoints = checkpoints
        self.workers = workers
        self.settings = settings

    def on_train_begin(self, logs=None):
        # A run that goes back to step 0 keeps its checkpoint.
        if self.model.step == 0 and not self.checkpoints.steps():
            self.act(0, {})

    def act(self, step, logs):
        # All workers hold the same numbers: all or none of them raise.
        self.model.check_finite()
        if self.workers.is_chief:
            self.checkpoints.save(step, self.model.parts)
            self.checkpoints.keep(
                self.settings.keep_checkpoint_max,
                self.settings.keep_checkpoint_every_steps,
            )

    def on_train_end(self, logs=None):
        step = self.model.step
        if step % self.interval:
            self.act(step, logs)


class SaveOnSignal(keras.callbacks.Callback):
    """Ends the process on SIGTERM or SIGINT, after the running steps and a checkpoint.

    The exit code is 128 + the signal: 143 or 130. A second signal ends it at once. A
    signal to one of several workers ends all of them, after the same step.

    Example:

        on_signal = SaveOnSignal(save, workers)
        with on_signal.listening():
            gan.fit(..., callbacks=[save, on_signal])
            on_signal.end_if_asked()  # A signal may arrive after the last step.

    Args:
        save: `SaveCheckpoints`.
        workers: `Workers`. All of them must have this callback.
    """

    def __init__(self, save: SaveCheckpoints, workers: Workers):
        super().__init__()
        self.save = save
        self.workers = workers
        self._received = dict.fromkeys((signal.SIGTERM, signal.SIGINT), False)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Catches the signals, for a `with` block around training."""
        # Python hands signals to the main thread only.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in self._received}

        def receive(number, frame):
            self._received[number] = True
            # Python runs its handlers only between two calls of TensorFlow.
            for handled in before:
                signal.signal(handled, signal.SIG_DFL)

        for number in before:
            signal.signal(number, receive)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_batch_end(self, batch, logs=None):
        self.end_if_asked()

    def end_if_asked(self) -> None:
        """Saves and ends the process if a worker has received a signal.

        Raises:
            SystemExit: a worker has received one.
        """
        received = self.workers.add([*self._received.values()])
        if not received.any():
            return
        number = [*self._received][received.argmax()]
        # Saves nothing if the step was due and has just been saved.
        self.save.on_train_end()
        self.workers.wait()
        logging.info(
            "%s: step %d saved; the same command continues from there",
            number.name,
            self.model.step,
        )
        raise SystemExit(128 + number)


class Scalars(_EverySteps):
    """Writes the scalars of the train step to TensorBoard.

    Each point is the mean over the steps of one call (`iterations_per_loop`).

    Args:
        writer: `tf.summary.SummaryWriter`.
        interval: int. Steps between points.
    """

    def __init__(self, writer: tf.summary.SummaryWriter, interval: int):
        super().__init__(interval)
        self.writer = writer

    def act(self, step, logs):
        # Not the default writer: `tf.summary` in a user's task would write too.
        with self.writer.as_default(step):
            for name, value in logs.items():
                tf.summary.scalar(name, value)


def singular_values(network: keras.Model) -> dict[str, float]:
    """The largest singular value of every kernel, as it is stored, by layer.

    A kernel is taken as the matrix of `SpectralNorm`: its last axis against all others.
    The divisor of a spectrally normalized layer is close to the value.

    Args:
        network: `keras.Model`, built.

    Returns:
        One number per weight called `kernel`, in the network's order, under the path
        of its layer: `B1/up_conv1`. NaN where a kernel is not finite.
    """
    kernels = {
        weight.path.removeprefix(f"{network.name}/").removesuffix("/kernel"): weight
        for weight in network.weights
        if weight.name == "kernel"
    }
    return {
        layer: _largest_singular_value(keras.ops.convert_to_numpy(kernel))
        for layer, kernel in kernels.items()
    }


def _largest_singular_value(kernel: np.ndarray) -> float:
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    rows, columns = matrix.shape
    # Both products have the same nonzero eigenvalues, which cost less than an SVD.
    gram = matrix @ matrix.T if rows < columns else matrix.T @ matrix
    if not np.isfinite(gram).all():
        return float("nan")
    # Rounding may turn 0 into a small negative number.
    return float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0)))


class SingularValues(Scalars):
    """Writes the `singular_values` of both networks in the same way.

    The tags are `sigma/d/<layer>` and `sigma/g/<layer>`.
    """

    def act(self, step, logs):
        networks = {"d": self.model.discriminator, "g": self.model.generator}
        values = {
            f"sigma/{player}/{layer}": value
            for player, network in networks.items()
            for layer, value in singular_values(network).items()
        }
        super().act(step, values)


def grid_labels(num_classes: int) -> np.ndarray | None:
    """Labels of a conditional GAN's grid: row r shows class r % num_classes.

    Args:
        num_classes: int. 0 for an unconditional GAN. Only the first 8 classes are
            shown.

    Returns:
        int32, `(64,)`, row by row; None without classes.
    """
    if not num_classes:
        return None
    classes = np.arange(GRID_SIZE, dtype=np.int32) % num_classes
    return np.repeat(classes, GRID_SIZE)


class SampleGrid(_EverySteps):
    """Draws 64 images from the same noise at intervals, as PNG and in TensorBoard.

    They equal `LoadedModule.sample(64, seed, grid_labels(num_classes))` of the exported
    module, with one class per row if the GAN is conditional. (An export with standing
    moments differs: its moments are computed after training.)

    Args:
        folder: receives the PNG files.
        writer: `tf.summary.SummaryWriter`. Writes them to TensorBoard too.
        seed: int. Seed of the noise.
        interval: int. Steps between grids.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        writer: tf.summary.SummaryWriter,
        *,
        seed: int,
        interval: int,
    ):
        super().__init__(interval)
        self.folder = folder
        self.writer = writer
        self.seed = seed

    def set_model(self, model):
        super().set_model(model)
        labels = grid_labels(model.num_classes)
        self.labels = [] if labels is None else [tf.constant(labels)]
        self.sample = tf.function(
            lambda *inputs: model.sampler(*inputs, training=False)
        )

    def act(self, step, logs):
        latents = self.model.latents.sample(GRID_SIZE**2, [self.seed, SAMPLING_STREAM])
        samples = self.sample(latents, *self.labels).numpy()
        grid = pictures.grid(samples, columns=GRID_SIZE)
        pictures.write_png(self.folder / f"{step}.png", grid)
        with self.writer.as_default(step):
            tf.summary.image("fake_images", grid[None])
        self.writer.flush()


def peak_memory() -> str:
    """Describes the peak memory of this process and its GPUs so far."""
    parts = [memory()]
    for gpu in tf.config.list_logical_devices("GPU"):
        # Some allocators keep no count.
        with contextlib.suppress(ValueError):
            peak = tf.config.experimental.get_memory_info(gpu.name)["peak"]
            parts.append(f"{gpu.name.removeprefix('/device:')} {peak / 2**20:,.0f} MiB")
    return ", ".join(parts)


class Progress(keras.callbacks.Callback):
    """Logs the start, then shows steps per second, time left, losses and accuracies.

    On a terminal it is a bar; elsewhere log lines at intervals. Some seconds after the
    first call it also logs when the run will end, and the peak memory.

    Args:
        start_up: `StartUp`, whose last part is still running.
        total_steps: int. Generator steps at which the run ends.
        stream: stream of the bar; None is the standard error. If it is no terminal,
            lines are logged by `absl.logging` instead.
    """

    def __init__(self, start_up: StartUp, total_steps: int, stream=None):
        super().__init__()
        self.start_up = start_up
        self.total_steps = total_steps
        self.stream = stream
        self._is_started = self._has_forecast = False
        self._bar = None

    def on_train_begin(self, logs=None):
        # A run that goes back to a checkpoint begins again.
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def on_train_batch_end(self, batch, logs=None):
        now, step = time.monotonic(), self.model.step
        if not self._is_started:
            self._is_started = True
            num_steps = self.model.steps_per_execution
            self.start_up.done(f"compiling and {num_steps} step(s)")
            logging.info("first steps after %s", self.start_up)
        if self._bar is None:
            # The first call compiles, and would spoil the rate.
            self._first, self._logged = (now, step), now
            self._bar = terminal_bar(
                self.total_steps,
                "training",
                initial=step,
                unit=" steps",
                stream=self.stream,
            )
        start, first_step = self._first
        rate = (step - first_step) / max(now - start, 1e-9)
        steps_left = self.total_steps - step
        seconds_left = steps_left / rate if rate else 0
        is_due = now - start >= FORECAST_SECONDS and rate and steps_left
        if is_due and not self._has_forecast:
            self._has_forecast = True
            end = time.localtime(time.time() + seconds_left)
            logging.info(
                "%s steps left, about %s, until %s; %s",
                f"{steps_left:,}",
                clock(seconds_left),
                time.strftime("%b %d %H:%M", end),
                peak_memory(),
            )
        if not self._bar.disable:
            self._bar.set_postfix_str(", ".join(_in_words(logs)), refresh=False)
            self._bar.update(step - self._bar.n)
        elif now - self._logged >= LOG_SECONDS or not steps_left:
            self._logged = now
            parts = [f"step {step}/{self.total_steps}", f"{rate:.3g} steps/s"]
            parts += [f"ETA {clock(seconds_left)}", *_in_words(logs)]
            logging.info("%s", "  ".join(parts))

    def on_train_end(self, logs=None):
        self._bar.close()
        logging.info("%s", peak_memory())


def _in_words(logs: dict) -> list[str]:
    """The losses, and the rotation accuracies if there are any."""
    parts = [f"{name} {float(logs[name]):.3f}" for name in ("loss/d", "loss/g")]
    if "accuracy/rotation_real" in logs:
        real, fake = (
            float(logs[f"accuracy/rotation_{side}"]) for side in ("real", "fake")
        )
        parts.append(f"rotation accuracy real {real:.2f} fake {fake:.2f}")
    return parts
