"""Sweeps: grids are products, and mistakes show before the first run."""

import shlex
import subprocess
import sys

import pytest
import tiny

from ssgan_tf import config
from ssgan_tf.evaluation.score_table import ScoreTable
from ssgan_tf.experiments import results, sweeps

SCORE = ("--eval_every_steps=0",)


def make(*grid: str, bindings=tiny.BINDINGS, seeds=(0, 1)):
    return sweeps.sweep([tiny.CONFIG], list(bindings), grid, seeds=seeds, score=SCORE)


@pytest.mark.parametrize(
    "text, name, values",
    [
        ("options.disc_iters=1,2", "options.disc_iters", ["1", "2"]),
        ("G.width = 32 , 64", "G.width", ["32", "64"]),
        ("G.width=[16, 32]", "G.width", ["16", "32"]),
        ("D.attention=[[1, 2], None]", "D.attention", ["[1, 2]", "None"]),
        ("D.attention=[1,2],None", "D.attention", ["[1,2]", "None"]),
        ("a.b=(1,(2,3)),{'x':1,'y':[2]}", "a.b", ["(1,(2,3))", "{'x':1,'y':[2]}"]),
        ("a.b='1,2',\"(,\"", "a.b", ["'1,2'", '"(,"']),
        (r"a.b='it\'s, so',2", "a.b", [r"'it\'s, so'", "2"]),
        ("loss.fn=@hinge,@wasserstein", "loss.fn", ["@hinge", "@wasserstein"]),
        ("a.b='x=1',2", "a.b", ["'x=1'", "2"]),
    ],
)
def test_values_are_cut_at_outer_commas(text, name, values):
    assert sweeps.parse_grid(text) == (name, values)


@pytest.mark.parametrize(
    "text",
    ["", "a.b", "=1", "a.b=", "a.b=1,", "a.b=,1", "a=1,1", "a=1,1.0", "a='b',\"b\""]
    + ["a=[1,2],[1, 2]", "a=@b,@b", "a=[8,16", "a='8,16", "a=(8]"]
    # A scope that nobody uses is a mistake, too.
    + ["a={[1]: 2}", f"a={3000 * '['}", "train/G.width=8"],
)
def test_texts_that_are_no_grid(text):
    with pytest.raises(ValueError, match="--grid="):
        sweeps.parse_grid(text)


def test_every_combination_with_every_seed():
    experiment = make("options.disc_iters=1,2", "SSGAN.rotated_batch_size=8,16")
    facts = [(job.row, job.seed) for job in experiment.jobs]
    rows = [
        f"options.disc_iters={d}, SSGAN.rotated_batch_size={r}"
        for d in (1, 2)
        for r in (8, 16)
    ]
    assert facts == [(row, seed) for row in rows for seed in (0, 1)]
    names = [job.name for job in experiment.jobs]
    assert len(set(names)) == 8
    assert names[3] == (
        "quickstart-options.disc_iters=1+SSGAN.rotated_batch_size=16-seed1"
    )
    for job in experiment.jobs:
        ((_, _, command, *flags),) = job.commands
        assert command == "train"
        lines = [
            flag.removeprefix("--gin_bindings=")
            for flag in flags
            if flag.startswith("--gin_b")
        ]
        config.parse([tiny.CONFIG], lines)
        plan = config.plan()
        assert f"disc_iters={plan.options.disc_iters}" in job.row
        assert plan.run.seed == job.seed and plan.options.training_steps == job.steps
        assert job.dataset == "digits32" and flags[-1] == SCORE[0]
    assert "--seeds=2" in shlex.split(experiment.command)


def test_mistakes_show_first():
    for grid, words in (
        (["options.disc_iters=0,1"], "disc_iters=0"),
        (["options.discs=1"], "options.discs = 1"),
        (["G.width='wide',4"], "wide"),
        # The batch size is 8, which is known once the networks are built.
        (["SSGAN.rotated_batch_size=64,16"], "64"),
        (["G.width=4", "G.width=8"], "of its own"),
        (["run_config.seed=1,2"], "--seeds"),
        (["run_config.tf_random_seed=1,2"], "--seeds"),
        # The error names the combination.
        (["options.disc_iters=1,2", "G.width=-3"], "With options.disc_iters=1, G.wi"),
        (["G.width=[8,16"], r"--grid=G.width=\[8,16"),
    ):
        with pytest.raises(ValueError, match=words):
            make(*grid)


def test_names_of_values_that_no_file_can_have():
    lines = ["a.b='x/y'", "a.b='x_y'", "a.b='x y'", "a.b=" + 300 * "1"]
    names = [sweeps.file_name([line]) for line in lines]
    assert len(set(names)) == 4
    assert all(len(name) < 200 and "/" not in name for name in names)
    assert sweeps.file_name(["G.width=4", "D.width=8"]) == "G.width=4+D.width=8"
    alike = [["a=1", "b=2"], ["a=1_b=2"], ["a=1+b=2"], ["a=1, b=2"], ["a=1,b=2"]]
    assert len(set(map(sweeps.file_name, alike[:3]))) == 3
    assert len(set(map(sweeps.file_name, alike))) == 5


def ssgan(*arguments: str, cwd) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "ssgan_tf", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
    )


@pytest.mark.slow
def test_the_command(tmp_path):
    command = [
        "sweep",
        *tiny.flags(),
        "--grid=options.disc_iters=1,2",
        "--seeds=1",
        "--num_fakes=64",
    ]
    shown = ssgan(*command, "--print_commands", cwd=tmp_path)
    assert shown.returncode == 0 and len(shown.stdout.splitlines()) == 2
    wrong = ssgan(*command, "--metrics=nix", cwd=tmp_path)
    assert wrong.returncode == 2 and "nix" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert list(tmp_path.iterdir()) == []
    done = ssgan(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 jobs, 0 done, 2 to run" in done.stdout
    numbers = results.read(tmp_path / "sweep/results.csv")
    finals = [row for row in results.finals(numbers) if "frechet" in row.metric]
    assert [row.row for row in finals] == [
        "options.disc_iters=1",
        "options.disc_iters=2",
    ]
    assert {row.metric for row in finals} == {"frechet_digits32_cnn_64_test"}
    rows = ScoreTable(tmp_path / "sweep/runs" / finals[0].run / "scores.csv").rows()
    (mean,) = (row.means()[finals[0].metric] for row in rows if row.step == 4)
    assert mean == finals[0].value
    report = (tmp_path / "sweep/report.md").read_text()
    assert "2 of 2 runs are done" in report and "--num_fakes=64" in report
    assert (tmp_path / "sweep/sweep.svg").is_file()
    again = ssgan(*command, cwd=tmp_path)
    assert "2 jobs, 2 done, 0 to run" in again.stdout
