"""Memory, GPUs and cores of this machine. Imports no TensorFlow."""

import os
import pathlib
import re
import resource
import subprocess
import sys
from collections.abc import Iterable

# The limits of control groups, version 2 and 1.
_CGROUP_LIMITS = (
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def peak_memory() -> int:
    """Peak resident memory of this process so far, in bytes."""
    if sys.platform == "linux":
        # `ru_maxrss` would include the peak of the parent process.
        status = pathlib.Path("/proc/self/status").read_text()
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory_limit(limit_files: Iterable[pathlib.Path] = _CGROUP_LIMITS) -> int:
    """Memory of the machine or of this process's container, in bytes.

    Args:
        limit_files: files with the limits of control groups.
    """
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in limit_files:
        # Unlimited is "max" in version 2, and a huge number in version 1.
        if file.is_file() and (text := file.read_text().strip()).isdigit():
            limit = min(limit, int(text))
    return limit


def memory() -> str:
    """The peak so far and the limit, as text."""
    peak, limit = peak_memory() / 2**20, memory_limit() / 2**20
    return f"peak memory {peak:,.0f} MiB of {limit:,.0f}"


def nvidia_gpus() -> list[str]:
    """Lists the GPUs that NVIDIA's driver sees, unless the user hid them.

    Returns:
        One text per GPU: name, memory and version of the driver.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    # Schedulers set it to the GPUs of the job.
    if visible is not None and (not visible or visible.startswith("-1")):
        return []
    query = "--query-gpu=name,memory.total,driver_version"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def num_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
