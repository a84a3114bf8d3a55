"""What must hold before TensorFlow starts: two CPU devices, nothing of the user's."""

import os
import tempfile

# TFDS reads its folder when it is imported, which is before any fixture runs: so
# this cannot be a fixture. The folder goes when the process ends.
_HOME = tempfile.TemporaryDirectory(prefix="ssgan_tf_tests_")
os.environ["XDG_CACHE_HOME"] = os.path.join(_HOME.name, "cache")
os.environ["TFDS_DATA_DIR"] = os.path.join(_HOME.name, "tensorflow_datasets")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf  # noqa: E402

# Two logical CPUs stand in for two accelerators: MirroredStrategy then works here.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds.")
