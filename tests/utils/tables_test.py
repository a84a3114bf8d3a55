"""Tables in Markdown."""

from ssgan_tf.utils import tables


def test_a_table():
    assert tables.markdown_table(("step", "score"), (1, "a|b"), (20, "")) == [
        "| step | score |",
        "| --- | --- |",
        r"| 1 | a\|b |",
        "| 20 |  |",
    ]
