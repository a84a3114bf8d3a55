"""What cannot be written is said, with its name."""

import os
import platform
import subprocess
import sys
import threading

import pytest

from ssgan_tf.utils import files


@pytest.mark.parametrize("take", [files.lock, files.try_lock])
def test_no_lock_below_a_file(take, tmp_path):
    (tmp_path / "file").touch()
    words = (
        f"must be writable. Received: path={tmp_path}/file/.*lock, which fails with: "
    )
    with pytest.raises(OSError, match=words):
        with take(tmp_path / "file" / "lock"):
            pytest.fail("locked")


def test_no_claim_on_a_full_disk():
    with pytest.raises(OSError, match="must be writable. Received: path=/dev/full, "):
        with files.try_lock("/dev/full"):
            pytest.fail("claimed")


@pytest.mark.parametrize("take", [files.lock, files.try_lock])
def test_what_fails_under_a_lock_is_shown_as_it_is(take, tmp_path):
    with pytest.raises(OSError, match="^mine$"):
        with take(tmp_path / "lock"):
            raise OSError("mine")


def test_who_waits_says_so(tmp_path, caplog):
    caplog.set_level("INFO", "absl")
    waiting = threading.Event()
    caplog.handler.addFilter(lambda record: waiting.set() or True)

    def take():
        with files.lock(tmp_path):
            pass

    with files.lock(tmp_path):
        assert not caplog.text
        second = threading.Thread(target=take)
        second.start()
        assert waiting.wait(60)
    second.join(60)
    assert not second.is_alive()
    assert f"waiting for another process to leave {tmp_path}" in caplog.text


KINDS = ("partial", "former")
WRITER = """
import sys, time
from ssgan_tf.utils import files
with files.replacing("out") as partial:
    partial.mkdir()
    (partial / "a").write_text(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    (partial / "b").write_text(sys.argv[1])
"""


def test_two_that_write_the_same_do_not_mix(tmp_path):
    command = [sys.executable, "-c", WRITER]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    writers = [subprocess.Popen([*command, word], **pipes) for word in ("one", "two")]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n")
        assert writer.returncode == 0
    out = tmp_path / "out"
    assert [(out / name).read_text() for name in "ab"] == ["two", "two"]
    assert os.listdir(tmp_path) == ["out"]


def test_what_a_killed_one_has_left_is_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    node, mine = platform.node(), str(os.getpid())
    left = [f".out.{node}-{pid}.{kind}" for pid in (dead.pid, mine) for kind in KINDS]
    # Of one that lives, of another machine, of another file, and the user's.
    kept = [
        f".out.{node}-1.partial",
        f".out.else-{dead.pid}.partial",
        f".other.{node}-{dead.pid}.partial",
        f".out.{node}-x.partial",
        f".out.{node}-{dead.pid}.mine",
    ]
    for name in [*left, *kept]:
        (tmp_path / name).mkdir()
    files.write_text(tmp_path / "out", "text")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "out"])


def test_the_folder_that_one_is_in(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with files.atomic_write(".") as partial:
        partial.mkdir()
        (partial / "a").touch()
    assert os.listdir(tmp_path / "here") == ["a"]
