"""The whole job in processes of its own: train, kill, resume, score, export, reload."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
import tiny
from optional import PREPARED_DATA, needs_cifar10
from paths import ROOT
from tensorflow.python.framework import config as tf_config

from ssgan_tf import config
from ssgan_tf.evaluation import module_scorer
from ssgan_tf.evaluation.score_table import ModuleScores, ScoreTable
from ssgan_tf.modules import reading
from ssgan_tf.modules.metadata import read_metadata
from ssgan_tf.training import callbacks, checkpoint_export, loop
from ssgan_tf.training.checkpoints import Checkpoints
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.training.schedule import (
    Settings,
    evaluate,
    evaluate_continuously,
    train_and_evaluate,
)
from ssgan_tf.utils import pictures, strategies
from ssgan_tf.utils.startup import StartUp

LAST = 16
# Two updates of D per step, so that the position in the data counts both; a loop of
# two steps.
BINDINGS = (
    "run_config.deterministic = True",
    "options.disc_iters = 2",
    f"options.training_steps = {LAST}",
    "run_config.iterations_per_loop = 2",
    # Less often than the loop: a kill loses steps, which are repeated.
    "run_config.save_checkpoints_steps = 4",
    "run_config.save_summary_steps = 2",
)


_started: list[subprocess.Popen] = []


@pytest.fixture(scope="module", autouse=True)
def leave_no_process_behind():
    yield
    for process in _started:
        process.kill()


def start(folder, *command: str, log="log.txt") -> subprocess.Popen:
    """Starts a Python process in a folder, with its output in a file there."""
    with open(os.path.join(folder, log), "a") as file:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    _started.append(process)
    return process


def start_ssgan(folder, *arguments: str, log="log.txt") -> subprocess.Popen:
    return start(
        folder,
        *("-m", "ssgan_tf", "train", "--strategy=one_device", *arguments),
        log=log,
    )


def finish(process, folder, code: int = 0, log="log.txt", seconds=300) -> str:
    """Waits for a process to end with an exit code; returns its output."""
    assert process.wait(timeout=seconds) == code, (
        pathlib.Path(folder) / log
    ).read_text()
    return (pathlib.Path(folder) / log).read_text()


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
    """A run scored while it trained, and one that was killed and continued."""
    folder = tmp_path_factory.mktemp("runs")
    arguments = tiny.flags(*BINDINGS)
    alone, killed = "--model_dir=alone", "--model_dir=killed"
    # The evaluation starts first: its run directory is not there yet.
    evaluation = start_ssgan(
        folder,
        *arguments,
        alone,
        "--schedule=continuous_eval",
        f"--eval_every_steps={LAST}",
        "--num_eval_averaging_runs=2",
        log="evaluation.txt",
    )
    left_alone = start_ssgan(folder, *arguments, alone, log="alone.txt")
    victim = start_ssgan(folder, *arguments, killed, log="killed.txt")
    kill_at_checkpoint(victim, RunDir(folder / "killed"), 4)
    victim = start_ssgan(folder, *arguments, killed, log="killed.txt")
    finish(left_alone, folder, log="alone.txt")
    finish(victim, folder, log="killed.txt")
    finish(evaluation, folder, log="evaluation.txt")
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


def test_scores_of_the_evaluation_beside(runs):
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


def reopen(run: RunDir, *bindings: str) -> config.Plan:
    config.parse([str(run.latest_config())], bindings)
    return config.plan()


@pytest.fixture
def undo_determinism():
    yield
    tf_config.disable_op_determinism()


def start_again(plan, run, schedule):
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


def stamps(run: RunDir) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns
        for path in run.path.rglob("*")
        if path.is_file() and path.name not in ("TRAIN_DONE", ".lock", ".training")
    }


def test_a_finished_run_started_again_changes_nothing(runs, undo_determinism):
    run = RunDir(runs / "alone")
    before = stamps(run)
    plan = reopen(run)
    for schedule in ("eval_after_train", "train", "continuous_eval"):
        start_again(plan, run, schedule)
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

    gan = reopen(run).build_gan()
    run.checkpoints.restore(LAST, gan.parts)
    latents = gan.latents.sample(64, [0, 1])
    samples = gan.sampler(latents, training=False).numpy()
    np.testing.assert_allclose(module.sample(64, seed=0), samples, atol=1e-5)
    assert np.abs(samples - gan.generator(latents, training=False)).max() > 1e-3


def check_archive(path, run) -> None:
    """The export after scoring has the scored weights and their scores."""
    facts = reading.load(path).metadata
    scored = read_metadata(run / "tfhub" / str(LAST))
    assert facts["weights_sha256"] == scored["weights_sha256"]
    assert scored["scores"] == [] and facts["scores"]
    rows = ScoreTable(run / "scores.csv").rows()
    rows = [row for row in rows if row.step == LAST]
    for score, row in zip(facts["scores"], rows, strict=True):
        assert score["protocol"] == row.protocol
        assert score["values"] == row.numbers()
        for name, numbers in score["values"].items():
            assert np.mean(numbers) == pytest.approx(row.means()[name])


def test_export_scripts(runs, tmp_path):
    run = runs / "alone"
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    export = [str(ROOT / "export/export_generator.py"), f"--model_dir={run}"]
    load = [str(ROOT / "export/load_generator.py"), f"--module={run}/tfhub/{LAST}"]
    other = ["--weights=raw", "--fine_tunable", "--out=both.tgz"]
    calls = {
        "papers.txt": (1, [*export, "--output_dir=papers"]),
        "export.txt": (0, [*export, "--step=8", "--output_dir=module", *other]),
        "archive.txt": (0, [*export, "--out=module.tar.gz"]),
        "zip.txt": (2, [*export, "--out=module.zip"]),
        "load.txt": (0, [*load, "--num=10", "--seed=3", "--out=new/grid.png"]),
        "out.txt": (1, [*load, "--out=file/grid.png"]),
        "jpg.txt": (2, [*load, "--out=grid.jpg"]),
    }
    running = {log: start(tmp_path, *calls[log][1], log=log) for log in calls}
    logs = {}
    for log, process in running.items():
        logs[log] = finish(process, tmp_path, calls[log][0], log=log)
        assert "Traceback" not in logs[log]
    assert "path=papers" in logs["papers.txt"]
    assert "file/grid.png" in logs["out.txt"]
    assert "--out=grid.jpg" in logs["jpg.txt"]
    assert "--out=module.zip" in logs["zip.txt"]
    archives = {"module.tar.gz", "both.tgz"}
    folders = {"module", "new", "papers"}
    left = {path.name for path in tmp_path.iterdir()} - set(calls)
    assert left == archives | folders | {"file"}
    facts = read_metadata(tmp_path / "module")
    assert facts["step"] == 8 and facts["weights"] == "raw" and facts["fine_tunable"]
    assert reading.load(tmp_path / "both.tgz").metadata == facts
    check_archive(tmp_path / "module.tar.gz", run)
    grid = tf.io.decode_png((tmp_path / "new/grid.png").read_bytes()).numpy()
    expected = reading.load(run / "tfhub" / str(LAST)).sample(10, seed=3)
    assert np.abs(grid - pictures.grid(expected, columns=4).astype(int)).max() <= 1


def call(folder, code, *command) -> str:
    """The output of a module run as a program, which ends with this code."""
    log = f"{len(list(folder.iterdir()))}.txt"
    output = finish(start(folder, "-m", *command, log=log), folder, code, log=log)
    assert "Traceback" not in output
    return output


EVALUATE = ["ssgan_tf", "evaluate", "--seeds=1", "--num_fakes=100"]


def test_evaluate_and_compare(runs, tmp_path):
    module = f"{runs}/alone/tfhub/{LAST}"
    options = ["--metrics=swd,ms_ssim", "--out=mine.csv"]
    output = call(tmp_path, 0, *EVALUATE, f"--module={module}", *options)
    assert "\nsliced_wasserstein_100_test " in output
    assert "rotations of fake" in output
    assert "data=digits32; split=test; data_hash=" in output
    (row,) = ScoreTable(tmp_path / "mine.csv").rows()
    assert row.checkpoint == module
    assert row.step == LAST and row.metrics == "swd,ms_ssim"
    assert "fake_count=100; " in row.protocol
    compare = ["ssgan_tf", "compare", str(runs / "alone"), "mine.csv"]
    assert "\n  fake_count: 397 | 100\n" in call(tmp_path, 1, *compare)
    assert "\n* of another protocol" in call(tmp_path, 0, *compare, "--anyway")
    alone = call(tmp_path, 0, *compare[:3])
    assert alone.split()[:3] == ["step", "0", str(LAST)]
    assert "last / first" in alone and f"scores        {runs}/alone" in alone


@pytest.mark.slow
def test_errors_of_evaluate(runs, tmp_path):
    (tmp_path / "notes.csv").write_text("mine")
    module = f"--module={runs}/alone/tfhub/{LAST}"
    for arguments, words in (
        ([module, "--out=notes.csv"], "notes.csv"),
        ([module, "--metrics=lpips"], "must name one or more of fid, "),
        ([module, "--metrics=swd,intra_fid"], "['intra_fid'] and an unconditional"),
        (["--module=nowhere"], "module=nowhere"),
        ([module, "--dataset=cifar10"], "dataset='cifar10' with (32, 32, 3)"),
    ):
        assert words in call(tmp_path, 1, *EVALUATE, *arguments)
    assert (tmp_path / "notes.csv").read_text() == "mine"


def test_errors_of_export(runs, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"model_dir={tmp_path}"):
        checkpoint_export.load_run(str(tmp_path))
    plan, run = checkpoint_export.load_run(str(runs / "alone"))
    before = stamps(run)
    with pytest.raises(FileNotFoundError, match=r"step=7.* steps \[0, 4, 8, "):
        checkpoint_export.export_checkpoint(plan, run, 7)
    assert stamps(run) == before


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


SCORE_ALL = Settings(eval_every_steps=0, allow_config_change=True)


class FakeScorer:
    """Stands in for a `ModuleScorer`, at no cost."""

    strategy = tf.distribute.get_strategy()
    metrics = ("fid",)

    def __init__(self, protocol: str = "p"):
        self.scored = []
        self._protocol = protocol

    def protocol(self, metadata):
        return self._protocol

    def score(self, module):
        self.scored.append(module.metadata["step"])
        return ModuleScores({"m": [1.0]}, {})


@pytest.mark.slow
def test_evaluation_waits_for_a_training_and_ends_with_it(tmp_path, monkeypatch):
    """The training starts, saves, deletes, saves again and ends between the polls."""
    plan = tiny.plan()
    gan = plan.build_gan()
    run = RunDir(tmp_path / "later")
    operative = config.operative_config()

    def save(step):
        gan.g_optimizer.iterations.assign(step)
        run.checkpoints.save(gan.step, gan.parts)
        run.checkpoints.keep(1, None)

    events = [
        lambda: None,  # Nothing there yet.
        lambda: run.write_config(operative, 0),
        lambda: save(0),
        lambda: None,
        lambda: save(2),
        lambda: (save(4), run.train_done.touch()),
    ]
    monkeypatch.setattr(time, "sleep", lambda seconds: events.pop(0)())
    scorer, table = FakeScorer(), ScoreTable(run.path / "scores.csv")
    evaluate_continuously(plan, run, scorer, table, settings=SCORE_ALL)
    assert events == [] and scorer.scored == [0, 2, 4]
    assert [row.step for row in table.rows()] == [0, 2, 4]

    # Checkpoints are scored once per protocol; every 3 steps, and the last.
    for protocol, scored in (("p", []), ("q", [4])):
        scorer = FakeScorer(protocol)
        evaluate(plan, run, scorer, table, every_steps=3)
        assert scorer.scored == scored
    assert [row.protocol for row in table.rows()] == ["p", "p", "p", "q"]


def test_a_module_that_cannot_be_scored_does_not_stop_the_others(tmp_path, monkeypatch):
    plan, run = tiny.plan(), RunDir(tmp_path)
    gan = plan.build_gan()
    for step in (0, 2, 4):
        gan.g_optimizer.iterations.assign(step)
        run.checkpoints.save(gan.step, gan.parts)
    polls = [lambda: None, run.train_done.touch]
    monkeypatch.setattr(time, "sleep", lambda seconds: polls.pop(0)())

    class Picky(FakeScorer):
        def score(self, module):
            scores = super().score(module)
            if module.metadata["step"] == 2:
                raise ValueError("NaN")
            return scores

    scorer, table = Picky(), ScoreTable(tmp_path / "scores.csv")
    with pytest.raises(ValueError, match=r"steps \[2\].*NaN"):
        evaluate_continuously(plan, run, scorer, table, settings=SCORE_ALL)
    # Each once, at two polls.
    assert polls == [] and scorer.scored == [0, 2, 4]
    assert [row.step for row in table.rows()] == [0, 4]


def test_a_checkpoint_deleted_while_it_is_evaluated_is_left_out(tmp_path, monkeypatch):
    plan = tiny.plan()
    run = RunDir(tmp_path)
    gan = plan.build_gan()
    for step in (0, 2):
        gan.g_optimizer.iterations.assign(step)
        run.checkpoints.save(gan.step, gan.parts)
    restore = Checkpoints.restore

    def restore_too_late(checkpoints, step, parts):
        if step == 0:
            checkpoints.keep(1, None)
        restore(checkpoints, step, parts)

    monkeypatch.setattr(Checkpoints, "restore", restore_too_late)
    scorer, table = FakeScorer(), ScoreTable(tmp_path / "scores.csv")
    evaluate(plan, run, scorer, table, every_steps=0)
    assert scorer.scored == [2]
    assert not run.module(0).exists()


def test_a_damaged_checkpoint_is_one_warning(tmp_path, monkeypatch, caplog):
    plan, run = tiny.plan(), RunDir(tmp_path)
    gan = plan.build_gan()
    for step in (0, 2):
        gan.g_optimizer.iterations.assign(step)
        run.checkpoints.save(gan.step, gan.parts)
    index = tmp_path / "checkpoints" / "ckpt-0.index"
    index.write_bytes(index.read_bytes()[:-8])
    polls = [lambda: None, run.train_done.touch]
    monkeypatch.setattr(time, "sleep", lambda seconds: polls.pop(0)())
    scorer, table = FakeScorer(), ScoreTable(tmp_path / "scores.csv")
    evaluate_continuously(plan, run, scorer, table, settings=SCORE_ALL)
    assert polls == [] and scorer.scored == [2]
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1 and "step 0 is not scored" in warnings[0].getMessage()


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
    log = finish(
        start_ssgan(
            tmp_path,
            "--gin_config=ssgan_cifar10.gin",
            *(f"--gin_bindings={key}={value}" for key, value in bindings.items()),
            "--model_dir=run",
            f"--tfds_data_dir={PREPARED_DATA}",
            "--schedule=eval_after_train",
            "--num_eval_averaging_runs=1",
            "--eval_every_steps=200",
        ),
        tmp_path,
        # Minutes of it train the classifier that scores.
        seconds=3600,
    )
    assert "step 200/200" in log
    run = RunDir(tmp_path / "run")
    assert run.train_done.exists() and run.checkpoints.steps() == [0, 100, 200]
    module = reading.load(run.module(200))
    assert module.sample(4).shape == (4, 32, 32, 3)
    first, last = ScoreTable(run.path / "scores.csv").rows()
    assert (first.step, last.step) == (0, 200)
    frechet = "frechet_cifar10_cnn_10k_test"
    assert last.means()[frechet] < first.means()[frechet]


@pytest.mark.parametrize("step", [7, 20])
def test_a_step_that_the_configuration_cannot_reach_is_refused(step):
    plan = tiny.plan(*BINDINGS)
    with pytest.raises(config.ConfigError, match=f"step={step}, iterations_per_loop=2"):
        loop._check_step(step, plan)
