"""Line plots of a report, as inline SVG.

A run has the same colour in every figure. Its curves, such as those of D and of G,
differ in the line style. If there is only one run, its curves differ in colour.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssgan_tf.training.events import Curve
from ssgan_tf.utils import plots

MAX_POINTS = 400
_SIDES = ("d", "g", "real", "fake")
_LINE_STYLES = ("-", "--", ":", "-.")


def families(tags: Iterable[str]) -> dict[str, dict[str, str]]:
    """Groups tags that belong into one figure.

        ["loss/d", "loss/g", "sigma/d/B1"] ->
            {"loss": {"d": "loss/d", "g": "loss/g"}, "sigma/d": {"B1": "sigma/d/B1"}}

    Args:
        tags: TensorBoard tags.

    Returns:
        Family -> side -> tag, in the order of the tags, but D before G and real before
        fake. The side of a tag without one is "".
    """
    groups: dict[str, dict[str, str]] = {}
    for tag in tags:
        match = re.fullmatch(r"(sigma/[dg])/(.+)|(.+?)(?:[/_](d|g|real|fake))?", tag)
        family, side = match[1] or match[3], match[2] or match[4] or ""
        groups.setdefault(family, {})[side] = tag
    known = ("", *_SIDES)
    return {
        family: {
            side: group[side]
            for side in dict.fromkeys([*known, *group])
            if side in group
        }
        for family, group in groups.items()
    }


def thinned(curve: Curve) -> Curve:
    """Reduces a curve to `MAX_POINTS` points, the means of neighbouring ones."""
    if len(curve.steps) <= MAX_POINTS:
        return curve
    chunks = (np.array_split(array, MAX_POINTS) for array in curve)
    return Curve(*(np.array([chunk.mean() for chunk in part]) for part in chunks))


def lines(
    name: str,
    title: str,
    runs: Mapping[str, Mapping[str, Curve]],
    *,
    x_label: str = "step",
    level: tuple[str, float] | None = None,
) -> str:
    """Plots curves.

    Args:
        name: prefix of the ids in the figure, another one for each figure of a page.
        title: str.
        runs: run -> side -> curve. All runs of the page, in one order, also those
            without curves: this order determines the colours.
        x_label: str. Unit of `Curve.steps`.
        level: label and height of a horizontal line.

    Returns:
        An `<svg>` element.
    """
    sides = list(dict.fromkeys(side for curves in runs.values() for side in curves))
    styles = _styles(list(runs), sides)
    # A dollar sign in the name of a run does not begin a formula.
    with plots.style(), matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(6.0, 3.4))
        axes = figure.subplots()
        for run, curves in runs.items():
            for side, curve in curves.items():
                curve = thinned(curve)
                marker = "o" if len(curve.steps) <= 20 else None
                look = styles[run, side]
                axes.plot(curve.steps, curve.values, marker=marker, ms=3, **look)
        if level:
            label, height = level
            axes.axhline(height, color=plots.INK, linewidth=1, linestyle=(0, (1, 3)))
            end = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
            axes.annotate(label, (1, height), fontsize="small", **end)
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,g}"))
        _draw_legend(figure, _legend_entries(runs, sides, styles))
        return plots.inline_svg(figure, name)


def _styles(runs: Sequence[str], sides: Sequence[str]) -> dict:
    """(run, side) -> colour and line style."""
    if len(runs) > 1:
        return {
            (run, side): {"color": color, "linestyle": _LINE_STYLES[i % 4]}
            for run, color in zip(runs, plots.colors(len(runs)), strict=True)
            for i, side in enumerate(sides)
        }
    # A network has more layers than there are distinct colours.
    looks = [
        {"color": color, "linestyle": line}
        for line in _LINE_STYLES
        for color in plots.COLORS
    ]
    # D, G, real and fake have the same colour in every figure.
    order = _SIDES if set(sides) <= set(_SIDES) else sides
    return {(*runs, side): looks[i % len(looks)] for i, side in enumerate(order)}


def _legend_entries(runs, sides, styles) -> list[Line2D]:
    """The sides of a single run; else the runs by colour, the sides by line style."""
    first, *others = runs
    if not others:
        shown = {side: styles[first, side] for side in sides if side}
    else:
        shown = {
            run: {"color": styles[run, sides[0]]["color"]}
            for run, curves in runs.items()
            if curves
        }
        if len(sides) > 1:
            shown |= {s: styles[first, s] | {"color": plots.INK} for s in sides}
    return [Line2D([], [], label=label, **look) for label, look in shown.items()]


def _draw_legend(figure: Figure, entries: list[Line2D]) -> None:
    if len(entries) > 8:
        columns = -(-len(entries) // 20)
        options = {"loc": "outside right upper", "fontsize": "x-small"}
    else:
        longest = max((len(entry.get_label()) for entry in entries), default=1)
        columns = min(max(60 // longest, 1), 4)
        options = {"loc": "outside lower center", "fontsize": "small"}
    if entries:
        figure.legend(handles=entries, ncols=columns, **options)
