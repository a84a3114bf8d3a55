"""What a training ran on: versions, commit, processor, devices."""

import os
import pathlib
import platform
import subprocess

import keras
import numpy as np
import tensorflow as tf

import ssgan_tf
from ssgan_tf.utils.machine import num_cores


def facts() -> dict[str, str | int | list[str] | None]:
    """What a result may depend on besides the config; no names of hosts or users.

    Returns:
        Versions as strings; `commit`, the hash of the git checkout that the package
        runs from, with `-dirty` where tracked files were changed, None elsewhere;
        `platform`; `cpu`; `cores`, how many this process may use; `devices`, all that
        TensorFlow sees.
    """
    return {
        "ssgan_tf": ssgan_tf.__version__,
        "commit": _commit(pathlib.Path(ssgan_tf.__file__)),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": _cpu(pathlib.Path("/proc/cpuinfo")),
        "cores": num_cores(),
        "devices": [_device(each) for each in tf.config.list_physical_devices()],
    }


def _commit(file: pathlib.Path) -> str | None:
    """Of the checkout that tracks a file, None if none does or there is no git."""
    # A folder of installed packages may lie in a checkout of something else.
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    # No tag matches, so that the hash is all there is.
    return _git(
        file.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"
    )


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            # Not that of a hook which runs this.
            env={k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu(info: pathlib.Path) -> str:
    """The processor's model, as far as the system tells."""
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _device(device: tf.config.PhysicalDevice) -> str:
    name = device.name.removeprefix("/physical_device:")
    details = {}
    if device.device_type == "GPU":
        details = tf.config.experimental.get_device_details(device)
    model = details.get("device_name")
    return f"{name} {model}" if model else name
