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

from ssgan_tf.commands import doctor_checks, doctor_child
from ssgan_tf.commands.doctor_checks import Check, Diagnosis
from ssgan_tf.evaluation import tfgan


def only_check(result: dict) -> Check:
    (check,) = result["checks"]
    return check


def test_the_table_names_problems_and_cures(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
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
    diagnosis = Diagnosis(checks, {}, {}, None)
    assert not diagnosis.is_well
    assert json.loads(json.dumps(diagnosis.as_dict()))["checks"][1]["status"] == "wrong"
    # Long messages are wrapped and indented.
    long = [Check("GPU", "ok", "word " * 40), *checks]
    table = doctor_checks.table(long, io.StringIO()).splitlines()
    assert max(map(len, table)) <= 80 and table[1].startswith(" " * 19 + "word")
    # An absent part is no problem.
    well = Diagnosis([checks[0], checks[2]], {}, {}, None)
    assert well.is_well
    assert doctor_checks.table(well.checks, io.StringIO()).endswith("All is well.")


def test_versions(monkeypatch):
    check = doctor_checks.check_packages()
    assert check.status == "ok" and "tensorflow 2." in check.message
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


def test_a_package_that_is_not_installed(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    check = doctor_checks.check_packages()
    assert check.status == "wrong" and check.cure


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


FACTS = {"devices": ["CPU:0"], "tensorflow": "2.21.0"}


def test_a_gpu_that_tensorflow_does_not_use(nvidia_smi):
    check = only_check(doctor_child.compare_devices(FACTS))
    assert check.status == "wrong" and "NVIDIA H100" in check.message
    assert "ssgan-tf[gpu]" in check.cure
    facts = FACTS | {"devices": ["CPU:0", "GPU:0 NVIDIA H100"]}
    assert only_check(doctor_child.compare_devices(facts)).status == "ok"
    # The driver sees no GPU.
    nvidia_smi.write_text("#!/bin/sh\necho 'failed to communicate'; exit 9\n")
    check = only_check(doctor_child.compare_devices(FACTS))
    assert check.status == "ok" and check.message == "CPU:0"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", "absent"),
        ("https://tfhub.dev/tensorflow/x", "absent"),
        ("/nowhere/inception", "wrong"),
    ],
)
def test_inception(path, status):
    check = only_check(doctor_child.check_inception(path))
    assert check.status == status and path in check.message
    assert "--inception_path" in check.cure


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
    losses = {tag: [*values] for tag, values in doctor_child.recorded_losses().items()}
    losses[tag][7] += error
    worst, distance = doctor_child.worst_loss(losses)
    assert worst == tag
    assert (distance <= doctor_child.TOLERANCES[tag]) == is_good
    # A step is missing.
    del losses["loss/d"][-1]
    assert doctor_child.worst_loss(losses) == ("loss/d", float("inf"))


@pytest.mark.parametrize(("theirs", "status"), [(4.55, "ok"), (4.7, "wrong")])
def test_the_verdict_on_tfgan(monkeypatch, theirs, status):
    frechet = types.SimpleNamespace(
        frechet_classifier_distance_from_activations=lambda real, fake: theirs
    )
    monkeypatch.setattr(tfgan, "import_eval", lambda: frechet)
    check = only_check(doctor_child.check_imports())
    assert check.status == status
    assert ("tensorflow-gan" in check.cure) == (status == "wrong")


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
    assert only_check(doctor_child.check_hub()).status == status


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
            "exit code 3: some.OpError: two: lines",
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
    check = diagnosis.checks[-1]
    assert not diagnosis.is_well
    assert (check.name, check.status) == ("TensorFlow", "wrong") and check.cure
    assert check.message.startswith(message)
    assert diagnosis.facts == {} and diagnosis.training is None
    assert "tensorflow" in diagnosis.packages


def test_an_exception_is_a_finding_and_the_next_check_runs(tensorflow):
    tensorflow.write_text("raise AttributeError('no such thing')")
    diagnosis = doctor_checks.examine("https://tfhub.dev/tensorflow/x")
    checks = {check.name: check for check in diagnosis.checks}
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
        message = doctor_checks.examine().checks[-1].message
        return json.loads(message[message.index("[") : message.index("]") + 1])

    folder, tf_config, keras_home, temporary = child_environment()
    assert folder == keras_home == temporary != str(home)
    assert tf_config is None and not pathlib.Path(folder).exists()
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


def test_doctor_without_network_leaves_nothing(run):
    done, files = run
    assert files == []
    assert "All is well." in done.stderr
    diagnosis = json.loads(done.stdout)
    assert diagnosis["is_well"]
    assert diagnosis["packages"]["tensorflow"] == diagnosis["facts"]["tensorflow"]
    assert 0 < diagnosis["training"]["seconds_per_step"] < 60


def test_losses_are_the_recorded_ones(run):
    """If they are meant to change: python tests/record_losses.py"""
    losses = json.loads(run[0].stdout)["training"]["losses"]
    recorded = doctor_child.recorded_losses()
    assert set(losses) == set(recorded) == set(doctor_child.TOLERANCES)
    for tag, tolerance in doctor_child.TOLERANCES.items():
        assert len(recorded[tag]) == doctor_child.STEPS
        # Sharper than for an unknown machine.
        np.testing.assert_allclose(losses[tag], recorded[tag], atol=tolerance / 10)
