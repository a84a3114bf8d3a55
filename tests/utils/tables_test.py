"""Tables in CSV files and in Markdown."""

import dataclasses
import multiprocessing

import pytest

from ssgan_tf.utils import tables


@dataclasses.dataclass(frozen=True)
class Row:
    """A row with a column of each type."""

    name: str
    count: int
    share: float
    limit: int | None = None
    note: str = "-"


@dataclasses.dataclass(frozen=True)
class WideRow:
    """A row with columns of any names between its own."""

    name: str
    cells: dict[str, str]
    note: str


ROWS = [Row('a, "b"\n', 3, 0.1 + 0.2, limit=7, note=""), Row("", -1, float("inf"))]
TEXT = (
    'name,count,share,limit,note\r\n"a, ""b""\n",3,0.30000000000000004,7,\r\n'
    ",-1,inf,,-\r\n"
)


def test_rows_are_read_as_they_were_written(tmp_path):
    table = tables.Table(tmp_path / "folder" / "table.csv", Row)
    assert table.rows() == []
    table.write(ROWS)
    assert table.path.read_bytes() == TEXT.encode()
    assert table.rows() == ROWS
    table.update(lambda rows: rows[1:])
    assert table.rows() == ROWS[1:]


def test_columns_that_vary_by_row(tmp_path):
    table = tables.Table(tmp_path / "table.csv", WideRow)
    rows = [WideRow("a", {"x": "1"}, "n"), WideRow("b", {"y": "2", "x": "3"}, "n")]
    table.write(rows)
    assert table.path.read_text() == "name,x,y,note\na,1,,n\nb,3,2,n\n"
    # Cells of other rows' columns are empty.
    assert table.rows() == [WideRow("a", {"x": "1", "y": ""}, "n"), rows[1]]


def test_columns_with_a_default_may_be_missing(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("name,count,share\na,1,2\n")
    assert tables.Table(path, Row).rows() == [Row("a", 1, 2.0)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing columns name, count, share"),
        (TEXT.encode("utf-16"), "no CSV file"),
        ("name,count\na,1\n", "missing columns share"),
        ("name,count,share,more\na,1,2,3\n", "unknown columns more"),
        ("name,count,share\na,1,2\nb,x,2\n", "row 2, column count: 'x' .* int"),
        ("name,count,share\na,1,\n", "row 1, column share: '' .* float"),
        ("name,count,share,limit\na,1,2,1.5\n", "row 1, column limit: '1.5' .* int"),
        ("name,count,share\na,1\n", "row 1: not as many cells"),
        ("name,count,share\na,1,2,3\n", "row 1: not as many cells"),
    ],
)
def test_a_damaged_table_is_one_error(tmp_path, text, words):
    path = tmp_path / "table.csv"
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(data)
    table = tables.Table(path, Row)
    for call in (table.rows, lambda: table.update(lambda rows: rows)):
        with pytest.raises(ValueError, match=f"{path}: {words}"):
            call()
    assert path.read_bytes() == data


def add_rows(path, name: str) -> None:
    for count in range(30):
        row = Row(name, count, 0.0)
        tables.Table(path, Row).update(lambda rows: [*rows, row])


def test_two_processes_lose_no_rows(tmp_path):
    path = tmp_path / "table.csv"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_rows, args=(path, name)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    rows = tables.Table(path, Row).rows()
    assert [row.count for row in rows if row.name == "a"] == list(range(30))
    assert [row.count for row in rows if row.name == "b"] == list(range(30))


def test_a_markdown_table():
    assert tables.markdown_table(("step", "score"), (1, "a|b"), (20, "")) == [
        "| step | score |",
        "| --- | --- |",
        r"| 1 | a\|b |",
        "| 20 |  |",
    ]
