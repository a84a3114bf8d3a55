"""The start of a command: importing TensorFlow, and a stopwatch."""

import importlib
import time


def import_tensorflow() -> None:
    """Imports TensorFlow, with Keras in float32 whatever ~/.keras/keras.json sets.

    This takes seconds, so commands call it only once their flags are checked.
    """
    importlib.import_module("tensorflow")
    importlib.import_module("keras").config.set_floatx("float32")


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
