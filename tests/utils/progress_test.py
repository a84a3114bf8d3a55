"""What is said of how far something has come."""

import io

import pytest
from absl import logging

from ssgan_tf.utils import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def seconds(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def work(seconds, items, each, **options):
    """Takes `each` seconds for every item."""
    seen = []
    for item in progress.track(items, **options):
        seconds[0] += each
        seen.append(item)
    return seen


@pytest.mark.parametrize(
    ("seconds_", "text"),
    [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3600, "1:00:00"), (7325, "2:02:05")],
)
def test_clock(seconds_, text):
    assert progress.clock(seconds_) == text


@pytest.mark.parametrize(("done", "hashes"), [(0, 0), (1, 5), (3, 15), (4, 20)])
def test_bar(done, hashes):
    assert progress.bar(done, 4) == f"[{'#' * hashes}{' ' * (20 - hashes)}]"


def test_on_a_terminal(seconds):
    terminal = Terminal()
    items = ["a", "bcd", "e"]
    options = {"total": 5, "what": "letters", "size": len, "stream": terminal}
    assert work(seconds, items, 10, **options) == items
    lines = terminal.getvalue().split("\r\x1b[K")[1:]
    assert lines == [
        f"{progress.bar(1, 5)} letters: 1 of 5, 0:40 left",
        f"{progress.bar(4, 5)} letters: 4 of 5, 0:05 left",
        f"{progress.bar(5, 5)} letters: 5 of 5, 0:00 left\n",
    ]


def test_what_is_quick_needs_no_word(seconds):
    terminal = Terminal()
    work(seconds, range(4), 0.1, total=4, what="numbers", stream=terminal)
    assert terminal.getvalue() == ""


# The first word comes after five seconds, the others every 30.
@pytest.mark.parametrize(
    ("total", "each", "expected"),
    [
        (5, 20, ["1 of 5, 1:20 left", "3 of 5, 0:40 left", "5 of 5, 0:00 left"]),
        (60, 1, ["5 of 60, 0:55 left", "35 of 60, 0:25 left", "60 of 60, 0:00 left"]),
    ],
)
def test_off_a_terminal(seconds, monkeypatch, total, each, expected):
    said = []
    monkeypatch.setattr(logging, "info", lambda text, *args: said.append(text % args))
    options = {"total": total, "what": "numbers", "stream": io.StringIO()}
    work(seconds, range(total), each, **options)
    assert said == [f"numbers: {line}" for line in expected]
    assert options["stream"].getvalue() == ""
