"""Faults of machines and numbers in the middle of a run."""

import os
import pathlib
import resource
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import tensorflow as tf
import tiny
from absl import logging
from objectives import BATCH, PLAIN, build
from optional import needs_linux

from ssgan_tf.evaluation import module_scorer
from ssgan_tf.evaluation.score_table import ScoreTable
from ssgan_tf.training import checkpoint_export, loop
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.training.schedule import Evaluation, explain_errors
from ssgan_tf.utils import strategies
from ssgan_tf.utils.startup import StartUp
from ssgan_tf.utils.step_model import Diverged

# ------------------------------------------------------------ numbers not finite


class Poisoned:
    """The loss of a GAN; NaN at one step, until a number of rollbacks."""

    def __init__(self, gan, step):
        self.gan, self.loss = gan, gan.adversarial_loss
        self.step = tf.Variable(step, dtype=tf.int64)
        self.until = tf.Variable(99, dtype=tf.int64)

    def d_loss(self, real_logits, fake_logits):
        step = tf.cast(self.gan.g_optimizer.iterations.value + 1, tf.int64)
        bad = (step == self.step) & (self.gan.rollbacks.value < self.until)
        poison = tf.where(bad, np.nan, 0.0)
        return self.loss.d_loss(real_logits, fake_logits) + poison

    def g_loss(self, fake_logits):
        return self.loss.g_loss(fake_logits)


def test_weights_are_checked_as_well_as_losses():
    images = np.zeros((1, BATCH, 8, 8, 3), np.float32)
    images[0, 3, 2, 1] = np.nan
    gan = build(PLAIN, adam=True, d_steps=1, steps_per_execution=1)
    gan.check_finite()
    # Kernels that convolve and cut at zero make 0 of NaN on some machines.
    try:
        gan.fit(tf.data.Dataset.from_tensor_slices(images), verbose=0)
    except Diverged:
        pass
    with pytest.raises(Diverged, match="Weights must be finite"):
        gan.check_finite()


class Fleeing:
    """A run that diverges at step 4, with its warnings and data streams."""

    def __init__(self, path, monkeypatch):
        self.run = RunDir(path)
        plan = tiny.plan("options.training_steps = 6")
        self.gan = loop.build(plan, strategies.get_strategy("one_device"))
        self.poison = self.gan.adversarial_loss = Poisoned(self.gan, 4)
        self.warnings, self.streams = [], []
        monkeypatch.setattr(
            logging, "warning", lambda text, *args: self.warnings.append(text % args)
        )
        training_dataset = loop.datasets.training_dataset

        def record(*args, **options):
            self.streams.append((options["rollbacks"], options["start_step"]))
            return training_dataset(*args, **options)

        monkeypatch.setattr(loop.datasets, "training_dataset", record)

    def train(self, on_nan, steps=6):
        plan = tiny.plan(
            f"options.training_steps = {steps}", f"run_config.on_nan = '{on_nan}'"
        )
        loop.train(self.gan, plan, self.run, start_up=StartUp())


@pytest.fixture
def fleeing(tmp_path, monkeypatch):
    return Fleeing(tmp_path, monkeypatch)


@pytest.mark.slow
def test_on_nan(fleeing):
    run, streams = fleeing.run, fleeing.streams
    with pytest.raises(Diverged, match=r"loss/d=nan at step 4\."):
        fleeing.train("stop")
    assert run.checkpoints.steps() == [0, 2] and not run.train_done.exists()
    assert streams == [(0, 0)]

    # The same checkpoint again and again, with other noise and data each time.
    with pytest.raises(Diverged, match=r"at step 4\."):
        fleeing.train("rollback")
    assert streams[1:] == [(0, 2), (1, 2), (2, 2), (3, 2)]
    back = [line for line in fleeing.warnings if line.endswith(" Back to step 2.")]
    assert len(back) == 3 and all("loss/d=nan at step 4." in line for line in back)
    assert run.checkpoints.steps() == [0, 2]


@pytest.mark.slow
def test_a_run_continues_after_rollbacks(fleeing):
    run, gan, streams = fleeing.run, fleeing.gan, fleeing.streams
    fleeing.poison.until.assign(2)
    fleeing.train("rollback")
    assert streams == [(0, 0), (1, 2), (2, 2)]
    assert gan.step == 6 and run.train_done.exists()
    # A run that continues keeps the number of rollbacks, and so its noise.
    fresh = tiny.plan().build_gan()
    run.checkpoints.restore(6, fresh.parts)
    assert fresh.rollbacks.numpy() == 2
    fresh.check_finite()
    # Further rollbacks count from there; a new checkpoint allows three more.
    fleeing.poison.step.assign(8)
    fleeing.poison.until.assign(5)
    fleeing.train("rollback", steps=10)
    assert streams[3:] == [(2, 6), (3, 6), (4, 6), (5, 6)]
    assert gan.rollbacks.numpy() == 5


# ------------------------------------------------------------- TensorFlow's errors


@pytest.mark.parametrize(
    ("error", "workers", "kind", "words"),
    [
        (tf.errors.UnavailableError, 2, ConnectionError, "All 2 workers .*Gone away"),
        (tf.errors.AbortedError, 2, ConnectionError, "start all of them again"),
        (tf.errors.UnavailableError, 1, tf.errors.UnavailableError, "Gone away"),
        (tf.errors.ResourceExhaustedError, 1, MemoryError, "options.accumulate = 2"),
        (tf.errors.InvalidArgumentError, 1, tf.errors.InvalidArgumentError, "Gone"),
    ],
)
def test_errors_with_a_cure(error, workers, kind, words, tmp_path):
    message = 'Detected at node x (of):\n  File "y"\n\nGone away'
    processes = types.SimpleNamespace(count=workers)
    with pytest.raises(kind, match=words) as caught:
        with explain_errors(RunDir(tmp_path), processes):
            raise error(None, None, message)
    if kind is not error:
        assert "File" not in str(caught.value) and "from step 0" in str(caught.value)


def test_an_image_that_is_lost_while_training(tmp_path, monkeypatch):
    tiny.prepare(tmp_path / "data")
    monkeypatch.setattr(loop.datasets.loading, "MAX_DECODED_BYTES", 0)
    (shard,) = (tmp_path / "data").rglob("*train.tfrecord*")
    open_split = loop.datasets.open_split

    def open_and_lose(*args):
        data = open_split(*args)
        os.truncate(shard, shard.stat().st_size // 2)
        return data

    monkeypatch.setattr(loop.datasets, "open_split", open_and_lose)
    plan, run = tiny.plan(), RunDir(tmp_path / "run")
    gan = loop.build(plan, strategies.get_strategy("one_device"))
    words = f"Every image of the train split of digits32 .*{shard}.* from step 0"
    with pytest.raises(OSError, match=words):
        with explain_errors(run, strategies.Workers(gan.distribute_strategy)):
            loop.train(gan, plan, run, start_up=StartUp(), data_dir=tmp_path / "data")
    assert run.checkpoints.steps() == [0]


# ------------------------------------------------------------------ disks that are full


def limit_files():
    """No file may grow beyond 80 KiB: less than a checkpoint, more than a picture."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (80 * 2**10, 80 * 2**10))


def test_a_full_disk(tmp_path):
    # Prepared before, or that would be what fails.
    tiny.prepare()
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "ssgan_tf",
            "train",
            *tiny.flags(),
            "--model_dir=run",
        ],
        cwd=tmp_path,
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert "run/checkpoints/ckpt-0" in error and "File too large" in error
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "run/checkpoints").iterdir()) == []


# ------------------------------------------------------------------- processes that die


class Launched:
    """Two workers that train in a folder, with their output."""

    def __init__(self, folder, *bindings: str, schedule: str = "train"):
        self.log = folder / "log.txt"
        self.start = len(self.text())
        command = [
            sys.executable,
            "-m",
            "ssgan_tf",
            "launch",
            "--num_workers=2",
            "--",
        ]
        flags = tiny.flags("run_config.deterministic = True", *bindings)
        with self.log.open("a") as file:
            self.process = subprocess.Popen(
                [
                    *(*command, "train", *flags, "--model_dir=run"),
                    *(f"--schedule={schedule}", "--eval_every_steps=4"),
                ],
                cwd=folder,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def output(self) -> str:
        """The output of this launch so far."""
        return self.text()[self.start :]

    def wait_for(self, words: str) -> None:
        while words not in self.output():
            assert self.process.poll() is None, self.output()
            time.sleep(0.05)

    def workers(self) -> list[int]:
        """Process ids, by index."""
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return sorted(map(int, children.split()))

    def end(self) -> int:
        return self.process.wait(timeout=200)


@pytest.mark.slow
@needs_linux
def test_two_workers_live_and_die_together(tmp_path):
    steps = "options.training_steps = 4000"
    run = RunDir(tmp_path / "run")

    for victim, number, code in (
        (0, signal.SIGTERM, 143),
        (1, signal.SIGINT, 130),
        (1, signal.SIGKILL, 137),
        (0, signal.SIGKILL, 137),
    ):
        before = max(run.checkpoints.steps(), default=0)
        two = Launched(tmp_path, steps)
        two.wait_for("first steps after")
        if before:
            # Both continue from the last checkpoint.
            assert (
                two.output().count(f"continuing from run/checkpoints/ckpt-{before}")
                == 2
            )
        while max(run.checkpoints.steps()) < before + 4:
            time.sleep(0.05)
        os.kill(two.workers()[victim], number)
        assert two.end() == code
        output = two.output()
        assert "Traceback" not in output
        if number == signal.SIGKILL:
            other = 1 - victim
            assert f"[{other}] error: All 2 workers must stay up" in output
        else:
            last = max(run.checkpoints.steps())
            assert output.count(f"{number.name}: step {last} saved") == 2
    assert not run.train_done.exists()


@pytest.mark.slow
def test_two_workers_score_as_one_device_does(tmp_path):
    two = Launched(tmp_path, schedule="eval_after_train")
    assert two.end() == 0
    run = RunDir(tmp_path / "run")
    table = ScoreTable(run.path / "scores.csv")
    rows = table.rows()
    assert [row.step for row in rows] == [0, 4]
    # The chief prints and writes the scores.
    assert two.output().count("] protocol: ") == 1
    assert two.output().count(" scored in ") == len(rows)
    table.path.rename(tmp_path / "of_two.csv")
    plan, run = checkpoint_export.load_run(run.path)
    scorer = module_scorer.ModuleScorer(plan.dataset)
    Evaluation(plan, run, scorer, table, every_steps=0).follow(lambda: None)
    by_step = {row.step: row for row in table.rows()}
    for ours in rows:
        theirs = by_step[ours.step]
        assert ours.protocol == theirs.protocol
        for name, numbers in ours.numbers().items():
            np.testing.assert_allclose(numbers, theirs.numbers()[name], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_launcher_hands_on_signals(number, tmp_path):
    two = Launched(tmp_path, "options.training_steps = 4000")
    two.wait_for("first steps after")
    two.process.send_signal(number)
    assert two.end() == 143
    assert two.output().count("SIGTERM: step ") == 2
