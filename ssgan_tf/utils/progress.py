"""Progress of long tasks: a bar on a terminal, log lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

from absl import logging
from tqdm import tqdm

LOG_SECONDS = 30.0
_FIRST_LOG_SECONDS = 5.0
_BAR_SECONDS = 0.5

Item = TypeVar("Item")


def clock(seconds: float) -> str:
    """Formats a duration as m:ss or h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes}:{seconds:02d}"


def terminal_bar(
    total: int,
    description: str,
    *,
    initial: int = 0,
    unit: str = "it",
    stream: TextIO | None = None,
) -> tqdm:
    """Returns a tqdm bar that appears after half a second.

    Args:
        total: int. Amount of work.
        description: str. Text before the bar.
        initial: int. Work done before; it does not count for the rate.
        unit: str. Name of one piece of work.
        stream: None is the standard error. If it is no terminal, the bar is disabled:
            `bar.disable` is True, and nothing is written.
    """
    stream = sys.stderr if stream is None else stream
    return tqdm(
        total=total,
        desc=description,
        initial=initial,
        unit=unit,
        file=stream,
        disable=not stream.isatty(),
        delay=_BAR_SECONDS,
        mininterval=_BAR_SECONDS,
        miniters=1,
        dynamic_ncols=True,
    )


def track(
    items: Iterable[Item],
    total: int,
    description: str,
    size: Callable[[Item], int] = lambda item: 1,
    stream: TextIO | None = None,
) -> Iterator[Item]:
    """Yields items and shows how much of the total is done and the time left.

    Nothing is shown of a quick task: one of half a second on a terminal, of five
    seconds in the log.

    Args:
        items: iterable. An item is done when the next one is requested.
        total: int. Sum of the items' sizes.
        description: str. Names the task, for example "fid, seed 0".
        size: maps an item to its share of `total`.
        stream: stream of the bar; None is the standard error. If it is no terminal,
            lines are logged by `absl.logging` instead.
    """
    start = logged = time.monotonic()
    # The first line of a long task comes soon.
    interval = _FIRST_LOG_SECONDS
    done = 0
    with terminal_bar(total, description, stream=stream) as bar:
        for item in items:
            yield item
            done += size(item)
            bar.update(size(item))
            now = time.monotonic()
            is_end = done >= total and logged > start
            if bar.disable and (now - logged >= interval or is_end):
                logged, interval = now, LOG_SECONDS
                left = clock((now - start) * (total - done) / max(done, 1))
                logging.info("%s: %s of %s, %s left", description, done, total, left)


_CODES = {"red": "31", "green": "32", "yellow": "33"}


def colored(text: str, color: str, stream: TextIO) -> str:
    """Colours a text if the stream is a terminal that shows colours.

    Args:
        text: str.
        color: "red", "green" or "yellow".
        stream: the text's destination. Files, pipes, `TERM=dumb` and `NO_COLOR`
            (https://no-color.org) get the plain text.
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not stream.isatty():
        return text
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m"
