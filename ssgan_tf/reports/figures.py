"""The figures of a report.

One run has a colour for each side; several have one each, and a kind of line for each
side.
"""

import re
from collections.abc import Iterable

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssgan_tf.training.events import Curve
from ssgan_tf.utils import plots

MAX_POINTS = 400
_SIDES = ("", "d", "g", "real", "fake")
_SIZE = (6.0, 3.4)
_LINES = ("-", "--", ":", "-.")

# By run, by side. A run may lack sides, and keeps its colour.
Lines = dict[str, dict[str, Curve]]
_Looks = dict[tuple[str, str], dict[str, str]]


def families(tags: Iterable[str]) -> dict[str, dict[str, str]]:
    """Which scalars belong into one figure: those that differ in the side only.

        ["loss/d", "loss/g", "logits/real"] ->
            {"loss": {"d": "loss/d", "g": "loss/g"}, "logits": {"real": "logits/real"}}

    Args:
        tags: as TensorBoard shows them.

    Returns:
        By family, in the order of the tags: the tag of every side, D before G and real
        before fake. The side of a tag without one is "".
    """
    found: dict[str, dict[str, str]] = {}
    for tag in tags:
        family, side = re.fullmatch(r"(.+?)(?:[/_](d|g|real|fake))?", tag).groups()
        found.setdefault(family, {})[side or ""] = tag
    return {
        family: {side: each[side] for side in _SIDES if side in each}
        for family, each in found.items()
    }


def thinned(curve: Curve) -> Curve:
    """A curve of at most `MAX_POINTS` points: means of neighbouring ones."""
    if len(curve.steps) <= MAX_POINTS:
        return curve
    return Curve(
        *(
            np.array([part.mean() for part in np.array_split(each, MAX_POINTS)])
            for each in curve
        )
    )


def lines(
    name: str,
    title: str,
    of: Lines,
    *,
    x_label: str = "step",
    level: tuple[str, float] | None = None,
) -> str:
    """One figure of lines.

    Args:
        name: a word, another one for each figure of a page.
        title: of the figure.
        of: the lines.
        x_label: what `Curve.steps` are.
        level: name and height of a line across.

    Returns:
        An `<svg>` element.
    """
    sides = list(dict.fromkeys(side for each in of.values() for side in each))
    looks = _looks(list(of), sides)
    # A dollar sign in the name of a run is no formula.
    with plots.style(), matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=_SIZE)
        axes = figure.subplots()
        for run, each in of.items():
            for side, curve in each.items():
                curve = thinned(curve)
                # One of few points shows where they are.
                marker = "o" if len(curve.steps) <= 20 else None
                look = looks[run, side]
                axes.plot(curve.steps, curve.values, marker=marker, ms=3, **look)
        if level:
            _draw_level(axes, *level)
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,g}"))
        _draw_legend(figure, _keys(of, sides, looks))
        return plots.inline_svg(figure, name)


def _looks(runs: list[str], sides: list[str]) -> _Looks:
    if len(runs) > 1:
        return {
            (run, side): {"color": color, "linestyle": _LINES[s % len(_LINES)]}
            for run, color in zip(runs, plots.colors(len(runs)), strict=True)
            for s, side in enumerate(sides)
        }
    # As many shades as a net has layers could not be told apart.
    looks = [{"color": c, "linestyle": kind} for kind in _LINES for c in plots.COLORS]
    return {(*runs, side): looks[s % len(looks)] for s, side in enumerate(sides)}


def _draw_level(axes, name: str, height: float) -> None:
    axes.axhline(height, color=plots.INK, linewidth=1, linestyle=(0, (1, 3)))
    axes.annotate(
        name,
        (1, height),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize="small",
    )


def _keys(of: Lines, sides: list[str], looks: _Looks) -> list[Line2D]:
    """What the legend says: of a single run the sides, else the runs and the sides."""
    if len(of) == 1:
        (run,) = of
        return [
            Line2D([], [], label=side, **looks[run, side]) for side in sides if side
        ]
    keys = [
        Line2D([], [], label=run, color=looks[run, sides[0]]["color"])
        for run, each in of.items()
        if each
    ]
    if len(sides) > 1:
        run, *_ = of
        keys += [
            Line2D([], [], label=side, **looks[run, side] | {"color": plots.INK})
            for side in sides
        ]
    return keys


def _draw_legend(figure: Figure, keys: list[Line2D]) -> None:
    if len(keys) > 8:
        columns = -(-len(keys) // 20)
        how = {"loc": "outside right upper", "ncols": columns, "fontsize": "x-small"}
    else:
        longest = max((len(key.get_label()) for key in keys), default=1)
        columns = min(max(60 // longest, 1), 4)
        how = {"loc": "outside lower center", "ncols": columns, "fontsize": "small"}
    if keys:
        figure.legend(handles=keys, **how)
