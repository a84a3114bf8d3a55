"""Figures give equal files, and SVG elements for a page."""

import re

import pytest
from matplotlib.figure import Figure
from PIL import Image

from ssgan_tf.utils import plots


def drawn() -> Figure:
    with plots.style():
        figure = Figure(figsize=(6.4, 4.0))
        axes = figure.subplots()
        # The clip path and the marker get ids.
        axes.plot([0, 1, 2], [3, 1, 2], marker="o", label="<a> & b")
        axes.legend()
    return figure


def test_equal_figures_give_equal_files(tmp_path):
    first = plots.save(drawn(), tmp_path / "new" / "v1.5")
    assert [path.name for path in first] == ["v1.5.png", "v1.5.svg"]
    second = plots.save(drawn(), tmp_path / "other")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert Image.open(first[0]).size == (960, 600)
    assert "<dc:date>" not in first[1].read_text()


def test_an_unwritable_path_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/figure.png"):
        plots.save(drawn(), tmp_path / "file" / "figure")


def test_inline():
    one, other = (plots.inline_svg(drawn(), name) for name in ("one", "other"))
    assert one.startswith("<svg") and one.replace("one-", "other-") == other
    ids = set(re.findall(r'\bid="([^"]*)"', one))
    assert ids and all(name.startswith("one-") for name in ids)
    used = set(re.findall(r'href="#([^"]*)"', one) + re.findall(r"url\(#(.*?)\)", one))
    assert len(used) >= 2 and used <= ids
    assert "&lt;a&gt; &amp; b</text>" in one
    # Axes and text have the page's colour, the line has its own.
    assert plots.INK not in one and "currentColor" in one
    assert plots.colors(1)[0] in one


@pytest.mark.parametrize("count", [1, 7, 8, 40])
def test_colors_differ(count):
    assert len(set(plots.colors(count))) == count
