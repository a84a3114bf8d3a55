"""Tables in Markdown."""

import csv
import io
import os
from collections.abc import Iterable, Sequence

from ssgan_tf.utils.files import write_text


def markdown_table(header: Sequence[object], *lines: Sequence[object]) -> list[str]:
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


def read_csv(path: str | os.PathLike) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a CSV file, as `write_csv` writes it.

    Cells too many or too few in a row have None for a name or a value.

    Raises:
        ValueError: it cannot be read as one.
    """
    try:
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            return list(reader.fieldnames or ()), rows
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"A table must be a CSV file. Received: {path}, which fails with: {error}. "
            "Name another file, or move that one away."
        ) from error


def write_csv(
    path: str | os.PathLike, columns: Sequence[str], rows: Iterable[dict[str, str]]
) -> None:
    """Writes a CSV file whole or not at all; a row without a column gets no text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
