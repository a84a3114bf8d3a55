"""Colours, on terminals only."""

import os
from typing import TextIO

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
