"""Child processes: signals, exit codes, the end of a block, local clusters."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from optional import needs_linux

from ssgan_tf.utils import processes
from ssgan_tf.utils.processes import Processes, exit_code

# Starts a process of its own and ignores SIGTERM if asked to.
PARENT = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("partial", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename("partial", "pids")
time.sleep(60)
"""


def wait_for(path) -> str:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text()


def is_running(pid: int) -> bool:
    try:
        # A zombie has ended.
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("end", "expected"),
    [("sys.exit(0)", 0), ("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)],
)
def test_exit_codes(end, expected):
    with Processes() as group:
        child = group.start([sys.executable, "-c", f"import os, sys; {end}"])
        assert exit_code(child) == expected
        group.exit_if_signalled()


def test_a_child_has_its_own_session_and_no_user_modules(tmp_path):
    (tmp_path / "random.py").write_text("raise SystemExit('mine')")
    script = "import os, random, sys; print(os.getsid(0), sys.stdin.read() == '')"
    with Processes() as group:
        child = group.start(
            [sys.executable, "-c", script],
            {"A": "b"},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.communicate()[0] == f"{child.pid} True\n"
    assert child.pid != os.getsid(0)


def test_signals_are_forwarded_and_handlers_restored(capfd):
    before = signal.getsignal(signal.SIGHUP)
    with Processes() as group:
        sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
        first = group.start(sleep)
        os.kill(os.getpid(), signal.SIGHUP)
        # A child that starts after the signal receives it too.
        second = group.start(sleep)
        assert exit_code(first) == exit_code(second) == 128 + signal.SIGTERM
        with pytest.raises(SystemExit) as caught:
            group.exit_if_signalled()
    assert caught.value.code == 128 + signal.SIGHUP
    assert "SIGHUP" in capfd.readouterr().out
    assert signal.getsignal(signal.SIGHUP) == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Processes() as group:
            os.kill(os.getpid(), signal.SIGHUP)
            group.exit_if_signalled()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_exception_ends_the_children(tmp_path):
    with pytest.raises(ValueError, match="mine"), Processes() as group:
        child = group.start([sys.executable, "-c", PARENT], cwd=tmp_path)
        wait_for(tmp_path / "pids")
        raise ValueError("mine")
    assert child.returncode == -signal.SIGTERM


@needs_linux
def test_kill_reaches_grandchildren(tmp_path):
    with Processes() as group:
        child = group.start([sys.executable, "-c", PARENT, "stubborn"], cwd=tmp_path)
        pids = [int(pid) for pid in wait_for(tmp_path / "pids").split()]
        assert all(map(is_running, pids))
        group.kill()
        assert exit_code(child) == 137
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def test_cluster_environments(monkeypatch):
    monkeypatch.setenv("MINE", "kept")
    environments = processes.cluster_environments(3)
    configs = [json.loads(environment["TF_CONFIG"]) for environment in environments]
    assert [config["task"]["index"] for config in configs] == [0, 1, 2]
    assert len({json.dumps(config["cluster"]) for config in configs}) == 1
    assert len(set(configs[0]["cluster"]["worker"])) == 3
    for environment in environments:
        assert environment["MINE"] == "kept"
        assert environment["CUDA_VISIBLE_DEVICES"] == ""
