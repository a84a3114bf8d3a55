"""Many jobs: what is done is left out, failures are said, signals are handed on."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from ssgan_tf.experiments.jobs import Campaign, Job, selected

# A command gets its places as arguments; the first is the run directory.
APPEND = """
import pathlib, sys
folder = pathlib.Path(sys.argv[-1].removeprefix("--model_dir="))
folder.mkdir(parents=True, exist_ok=True)
with (folder / "log").open("a") as file:
    file.write("{}\\n")
"""


def append(text: str) -> tuple[str, str]:
    return "-c", APPEND.format(text)


def fail(text: str, code: int) -> tuple[str, str]:
    return "-c", f"import sys; print({text!r}); sys.exit({code})"


def lines(there: Campaign, job: Job) -> list[str]:
    return (there.run_dir(job) / "log").read_text().split()


def run(there: Campaign, *jobs: Job) -> list[str]:
    return [job.name for job in there.run(jobs, lambda: None)]


def test_what_is_done_is_not_done_again(tmp_path):
    job = Job("a/b", (append("one"), append("two")))
    there = Campaign(tmp_path)
    assert not there.is_done(job)
    assert run(there, job) == []
    assert there.is_done(job) and lines(there, job) == ["one", "two"]
    assert run(Campaign(tmp_path), job) == []
    assert lines(there, job) == ["one", "two"]


def test_nothing_is_done_of_a_run_that_was_deleted(tmp_path):
    job = Job("a", (append("one"),))
    there = Campaign(tmp_path)
    run(there, job)
    shutil.rmtree(there.run_dir(job))
    assert not there.is_done(job)
    run(there, job)
    assert lines(there, job) == ["one"]
    assert len(json.loads((tmp_path / "jobs/a.json").read_text())) == 1


def test_commands_of_two_experiments_share_a_run(tmp_path):
    there = Campaign(tmp_path)
    run(there, Job("a", (append("train"),)))
    longer = Job("a", (append("train"), append("probe")))
    assert not there.is_done(longer)
    run(there, longer)
    assert lines(there, longer) == ["train", "probe"]
    # And the shorter one is still done.
    assert there.is_done(Job("a", (append("train"),)))


def test_other_commands_run_and_other_places_do_not(tmp_path):
    run(Campaign(tmp_path), Job("a", (append("one"),)))
    elsewhere = Campaign(tmp_path, ["--tfds_data_dir=x"])
    assert elsewhere.is_done(Job("a", (append("one"),)))
    assert not elsewhere.is_done(Job("a", (append("other"),)))


def test_a_job_that_fails_is_said_and_the_others_go_on(tmp_path, capfd):
    bad = Job("bad", (append("first"), fail("why it fails", 3), append("never")))
    good = Job("good", (append("well"),))
    calls = []
    there = Campaign(tmp_path)
    failed = there.run([bad, good], lambda: calls.append(1))
    assert [job.name for job in failed] == ["bad"] and len(calls) == 2
    said = capfd.readouterr().out
    assert "[1/2] bad ... failed with exit code 3" in said and "why it fails" in said
    assert "[2/2] good ... 0:0" in said
    assert lines(there, bad) == ["first"] and lines(there, good) == ["well"]
    # What it did before it failed is not done again.
    run(there, bad)
    assert lines(there, bad) == ["first"]
    log = there.log(bad).read_text().splitlines()
    assert log.count("why it fails") == 2
    # Of a log that goes on, only what the last command printed is shown.
    assert capfd.readouterr().out.count("why it fails") == 2


def test_a_command_that_is_killed_has_failed(tmp_path, capfd):
    suicide = "-c", "import os; os.kill(os.getpid(), 9)"
    assert run(Campaign(tmp_path), Job("a", (suicide,))) == ["a"]
    assert "exit code 137" in capfd.readouterr().out


def test_the_plan(tmp_path):
    there = Campaign(tmp_path)
    jobs = [
        Job(name, (append(name),), steps=n)
        for name, n in zip("abc", (6, 8, 10), strict=True)
    ]
    assert there.plan(jobs) == "3 jobs, 0 done, 3 to run (24 steps)"
    run(there, jobs[0])
    record = tmp_path / "jobs/a.json"
    entries = json.loads(record.read_text())
    entries[0]["seconds"] = 600
    # Of another experiment.
    entries.append({"arguments": ["-m", "probe"], "seconds": 50})
    record.write_text(json.dumps(entries))
    assert there.plan(jobs) == ("3 jobs, 1 done, 2 to run (18 steps); about 30:00 left")
    assert there.seconds(jobs[0]) == 600 and there.seconds(jobs[1]) == 0


def test_lines_are_for_a_shell(tmp_path):
    there = Campaign(tmp_path / "of mine", ["--tfds_data_dir=$HOME"])
    job = Job("a", (append("one"), append("two")))
    line = there.line(job)
    first, second = line.split(" && ")
    assert shlex.split(first) == [
        sys.executable,
        *append("one"),
        f"--model_dir={tmp_path}/of mine/runs/a",
        "--tfds_data_dir=$HOME",
    ]
    assert shlex.split(second)[2] == append("two")[1]
    assert not (tmp_path / "of mine").exists()


def test_a_record_that_is_none(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "runs/a").mkdir(parents=True)
    for text in ("{", "3", "[1]", '[{"arguments": ["x"]}]'):
        (tmp_path / "jobs/a.json").write_text(text)
        with pytest.raises(ValueError, match=r"jobs/a.json.*Remove it"):
            Campaign(tmp_path).plan([Job("a", (append("one"),))])


def test_only_some():
    jobs = [Job("small/x-seed0", ()), Job("small/x-seed1", ())]
    assert selected(jobs, None) == jobs
    assert selected(jobs, "*seed1") == jobs[1:]
    with pytest.raises(ValueError, match="--only=seed1. A name: small/x-seed0"):
        selected(jobs, "seed1")


SAVES = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[-1].removeprefix("--model_dir="))
folder.mkdir(parents=True)
def end(number, frame):
    with (folder / "asked").open("a") as file:
        file.write(f"{number:d} ")
    time.sleep(0.3)
    (folder / "saved").touch()
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
(folder / "session").write_text(str(os.getsid(0)))
(folder / "started").touch()
time.sleep(60)
"""
RUNNER = """
import sys
from ssgan_tf.commands import main as cli
from ssgan_tf.experiments.jobs import Campaign, Job
job = Job("a", (("-c", sys.argv[2]),))
other = Job("b", (("-c", "raise SystemExit(5)"),))
folder = sys.argv[1]
sys.argv[1:] = []
cli.run(lambda argv: len(Campaign(folder).run([job, other], lambda: None)))
"""


@pytest.mark.parametrize(
    ("number", "handed_on"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT),
        # A terminal that is closed.
        (signal.SIGHUP, signal.SIGTERM),
    ],
)
def test_signals_reach_the_command(tmp_path, number, handed_on):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUNNER), str(tmp_path), SAVES],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = tmp_path / "runs/a"
    deadline = time.monotonic() + 30
    while not (run / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    # As a terminal's Ctrl-C does.
    os.killpg(process.pid, number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    # A terminal's Ctrl-C comes to the command through this process alone.
    assert int((run / "session").read_text()) != process.pid
    # It waited for the command to end, and began no other.
    assert (run / "saved").exists()
    assert (run / "asked").read_text().split() == [str(int(handed_on))]
    assert f"ended by {number.name}" in said
    assert not (tmp_path / "logs/b.txt").exists()
    assert not (tmp_path / "jobs").exists()


def test_files_of_the_users_are_no_modules(tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise SystemExit('mine')")
    monkeypatch.chdir(tmp_path)
    there = Campaign(tmp_path / "out")
    assert run(there, Job("a", (("-m", "tempfile"),))) == []


def test_after_each_job_the_time_that_is_left_is_said(tmp_path, capfd):
    jobs = [Job(name, (append(name),), steps=7) for name in "ab"]
    Campaign(tmp_path).run(jobs, lambda: None)
    first, second = capfd.readouterr().out.splitlines()
    assert re.fullmatch(r"\[1/2\] a \.\.\. 0:\d\d; about 0:\d\d left", first)
    # The last has nothing behind it.
    assert re.fullmatch(r"\[2/2\] b \.\.\. 0:\d\d", second)
