"""Figures in one style, saved as reproducible files without a display.

with plots.style():
    figure = matplotlib.figure.Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.plot(steps, values)
    plots.save(figure, "figures/loss")  # loss.png and loss.svg
"""

import contextlib
import io
import os
import pathlib
import re

import matplotlib
import matplotlib.colors
import numpy as np
from matplotlib.figure import Figure

from ssgan_tf.utils import files

# Pixels of the PNG per inch of the figure.
DPI = 150

# Colour of axes and text.
INK = "#262626"
# Okabe and Ito's colours, which most colour-blind readers can distinguish, without the
# yellow, which is too pale on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#777777")


def colors(count: int) -> list[str]:
    """Returns colours for lines: distinct ones for up to 7, else a gradient."""
    if count <= len(COLORS):
        return list(COLORS[:count])
    # The ends of the map are invisible on white or on black.
    shades = matplotlib.colormaps["viridis"](np.linspace(0.15, 0.85, count))
    return [matplotlib.colors.to_hex(shade) for shade in shades]


def style() -> contextlib.AbstractContextManager:
    """Applies the style of all figures in a block that draws and saves one."""
    return matplotlib.rc_context(
        {
            "axes.edgecolor": INK,
            "axes.grid": True,
            "axes.labelcolor": INK,
            "axes.prop_cycle": matplotlib.cycler(color=COLORS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlecolor": INK,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "grid.alpha": 0.25,
            "grid.color": INK,
            "legend.frameon": False,
            "lines.linewidth": 1.5,
            # Without it the ids in the file are random.
            "svg.hashsalt": "ssgan_tf",
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )


def save(figure: Figure, path: str | os.PathLike) -> list[pathlib.Path]:
    """Writes a figure as PNG and SVG; equal figures give equal files.

    Args:
        figure: `matplotlib.figure.Figure`, made without pyplot.
        path: path without suffix. Its folder is created.

    Returns:
        The paths of the PNG and the SVG.

    Raises:
        OSError: they cannot be written.
    """
    path = pathlib.Path(path)
    png, vector = (path.with_name(path.name + suffix) for suffix in (".png", ".svg"))
    with style(), files.atomic_write(png) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    files.write_text(vector, _svg(figure))
    return [png, vector]


def inline_svg(figure: Figure, name: str) -> str:
    """Returns a figure as an `<svg>` element for an HTML page.

    Text stays text, in the page's font; text and axes have the page's colour.

    Args:
        figure: `matplotlib.figure.Figure`, made without pyplot.
        name: prefix of the ids in the element, unique in the page.
    """
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        text = _svg(figure, transparent=True)
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)


def _svg(figure: Figure, **options) -> str:
    # The date and the version of matplotlib would change the file.
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    text = io.StringIO()
    with style():
        figure.savefig(text, format="svg", metadata=empty, **options)
    return text.getvalue()
