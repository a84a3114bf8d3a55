"""Prepares TensorFlow for the tests: four logical CPUs, no folder of the user."""

import os
import tempfile

# TFDS reads its folder when it is imported, which is before any fixture runs: so
# this cannot be a fixture. The folder goes when the first process ends; those that it
# starts share it, so that data are prepared and the classifier trained once.
_KEY = "SSGAN_TF_TESTS_HOME"
if _KEY not in os.environ:
    _HOME = tempfile.TemporaryDirectory(prefix="ssgan_tf_tests_")
    os.environ[_KEY] = _HOME.name
os.environ["XDG_CACHE_HOME"] = os.path.join(os.environ[_KEY], "cache")
os.environ["TFDS_DATA_DIR"] = os.path.join(os.environ[_KEY], "tensorflow_datasets")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

# MirroredStrategy needs several devices: logical CPUs replace accelerators.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 4,
)


@pytest.fixture(autouse=True)
def fresh_collectives():
    """Gives the strategies of this test exchanges of their own.

    Every MirroredStrategy numbers its exchanges from the same start, and a process
    remembers each number's shape: a second strategy would fail. TensorFlow's tests
    move the start in this way.
    """
    tf.distribute.MirroredStrategy._collective_key_base += 100_000


@pytest.fixture
def two_replicas():
    """A strategy over two logical CPUs."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def four_replicas():
    """A strategy over four logical CPUs."""
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(4)])


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A driver that sees a GPU, which TensorFlow does not see here."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559 MiB, 550.54'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    return program
