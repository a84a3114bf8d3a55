"""Tables in CSV files and in Markdown."""

import csv
import dataclasses
import io
import os
import pathlib
import types
import typing
from collections.abc import Callable, Iterable, Sequence

from ssgan_tf.utils import files


def markdown_table(header: Sequence[object], *lines: Sequence[object]) -> list[str]:
    """The lines of a Markdown table. Bars within cells are escaped.

    Args:
        header: names of the columns; empty texts for no names.
        lines: the body, with as many cells each.
    """
    rule = ["---"] * len(header)
    return [
        "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"
        for cells in (header, rule, *lines)
    ]


Row = typing.TypeVar("Row")


class Table(typing.Generic[Row]):
    """A CSV file with one row for each instance of a dataclass.

    The columns are the fields, in order. Fields are of type `str`, `int` or `float`,
    or `... | None`, with None as an empty cell. One field may be of type
    `dict[str, str]`: it holds the cells of all further columns, by name.

    Args:
        path: the file. It is made with the first row.
        row_class: the dataclass.
    """

    def __init__(self, path: str | os.PathLike, row_class: type[Row]):
        self.path = pathlib.Path(path)
        self.row_class = row_class
        # Name -> type; the field of all further columns is apart.
        self._types = typing.get_type_hints(row_class)
        dicts = [name for name, kind in self._types.items() if kind == dict[str, str]]
        self._further = dicts[0] if dicts else None
        self._types.pop(self._further, None)

    def rows(self) -> list[Row]:
        """All rows, in the order of the file; none before the file is made.

        Raises:
            ValueError: the file is damaged, or another table. The message names the
                file, the row and the column.
        """
        if not self.path.exists():
            return []
        try:
            with self.path.open(newline="") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
                columns = list(reader.fieldnames or ())
        except (csv.Error, UnicodeDecodeError) as error:
            raise self._error(f"no CSV file ({error})") from error
        missing = [
            field.name
            for field in dataclasses.fields(self.row_class)
            if field.default is dataclasses.MISSING
            and field.name not in (*columns, self._further)
        ]
        unknown = [name for name in columns if name not in self._types]
        if missing:
            raise self._error(f"missing columns {', '.join(missing)}")
        if unknown and self._further is None:
            raise self._error(f"unknown columns {', '.join(unknown)}")
        return [self._parsed(number, row) for number, row in enumerate(rows, start=1)]

    def write(self, rows: Iterable[Row]) -> None:
        """Writes the file whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        cells = list(map(self.cells, rows))
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns(cells), restval="")
        writer.writeheader()
        writer.writerows(cells)
        files.write_text(self.path, text.getvalue())

    def update(self, change: Callable[[list[Row]], Iterable[Row]]) -> None:
        """Replaces the rows, while other processes that update the file wait.

        Args:
            change: function of the rows of the file that returns the new ones.

        Raises:
            ValueError, OSError: as `rows` and `write`.
        """
        with files.lock(self.path.parent):
            self.write(change(self.rows()))

    def cells(self, row: Row) -> dict[str, str]:
        """The text of each cell of a row, by column."""
        cells: dict[str, str] = {}
        for field in dataclasses.fields(row):
            value = getattr(row, field.name)
            if field.name == self._further:
                cells |= value
            else:
                cells[field.name] = "" if value is None else str(value)
        return cells

    def _columns(self, rows: list[dict[str, str]]) -> list[str]:
        names = [field.name for field in dataclasses.fields(self.row_class)]
        if self._further is None:
            return names
        place = names.index(self._further)
        further = dict.fromkeys(name for row in rows for name in row)
        further = [name for name in further if name not in names]
        return [*names[:place], *further, *names[place + 1 :]]

    def _parsed(self, number: int, cells: dict[str, str]) -> Row:
        # `csv` gives a row without as many cells as columns a key or a cell None.
        if None in cells or None in cells.values():
            raise self._error(f"row {number}: not as many cells as columns")
        fields, further = {}, {}
        for name, text in cells.items():
            if name not in self._types:
                further[name] = text
                continue
            kinds = typing.get_args(self._types[name]) or (self._types[name],)
            if not text and types.NoneType in kinds:
                fields[name] = None
                continue
            try:
                fields[name] = kinds[0](text)
            except ValueError as error:
                raise self._error(
                    f"row {number}, column {name}: {text!r} is not of type "
                    f"{kinds[0].__name__}"
                ) from error
        if self._further is not None:
            fields[self._further] = further
        return self.row_class(**fields)

    def _error(self, fault: str) -> ValueError:
        return ValueError(
            f"{self.path}: {fault}. Repair the table, move it away, or name another."
        )
