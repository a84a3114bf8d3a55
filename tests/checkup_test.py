"""What `ssgan doctor` says of machines that are well and of some that are not."""

import importlib.metadata
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny

from ssgan_tf import checkup, exporting
from ssgan_tf.checkup import TOLERANCES, Check, Trial


def test_the_table_names_what_is_wrong_and_its_cure():
    checks = [
        Check("versions", "ok", "all"),
        Check("TFGAN", "wrong", "does not import", "pip install tensorflow-gan"),
        Check("Inception", "absent", "no path", "name one"),
    ]
    lines = checkup.table(checks, io.StringIO()).splitlines()
    assert lines[0] == "ok      versions   all"
    assert lines[1] == "wrong   TFGAN      does not import"
    assert lines[2].strip() == "cure: pip install tensorflow-gan"
    assert lines[-1] == "wrong: TFGAN"
    found = checkup.Found({}, {}, checks, [])
    assert not found.is_well
    assert json.loads(json.dumps(found.as_dict()))["checks"][1]["status"] == "wrong"
    # What only some commands need may be absent.
    well = checkup.Found({}, {}, [checks[0], checks[2]], [])
    assert well.is_well
    assert checkup.table(well.checks, io.StringIO()).endswith("All is well.")


def test_packages(monkeypatch):
    (check,) = checkup.check_packages()
    assert check.status == "ok" and "tensorflow 2." in check.said
    versions = dict(checkup.installed())
    assert {"tensorflow", "keras", "gin-config", "tensorflow-gan"} <= set(versions)
    assert None not in versions.values()

    versions |= {"keras": "2.15.0", "tensorflow-gan": None}
    monkeypatch.setattr(checkup, "_version", versions.get)
    (check,) = checkup.check_packages()
    assert check.status == "wrong"
    assert "keras 2.15.0, tensorflow-gan None" in check.said
    assert check.cure == 'pip install "keras>=3.8" "tensorflow-gan"'
    assert checkup.installed()["keras"] == "2.15.0"


def test_a_package_that_is_not_installed(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    (check,) = checkup.check_packages()
    assert check.status == "wrong" and "make install" in check.cure
    assert checkup.installed() == {}


def test_a_gpu_that_tensorflow_does_not_use(nvidia_smi):
    devices, gpu = checkup.check_devices()
    assert devices.status == "ok" and devices.said.startswith("CPU:0")
    assert gpu.status == "wrong" and "NVIDIA H100" in gpu.said
    assert "ssgan-tf[gpu]" in gpu.cure
    # None is there, as far as the driver knows.
    nvidia_smi.write_text("#!/bin/sh\necho 'failed to communicate'; exit 9\n")
    assert len(list(checkup.check_devices())) == 1


def test_memory(monkeypatch):
    (check,) = checkup.check_memory()
    assert check.status == "ok"
    monkeypatch.setattr(checkup, "memory_limit", lambda: 2 * 2**30)
    (check,) = checkup.check_memory()
    assert check.status == "wrong" and check.said.startswith("2.0 GiB")


def test_inception(tmp_path):
    assert checkup.check_inception(None).status == "absent"
    missing = checkup.check_inception("https://tfhub.dev/tensorflow/tfgan/eval")
    assert missing.status == "wrong" and "not fetched" in missing.cure
    # A folder without a network: what the loader says of it.
    found = checkup.check_inception(str(tmp_path))
    assert found.status == "wrong" and "saved_model.pb" in found.said


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ((0, 0), {"one_device": 1, "mirrored": 2, "multi_worker": 2}),
        ((1, 0), {"one_device": 1, "multi_worker": 2}),
        ((4, 0), {"one_device": 1, "mirrored": 4, "multi_worker": 2}),
        # 64 images cannot be shared out to three.
        ((3, 0), {"one_device": 1, "multi_worker": 2}),
        ((0, 8), {"one_device": 1, "mirrored": 2, "multi_worker": 2, "tpu": 8}),
    ],
)
def test_trials(devices, expected):
    trials = checkup.trials(*devices)
    assert {trial.strategy: trial.replicas for trial in trials} == expected
    assert trials[0].strategy == "one_device"


def test_a_broken_package_is_a_finding():
    def look():
        yield Check("first", "ok", "")
        raise AttributeError("no such thing")

    (check,) = checkup.guarded("devices", look)
    assert (check.name, check.status) == ("devices", "wrong")
    assert check.said == "AttributeError: no such thing"


def test_the_worst_loss():
    recorded = {tag: [1.0, 2.0, 3.0] for tag in TOLERANCES}
    losses = {tag: [1.0, 2.0, 3.0] for tag in TOLERANCES}
    losses["loss/d"] = [1.0, 2.01, 3.0]
    # Less, but more for its tolerance.
    losses["loss/rotation_real"] = [1.0, 2.0, 2.999]
    tag, far = checkup.worst(losses, recorded)
    assert tag == "loss/rotation_real" and far == pytest.approx(0.001)
    for broken in ([1.0, 2.0], [1.0, np.nan, 3.0]):
        tag, far = checkup.worst(losses | {"loss/g": broken}, recorded)
        assert (tag, far) == ("loss/g", np.inf)
    del losses["loss/rotation_fake"]
    assert checkup.worst(losses, recorded) == ("loss/rotation_fake", np.inf)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_training_that_fails(tmp_path, stream):
    script = (
        f"import sys; print('[0] error: no memory', file=sys.{stream}); sys.exit(3)"
    )
    check, training = checkup.check_training(
        Trial("one_device", 1, "here", ("-c", script)), tmp_path
    )
    assert training is None and check.status == "wrong"
    assert check.said == "here: exit code 3: [0] error: no memory"


# Starts another one, which it ends when it is asked to end.
PARENT = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
signal.signal(signal.SIGTERM, lambda *_: (child.kill(), child.wait(), sys.exit(143)))
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_is_too_slow_ends_with_all_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(checkup, "_SECONDS", 2)
    printed, reason = checkup._run(["-c", PARENT, str(tmp_path / "pid")])
    assert (printed, reason) == ("", "not done after 2 seconds")
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_who_is_asked_to_end_ends_what_it_started(tmp_path):
    script = (
        "import signal, sys\nfrom ssgan_tf import checkup\n"
        "def end(*_):\n    raise SystemExit(143)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"checkup._run(['-c', {PARENT!r}, sys.argv[1]])\n"
    )
    path = tmp_path / "pid"
    asked = subprocess.Popen([sys.executable, "-c", script, str(path)])
    while not (path.exists() and path.read_text()):
        time.sleep(0.05)
    asked.terminate()
    assert asked.wait(timeout=30) == 143
    assert not is_running(int(path.read_text()))


def test_losses_are_the_recorded_ones(tmp_path):
    """If they are meant to change: python tests/record_losses.py"""
    (trial,) = (each for each in checkup.trials() if each.strategy == "one_device")
    check, training = checkup.check_training(trial, tmp_path)
    assert check.status == "ok", check
    recorded = checkup.recorded_losses()
    for tag, tolerance in TOLERANCES.items():
        assert len(recorded[tag]) == checkup.STEPS
        # Sharper than for a machine that nobody has seen.
        np.testing.assert_allclose(
            training.losses[tag], recorded[tag], atol=tolerance / 10
        )
    assert 0 < training.seconds_per_step < 60


@pytest.mark.slow
def test_a_module_that_is_whole_and_one_that_is_not(tmp_path):
    gan = tiny.plan("options.z_dim = 128").build_gan()
    path = tmp_path / "module"
    exporting.export(gan.sampler, gan.discriminator, gan.latents, path, {})
    found = list(checkup.check_module(path))
    assert [each.status for each in found] == ["ok", "ok"], found
    shutil.rmtree(path / "variables")
    found = list(checkup.check_module(path))
    assert [each.status for each in found] == ["wrong", "wrong"]


def test_no_module(tmp_path):
    (check,) = checkup.check_module(tmp_path / "nothing")
    assert check.status == "wrong"


@pytest.mark.slow
def test_doctor_without_network_leaves_nothing(tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir(), temporary.mkdir()
    offline = pathlib.Path(__file__).with_name("offline.sh")
    done = subprocess.run(
        [offline, sys.executable, "-m", "ssgan_tf.doctor", "--json"],
        capture_output=True,
        text=True,
        cwd=home,
        env=os.environ | {"HOME": str(home), "TMPDIR": str(temporary)},
    )
    assert done.returncode == 0, done.stderr
    assert "All is well." in done.stderr
    found = json.loads(done.stdout)
    assert found["is_well"] and len(found["trainings"]) == 3
    assert found["packages"]["tensorflow"] == found["facts"]["tensorflow"]
    for training in found["trainings"]:
        assert set(training["losses"]) == set(TOLERANCES)
    assert list(home.iterdir()) == []
    assert [path.name for path in temporary.iterdir()] == []


def test_the_record_says_where_it_comes_from():
    file = pathlib.Path(checkup.__file__).with_name("recorded_losses.json")
    record = json.loads(file.read_text())
    command, script = record["command"].split()
    assert command == "python"
    assert (pathlib.Path(__file__).parent.parent / script).is_file()
    assert {"date", "tensorflow", "keras", "cpu", "cores"} <= set(record)
