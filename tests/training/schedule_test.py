"""Scoring the checkpoints of a run, beside its training and after it."""

import time
import types

import exports
import keras
import pytest
import tensorflow as tf
import tiny

from ssgan_tf import config, losses
from ssgan_tf.evaluation.score_table import ModuleScores, ScoreTable
from ssgan_tf.training import loop
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.training.schedule import Evaluation
from ssgan_tf.utils.startup import StartUp


def build_gan(precision=None):
    gan = exports.functional_gan()
    gan.compile(
        g_optimizer=keras.optimizers.SGD(),
        d_optimizer=keras.optimizers.SGD(),
        adversarial_loss=losses.Hinge(),
    )
    return gan


class Run:
    """A run with the networks of a user, its scores, and its training in steps."""

    def __init__(self, folder, monkeypatch):
        config.parse([tiny.CONFIG])
        self.gan = build_gan()
        self.run = RunDir(folder / "run")
        self.table = ScoreTable(self.run.path / "scores.csv")
        self.plan = types.SimpleNamespace(
            build_gan=build_gan,
            dataset="digits32",
            standing_examples=0,
            run=types.SimpleNamespace(seed=0),
            options=types.SimpleNamespace(training_steps=4),
        )
        # What happens between the polls.
        self.polls = []
        monkeypatch.setattr(time, "sleep", lambda seconds: self.polls.pop(0)())

    def save(self, *steps):
        for step in steps:
            self.gan.g_optimizer.iterations.assign(step)
            self.run.checkpoints.save(step, self.gan.parts)

    def end(self):
        self.run.train_done.touch()

    def follow(self, scorer, every_steps=0, check=lambda: None) -> list[int]:
        """Evaluates until the end; returns the steps in the table."""
        evaluation = Evaluation(self.plan, self.run, scorer, self.table, every_steps)
        evaluation.follow(check)
        assert self.polls == []
        return [row.step for row in self.table.rows()]


@pytest.fixture
def run(tmp_path, monkeypatch):
    return Run(tmp_path, monkeypatch)


class FakeScorer:
    """Stands in for a `ModuleScorer`, at no cost."""

    strategy = tf.distribute.get_strategy()
    metrics = ("fid",)

    def __init__(self, protocol: str = "p", bad: int | None = None):
        self.scored = []
        self._protocol = protocol
        self._bad = bad

    def protocol(self, metadata):
        return self._protocol

    def score(self, module):
        self.scored.append(module.metadata["step"])
        if self.scored[-1] == self._bad:
            raise ValueError("NaN")
        return ModuleScores({"m": [1.0]}, {})


def test_evaluation_waits_for_a_training_and_ends_with_it(run):
    """The training starts, saves, deletes, saves again and ends between the polls."""
    checks = []
    run.polls = [
        lambda: None,  # Nothing there yet.
        lambda: run.save(0),
        lambda: None,
        lambda: (run.save(2), run.run.checkpoints.keep(1)),
        lambda: (run.save(4), run.end()),
    ]
    scorer = FakeScorer()
    assert run.follow(scorer, check=lambda: checks.append(1)) == [0, 2, 4]
    assert scorer.scored == [0, 2, 4] and len(checks) == 6

    # Checkpoints are scored once per protocol; every 3 steps, and the last.
    for protocol, scored in (("p", []), ("q", [4])):
        scorer = FakeScorer(protocol)
        run.follow(scorer, every_steps=3)
        assert scorer.scored == scored
    assert [row.protocol for row in run.table.rows()] == ["p", "p", "p", "q"]


def test_a_module_that_cannot_be_scored_does_not_stop_the_others(run):
    run.save(0, 2, 4)
    run.polls = [lambda: None, run.end]
    scorer = FakeScorer(bad=2)
    with pytest.raises(ValueError, match=r"steps \[2\].*NaN"):
        run.follow(scorer)
    # Each once, at two polls.
    assert run.polls == [] and scorer.scored == [0, 2, 4]
    assert [row.step for row in run.table.rows()] == [0, 4]


def test_checkpoints_that_are_deleted_or_damaged_are_left_out(run, caplog):
    run.save(0, 2, 4)
    index = run.run.checkpoints.folder / "ckpt-2.index"
    index.write_bytes(index.read_bytes()[:-8])

    def delete_and_build(precision):
        # Before the checkpoint is restored.
        for path in run.run.checkpoints.folder.glob("ckpt-0.*"):
            path.unlink()
        return build_gan()

    run.plan.build_gan = delete_and_build
    run.polls = [lambda: None, run.end]
    scorer = FakeScorer()
    assert run.follow(scorer) == scorer.scored == [4]
    assert not run.run.module(0).exists()
    # One warning each, at three polls.
    deleted, damaged = (
        record.getMessage()
        for record in caplog.records
        if record.levelname == "WARNING"
    )
    assert "step 0 is not scored: training deleted" in deleted
    assert "step 2 is not scored" in damaged and "damaged" in damaged


@pytest.mark.parametrize("step", [7, 20])
def test_a_step_that_the_configuration_cannot_reach_is_refused(step, run):
    plan = tiny.plan(
        "options.training_steps = 16",
        "run_config.iterations_per_loop = 2",
        "run_config.save_summary_steps = 2",
    )
    run.save(step)
    with pytest.raises(config.ConfigError, match=f"step={step}, iterations_per_loop=2"):
        loop.train(run.gan, plan, run.run, start_up=StartUp())
