"""Small callbacks of a training run: checkpoints, TensorBoard, sample grids, progress.

All of them act on generator steps, `gan.step`, so a resumed run goes on in phase.
"""

import contextlib
import signal
import sys
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
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import pictures
from ssgan_tf.utils.machine import memory
from ssgan_tf.utils.progress import LOG_SECONDS, bar, clock
from ssgan_tf.utils.startup import StartUp
from ssgan_tf.utils.strategies import Workers

GRID_SIZE = 8


class _EverySteps(keras.callbacks.Callback):
    """Calls `act(step, logs)` at every multiple of `interval`, 0 included."""

    def __init__(self, interval: int):
        super().__init__()
        self.interval = interval

    def on_train_begin(self, logs=None):
        # A run that resumes has done this at the end of the one before.
        if self.model.step == 0:
            self.act(0, {})

    def on_train_batch_end(self, batch, logs=None):
        step = self.model.step
        if step % self.interval == 0:
            self.act(step, logs)

    def act(self, step, logs):
        raise NotImplementedError


class SaveCheckpoints(_EverySteps):
    """Saves all state of the run, if it is finite; the chief writes it.

    Args:
        checkpoints: `Checkpoints`. Where they go.
        workers: `Workers`. All of them must have this callback.
        settings: `config.RunConfig`. How often they are saved and how many are kept.
    """

    def __init__(self, checkpoints: Checkpoints, workers: Workers, settings: RunConfig):
        super().__init__(settings.save_checkpoints_steps)
        self.checkpoints = checkpoints
        self.workers = workers
        self.settings = settings

    def on_train_begin(self, logs=None):
        # One of step 0 that a run has gone back to stays as it was.
        if self.model.step == 0 and not self.checkpoints.steps():
            self.act(0, {})

    def act(self, step, logs):
        # All workers hold the same numbers, so that all or none of them go on.
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

    The exit code is 128 + the signal: 143 or 130. A second signal ends it at once,
    whatever it does. A signal to one of several workers ends all of them, after the
    same step.

    Example:

        on_signal = SaveOnSignal(save, workers)
        with on_signal.listening():
            gan.fit(..., callbacks=[save, on_signal])
            on_signal.end_if_asked()  # of a signal that came in the last moment

    Args:
        save: `SaveCheckpoints`. How to save.
        workers: `Workers`. All of them must have this callback.
    """

    def __init__(self, save: SaveCheckpoints, workers: Workers):
        super().__init__()
        self.save = save
        self.workers = workers
        self._received = dict.fromkeys((signal.SIGTERM, signal.SIGINT), False)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Catches the signals, for a block in which the callback is asked."""
        # Python hands signals to the main thread only.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in self._received}

        def receive(number, frame):
            self._received[number] = True
            # Python's handlers get no turn while TensorFlow computes.
            for each in before:
                signal.signal(each, signal.SIG_DFL)

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
        """Saves and ends the process if any worker has got a signal.

        Raises:
            SystemExit: one has.
        """
        received = self.workers.add([*self._received.values()])
        if not received.any():
            return
        number = [*self._received][received.argmax()]
        # A step that is due has just been saved.
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
        with self.writer.as_default(step):
            for name, value in self.values(logs or {}).items():
                tf.summary.scalar(name, value)

    def values(self, logs: dict) -> dict:
        """What is written, by tag."""
        return logs


def singular_values(network: keras.Model) -> dict[str, float]:
    """The largest singular value of every kernel, as it is stored, by layer.

    A kernel is the matrix that `SpectralNorm` takes it for: its last axis against all
    others. What a spectrally normalized layer divides by comes close to it.

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
    # Their eigenvalues are the same but for zeros, and cheaper than an SVD.
    gram = matrix @ matrix.T if rows < columns else matrix.T @ matrix
    if not np.isfinite(gram).all():
        return float("nan")
    # Rounding may leave a small negative number for 0.
    return float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0)))


class SingularValues(Scalars):
    """Writes `sigma/d/<layer>` and `sigma/g/<layer>` to TensorBoard.

    They are those of `singular_values`, of both networks.
    """

    def values(self, logs):
        networks = {"d": self.model.discriminator, "g": self.model.generator}
        return {
            f"sigma/{player}/{layer}": value
            for player, network in networks.items()
            for layer, value in singular_values(network).items()
        }


def grid_labels(num_classes: int) -> np.ndarray | None:
    """Labels of a conditional GAN's grid: row r shows class r % num_classes.

    Args:
        num_classes: int. 0 for an unconditional GAN. Of more than 8 classes the
            first 8 are shown.

    Returns:
        int32, `(64,)`, row by row; None without classes.
    """
    if not num_classes:
        return None
    classes = np.arange(GRID_SIZE, dtype=np.int32) % num_classes
    return np.repeat(classes, GRID_SIZE)


class SampleGrid(_EverySteps):
    """Draws 64 images from the same noise again and again, as PNG and in TensorBoard.

    They are those of `LoadedModule.sample(64, seed, grid_labels(num_classes))` of the
    exported module: one class per row where the GAN is conditional. (An export with
    standing moments differs: those are taken after training.)

    Args:
        run: `RunDir`. Where the pictures go.
        writer: `tf.summary.SummaryWriter`.
        seed: int. Of the noise.
        interval: int. Steps between grids.
    """

    def __init__(
        self, run: RunDir, writer: tf.summary.SummaryWriter, seed: int, interval: int
    ):
        super().__init__(interval)
        self.run = run
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
        pictures.write_png(self.run.samples / f"{step}.png", grid)
        with self.writer.as_default(step):
            tf.summary.image("fake_images", grid[None])
        self.writer.flush()


class FirstSteps(keras.callbacks.Callback):
    """Logs what the start was spent on, then how long the rest takes, in what memory.

    Args:
        start_up: `StartUp`, whose last part is still running.
        steps: int. Steps per call from Python, which are all in that part.
        total_steps: int. Generator steps at which the run ends.
        after_seconds: float. Of steps that the forecast waits for; a run that is
            done by then has none.
    """

    def __init__(
        self,
        start_up: StartUp,
        steps: int,
        total_steps: int,
        after_seconds: float = 2.0,
    ):
        super().__init__()
        self.start_up = start_up
        self.steps = steps
        self.total_steps = total_steps
        self.after_seconds = after_seconds
        self._foretold = False

    def on_train_begin(self, logs=None):
        # A run that has gone back begins again.
        self._began: tuple[float, int] | None = None

    def on_train_batch_end(self, batch, logs=None):
        if self._foretold:
            return
        now, step = time.monotonic(), self.model.step
        if self._began is None:
            if self.start_up is not None:
                self.start_up.done(f"compiling and {self.steps} step(s)")
                logging.info("first steps after %s", self.start_up)
                self.start_up = None
            self._began = now, step
            return
        start, first_step = self._began
        if now - start >= self.after_seconds and step < self.total_steps:
            self._foretold = True
            left = (self.total_steps - step) * (now - start) / (step - first_step)
            logging.info(
                "%s steps left, about %s, until %s; %s",
                f"{self.total_steps - step:,}",
                clock(left),
                time.strftime("%b %d %H:%M", time.localtime(time.time() + left)),
                _memory(),
            )

    def on_train_end(self, logs=None):
        logging.info("%s", _memory())


def _memory() -> str:
    """The peak so far of this process, and of its GPUs, in words."""
    parts = [memory()]
    for gpu in tf.config.list_logical_devices("GPU"):
        # Some allocators keep no count.
        with contextlib.suppress(ValueError):
            peak = tf.config.experimental.get_memory_info(gpu.name)["peak"]
            parts.append(f"{gpu.name.removeprefix('/device:')} {peak / 2**20:,.0f} MiB")
    return ", ".join(parts)


class Progress(keras.callbacks.Callback):
    """Steps per second, time left, losses and rotation accuracy while training.

    On a terminal one line that renews itself; elsewhere a log line now and then.

    Args:
        total_steps: int. Generator steps at which the run ends.
        stream: terminal for the bar; None is the standard error. One that is no
            terminal gets nothing: the log lines go through `absl.logging`.
        log_seconds: float. Seconds between log lines off the terminal.
    """

    def __init__(self, total_steps: int, stream=None, log_seconds: float = LOG_SECONDS):
        super().__init__()
        self.total_steps = total_steps
        self.stream = sys.stderr if stream is None else stream
        self.interval = 0.5 if self.stream.isatty() else log_seconds

    def on_train_begin(self, logs=None):
        self._start = None

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        step = self.model.step
        if self._start is None:
            # The first call compiles: it would spoil the rate.
            self._start = self._shown = now
            self._start_step = step
        if now - self._shown >= self.interval or step == self.total_steps:
            self._shown = now
            rate = (step - self._start_step) / max(now - self._start, 1e-9)
            self._show(step, rate, logs)

    def _show(self, step, rate, logs):
        eta = clock((self.total_steps - step) / rate if rate else 0)
        parts = [f"step {step}/{self.total_steps}", f"{rate:.3g} steps/s", f"ETA {eta}"]
        parts += [f"{name} {float(logs[name]):.3f}" for name in ("loss/d", "loss/g")]
        if "accuracy/rotation_real" in logs:
            real, fake = (
                float(logs[f"accuracy/rotation_{side}"]) for side in ("real", "fake")
            )
            parts.append(f"rotation accuracy real {real:.2f} fake {fake:.2f}")
        line = "  ".join(parts)
        if self.stream.isatty():
            end = "\n" if step == self.total_steps else ""
            self.stream.write(f"\r\x1b[K{bar(step, self.total_steps)} {line}{end}")
            self.stream.flush()
        else:
            logging.info("%s", line)
