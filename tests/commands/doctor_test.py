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
import types

import numpy as np
import pytest
import tiny
from paths import ROOT, TESTS

from ssgan_tf.commands import doctor_checks
from ssgan_tf.commands.doctor_checks import TOLERANCES, Check, Sandbox, StrategyTrial
from ssgan_tf.modules import writing


def test_the_table_names_what_is_wrong_and_its_cure(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    checks = [
        Check("versions", "ok", "all"),
        Check("TFGAN", "wrong", "does not import", "pip install tensorflow-gan"),
        Check("Inception", "absent", "no path", "name one"),
    ]
    lines = doctor_checks.table(checks, io.StringIO()).splitlines()
    assert lines[0] == "ok      versions   all"
    assert lines[1] == "wrong   TFGAN      does not import"
    assert lines[2].strip() == "cure: pip install tensorflow-gan"
    assert lines[-1] == "wrong: TFGAN"
    found = doctor_checks.Diagnosis({}, {}, checks, [])
    assert not found.is_well
    assert json.loads(json.dumps(found.as_dict()))["checks"][1]["status"] == "wrong"
    # Wrapped under themselves, for terminals and bug reports.
    long = [Check("GPU", "ok", "word " * 40), *checks]
    table = doctor_checks.table(long, io.StringIO()).splitlines()
    assert max(map(len, table)) <= 80 and table[1].startswith(" " * 19 + "word")
    # What only some commands need may be absent.
    well = doctor_checks.Diagnosis({}, {}, [checks[0], checks[2]], [])
    assert well.is_well
    assert doctor_checks.table(well.checks, io.StringIO()).endswith("All is well.")


def test_packages(monkeypatch):
    (check,) = doctor_checks.check_packages()
    assert check.status == "ok" and "tensorflow 2." in check.said
    versions = dict(doctor_checks.installed())
    assert {"tensorflow", "keras", "gin-config", "tensorflow-gan"} <= set(versions)
    assert None not in versions.values()

    versions |= {"keras": "2.15.0", "tensorflow-gan": None}
    monkeypatch.setattr(doctor_checks, "_version", versions.get)
    (check,) = doctor_checks.check_packages()
    assert check.status == "wrong"
    assert "keras 2.15.0, tensorflow-gan None" in check.said
    assert check.cure == 'pip install "keras>=3.8" "tensorflow-gan"'
    assert doctor_checks.installed()["keras"] == "2.15.0"


def test_a_package_that_is_not_installed(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    (check,) = doctor_checks.check_packages()
    assert check.status == "wrong" and "make install" in check.cure
    assert doctor_checks.installed() == {}


FACTS = {"devices": ["CPU:0"], "tensorflow": "2.21.0"}


def test_a_gpu_that_tensorflow_does_not_use(nvidia_smi):
    devices, gpu = doctor_checks.check_devices(FACTS)
    assert devices.status == "ok" and devices.said == "CPU:0"
    assert gpu.status == "wrong" and "NVIDIA H100" in gpu.said
    assert "ssgan-tf[gpu]" in gpu.cure
    seen = FACTS | {"devices": ["CPU:0", "GPU:0 NVIDIA H100"]}
    assert [each.status for each in doctor_checks.check_devices(seen)] == ["ok", "ok"]
    # None is there, as far as the driver knows.
    nvidia_smi.write_text("#!/bin/sh\necho 'failed to communicate'; exit 9\n")
    assert len(list(doctor_checks.check_devices(FACTS))) == 1


@pytest.mark.parametrize(
    ("memory", "free", "status", "words"),
    [
        (2**32, 2**31, "ok", "4.0 GiB; 2.0 GiB free"),
        (2**31, 2**31, "wrong", "2.0 GiB; "),
        (2**32, 2**29, "wrong", "0.5 GiB free"),
    ],
)
def test_memory(monkeypatch, memory, free, status, words):
    monkeypatch.setattr(doctor_checks, "memory_limit", lambda: memory)
    disk = types.SimpleNamespace(f_bavail=free // 512, f_frsize=512)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    (check,) = doctor_checks.check_memory()
    assert check.status == status and words in check.said
    assert bool(check.cure) == (status == "wrong")


class Answers(Sandbox):
    """A place whose other processes answer what a test wants."""

    def __init__(self, path, **answers):
        super().__init__(path)
        self.__dict__["answers"] = answers

    def ask(self, question, *arguments):
        return self.answers[question]


@pytest.mark.parametrize(("theirs", "status"), [(4.55, "ok"), (4.7, "wrong")])
def test_tfgan(tmp_path, theirs, status):
    place = Answers(tmp_path, tfgan={"theirs": theirs, "ours": 4.57})
    (check,) = doctor_checks.check_tfgan(place)
    assert check.status == status
    assert ("tensorflow-probability" in check.cure) == (status == "wrong")


def test_inception(tmp_path):
    place = Sandbox(tmp_path)
    (check,) = doctor_checks.check_inception(place, None)
    assert check.status == "absent" and "--inception_path" in check.cure
    (check,) = doctor_checks.check_inception(place, "https://tfhub.dev/tensorflow/x")
    assert check.status == "absent" and "not fetched" in check.said
    (check,) = doctor_checks.check_inception(place, "/nowhere/inception")
    assert check.status == "wrong" and "is not there" in check.said
    fit = Answers(tmp_path, inception={"hash": "abc"})
    (check,) = doctor_checks.check_inception(fit, str(tmp_path))
    assert check.status == "ok" and check.said.endswith("hash abc")


@pytest.mark.slow
def test_a_folder_without_inception(tmp_path):
    with pytest.raises(doctor_checks.Failed, match="saved_model.pb"):
        list(doctor_checks.check_inception(Sandbox(tmp_path), str(tmp_path)))


@pytest.mark.parametrize(
    ("gpus", "tpu_cores", "expected"),
    [
        (0, 0, {"one_device": 1, "mirrored": 2, "multi_worker": 2}),
        (1, 0, {"one_device": 1, "multi_worker": 2}),
        (4, 0, {"one_device": 1, "mirrored": 4, "multi_worker": 2}),
        # 64 images cannot be shared out to three.
        (3, 0, {"one_device": 1, "mirrored": 2, "multi_worker": 2}),
        (40, 0, {"one_device": 1, "mirrored": 16, "multi_worker": 2}),
        (0, 8, {"one_device": 1, "mirrored": 2, "multi_worker": 2, "tpu": 8}),
    ],
)
def test_trials(gpus, tpu_cores, expected):
    trials = doctor_checks.trials(gpus, tpu_cores)
    assert {trial.strategy: trial.replicas for trial in trials} == expected
    assert trials[0].strategy == "one_device"


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, "0,1"), ("5,3,1", "5,3"), ("GPU-ab,GPU-cd,x", "GPU-ab,GPU-cd")],
)
def test_a_trial_sees_some_gpus(tmp_path, monkeypatch, visible, expected):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    seen = []
    place = Answers(tmp_path, training={"curves": {}, "seconds_per_step": 1.0})
    place.__dict__["run"] = lambda arguments, environ: seen.append(environ)
    mirrored = doctor_checks.trials(3, 0)[1]
    doctor_checks.train(mirrored, place)
    assert seen == [{"CUDA_VISIBLE_DEVICES": expected}]


def test_what_fails_is_a_finding():
    def broken():
        yield Check("first", "ok", "")
        raise AttributeError("no such thing")

    def failed():
        raise doctor_checks.Failed("exit code 1")

    (check,) = doctor_checks.run_check("devices", "a cure", broken)
    assert check == Check("devices", "wrong", "AttributeError: no such thing", "a cure")
    (check,) = doctor_checks.run_check("devices", "a cure", failed)
    assert check == Check("devices", "wrong", "exit code 1", "a cure")


def test_one_that_dies_is_a_finding(tmp_path):
    with pytest.raises(doctor_checks.Failed, match="exit code -6"):
        Sandbox(tmp_path).run(["-c", "import os; os.abort()"])


def test_what_an_import_prints_is_no_answer(tmp_path):
    place = Sandbox(tmp_path)
    place.__dict__["run"] = lambda arguments: f"hello\n{arguments[-1]}\n\n[1]\n"
    assert place.ask("machine") == [1]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("kind", ["[0] error", "keras.errors.SomeError", "ValueError"])
def test_why_a_process_failed(tmp_path, stream, kind):
    said = f"Nov 22 begins\\n{kind}: two lines:\\n  batch_size = x\\n"
    script = f"import sys; sys.{stream}.write('{said}'); sys.exit(3)"
    with pytest.raises(doctor_checks.Failed) as caught:
        Sandbox(tmp_path).run(["-c", script])
    assert str(caught.value) == f"exit code 3: {kind}: two lines: batch_size = x"


def test_other_processes_see_none_of_the_users_files(tmp_path, monkeypatch):
    home, place = tmp_path / "home", tmp_path / "place"
    for folder in (home, place):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TF_CONFIG", "{}")
    monkeypatch.chdir(home)
    (home / "json.py").write_text("raise SystemExit('mine')")
    script = (
        "import json, os; print(json.dumps([os.getcwd(), 'TF_CONFIG' in os.environ, "
        "os.environ['KERAS_HOME']]))"
    )
    found = json.loads(Sandbox(place).run(["-c", script]))
    assert found == [str(place), False, str(place)]
    # What the user has set for Keras counts.
    (home / ".keras").mkdir()
    monkeypatch.setenv("KERAS_HOME", "theirs")
    assert json.loads(Sandbox(place).run(["-c", script]))[2] == "theirs"


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
    monkeypatch.setattr(doctor_checks, "_SECONDS", 2)
    with pytest.raises(doctor_checks.Failed, match="not done after 2 seconds"):
        Sandbox(tmp_path).run(["-c", PARENT, str(tmp_path / "pid")])
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_who_is_asked_to_end_ends_what_it_started(tmp_path):
    script = (
        "import pathlib, signal, sys\n"
        "from ssgan_tf.commands import doctor_checks as checkup\n"
        "def end(*_):\n    raise SystemExit(143)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "place = checkup.Place(pathlib.Path.cwd())\n"
        f"place.run(['-c', {PARENT!r}, sys.argv[1]])\n"
    )
    path = tmp_path / "pid"
    asked = subprocess.Popen([sys.executable, "-c", script, str(path)])
    while not (path.exists() and path.read_text()):
        time.sleep(0.05)
    asked.terminate()
    assert asked.wait(timeout=30) == 143
    assert not is_running(int(path.read_text()))


@pytest.mark.parametrize(
    ("tag", "off", "status"),
    [
        ("loss/g", 0.019, "ok"),
        ("loss/g", 0.021, "wrong"),
        ("loss/rotation_fake", 0.0011, "wrong"),
        ("loss/d", float("nan"), "wrong"),
    ],
)
def test_the_verdict_on_a_training(tag, off, status):
    losses = {tag: [*values] for tag, values in doctor_checks.recorded_losses().items()}
    losses[tag][7] += off
    training = doctor_checks.Training("one_device", 1, 0.125, losses)
    check = doctor_checks.check_training(
        StrategyTrial("one_device", 1, "here"), training
    )
    assert check.status == status and "here: 0.125 s per step, " + tag in check.said
    assert bool(check.cure) == (status == "wrong")
    # JSON has no NaN.
    found = doctor_checks.Diagnosis({}, {}, [check], [training]).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False))["checks"][0]["said"]


def test_losses_are_the_recorded_ones(tmp_path):
    """If they are meant to change: python tests/record_losses.py"""
    trial, *_ = doctor_checks.trials(0, 0)
    training = doctor_checks.train(trial, Sandbox(tmp_path))
    recorded = doctor_checks.recorded_losses()
    for tag, tolerance in TOLERANCES.items():
        assert len(recorded[tag]) == doctor_checks.STEPS
        # Sharper than for a machine that nobody has seen.
        np.testing.assert_allclose(
            training.losses[tag], recorded[tag], atol=tolerance / 10
        )
    assert 0 < training.seconds_per_step < 60


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({"shape": [4, 32, 32, 1], "min": 0.1, "max": 0.9}, "ok"),
        ({"shape": [4, 32, 32, 3], "min": 0.1, "max": 0.9}, "wrong"),
        ({"shape": [4, 32, 32, 1], "min": -0.1, "max": 0.9}, "wrong"),
        ({"shape": [4, 32, 32, 1], "min": 0.1, "max": 1.1}, "wrong"),
        ({"shape": [4, 32, 32, 1], "min": 0.5, "max": 0.5}, "wrong"),
    ],
)
def test_the_verdict_on_samples(tmp_path, found, status):
    (check,) = doctor_checks.check_hub(Answers(tmp_path, hub=found), tmp_path)
    assert check.status == status


@pytest.mark.slow
def test_a_module_that_is_whole_and_one_that_is_not(tmp_path):
    gan = tiny.plan("options.z_dim = 128").build_gan()
    place, path = Sandbox(tmp_path), tmp_path / "module"
    writing.export(gan.sampler, gan.discriminator, gan.latents, path, {})
    for look in (doctor_checks.check_hub, doctor_checks.check_sample):
        (check,) = look(place, path)
        assert check.status == "ok", check
    shutil.rmtree(path / "variables")
    for look in (doctor_checks.check_hub, doctor_checks.check_sample):
        with pytest.raises(doctor_checks.Failed):
            list(look(place, path))
        with pytest.raises(doctor_checks.Failed, match="no module"):
            list(look(place, tmp_path / "nothing"))


@pytest.mark.slow
def test_doctor_without_network_leaves_nothing(tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir(), temporary.mkdir()
    offline = TESTS / "offline.sh"
    done = subprocess.run(
        [offline, sys.executable, "-m", "ssgan_tf", "doctor", "--json"],
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
    assert list(home.iterdir()) == list(temporary.iterdir()) == []


def test_the_record_says_where_it_comes_from():
    file = pathlib.Path(doctor_checks.__file__).with_name("recorded_losses.json")
    record = json.loads(file.read_text())
    command, script = record["command"].split()
    assert command == "python"
    assert (ROOT / script).is_file()
    assert {"date", "tensorflow", "keras", "cpu", "cores"} <= set(record)
