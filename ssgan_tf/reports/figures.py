"""Line plots of a report, as inline SVG.

A run has the same colour in every figure. Its curves, such as those of D and of G,
differ in the line style. If there is only one run, its curves differ in colour.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import matplotlib.ticker
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    order = {side: place for place, side in enumerate(("", *_SIDES))}
    return {
        family: dict(sorted(group.items(), key=lambda item: order.get(item[0], 9)))
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
) -> Markup:
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
                label = side
                if len(runs) > 1:
                    label = f"{run}, {side}" if len(sides) > 1 else run
                marker = "o" if len(curve.steps) <= 20 else None
                style = {"marker": marker, "ms": 3, **styles[run, side]}
                axes.plot(curve.steps, curve.values, label=label, **style)
        if level:
            label, height = level
            dotted = {"linewidth": 1, "linestyle": (0, (1, 3)), "label": label}
            axes.axhline(height, color=plots.INK, **dotted)
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,g}"))
        _draw_legend(figure, axes)
        # Matplotlib escapes the names.
        return Markup(plots.inline_svg(figure, name))


def _styles(runs: Sequence[str], sides: Sequence[str]) -> dict:
    """(run, side) -> colour and line style."""
    if len(runs) == 1 and set(sides) <= set(_SIDES):
        # D, G, real and fake have the same colour in every figure.
        sides = _SIDES
    styles = {}
    for i, side in enumerate(sides):
        for run, color in zip(runs, plots.colors(len(runs)), strict=True):
            line = i
            if len(runs) == 1:
                # A network has more layers than there are distinct colours.
                line, color_number = divmod(i, len(plots.COLORS))
                color = plots.COLORS[color_number]
            styles[run, side] = {"color": color, "linestyle": _LINE_STYLES[line % 4]}
    return styles


def _draw_legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 8:
        columns = -(-len(labels) // 20)
        options = {"loc": "outside right upper", "fontsize": "x-small"}
    else:
        columns = min(max(60 // max(map(len, labels), default=1), 1), 4)
        options = {"loc": "outside lower center", "fontsize": "small"}
    if labels:
        figure.legend(handles, labels, ncols=columns, **options)
