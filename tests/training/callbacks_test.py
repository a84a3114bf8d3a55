"""The callbacks of training, most of them with a substitute for the GAN."""

import contextlib
import fcntl
import io
import os
import pty
import re
import signal
import struct
import termios
import types

import exports
import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf

from ssgan_tf import layers
from ssgan_tf.randomness import SAMPLING_STREAM
from ssgan_tf.training import callbacks, events
from ssgan_tf.utils import pictures
from ssgan_tf.utils.startup import StartUp
from ssgan_tf.utils.step_model import Diverged

LOGS = {
    "loss/d": 1.5,
    "loss/g": 0.25,
    "accuracy/rotation_real": 0.75,
    "accuracy/rotation_fake": 0.5,
}


class StandIn:
    """The part of a GAN that the callbacks use."""

    step = 0
    steps_per_execution = 10
    parts = {}

    def check_finite(self):
        pass


class Saved:
    """The part of `Checkpoints` that the callbacks use."""

    def __init__(self):
        self.saved, self.kept = [], []

    def save(self, step, parts):
        self.saved.append(step)

    def steps(self):
        return self.saved

    def keep(self, num_latest, every):
        self.kept.append((num_latest, every))


class OneOf:
    """`Workers` whose others are idle, or receive signals."""

    def __init__(self, is_chief=True, others=(0, 0)):
        self.is_chief, self.others = is_chief, others

    def add(self, values):
        return np.add(values, self.others)

    def wait(self):
        pass


def saving(checkpoints, interval=4, workers=OneOf()):
    settings = types.SimpleNamespace(
        save_checkpoints_steps=interval,
        keep_checkpoint_max=3,
        keep_checkpoint_every_steps=8,
    )
    return callbacks.SaveCheckpoints(checkpoints, workers, settings)


def train(callback, start: int, stop: int, stride: int = 1, logs=LOGS) -> None:
    model = StandIn()
    model.step = start
    callback.set_model(model)
    callback.on_train_begin()
    while model.step < stop:
        model.step += stride
        callback.on_train_batch_end(model.step, dict(logs))
    callback.on_train_end()


@pytest.mark.parametrize(
    "start, stop, stride, saved",
    [
        (0, 8, 2, [0, 4, 8]),
        (4, 12, 2, [8, 12]),  # Step 4 was saved by the run before.
        (2, 10, 2, [4, 8, 10]),  # In phase with step 0; the end is saved too.
    ],
)
def test_checkpoints(start, stop, stride, saved):
    checkpoints = Saved()
    train(saving(checkpoints), start, stop, stride)
    assert checkpoints.saved == saved
    assert set(checkpoints.kept) == {(3, 8)}


def test_the_chief_writes_and_all_check_the_state(monkeypatch):
    checkpoints = Saved()
    looked = []
    monkeypatch.setattr(StandIn, "check_finite", lambda self: looked.append(self.step))
    train(saving(checkpoints, workers=OneOf(is_chief=False)), 0, 8, 2)
    assert checkpoints.saved == [] and looked == [0, 4, 8]


def test_a_state_that_is_not_finite_is_not_saved(monkeypatch):
    def refuse(self):
        raise Diverged("no")

    monkeypatch.setattr(StandIn, "check_finite", refuse)
    checkpoints = Saved()
    with pytest.raises(Diverged):
        train(saving(checkpoints), 0, 8)
    assert checkpoints.saved == []


@pytest.mark.parametrize(
    "received, others, step, saved, code",
    [
        (signal.SIGTERM, (0, 0), 7, [7], 143),
        (signal.SIGINT, (0, 0), 7, [7], 130),
        # The step was due, and is saved once.
        (signal.SIGTERM, (0, 0), 8, [8], 143),
        # A signal to another worker ends this one.
        (None, (0, 1), 5, [5], 130),
    ],
)
def test_a_signal_saves_and_ends(received, others, step, saved, code):
    checkpoints, workers = Saved(), OneOf(others=others)
    save = saving(checkpoints, workers=workers)
    callback = callbacks.SaveOnSignal(save, workers)
    model = StandIn()
    save.set_model(model)
    callback.set_model(model)
    with callback.listening():
        if received:
            callback.on_train_batch_end(0, LOGS)
            os.kill(os.getpid(), received)
            # A second signal ends the process at once.
            assert signal.getsignal(received) == signal.SIG_DFL
        # The step in progress is finished first.
        model.step = step
        save.on_train_batch_end(1, LOGS)
        with pytest.raises(SystemExit) as caught:
            callback.on_train_batch_end(1, LOGS)
    assert caught.value.code == code
    assert checkpoints.saved == saved


def test_step_0_is_saved_once():
    # A run that goes back to step 0 must keep its checkpoint.
    checkpoints = Saved()
    for _ in range(2):
        train(saving(checkpoints), 0, 2)
    assert checkpoints.saved == [0, 2, 2]


def test_signals_are_given_back_at_the_end():
    before = signal.getsignal(signal.SIGTERM)
    callback = callbacks.SaveOnSignal(saving(Saved()), OneOf())
    with pytest.raises(Diverged):
        with callback.listening():
            assert signal.getsignal(signal.SIGTERM) is not before
            raise Diverged("no")
    assert signal.getsignal(signal.SIGTERM) is before


class Clock:
    """A clock that the test sets."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        for name in ("monotonic", "time"):
            monkeypatch.setattr(callbacks.time, name, lambda: self.now)
        monkeypatch.setattr("tqdm.std.time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch, caplog):
    caplog.set_level("INFO", "absl")
    return Clock(monkeypatch)


def show(clock, calls, stream, logs=LOGS, total=100):
    """Shows a run of 100 steps; calls are (step, time since the start)."""
    callback, model = callbacks.Progress(StartUp(), total, stream), StandIn()
    callback.set_model(model)
    for session in calls:
        callback.on_train_begin()
        for step, seconds in session:
            model.step, clock.now = step, 1000.0 + seconds
            callback.on_train_batch_end(0, logs)
    callback.on_train_end()


def test_progress_on_a_terminal(clock):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        show(clock, [[(1, 50), (2, 60), (3, 70), (4, 80)]], stream, total=4)
    output = b""
    # After the last byte, reading from a closed terminal is an error.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 100_000):
            output += part
    os.close(ours)
    output = output.decode()
    lines = [line for line in re.split(r"\r\n|\r", output) if line.strip()]
    # The first call, which compiles, does not count for the rate.
    assert lines[-1].startswith("training: 100%|") and "00:30<00:00" in lines[-1]
    assert "4/4" in lines[-1] and "loss/d 1.500, loss/g 0.250" in lines[-1]
    assert "rotation accuracy real 0.75 fake 0.50" in lines[-1]
    # One line of the screen.
    assert output.count("\n") == 1 and output.endswith("\n")


def test_the_log_off_the_terminal(clock, caplog):
    # 50 s of compiling; then 30 steps in 3 s, that is 6 s for the other 60.
    calls = [(10, 50), (20, 51), (40, 53), (50, 54), (60, 85), (70, 86), (100, 89)]
    stream = io.StringIO()
    logs = {name: value for name, value in LOGS.items() if "rotation" not in name}
    show(clock, [calls], stream, logs)
    first, forecast, line, end, memory = caplog.messages
    assert first.startswith("first steps after") and "10 step(s)" in first
    # Python's clock starts in 1970: 1,059 seconds are 17 minutes.
    assert re.match(r"60 steps left, about 0:06, until Jan 01 \d\d:17; ", forecast)
    # 50 steps in 35 s after the first call.
    assert line.startswith("step 60/100  1.43 steps/s  ETA 0:28  loss/d 1.500")
    assert end.startswith("step 100/100") and "rotation" not in end
    for text in (forecast, memory):
        assert re.search(r"peak memory [\d,]+ MiB of [\d,]+$", text)
    assert stream.getvalue() == ""


def test_a_short_run_has_no_forecast_and_one_that_goes_back_a_new_one(clock, caplog):
    show(clock, [[(10, 50), (90, 51.9), (100, 60)]], io.StringIO())
    assert not any("steps left" in line for line in caplog.messages)
    caplog.clear()
    sessions = [[(10, 50), (20, 51)], [(10, 60), (20, 61), (30, 62)]]
    show(clock, sessions, io.StringIO())
    first, forecast, _ = caplog.messages
    assert first.startswith("first steps after")
    assert forecast.startswith("70 steps left, about 0:07, until")


@pytest.mark.parametrize(
    "num_classes, rows",
    [
        (1, [0, 0, 0, 0, 0, 0, 0, 0]),
        (3, [0, 1, 2, 0, 1, 2, 0, 1]),
        (8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (10, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_one_class_per_row(num_classes, rows):
    labels = callbacks.grid_labels(num_classes)
    assert labels.dtype == np.int32
    # The grid is filled row by row.
    np.testing.assert_array_equal(labels, [row for row in rows for _ in range(8)])
    assert callbacks.grid_labels(0) is None


def test_grid_is_that_of_the_average(tmp_path):
    # end_to_end_test.py compares the grid of a GAN without classes with its module's.
    gan = exports.conditional_gan()
    writer = tf.summary.create_file_writer(str(tmp_path / "tensorboard"))
    callback = callbacks.SampleGrid(tmp_path, writer, seed=5, interval=2)
    callback.set_model(gan)
    latents = gan.latents.sample(64, [5, SAMPLING_STREAM])
    labels = np.repeat([0, 1, 2, 0, 1, 2, 0, 1], 8)
    for step in (4, 6):
        # Weights that change change the next grid; noise and labels stay.
        oracles.randomize(gan.average, step)
        callback.act(step, {})
        file = (tmp_path / f"{step}.png").read_bytes()
        grid = tf.io.decode_png(file).numpy().astype(int)
        images = gan.average(latents, labels, training=False).numpy()
        difference = np.abs(grid - pictures.grid(images, columns=8))
        # 1e-6 in [0, 1] may cross a rounding boundary of 8 bit.
        assert difference.max() <= 1 and (difference > 0).mean() < 1e-2
        assert grid.std() > 1.0


def networks() -> dict[str, keras.Model]:
    """One network with kernels of all kinds, one without kernels."""
    discriminator = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Conv2D(5, 3, spectral_norm="left", name="tall"),
            keras.layers.Flatten(),
            layers.Dense(200, name="wide"),
            layers.BatchNorm(name="norm"),
        ],
        name="net",
    )
    return {"discriminator": discriminator, "generator": keras.Sequential(name="net")}


def test_singular_values_are_those_of_the_stored_kernels():
    network = networks()["discriminator"]
    values = callbacks.singular_values(network)
    assert list(values) == ["tall", "wide"]
    for name, value in values.items():
        kernel = np.asarray(network.get_layer(name).kernel, np.float64)
        matrix = np.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1)
        expected = np.linalg.svd(matrix, compute_uv=False)[0]
        assert value == pytest.approx(expected, rel=1e-10)
        assert value != pytest.approx(np.linalg.norm(matrix), rel=1e-2)


def test_singular_values_of_zeros_and_of_what_is_not_finite():
    network = networks()["discriminator"]
    network.get_layer("tall").kernel.assign(np.zeros((3, 3, 3, 5)))
    network.get_layer("wide").kernel.assign(np.full((80, 200), np.inf))
    values = callbacks.singular_values(network)
    assert values["tall"] == 0 and np.isnan(values["wide"])


def test_singular_values_over_training(tmp_path, monkeypatch):
    for player, network in networks().items():
        monkeypatch.setattr(StandIn, player, network, raising=False)
    writer = tf.summary.create_file_writer(str(tmp_path / "tensorboard"))
    train(callbacks.SingularValues(writer, interval=4), 0, 10, stride=2)
    writer.close()
    curves = events.read(tmp_path)
    assert list(curves) == ["sigma/d/tall", "sigma/d/wide"]
    values = callbacks.singular_values(StandIn.discriminator)
    for tag, curve in curves.items():
        np.testing.assert_array_equal(curve.steps, [0, 4, 8])
        np.testing.assert_allclose(curve.values, values[tag[8:]], rtol=1e-6)


def test_the_memory_of_gpus_is_logged_if_known(monkeypatch, caplog):
    def info(name):
        if name.endswith("1"):
            raise ValueError("No allocator statistics")
        return {"peak": 3 * 2**30}

    gpus = [types.SimpleNamespace(name=f"/device:GPU:{i}") for i in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", info)
    assert re.search(r" of [\d,]+, GPU:0 3,072 MiB$", callbacks.peak_memory())
