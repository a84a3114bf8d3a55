"""The whole job in processes of its own: train, kill, resume, score, export, reload."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import calls
import numpy as np
import pytest
import tensorflow as tf
import tiny
from optional import PREPARED_DATA, needs_cifar10
from paths import ROOT
from tensorflow.python.framework import config as tf_config

from ssgan_tf.evaluation import module_scorer
from ssgan_tf.evaluation.score_table import ScoreTable
from ssgan_tf.modules import reading
from ssgan_tf.modules.metadata import read_metadata
from ssgan_tf.training import callbacks, loop
from ssgan_tf.training.checkpoint_export import load_run
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.training.schedule import Settings, train_and_evaluate
from ssgan_tf.utils import pictures, strategies
from ssgan_tf.utils.startup import StartUp

LAST = 8
# Two updates of D per step, so that the position in the data counts both; a loop of
# two steps.
BINDINGS = (
    "options.architecture = 'dcgan'",
    "run_config.deterministic = True",
    "options.disc_iters = 2",
    f"options.training_steps = {LAST}",
    "run_config.iterations_per_loop = 2",
    # Less often than the loop: a kill loses steps, which are repeated.
    "run_config.save_checkpoints_steps = 4",
    "run_config.save_summary_steps = 2",
)


def start_ssgan(folder, *arguments: str, log: str) -> subprocess.Popen:
    """Starts `ssgan train` in a folder, with its output in a file there."""
    with (folder / log).open("a") as file:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "ssgan_tf", "train", "--strategy=one_device"),
                *arguments,
            ],
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )


def finish(process, log, seconds=300) -> str:
    """Waits for a process to end well; returns its output."""
    try:
        assert process.wait(timeout=seconds) == 0, log.read_text()
    finally:
        process.kill()
    return log.read_text()


def kill_at_checkpoint(process, run: RunDir, step: int) -> None:
    """Kills a run as soon as it has saved `step`."""
    while step not in run.checkpoints.steps():
        assert process.poll() is None, "the training ended before it was killed"
        time.sleep(0.01)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert not run.train_done.exists()


def checkpoint(run: RunDir, step: int) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(run.checkpoints.prefix(step))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {name: reader.get_tensor(name) for name in sorted(names)}


def assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that was scored after training, and one that was killed and continued."""
    folder = tmp_path_factory.mktemp("runs")
    arguments = tiny.flags(*BINDINGS)
    killed, scores = "--model_dir=killed", "--schedule=eval_after_train"
    alone = start_ssgan(
        folder,
        *(*arguments, "--model_dir=alone", scores, f"--eval_every_steps={LAST}"),
        "--num_eval_averaging_runs=2",
        log="alone.txt",
    )
    victim = start_ssgan(folder, *arguments, killed, log="killed.txt")
    kill_at_checkpoint(victim, RunDir(folder / "killed"), 4)
    victim = start_ssgan(folder, *arguments, killed, log="killed.txt")
    finish(victim, folder / "killed.txt")
    finish(alone, folder / "alone.txt")
    return folder


def test_killed_and_resumed_equals_left_alone(runs):
    log = (runs / "killed.txt").read_text()
    assert log.count("continuing from killed/checkpoints/ckpt-") == 1
    assert "Traceback" not in log
    alone, killed = RunDir(runs / "alone"), RunDir(runs / "killed")
    assert alone.checkpoints.steps() == list(range(0, LAST + 1, 4))
    for step in (0, LAST):
        ours, theirs = checkpoint(alone, step), checkpoint(killed, step)
        kinds = {name.split("/")[0] for name in ours}
        assert kinds == {
            "generator",
            "discriminator",
            "average",
            "g_optimizer",
            "d_optimizer",
            "rollbacks",
        }
        assert_equal(ours, theirs)
    # The weights have moved: constant weights would pass, too.
    first, last = checkpoint(alone, 0), checkpoint(alone, LAST)
    moved = [name for name in first if (first[name] != last[name]).any()]
    assert len(moved) > 0.8 * len(first)
    assert len(killed.configs()) == 1


def test_run_directory(runs):
    run = RunDir(runs / "alone")
    assert {path.name for path in run.path.iterdir()} == {
        ".lock",
        ".training",
        "TRAIN_DONE",
        "checkpoints",
        "operative_config-0.gin",
        "environment-0.json",
        "samples",
        "scores.csv",
        "tensorboard",
        "tfhub",
    }
    assert not list(run.path.rglob("*.partial"))
    text = run.latest_config().read_text()
    for line in ("options.disc_iters = 2", "SSGAN.weight_rotation_loss_g = 0.2"):
        assert line in text.splitlines()
    samples = {path.name for path in run.samples.iterdir()}
    assert samples == {f"{step}.png" for step in run.checkpoints.steps()}


def summaries(folder) -> dict[str, list[int]]:
    """Steps of the summaries in a folder, by tag."""
    steps = {}
    for path in sorted(folder.glob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    return steps


def test_tensorboard_tags(runs):
    steps = summaries(runs / "alone" / "tensorboard")
    scalars = {
        "loss/d",
        "loss/g",
        "loss/rotation_real",
        "loss/rotation_fake",
        "accuracy/rotation_real",
        "accuracy/rotation_fake",
    }
    assert scalars | {"fake_images"} <= set(steps)
    for tag in scalars:
        assert steps[tag] == list(range(2, LAST + 1, 2))
    assert steps["fake_images"] == list(range(0, LAST + 1, 4))


def test_log_off_the_terminal(runs):
    log = (runs / "alone.txt").read_text()
    assert f"step {LAST}/{LAST}" in log and "steps/s" in log and "ETA" in log
    assert "rotation accuracy real" in log
    assert "\r" not in log and "Traceback" not in log


def test_scores(runs):
    with (runs / "alone" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [0, LAST]
    assert list(rows[0])[:2] == ["checkpoint", "step"]
    assert list(rows[0])[-3:] == ["versions", "protocol", "config"]
    metrics = {name.removesuffix("_mean") for name in rows[0] if "_mean" in name}
    assert metrics == {
        "frechet_digits32_cnn_397_test",
        "classifier_score_digits32_cnn_397_test",
        "kernel_distance_digits32_cnn_397_test",
        "sliced_wasserstein_397_test",
        "rotation_accuracy_real",
        "rotation_accuracy_fake",
        "logit_spread_real",
        "logit_spread_fake",
    }
    for row in rows:
        assert row["checkpoint"].endswith(f"alone/checkpoints/ckpt-{row['step']}")
        assert "options.disc_iters = 2" in row["config"]
        assert "weights=ema" in row["protocol"]
        for metric in metrics:
            values = json.loads(row[f"{metric}_list"])
            assert len(values) == (1 if metric.startswith(("rotation", "logit")) else 2)
            assert float(row[f"{metric}_mean"]) == pytest.approx(np.mean(values))
            assert float(row[f"{metric}_std"]) == pytest.approx(np.std(values))
        for side in ("real", "fake"):
            confusion = np.array(json.loads(row[f"rotation_confusion_{side}"]))
            assert confusion.sum(axis=1).tolist() == [397] * 4
            accuracy = np.trace(confusion) / confusion.sum()
            assert float(row[f"rotation_accuracy_{side}_mean"]) == accuracy
    assert {path.name for path in (runs / "alone/tfhub").iterdir()} == {
        "0",
        str(LAST),
    }
    pictures = {"rotation_confusion_real", "rotation_confusion_fake"}
    folder = RunDir(runs / "alone").score_summaries(rows[0]["protocol"])
    assert folder.parent == runs / "alone" / "tensorboard"
    shown = summaries(folder)
    assert shown == dict.fromkeys(metrics | pictures, [0, LAST])


@pytest.fixture
def undo_determinism():
    yield
    tf_config.disable_op_determinism()


def stamps(run: RunDir) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns
        for path in run.path.rglob("*")
        if path.is_file() and path.name not in ("TRAIN_DONE", ".lock", ".training")
    }


def test_a_finished_run_started_again_changes_nothing(runs, undo_determinism):
    run = RunDir(runs / "alone")
    before = stamps(run)
    plan, _ = load_run(run.path)
    for schedule in ("eval_after_train", "train", "continuous_eval"):
        settings = Settings(
            schedule=schedule,
            scoring=module_scorer.ScoringOptions(num_runs=2),
            eval_every_steps=LAST,
        )
        train_and_evaluate(
            plan,
            run,
            settings,
            start_up=StartUp(),
            get_strategy=lambda: strategies.get_strategy("one_device"),
        )
        assert stamps(run) == before


def test_the_grid_of_the_export_is_the_trainers(runs):
    run = RunDir(runs / "alone")
    module = reading.load(run.module(LAST))
    grid = pictures.grid(module.sample(64, seed=0), columns=8)
    trainers = tf.io.decode_png((run.samples / f"{LAST}.png").read_bytes()).numpy()
    # 1e-5 in [0, 1] may cross a rounding boundary of 8 bit.
    difference = np.abs(grid.astype(int) - trainers.astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-2
    assert grid.std() > 1.0

    gan = load_run(run.path)[0].build_gan()
    run.checkpoints.restore(LAST, gan.parts)
    latents = gan.latents.sample(64, [0, 1])
    samples = gan.sampler(latents, training=False).numpy()
    np.testing.assert_allclose(module.sample(64, seed=0), samples, atol=1e-5)
    assert np.abs(samples - gan.generator(latents, training=False)).max() > 1e-3


def test_exports(runs, tmp_path):
    run = runs / "alone"
    for path in ("papers/thesis.tex", "file"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("mine")
    run_flag, weights = f"--model_dir={run}", ["--weights=raw", "--fine_tunable"]
    results = calls.run(
        "export",
        {
            "papers": [run_flag, "--output_dir=papers"],
            "both": [
                *(run_flag, "--step=4", "--output_dir=module", "--out=both.tgz"),
                *weights,
            ],
            "archive": [run_flag, "--out=module.tar.gz"],
            "zip": [run_flag, "--out=module.zip"],
            "step": [run_flag, "--step=7", "--out=seven.tgz"],
            "no run": ["--model_dir=papers", "--out=none.tgz"],
        },
        tmp_path,
    )
    assert {name: result.code for name, result in results.items()} == {
        **{"papers": 1, "both": 0, "archive": 0, "zip": 2, "step": 1, "no run": 1}
    }
    for name, words in (
        ("papers", "path=papers"),
        ("zip", "--out=module.zip"),
        ("step", f"step=7. Name one of its checkpoints of steps [0, 4, {LAST}]"),
        ("no run", "model_dir=papers"),
    ):
        assert words in results[name].errors
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"module", "both.tgz", "module.tar.gz", "papers", "file"}
    facts = read_metadata(tmp_path / "module")
    assert facts["step"] == 4 and facts["weights"] == "raw" and facts["fine_tunable"]
    assert reading.load(tmp_path / "both.tgz").metadata == facts
    # The export after scoring has the scored weights and their scores.
    facts = reading.load(tmp_path / "module.tar.gz").metadata
    scored = read_metadata(run / "tfhub" / str(LAST))
    assert facts["weights_sha256"] == scored["weights_sha256"]
    assert scored["scores"] == [] and facts["scores"]
    rows = [row for row in ScoreTable(run / "scores.csv").rows() if row.step == LAST]
    for score, row in zip(facts["scores"], rows, strict=True):
        assert score["protocol"] == row.protocol
        assert score["values"] == row.numbers()
        for name, numbers in score["values"].items():
            assert np.mean(numbers) == pytest.approx(row.means()[name])


def test_evaluate_and_compare(runs, tmp_path):
    module = f"{runs}/alone/tfhub/{LAST}"
    (tmp_path / "notes.csv").write_text("mine")
    options = ["--seeds=1", "--num_fakes=100", f"--module={module}"]
    results = calls.run(
        "evaluate",
        {
            "well": [*options, "--metrics=swd,ms_ssim", "--out=mine.csv"],
            "notes.csv": [*options, "--out=notes.csv"],
            "must name one or more of fid, ": [*options, "--metrics=lpips"],
            "['intra_fid'] and an unconditional": [*options, "--metrics=intra_fid"],
            "module=nowhere": ["--module=nowhere"],
            "dataset='cifar10' with (32, 32, 3)": [*options, "--dataset=cifar10"],
        },
        tmp_path,
    )
    output = results.pop("well").output
    for words, result in results.items():
        assert words in result.errors
        # A metric that does not exist is a usage error.
        assert result.code == (2 if words.startswith("must name") else 1)
    assert (tmp_path / "notes.csv").read_text() == "mine"
    assert "sliced_wasserstein_100_test " in output
    assert "rotations of fake" in output
    assert "data=digits32; split=test; data_hash=" in output
    (row,) = ScoreTable(tmp_path / "mine.csv").rows()
    assert row.checkpoint == module
    assert row.step == LAST and row.metrics == "swd,ms_ssim"
    assert "fake_count=100; " in row.protocol
    both = [str(runs / "alone"), "mine.csv"]
    results = calls.run(
        "compare",
        {"alone": both[:1], "both": both, "anyway": [*both, "--anyway"]},
        tmp_path,
    )
    assert [result.code for result in results.values()] == [0, 1, 0]
    assert "\n  fake_count: 397 | 100\n" in results["both"].errors
    assert "\n* of another protocol" in results["anyway"].output
    alone = results["alone"].output
    assert alone.split()[:3] == ["step", "0", str(LAST)]
    assert "last / first" in alone and f"scores        {runs}/alone" in alone


def train(plan, run, strategy=None) -> None:
    strategy = strategy or strategies.get_strategy("one_device")
    gan = loop.build(plan, strategy)
    loop.train(gan, plan, run, start_up=StartUp())


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
def test_four_steps_equal_one_and_three(
    replicas, tmp_path, monkeypatch, undo_determinism, request
):
    """One step, SIGTERM, and a second start; one update of D per step."""
    plan = tiny.plan("run_config.deterministic = True")
    whole, parts = RunDir(tmp_path / "whole"), RunDir(tmp_path / "parts")
    strategy = None if replicas == 1 else request.getfixturevalue("two_replicas")
    train(plan, whole, strategy)
    act = callbacks.Scalars.act

    def act_and_interrupt(self, step, logs):
        act(self, step, logs)
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Scalars, "act", act_and_interrupt)
    with pytest.raises(SystemExit) as caught:
        train(plan, parts, strategy)
    assert caught.value.code == 128 + signal.SIGTERM
    assert parts.checkpoints.steps() == [0, 1] and not parts.train_done.exists()
    monkeypatch.undo()
    train(plan, parts, strategy)
    for step in (2, 4):
        assert_equal(checkpoint(whole, step), checkpoint(parts, step))
    assert len(parts.configs()) == 1


@pytest.mark.slow
@needs_cifar10
def test_cifar10_at_a_reduced_width(tmp_path):
    bindings = {
        "G.width": 32,
        "D.width": 32,
        "options.training_steps": 200,
        "run_config.save_checkpoints_steps": 100,
        "run_config.save_summary_steps": 10,
    }
    training = start_ssgan(
        tmp_path,
        "--gin_config=ssgan_cifar10.gin",
        *(f"--gin_bindings={key}={value}" for key, value in bindings.items()),
        "--model_dir=run",
        f"--tfds_data_dir={PREPARED_DATA}",
        "--schedule=eval_after_train",
        "--num_eval_averaging_runs=1",
        "--eval_every_steps=200",
        log="log.txt",
    )
    # Minutes of it train the classifier that scores.
    finish(training, tmp_path / "log.txt", seconds=3600)
    run = RunDir(tmp_path / "run")
    assert run.train_done.exists() and run.checkpoints.steps() == [0, 100, 200]
    module = reading.load(run.module(200))
    assert module.sample(4).shape == (4, 32, 32, 3)
    first, last = ScoreTable(run.path / "scores.csv").rows()
    assert (first.step, last.step) == (0, 200)
    frechet = "frechet_cifar10_cnn_10k_test"
    assert last.means()[frechet] < first.means()[frechet]
