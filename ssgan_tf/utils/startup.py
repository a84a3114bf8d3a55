"""The start of a command: importing TensorFlow, and a stopwatch."""

import contextlib
import faulthandler
import importlib
import os
import time
from collections.abc import Iterator


def import_tensorflow() -> None:
    """Imports TensorFlow, with Keras in float32 whatever ~/.keras/keras.json sets.

    This takes seconds, so commands call it only once their flags are checked.
    """
    # TensorFlow's C++ code logs lines at import that its own variable does not silence.
    quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3"
    with _discarded_stderr() if quiet else contextlib.nullcontext():
        importlib.import_module("tensorflow")
        importlib.import_module("keras").config.set_floatx("float32")


@contextlib.contextmanager
def _discarded_stderr() -> Iterator[None]:
    """Discards the standard error of C++ code, but for the traceback of a crash."""
    try:
        saved = os.dup(2)
    except OSError:  # It is closed.
        yield
        return
    with open(os.devnull, "wb") as devnull:
        os.dup2(devnull.fileno(), 2)
    faulthandler.enable(file=saved)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        faulthandler.enable(file=2)
        os.close(saved)


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
        """Ends a part, which began at the end of the previous one."""
        now = time.perf_counter()
        self.parts[part] = now - self._last
        self._last = now

    def __str__(self):
        parts = ", ".join(f"{part} {time:.1f}" for part, time in self.parts.items())
        return f"{sum(self.parts.values()):.1f} s: {parts}"
