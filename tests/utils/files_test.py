"""Atomic writes and locks; the errors of paths that cannot be written."""

import errno
import fcntl
import os
import platform
import subprocess
import sys
import threading

import pytest
from optional import needs_linux

from ssgan_tf.utils import files


@pytest.mark.parametrize("take", [files.lock, files.try_lock])
def test_no_lock_below_a_file(take, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"Cannot write {tmp_path}/file/.*lock: "):
        with take(tmp_path / "file" / "lock"):
            pytest.fail("locked")


def test_no_lock_on_a_full_disk():
    with pytest.raises(OSError, match="Cannot write /dev/full: No space"):
        with files.try_lock("/dev/full"):
            pytest.fail("locked")


@pytest.mark.parametrize("take", [files.lock, files.try_lock])
def test_errors_under_a_lock_pass_through(take, tmp_path):
    with pytest.raises(OSError, match="^mine$"):
        with take(tmp_path / "lock"):
            raise OSError("mine")


def test_waiting_is_logged(tmp_path, caplog):
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


HOLDER = """
import sys
from ssgan_tf.utils import files
with files.try_lock(sys.argv[1]) as holder:
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_refused_lock_names_its_holder_until_that_dies(tmp_path):
    path = tmp_path / "lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdout.readline() == b"held\n"
        # A refused process must not erase the name.
        for _ in range(2):
            with files.try_lock(path) as holder:
                assert holder == f"process {other.pid} on {platform.node()}"
        other.kill()
    with files.try_lock(path) as holder:
        assert holder is None
        assert path.read_text() == f"process {os.getpid()} on {platform.node()}\n"
    assert path.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EINVAL])
def test_file_systems_without_locks(tmp_path, monkeypatch, caplog, number):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with files.lock(tmp_path), files.lock(tmp_path):
        assert f"{tmp_path}/.lock" in caplog.text
    with files.try_lock(tmp_path / "lock") as holder:
        assert holder is None
    assert f"{tmp_path}/lock" in caplog.text and os.strerror(number) in caplog.text


KINDS = ("partial", "former")
WRITER = """
import sys
from ssgan_tf.utils import files
with files.atomic_write("out") as partial:
    partial.mkdir()
    (partial / "a").write_text(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    (partial / "b").write_text(sys.argv[1])
"""


def test_two_writers_do_not_mix(tmp_path):
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


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    node, mine = platform.node(), str(os.getpid())
    left = [f".out.{node}-{pid}.{kind}" for pid in (dead.pid, mine) for kind in KINDS]
    # A living process's, another host's, another file's, and the user's.
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


def test_the_working_directory_can_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with files.atomic_write(".") as partial:
        partial.mkdir()
        (partial / "a").touch()
    assert os.listdir(tmp_path / "here") == ["a"]


@needs_linux
def test_content_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        calls.append(("fsync", os.path.relpath(path, tmp_path)))
        fsync(descriptor)

    def record_replace(source, target, **options):
        name = os.path.relpath(source, tmp_path)
        calls.append(("replace", name, os.path.relpath(target, tmp_path)))
        replace(source, target, **options)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    partial = f".out.{platform.node()}-{os.getpid()}.partial"
    files.write_text(tmp_path / "out", "text")
    assert calls == [
        ("fsync", partial),
        ("replace", partial, "out"),
        ("fsync", "."),
    ]
    calls.clear()
    (tmp_path / "out").unlink()
    with files.atomic_write(tmp_path / "out") as path:
        (path / "inner").mkdir(parents=True)
        (path / "inner" / "file").write_text("text")
    # Files of a folder are synced in any order.
    assert sorted(calls[:3]) == [
        ("fsync", partial),
        ("fsync", f"{partial}/inner"),
        ("fsync", f"{partial}/inner/file"),
    ]
    assert calls[3:] == [("replace", partial, "out"), ("fsync", ".")]
