"""`ssgan reproduce`: the jobs of an experiment of the paper, and its report."""

import shlex
import subprocess
import sys

import pytest

from ssgan_tf.experiments import recipes, results


def reproduce(*arguments: str, cwd) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "ssgan_tf", "reproduce", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
    )


@pytest.mark.parametrize("name", ["table1", "figure3"])
def test_commands_for_a_scheduler(name, tmp_path):
    done = reproduce(
        name,
        "--print_commands",
        "--seeds=0,4",
        "--only=*seed4",
        "--output_dir=of mine",
        "--tfds_data_dir=data",
        "--inception_path=net",
        cwd=tmp_path,
    )
    assert done.returncode == 0 and list(tmp_path.iterdir()) == []
    jobs = [job for job in recipes.study(name, "full", [4], "net").jobs if job.seed]
    lines = done.stdout.splitlines()
    assert len(lines) == len(jobs)
    for line, job in zip(lines, jobs, strict=True):
        assert shlex.split(line) == [
            sys.executable,
            *job.commands[0],
            f"--model_dir=of mine/runs/{job.name}",
            "--tfds_data_dir=data",
        ]


def test_a_pattern_that_matches_no_job(tmp_path):
    done = reproduce("table1", "--only=nothing", cwd=tmp_path)
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []
    assert "--only=nothing" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_figure_3_in_parts(tmp_path):
    command = ["figure3", "--scale=tiny", "--seeds=0"]
    folder = tmp_path / "reproduce/tiny/figure3"
    for options, jobs, done_jobs, report in (
        (["--only=*rotation*"], "1 jobs, 0 done, 1 to run", "1 of 2", "not yet run"),
        ([], "2 jobs, 1 done, 1 to run", "2 of 2", ""),
        ([], "2 jobs, 2 done, 0 to run", "2 of 2", ""),
    ):
        done = reproduce(*command, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"figure3: {jobs}" in done.stdout
        text = (folder / "report.md").read_text()
        assert f"{done_jobs} runs are done" in text and report in text
    assert "not yet run" not in text
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["figure3.png", "figure3.svg", "report.md", "results.csv"]
    numbers = results.read(folder / "results.csv")
    assert {row.run for row in numbers if row.value is not None} == {
        f"tiny/forgetting_digits32-{kind}-seed0" for kind in ("plain", "rotation")
    }
    over_steps = [
        row
        for row in numbers
        if row.metric == results.FORGETTING and "rotation" in row.run
    ]
    assert [row.step for row in over_steps] == list(range(0, 201, 5))
    tasks = [row.row for row in over_steps[2:6]]
    assert tasks == ["task 1", "task 1", "task 2", "task 2"]


@pytest.mark.slow
def test_table_4_and_a_run_that_fails(tmp_path):
    command = ["table4", "--scale=tiny", "--seeds=0", "--only=*cond_*"]
    run = tmp_path / "reproduce/runs/tiny/cond_digits32-sn_0_0.9_1-seed0"
    run.parent.mkdir(parents=True)
    run.write_text("no folder")
    done = reproduce(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert f"{run.relative_to(tmp_path)} cannot be written" in done.stdout
    report = tmp_path / "reproduce/tiny/table4/report.md"
    assert "1 of 5 runs are done" in report.read_text()
    run.unlink()
    done = reproduce(*command, cwd=tmp_path)
    assert done.returncode == 0
    assert "table4: 2 jobs, 1 done, 1 to run" in done.stdout
    assert "2 of 5 runs are done" in report.read_text()
    # Blocks 4 and 5 are of a deeper network.
    table = report.table(results.read(report.parent / "results.csv"))
    assert [line[1] for line in table[5:]] == ["-", "-"]
