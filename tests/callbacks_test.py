"""The callbacks of a training run, most with a stand-in for the GAN."""

import io
import os
import pty
import re
import signal

import numpy as np
import oracles
import pytest
import tensorflow as tf
from absl import logging

from ssgan_tf import callbacks, exporting, images, layers
from ssgan_tf.gan import GAN
from ssgan_tf.latents import Latents
from ssgan_tf.run_dir import RunDir

LOGS = {
    "loss/d": 1.5,
    "loss/g": 0.25,
    "accuracy/rotation_real": 0.75,
    "accuracy/rotation_fake": 0.5,
}


class StandIn:
    """All that the callbacks ask of a GAN."""

    step = 0


class Manager:
    """All that the callbacks ask of a checkpoint manager."""

    def __init__(self):
        self.steps = []

    def save(self, checkpoint_number):
        self.steps.append(checkpoint_number)


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
    manager = Manager()
    train(callbacks.Checkpoints(manager, interval=4), start, stop, stride)
    assert manager.steps == saved


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends(number):
    manager = Manager()
    callback = callbacks.SaveOnSignal(manager)
    model = StandIn()
    callback.set_model(model)
    before = signal.getsignal(number)
    callback.on_train_begin()
    callback.on_train_batch_end(0, LOGS)
    os.kill(os.getpid(), number)
    # The step in progress is finished first.
    model.step = 7
    with pytest.raises(SystemExit) as caught:
        callback.on_train_batch_end(1, LOGS)
    assert caught.value.code == 128 + number
    assert manager.steps == [7]
    assert signal.getsignal(number) is before


def test_signals_are_given_back_at_the_end():
    before = signal.getsignal(signal.SIGTERM)
    callback = callbacks.SaveOnSignal(Manager())
    callback.on_train_begin()
    assert signal.getsignal(signal.SIGTERM) is not before
    callback.on_train_end()
    assert signal.getsignal(signal.SIGTERM) is before


def test_progress_on_a_terminal():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        callback = callbacks.Progress(4, stream=stream)
        callback.interval = 0.0
        train(callback, 0, 4)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    lines = shown.split("\r\x1b[K")
    assert [line[:22] for line in lines[1:]] == [
        f"[{bar:<20}]" for bar in ("#" * 5, "#" * 10, "#" * 15, "#" * 20)
    ]
    last = lines[-1]
    assert last.endswith("\r\n") and "\n" not in "".join(lines[:-1])
    assert "step 4/4" in last and "ETA 0:00" in last
    assert re.search(r"[\d.]+ steps/s", last)
    assert "loss/d 1.500  loss/g 0.250" in last
    assert "rotation accuracy real 0.75 fake 0.50" in last


@pytest.mark.parametrize("stop, stride", [(100, 1), (20, 20)])
def test_progress_elsewhere_is_quiet_but_for_the_end(monkeypatch, stop, stride):
    lines = []
    monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
    stream = io.StringIO()
    logs = {name: value for name, value in LOGS.items() if "rotation" not in name}
    train(callbacks.Progress(stop, stream=stream), 0, stop, stride, logs)
    (line,) = lines
    assert line.startswith(f"step {stop}/{stop}") and "rotation" not in line
    assert stream.getvalue() == ""


def test_progress_counts_the_steps_of_this_process(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(clock))
    train(callbacks.Progress(100, stream=io.StringIO()), 50, 100, 10)
    # Ten steps per ten seconds; the first call, which compiles, is left out.
    assert lines[0].startswith("step 90/100  1 steps/s  ETA 0:10")


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


@pytest.mark.parametrize("num_classes", [0, 3])
def test_grid_is_that_of_the_module(num_classes, tmp_path):
    norm = layers.ConditionalBatchNorm if num_classes else layers.BatchNorm
    gan = GAN(
        oracles.tiny_generator(norm, num_classes=num_classes),
        oracles.tiny_discriminator(num_classes=num_classes),
        latents=Latents(5),
        average=oracles.tiny_generator(norm, num_classes=num_classes),
    )
    oracles.randomize(gan.average, 7)
    run = RunDir(tmp_path / "run")
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    callback = callbacks.SampleGrid(run, writer, seed=5, interval=2)
    callback.set_model(gan)
    callback.act(4, {})
    grid = tf.io.decode_png((run.samples / "4.png").read_bytes()).numpy()

    exporting.export(
        gan.sampler, gan.discriminator, gan.latents, tmp_path / "module", {}
    )
    module = exporting.load(tmp_path / "module")
    labels = np.repeat([0, 1, 2, 0, 1, 2, 0, 1], 8) if num_classes else None
    expected = images.grid(module.sample(64, 5, labels), columns=8)
    difference = np.abs(grid.astype(int) - expected)
    # 1e-6 in [0, 1] may cross a rounding boundary of 8 bit.
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-2
    assert grid.std() > 1.0

    # Weights that change change the next grid; noise and labels stay.
    oracles.randomize(gan.average, 8)
    callback.act(6, {})
    after = tf.io.decode_png((run.samples / "6.png").read_bytes()).numpy()
    assert np.abs(after.astype(int) - grid).max() > 10
