"""Tables in Markdown."""

from collections.abc import Sequence


def table(header: Sequence[object], *lines: Sequence[object]) -> list[str]:
    """A table, line by line; a bar within a cell ends none.

    Args:
        header: the columns' names; empty texts for none.
        lines: of the body, as many cells each.
    """
    rule = ["---"] * len(header)
    return [
        "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"
        for cells in (header, rule, *lines)
    ]
