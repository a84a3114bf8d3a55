"""Progress of long tasks on terminals and in the log; colours."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import termios

import pytest
from absl import logging

from ssgan_tf.utils import progress


@contextlib.contextmanager
def terminal(output: list[str]):
    """A pseudo-terminal of 80 columns; its output is added to a list at the end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield stream
    data = b""
    # After the last byte, reading from a closed terminal is an error.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 100_000):
            data += part
    os.close(ours)
    output.append(data.decode())


@pytest.fixture
def seconds(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def work(seconds, items, duration, **options):
    """Takes `duration` seconds for every item."""
    results = []
    for item in progress.track(items, **options):
        seconds[0] += duration
        results.append(item)
    return results


@pytest.mark.parametrize(
    ("duration", "text"),
    [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3600, "1:00:00"), (7325, "2:02:05")],
)
def test_clock(duration, text):
    assert progress.clock(duration) == text


def test_on_a_terminal(seconds):
    items = ["a", "bcd", "e"]
    output = []
    with terminal(output) as stream:
        options = {"total": 5, "description": "letters", "size": len, "stream": stream}
        assert work(seconds, items, 10, **options) == items
    lines = [line for line in re.split(r"\r\n|\r", output[0]) if line]
    # The last line may be written once more at the end.
    assert list(dict.fromkeys(re.search(r"\d/5", line)[0] for line in lines)) == [
        "1/5",
        "4/5",
        "5/5",
    ]
    assert lines[0].startswith("letters:  20%|") and "00:10<00:40" in lines[0]
    assert lines[-1].startswith("letters: 100%|") and "00:30<00:00" in lines[-1]
    assert max(map(len, lines)) <= 80
    # One line of the screen.
    assert output[0].count("\n") == 1 and output[0].endswith("\n")


def test_quick_tasks_show_nothing(seconds):
    output = []
    with terminal(output) as stream:
        work(seconds, range(4), 0.1, total=4, description="numbers", stream=stream)
    assert output == [""]


def test_a_bar_with_a_start_and_a_text(seconds):
    output = []
    with terminal(output) as stream:
        bar = progress.terminal_bar(
            10, "training", initial=4, unit="step", stream=stream
        )
        assert not bar.disable
        with bar:
            for _ in range(3):
                seconds[0] += 1
                bar.set_postfix_str("loss/d 1.500", refresh=False)
                bar.update(2)
    last = re.split(r"\r\n|\r", output[0])[-2]
    assert "10/10 [00:03<00:00" in last and "2.00step/s, loss/d 1.500" in last
    assert progress.terminal_bar(1, "task", stream=io.StringIO()).disable


# The first line comes after five seconds, the others every 30.
@pytest.mark.parametrize(
    ("total", "duration", "expected"),
    [
        (5, 20, ["1 of 5, 1:20 left", "3 of 5, 0:40 left", "5 of 5, 0:00 left"]),
        (60, 1, ["5 of 60, 0:55 left", "35 of 60, 0:25 left", "60 of 60, 0:00 left"]),
        (4, 1, []),
    ],
)
def test_off_a_terminal(seconds, monkeypatch, total, duration, expected):
    lines = []
    monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
    options = {"total": total, "description": "numbers", "stream": io.StringIO()}
    work(seconds, range(total), duration, **options)
    assert lines == [f"numbers: {line}" for line in expected]
    assert options["stream"].getvalue() == ""


@pytest.mark.parametrize(
    ("color", "variables", "expected"),
    [
        ("red", {}, "\x1b[31mtext\x1b[0m"),
        ("green", {"NO_COLOR": ""}, "\x1b[32mtext\x1b[0m"),
        ("red", {"NO_COLOR": "1"}, "text"),
        ("red", {"TERM": "dumb"}, "text"),
    ],
)
def test_colors(monkeypatch, color, variables, expected):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"TERM": "xterm"} | variables).items():
        monkeypatch.setenv(name, value)
    output = []
    with terminal(output) as stream:
        stream.write(progress.colored("text", color, stream))
    assert output == [expected]
    assert progress.colored("text", color, io.StringIO()) == "text"
