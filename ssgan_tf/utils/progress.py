"""How far something long has come: a bar on a terminal, else log lines."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from absl import logging

LOG_SECONDS = 30.0
_FIRST_SECONDS = 5.0
_BAR_SECONDS = 0.5
_BAR_WIDTH = 20

Item = TypeVar("Item")


def bar(done: int, total: int) -> str:
    """What part is done, as text of one width."""
    return f"[{'#' * (_BAR_WIDTH * done // total):<{_BAR_WIDTH}}]"


def clock(seconds: float) -> str:
    """A time as m:ss, or h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes}:{seconds:02d}"


def track(
    items: Iterable[Item], total: int, what: str, size=lambda item: 1, stream=None
) -> Iterator[Item]:
    """The items as they come, showing how many there were and the time left.

    Args:
        items: what is worked on; the work on one is done when the next is asked for.
        total: int. The sum of their sizes.
        what: str. Says what is done, such as "fid, seed 0".
        size: function of an item: its share of `total`.
        stream: terminal for the bar; None is the standard error. One that is no
            terminal gets nothing: the log lines go through `absl.logging`.
    """
    stream = sys.stderr if stream is None else stream
    on_terminal = stream.isatty()
    interval = _BAR_SECONDS if on_terminal else LOG_SECONDS
    start = shown = time.monotonic()
    # Of what is long the first word comes early.
    until_next = min(interval, _FIRST_SECONDS)
    done = 0
    for item in items:
        yield item
        done += size(item)
        now = time.monotonic()
        # What is quick needs no word; what had one gets its end.
        if now - shown < until_next and not (done >= total and shown > start):
            continue
        shown, until_next = now, interval
        left = (now - start) * (total - done) / max(done, 1)
        line = f"{what}: {done} of {total}, {clock(left)} left"
        if on_terminal:
            end = "\n" if done >= total else ""
            stream.write(f"\r\x1b[K{bar(min(done, total), total)} {line}{end}")
            stream.flush()
        else:
            logging.info("%s", line)


_CODES = {"red": "31", "green": "32", "yellow": "33"}


def colored(text: str, color: str, stream: TextIO) -> str:
    """A text in a colour, where the stream is a terminal that shows colours.

    Args:
        text: what is written next.
        color: "red", "green" or "yellow".
        stream: where. Files, pipes, `TERM=dumb` and `NO_COLOR` (https://no-color.org)
            get the text as it is.
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not stream.isatty():
        return text
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m"
