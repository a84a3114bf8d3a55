"""Tables in Markdown."""

from ssgan_tf import markdown


def test_a_table():
    assert markdown.table(("step", "score"), (1, "a|b"), (20, "")) == [
        "| step | score |",
        "| --- | --- |",
        r"| 1 | a\|b |",
        "| 20 |  |",
    ]
