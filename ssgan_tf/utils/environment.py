"""Versions, commit, processor and devices that a run is recorded with."""

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
    """Describes the software and hardware, without names of hosts or users.

    Returns:
        Versions as strings; `commit`, the hash of the package's git checkout, with
        `-dirty` if tracked files were changed, None without a checkout; `platform`;
        `cpu`; `cores` that this process may use; `devices` that TensorFlow sees.
    """
    return {
        "ssgan_tf": ssgan_tf.__version__,
        "commit": commit_of(pathlib.Path(ssgan_tf.__file__)),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": cpu_model(pathlib.Path("/proc/cpuinfo")),
        "cores": num_cores(),
        "devices": [_describe(device) for device in tf.config.list_physical_devices()],
    }


def commit_of(file: pathlib.Path) -> str | None:
    """The commit of the checkout that tracks a file; None without checkout or git."""
    # Installed packages may be inside the checkout of another project.
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    # Without tags, `describe` returns the hash alone.
    options = ("--always", "--dirty", "--abbrev=40", "--exclude=*")
    return _git(file.parent, "describe", *options)


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            # A git hook that runs this process sets variables for its own repository.
            env={k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cpu_model(info: pathlib.Path) -> str:
    """The model in a file like /proc/cpuinfo, else the name that Python knows."""
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _describe(device: tf.config.PhysicalDevice) -> str:
    name = device.name.removeprefix("/physical_device:")
    model = tf.config.experimental.get_device_details(device).get("device_name")
    return f"{name} {model}" if model else name
