"""Memory, GPUs, and the time of a start."""

import pathlib
import re
import subprocess
import sys
import time

import pytest
from optional import needs_linux

from ssgan_tf.utils import machine as machine_module
from ssgan_tf.utils.startup import StartUp


def test_peak_memory():
    # This process may have had its peak already.
    script = (
        "import numpy as np\n"
        "from ssgan_tf.utils.machine import peak_memory\n"
        "before = peak_memory()\n"
        "held = np.ones(2**28, np.uint8)\n"
        "during = peak_memory()\n"
        "del held\n"
        "print(during - before, peak_memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    during, after = map(int, done.stdout.split())
    assert 2**27 < during < 2**29
    # A peak does not fall, up to the kernel's rounding.
    assert after > during - 2**22


def test_parts_of_a_start(monkeypatch):
    now = iter([10.0, 11.5, 14.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    start_up = StartUp()
    start_up.done("imports")
    start_up.done("data")
    assert start_up.parts == {"imports": 1.5, "data": 2.5}
    assert str(start_up) == "4.0 s: imports 1.5, data 2.5"


def test_gpus_that_the_driver_sees(nvidia_smi, monkeypatch):
    assert machine_module.nvidia_gpus() == ["NVIDIA H100, 81559 MiB, 550.54"]
    # The user hid them.
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert machine_module.nvidia_gpus() == []
    # A scheduler gave one.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert len(machine_module.nvidia_gpus()) == 1
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    nvidia_smi.write_text("#!/bin/sh\necho 'failed to communicate'; exit 9\n")
    assert machine_module.nvidia_gpus() == []
    nvidia_smi.unlink()
    assert machine_module.nvidia_gpus() == []


@needs_linux
def test_memory_limit_of_machine_or_container(tmp_path):
    limit = tmp_path / "memory.max"
    files = [tmp_path / "none", limit]
    machine = machine_module.memory_limit()
    kib = int(
        re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]
    )
    assert machine == pytest.approx(1024 * kib, rel=0.01)
    for text, expected in (
        ("max\n", machine),
        ("1073741824\n", 2**30),
        ("9223372036854771712\n", machine),
    ):
        limit.write_text(text)
        assert machine_module.memory_limit(files) == expected
