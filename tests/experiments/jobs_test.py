"""Jobs: finished commands are skipped, failures reported, signals forwarded."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ssgan_tf.experiments.jobs import Campaign, Job, command, select

# The last argument of a command is --model_dir.
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


def lines(campaign: Campaign, job: Job) -> list[str]:
    return (campaign.run_dir(job) / "log").read_text().split()


def run(campaign: Campaign, *jobs: Job) -> list[str]:
    return [job.name for job in campaign.run(jobs, lambda: None)]


def test_finished_jobs_are_skipped(tmp_path):
    job = Job("a/b", (append("one"), append("two")))
    campaign = Campaign(tmp_path)
    assert not campaign.is_done(job)
    assert run(campaign, job) == []
    # Flags that do not change results do not repeat a job.
    again = Campaign(tmp_path, ["--tfds_data_dir=x"])
    assert again.is_done(job) and not again.is_done(Job("a/b", (append("other"),)))
    assert run(again, job) == []
    assert lines(campaign, job) == ["one", "two"]


def test_a_deleted_run_starts_again(tmp_path):
    job = Job("a", (append("one"),))
    campaign = Campaign(tmp_path)
    run(campaign, job)
    shutil.rmtree(campaign.run_dir(job))
    assert not campaign.is_done(job)
    run(campaign, job)
    assert lines(campaign, job) == ["one"]
    assert len(json.loads((tmp_path / "jobs/a.json").read_text())) == 1


def test_two_studies_share_a_run(tmp_path):
    campaign = Campaign(tmp_path)
    shorter = Job("a", (append("train"),))
    longer = Job("a", (append("train"), append("probe")))
    run(campaign, shorter)
    assert not campaign.is_done(longer)
    run(campaign, longer)
    assert lines(campaign, longer) == ["train", "probe"]
    assert campaign.is_done(shorter)
    record = json.loads((tmp_path / "jobs/a.json").read_text())
    assert [tuple(entry["arguments"]) for entry in record] == [*longer.commands]


def test_a_failed_job_is_reported_and_the_next_one_runs(tmp_path, capfd):
    bad = Job("bad", (append("first"), fail("why it fails", 3), append("never")))
    good = Job("good", (append("well"),))
    calls = []
    campaign = Campaign(tmp_path)
    failed = campaign.run([bad, good], lambda: calls.append(1))
    assert [job.name for job in failed] == ["bad"] and len(calls) == 2
    output = capfd.readouterr().out
    assert "[1/2] bad ... failed with exit code 3" in output
    assert "why it fails" in output and "[2/2] good ... 0:0" in output
    assert lines(campaign, bad) == ["first"] and lines(campaign, good) == ["well"]
    # The command before the failed one is not repeated.
    run(campaign, bad)
    assert lines(campaign, bad) == ["first"]
    log = campaign.log(bad).read_text().splitlines()
    assert log.count("why it fails") == 2
    # Only the output of the last command in the log is shown.
    assert capfd.readouterr().out.count("why it fails") == 2


def test_a_killed_command_is_a_failure(tmp_path, capfd):
    kill_itself = "-c", "import os; os.kill(os.getpid(), 9)"
    assert run(Campaign(tmp_path), Job("a", (kill_itself,))) == ["a"]
    assert "exit code 137" in capfd.readouterr().out


def test_status(tmp_path):
    campaign = Campaign(tmp_path)
    jobs = [
        Job(name, (append(name),), steps=n)
        for name, n in zip("abc", (6, 8, 10), strict=True)
    ]
    assert campaign.status(jobs) == "3 jobs, 0 done, 3 to run (24 steps)"
    run(campaign, jobs[0])
    record = tmp_path / "jobs/a.json"
    entries = json.loads(record.read_text())
    entries[0]["seconds"] = 600
    # A command of another study.
    entries.append({"arguments": ["-m", "probe"], "seconds": 50})
    record.write_text(json.dumps(entries))
    assert campaign.status(jobs) == (
        "3 jobs, 1 done, 2 to run (18 steps); about 30:00 left"
    )
    assert campaign.seconds(jobs[0]) == 600 and campaign.seconds(jobs[1]) == 0


def test_shell_lines(tmp_path):
    campaign = Campaign(tmp_path / "of mine", ["--tfds_data_dir=$HOME"])
    job = Job("a", (append("one"), append("two")))
    line = campaign.shell_line(job)
    first, second = line.split(" && ")
    assert shlex.split(first) == [
        sys.executable,
        *append("one"),
        f"--model_dir={tmp_path}/of mine/runs/a",
        "--tfds_data_dir=$HOME",
    ]
    assert shlex.split(second)[2] == append("two")[1]
    assert not (tmp_path / "of mine").exists()


def test_earlier_records_count(tmp_path):
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "jobs").mkdir()
    record = [{"arguments": ["-m", "ssgan_tf.train", "--a=1"], "seconds": 30.5}]
    (tmp_path / "jobs/a.json").write_text(json.dumps(record))
    campaign = Campaign(tmp_path)
    done = Job("a", (command("train", "--a=1"),))
    assert campaign.is_done(done) and campaign.seconds(done) == 30.5
    assert not campaign.is_done(Job("a", (command("probe", "--a=1"),)))


@pytest.mark.parametrize(
    "text",
    ["{", "3", "[1]", '[{"arguments": ["x"]}]', '[{"arguments": ["-m", 1]}]'],
)
def test_damaged_records(tmp_path, text):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "jobs/a.json").write_text(text)
    with pytest.raises(ValueError, match="jobs/a.json"):
        Campaign(tmp_path).status([Job("a", (append("one"),))])


def test_select():
    jobs = [Job("small/x-seed0", ()), Job("small/x-seed1", ())]
    assert select(jobs, None) == jobs
    assert select(jobs, "*seed1") == jobs[1:]
    with pytest.raises(ValueError, match="--only=seed1.*small/x-seed0"):
        select(jobs, "seed1")
    with pytest.raises(ValueError, match="--only=\\."):
        select(jobs, "")


SAVES = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[-1].removeprefix("--model_dir="))
folder.mkdir(parents=True)
def end(number, frame):
    with (folder / "received").open("a") as file:
        file.write(f"{number:d} ")
    time.sleep(0.1)
    (folder / "saved").touch()
    sys.exit(128 + number)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
(folder / "started").touch()
time.sleep(60)
"""
RUNNER = """
import sys
from ssgan_tf.experiments.jobs import Campaign, Job
jobs = [Job("a", (("-c", sys.argv[2]),)), Job("b", (("-c", "raise SystemExit(5)"),))]
Campaign(sys.argv[1]).run(jobs, lambda: None)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_and_then_the_campaign(tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path), SAVES],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = tmp_path / "runs/a"
    deadline = time.monotonic() + 30
    while not (run / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    # Like a terminal's Ctrl-C, which reaches the command only through the runner.
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    # The runner waited for the command and started no other.
    assert (run / "saved").exists()
    assert (run / "received").read_text().split() == [f"{number:d}"]
    assert number.name in output
    assert not (tmp_path / "logs/b.txt").exists()
    assert not (tmp_path / "jobs").exists()


def test_the_time_left_follows_each_job(tmp_path, capfd):
    jobs = [Job(name, (append(name),), steps=7) for name in "ab"]
    Campaign(tmp_path).run(jobs, lambda: None)
    first, second = capfd.readouterr().out.splitlines()
    assert re.fullmatch(r"\[1/2\] a \.\.\. 0:\d\d; about 0:\d\d left", first)
    # Nothing is left after the last job.
    assert re.fullmatch(r"\[2/2\] b \.\.\. 0:\d\d", second)
