"""What a process takes: memory, and time until it trains. Imports no TensorFlow."""

import os
import pathlib
import re
import resource
import subprocess
import sys


def peak_memory() -> int:
    """Peak resident memory of this process so far, in bytes."""
    if sys.platform == "linux":
        # Not `ru_maxrss`, which begins with that of the parent process.
        status = pathlib.Path("/proc/self/status").read_text()
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory_limit() -> int:
    """Memory that this process may use, in bytes: the machine's, or a container's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _CGROUP_LIMITS:
        # Without a limit the one says "max", the other a number above any machine's.
        if file.is_file() and (text := file.read_text().strip()).isdigit():
            machine = min(machine, int(text))
    return machine


def memory() -> str:
    """The peak so far, and the limit, in words."""
    peak, limit = peak_memory() / 2**20, memory_limit() / 2**20
    return f"peak memory {peak:,.0f} MiB of {limit:,.0f}"


# Of control groups in version 2 and 1.
_CGROUP_LIMITS = (
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def nvidia_gpus() -> list[str]:
    """The GPUs that NVIDIA's driver sees and the user has not hidden.

    Returns:
        Name, memory and version of the driver of each, as the driver writes them.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    # Schedulers set it to the GPUs that they give.
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
