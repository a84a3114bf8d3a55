"""The findings of `ssgan doctor` on healthy and on broken installations."""

import importlib.metadata
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import tensorflow_hub
from paths import ROOT, TESTS

import ssgan_tf
from ssgan_tf.commands import doctor_checks
from ssgan_tf.commands.doctor_checks import Check


def test_the_table_names_problems_and_cures():
    checks = [
        Check("versions", "ok", "all"),
        Check("imports", "wrong", "does not import", "pip install tensorflow-gan"),
        Check("Inception", "absent", "no path", "name one"),
    ]
    lines = doctor_checks.table(checks, io.StringIO()).splitlines()
    assert lines[0] == "ok      versions   all"
    assert lines[1] == "wrong   imports    does not import"
    assert lines[2].strip() == "cure: pip install tensorflow-gan"
    assert lines[-1] == "wrong: imports"
    # An absent part is no problem.
    table = doctor_checks.table([checks[0], checks[2]], io.StringIO())
    assert table.endswith("All is well.")


def test_versions(monkeypatch):
    check = doctor_checks.check_packages()
    assert check.status == "ok" and ssgan_tf.__version__ in check.message
    real = importlib.metadata.version

    def version(name):
        if name == "tensorflow-gan":
            raise importlib.metadata.PackageNotFoundError(name)
        return "2.15.0" if name == "keras" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    check = doctor_checks.check_packages()
    assert check.status == "wrong"
    assert "keras 2.15.0, tensorflow-gan None" in check.message
    assert check.cure == 'pip install "keras>=3.8" "tensorflow-gan"'
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: version("nosuch"))
    assert "not installed by pip" in doctor_checks.check_packages().message


@pytest.mark.parametrize(
    ("memory", "free", "status", "words"),
    [
        (2**32, 2**31, "ok", "4.0 GiB; 2.0 GiB free"),
        (2**30, 2**31, "wrong", "1.0 GiB; "),
        (2**32, 2**29, "wrong", "0.5 GiB free"),
    ],
)
def test_memory(monkeypatch, memory, free, status, words):
    monkeypatch.setattr(doctor_checks, "memory_limit", lambda: memory)
    disk = types.SimpleNamespace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk)
    check = doctor_checks.check_memory()
    assert check.status == status and words in check.message
    assert bool(check.cure) == (status == "wrong")


def test_a_gpu_that_tensorflow_does_not_use(nvidia_smi):
    facts = {"devices": ["CPU:0"], "tensorflow": "2.21.0"}
    status, message = doctor_checks.compare_devices(facts)
    assert status == "wrong" and "NVIDIA H100" in message
    both = facts | {"devices": ["CPU:0", "GPU:0 NVIDIA H100"]}
    assert doctor_checks.compare_devices(both)[0] == "ok"
    # The driver sees no GPU.
    nvidia_smi.write_text("#!/bin/sh\necho 'failed to communicate'; exit 9\n")
    assert doctor_checks.compare_devices(facts) == ("ok", "2.21.0; CPU:0")


def test_inception(monkeypatch):
    monkeypatch.setenv("SSGAN_INCEPTION_PATH", "")
    assert doctor_checks.check_inception()[0] == "absent"
    monkeypatch.setenv("SSGAN_INCEPTION_PATH", "/nowhere/inception")
    with pytest.raises(OSError, match="/nowhere/inception"):
        doctor_checks.check_inception()


@pytest.mark.parametrize(
    ("tag", "error", "is_good"),
    [
        ("loss/g", 0.019, True),
        ("loss/g", 0.021, False),
        ("loss/rotation_fake", 0.0011, False),
        ("loss/d", float("nan"), False),
    ],
)
def test_the_distance_from_the_recorded_losses(tag, error, is_good):
    losses = {tag: [*values] for tag, values in doctor_checks.recorded_losses().items()}
    losses[tag][7] += error
    worst, distance = doctor_checks.worst_loss(losses)
    assert worst == tag
    assert (distance <= doctor_checks.TOLERANCES[tag]) == is_good
    # A step is missing.
    del losses["loss/d"][-1]
    with pytest.raises(ValueError):
        doctor_checks.worst_loss(losses)


@pytest.mark.parametrize(
    ("channels", "low", "high", "status"),
    [
        (1, 0.1, 0.9, "ok"),
        (3, 0.1, 0.9, "wrong"),
        (1, -0.1, 0.9, "wrong"),
        (1, 0.1, 1.1, "wrong"),
        (1, 0.5, 0.5, "wrong"),
    ],
)
def test_the_verdict_on_samples(monkeypatch, channels, low, high, status):
    images = np.full((4, 32, 32, channels), low)
    images[0] = high
    module = types.SimpleNamespace(numpy=lambda: images)
    monkeypatch.setattr(tensorflow_hub, "load", lambda path: lambda latents: module)
    assert doctor_checks.check_hub()[0] == status


def test_the_record_names_its_origin():
    file = pathlib.Path(doctor_checks.__file__).with_name("recorded_losses.json")
    record = json.loads(file.read_text())
    command, script = record["command"].split()
    assert command == "python"
    assert (ROOT / script).is_file()
    assert {"date", "tensorflow", "keras", "cpu", "cores"} <= set(record)


@pytest.fixture
def tensorflow(tmp_path, monkeypatch):
    """A file that the child process imports as TensorFlow."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return folder / "tensorflow.py"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import os; os.abort()", "exit code 134: "),
        ("import os; os.kill(os.getpid(), 9)", "exit code 137: no output"),
        (
            "import sys; print('begin\\nsome.OpError: two:\\n lines'); sys.exit(3)",
            "exit code 3: begin some.OpError: two: lines",
        ),
        # As on a disk that fills up.
        (
            "import sys; open('report.jsonl', 'a').write('{\"checks'); sys.exit(1)",
            "exit code 1: no output",
        ),
        ("import time; time.sleep(60)", "not done after 2 seconds"),
    ],
)
def test_the_end_of_the_child_is_a_finding(tensorflow, script, message):
    tensorflow.write_text(script)
    diagnosis = doctor_checks.examine(time_limit=2 if "sleep" in script else 60)
    check = diagnosis["checks"][-1]
    assert not diagnosis["is_well"]
    assert (check.name, check.status) == ("TensorFlow", "wrong") and check.cure
    assert check.message.startswith(message)
    assert diagnosis["facts"] == {} and diagnosis["training"] is None
    assert "tensorflow" in diagnosis["packages"]


def test_an_exception_is_a_finding_and_the_next_check_runs(tensorflow):
    tensorflow.write_text("raise AttributeError('no such thing')")
    diagnosis = doctor_checks.examine("https://tfhub.dev/tensorflow/x")
    checks = {check.name: check for check in diagnosis["checks"]}
    assert checks["TensorFlow"].message == "AttributeError: no such thing"
    assert checks["Inception"].status == "absent"
    for name in ("TensorFlow", "training", "TF-Hub"):
        assert checks[name].status == "wrong" and checks[name].cure


def test_the_child_leaves_the_users_files_alone(tmp_path, tensorflow, monkeypatch):
    tensorflow.write_text(
        "import json, os, sys\n"
        "names = ('TF_CONFIG', 'KERAS_HOME', 'TMPDIR')\n"
        "print('error: ', json.dumps([os.getcwd(), *map(os.environ.get, names)]))\n"
        "sys.exit(1)\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TF_CONFIG", "{}")
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.chdir(home)
    (home / "json.py").write_text("raise SystemExit('mine')")

    def child_environment():
        message = doctor_checks.examine()["checks"][-1].message
        return json.loads(message[message.index("[") : message.index("]") + 1])

    folder, tf_config, keras_home, temporary = child_environment()
    assert folder == keras_home == temporary != str(home)
    assert tf_config == "" and not pathlib.Path(folder).exists()
    # The user's configuration of Keras counts.
    (home / ".keras").mkdir()
    monkeypatch.setenv("KERAS_HOME", "theirs")
    assert child_environment()[2] == "theirs"


def test_a_signal_ends_doctor_and_its_child(tmp_path, tensorflow):
    path = tmp_path / "pid"
    tensorflow.write_text(
        "import os, time\n"
        f"with open({str(path)!r}, 'w') as file: file.write(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    # No traceback, as this process imports no TensorFlow.
    doctor = subprocess.Popen(
        [sys.executable, "-m", "ssgan_tf", "doctor"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    doctor.send_signal(signal.SIGTERM)
    assert doctor.communicate(timeout=60)[1] == ""
    assert doctor.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(path.read_text()), 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`ssgan doctor --json` without network, with an empty home."""
    folder = tmp_path_factory.mktemp("doctor")
    home, temporary = folder / "home", folder / "tmp"
    home.mkdir(), temporary.mkdir()
    command = [TESTS / "offline.sh", sys.executable, "-m", "ssgan_tf", "doctor"]
    done = subprocess.run(
        [*command, "--json"],
        capture_output=True,
        text=True,
        cwd=home,
        env=os.environ | {"HOME": str(home), "TMPDIR": str(temporary)},
    )
    assert done.returncode == 0, done.stderr
    return done, [*home.iterdir(), *temporary.iterdir()]


@pytest.mark.slow
def test_doctor_without_network_leaves_nothing(run):
    done, files = run
    assert files == []
    assert "All is well." in done.stderr
    diagnosis = json.loads(done.stdout)
    assert diagnosis["is_well"]
    assert diagnosis["packages"]["tensorflow"] == diagnosis["facts"]["tensorflow"]
    assert 0 < diagnosis["training"]["seconds_per_step"] < 60


@pytest.mark.slow
def test_losses_are_the_recorded_ones(run):
    """If they are meant to change: python tests/record_losses.py"""
    losses = json.loads(run[0].stdout)["training"]["losses"]
    recorded = doctor_checks.recorded_losses()
    assert set(losses) == set(recorded) == set(doctor_checks.TOLERANCES)
    for tag, tolerance in doctor_checks.TOLERANCES.items():
        assert len(recorded[tag]) == doctor_checks.STEPS
        # Sharper than for an unknown machine.
        np.testing.assert_allclose(losses[tag], recorded[tag], atol=tolerance / 10)
