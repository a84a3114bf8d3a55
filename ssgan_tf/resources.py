"""What a process takes: memory, and time until it trains. Imports no TensorFlow."""

import os
import pathlib
import re
import resource
import sys
import time


def peak_memory() -> int:
    """Peak resident memory of this process so far, in bytes."""
    if sys.platform == "linux":
        # Not `ru_maxrss`, which begins with that of the parent process.
        status = pathlib.Path("/proc/self/status").read_text()
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def num_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


class StartUp:
    """A stopwatch for the parts of a start.

    Example:

        start_up = StartUp()
        import tensorflow
        start_up.done("imports")
        print(start_up)  # 4.1 s: imports 4.1

    Attributes:
        parts: dict. Seconds of each part, in order.
    """

    def __init__(self):
        self.parts: dict[str, float] = {}
        self._last = time.perf_counter()

    def done(self, part: str) -> None:
        """Ends a part: the time since the end of the one before is its own."""
        now = time.perf_counter()
        self.parts[part] = now - self._last
        self._last = now

    def __str__(self):
        parts = ", ".join(f"{part} {time:.1f}" for part, time in self.parts.items())
        return f"{sum(self.parts.values()):.1f} s: {parts}"
