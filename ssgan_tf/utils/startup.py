"""Starts TensorFlow without noise, and measures the parts of a start."""

import contextlib
import faulthandler
import importlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator

from absl import flags

# What TensorFlow's C++ says on every start, before it reads TF_CPP_MIN_LOG_LEVEL; of
# libraries that come twice some versions say so as an error.
_NOISE = re.compile(
    rb"[IW]\d{4} |WARNING: All log messages before absl::InitializeLog"
    rb"|.*Unable to register cu\w+ factory|.*computation placer already registered"
)


def import_tensorflow() -> None:
    """Imports TensorFlow and lets it look for GPUs, without its start-up noise.

    It takes seconds: a binary does it as late as it can. What C++ says meanwhile is
    held back, and written to the standard error but for the noise. `--verbosity` of
    any value shows all.
    """
    if "tensorflow" in sys.modules:
        return
    shows_all = flags.FLAGS.is_parsed() and flags.FLAGS["verbosity"].present
    with contextlib.nullcontext() if shows_all else _without_noise():
        tf = importlib.import_module("tensorflow")
        tf.config.list_physical_devices()
        # Whatever ~/.keras/keras.json says: half precision is the config's to choose.
        importlib.import_module("keras").config.set_floatx("float32")


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    try:
        held_back = tempfile.TemporaryFile()
    except OSError:
        held_back = None
    # Rather noise than nothing, on a full disk; and none is heard on a closed stream.
    if held_back is None or sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    terminal_or_file = os.dup(2)
    with held_back:
        os.dup2(held_back.fileno(), 2)
        # Of a crash in C++ nothing is written below.
        faulthandler.enable(file=terminal_or_file)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal_or_file, 2)
            faulthandler.enable(file=2)
            os.close(terminal_or_file)
            held_back.seek(0)
            said = [line for line in held_back if not _NOISE.match(line)]
            os.write(2, b"".join(said))


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
