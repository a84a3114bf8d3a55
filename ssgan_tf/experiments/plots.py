"""Plots of the measurements of a study, beside the paper's numbers."""

import dataclasses
import re
import statistics
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, ScalarFormatter

from ssgan_tf.evaluation import protocols
from ssgan_tf.experiments import results
from ssgan_tf.experiments.results import Measurement, select
from ssgan_tf.utils import plots

_PANEL = (4.8, 3.4)
_THIN = {"linewidth": 0.8, "alpha": 0.45}


def draw(measurements: Sequence[Measurement]) -> Figure | None:
    """Draws the plot of a study; None if no run has a measurement yet.

    Args:
        measurements: all of one study, as `results.read` returns them.
    """
    name = measurements[0].experiment
    if name == "sweep":
        # All combinations are in the same panels.
        measurements = [
            dataclasses.replace(row, arm=row.row, row="") for row in measurements
        ]
    is_final = name in ("table1", "table3", "table4")
    ours = results.finals(measurements) if is_final else measurements
    ours = [row for row in ours if row.value is not None]
    arms = results.arms_of(measurements)
    colors = dict(zip(arms, plots.colors(len(arms)), strict=True))
    papers = select(measurements, run="")
    return _PLOTS[name](ours, papers, colors) if ours else None


# --- Parts ---------------------------------------------------------------------


def _by_seed(
    rows: Iterable[Measurement], x: str
) -> tuple[list[dict[int, float]], list[int], list[tuple[float, ...]]]:
    """The curve of each seed, the places that all have, and the values there."""
    by_seed: dict[int, dict[int, float]] = {}
    for row in rows:
        by_seed.setdefault(row.seed, {})[getattr(row, x)] = row.value
    curves = list(by_seed.values())
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    return curves, shared, [tuple(curve[at] for curve in curves) for at in shared]


def _curves(
    axes: Axes, rows: Sequence[Measurement], colors: dict[str, str], x: str = "step"
) -> None:
    """Draws a thin line for each seed, and on top their mean where all have a value."""
    for arm, color in colors.items():
        curves, shared, columns = _by_seed(select(rows, arm=arm), x)
        if len(curves) > 1:
            for curve in curves:
                axes.plot(*zip(*sorted(curve.items())), color=color, **_THIN)
        if curves:
            means = list(map(statistics.fmean, columns))
            label = f"{arm or 'ours'} (n={len(curves)})"
            axes.plot(shared, means, ".-", color=color, linewidth=2.2, label=label)


def _paper_curves(
    axes: Axes, papers: Sequence[Measurement], colors: dict[str, str], x: str
) -> None:
    """Draws the paper's numbers."""
    for arm, color in colors.items():
        if rows := select(papers, arm=arm):
            places = [getattr(row, x) for row in rows]
            numbers = list(map(_number, rows))
            axes.plot(places, numbers, ".--", color=color, label=arm)


def _number(row: Measurement) -> float:
    """The paper's number without its deviation; the middle of a range."""
    mean = row.paper.partition("+-")[0]
    return statistics.fmean(map(float, re.findall(r"[\d.]+", mean)))


def _distances(rows: Iterable[Measurement]) -> list[str]:
    """Names of the Frechet distances among the measurements."""
    return list(
        filter(protocols.is_distance, dict.fromkeys(row.metric for row in rows))
    )


def _grid(rows: int, columns: int, widths=None) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows))
    axes = figure.subplots(
        rows, columns, squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    return figure, axes


def _pairs(ours: Sequence[Measurement]) -> tuple[Figure | None, list[tuple]]:
    """A pair of panels for each row and distance, with data set, row and distance."""
    places = [
        (*place, metric)
        for place in dict.fromkeys((row.dataset, row.row) for row in ours)
        for metric in _distances(select(ours, dataset=place[0], row=place[1]))
    ]
    if not places:
        return None, []
    figure, grid = _grid(len(places), 2)
    return figure, [(*place, *axes) for place, axes in zip(places, grid, strict=True)]


def _from_zero(axes: Axes) -> None:
    """Starts the scale at zero, with room for the markers of the highest values."""
    axes.set_ylim(0, 1.05 * axes.dataLim.ymax)


def _label_steps(axes: Axes, label: str = "generator steps") -> None:
    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _label_arms(axes: Axes, arms: Sequence[str]) -> None:
    axes.set_xticks(range(len(arms)), arms, rotation=20)
    axes.set_xlim(-0.5, len(arms) - 0.5)
    _from_zero(axes)


def _in_words(metric: str) -> str:
    kind = "FID" if metric.startswith("fid_") else "Frechet distance"
    return f"{kind}\n({metric})"


# --- One for each study --------------------------------------------------------
#
# Each takes our values, the paper's numbers and the colour of each arm.


def _over_steps(ours, papers, colors) -> Figure | None:
    """Two panels for each row: Frechet distance and spread of D's logits."""
    figure, pairs = _pairs(ours)
    for dataset, row, metric, left, right in pairs:
        here = select(ours, dataset=dataset, row=row)
        _curves(left, select(here, metric=metric), colors)
        _curves(right, select(here, metric=results.SPREAD), colors)
        left.set_ylabel(_in_words(metric))
        right.set_ylabel("standard deviation of D's logits\non test images")
        for axes in (left, right):
            axes.set_title(", ".join(filter(None, (dataset, row))))
            _label_steps(axes)
            # An untrained G, and a D that tells nothing apart, are decades away.
            axes.set_yscale("log", nonpositive="mask")
        left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_major_formatter(ScalarFormatter())
        left.yaxis.set_minor_formatter(NullFormatter())
        left.legend()
    return figure


def _best(ours, papers, colors) -> Figure | None:
    """Two panels for each data set: every seed of ours, and the paper's best."""
    figure, pairs = _pairs(ours)
    for dataset, _, metric, left, right in pairs:
        numbers = {row.arm: _number(row) for row in select(papers, dataset=dataset)}
        for place, arm in enumerate(numbers):
            rows = select(ours, dataset=dataset, metric=metric, arm=arm)
            values, color = [row.value for row in rows], colors[arm]
            left.plot([place] * len(values), values, "o", color=color, alpha=0.45)
            if values:
                left.plot(place, min(values), "_", color=color, markersize=24)
        right.bar(
            range(len(numbers)),
            list(numbers.values()),
            color=[colors[arm] for arm in numbers],
        )
        left.set_title(f"{dataset}: ours, each seed")
        left.set_ylabel(_in_words(metric))
        right.set_title("paper, best of three")
        right.set_ylabel("FID")
        _label_arms(left, list(numbers))
        _label_arms(right, list(numbers))
    return figure


def _blocks(ours, papers, colors) -> Figure:
    """Accuracy over blocks: ours, and the paper's."""
    figure, ((left, right),) = _grid(1, 2)
    _curves(left, ours, colors, x="block")
    _paper_curves(right, papers, colors, x="block")
    for axes, title in ((left, "ours"), (right, "paper")):
        axes.set_title(title)
        axes.set_xlabel("block of D")
        axes.set_ylabel("top-1 accuracy on the test split")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def _last_block(ours, papers, colors) -> Figure:
    """Accuracy over steps: ours, and the paper's highest and last."""
    figure, ((left, right),) = _grid(1, 2, widths=(3, 1))
    _curves(left, select(ours, metric=results.PROBE), colors)
    for place, (arm, color) in enumerate(colors.items()):
        peak, end = map(_number, select(papers, arm=arm))
        right.plot([place, place], [peak, end], color=color)
        right.plot(place, peak, "^", color=color)
        right.plot(place, end, "o", color=color)
    left.set_title("ours")
    _label_steps(left)
    left.set_ylabel("top-1 accuracy, last block")
    left.legend()
    right.set_title("paper (read off):\nhighest ▲ to last ●")
    _label_arms(right, list(colors))
    return figure


def _forgetting(ours, papers, colors) -> Figure:
    """Accuracy on the class of the moment, which changes at the vertical lines."""
    figure = Figure(figsize=(10.0, 4.2))
    axes = figure.subplots()
    ours = select(ours, metric=results.FORGETTING)
    parts = results.segments({(row.step, row.row) for row in ours})
    switches = [part[0][0] for part in parts]
    for step in switches[1:]:
        axes.axvline(step, color=plots.INK, linewidth=0.6, alpha=0.35)
    num_tasks = len({part[0][1] for part in parts})
    floors = {"floor_task_2": 2, "floor_task_2_again": 2 + num_tasks}
    for (arm, color), marker in zip(colors.items(), "sD", strict=True):
        curves, shared, columns = _by_seed(select(ours, arm=arm), "step")
        if not curves:
            continue
        if len(curves) > 1:
            low, high = list(map(min, columns)), list(map(max, columns))
            axes.fill_between(shared, low, high, color=color, alpha=0.25, linewidth=0)
        means = list(map(statistics.fmean, columns))
        label = f"{arm} (n={len(curves)})"
        axes.plot(shared, means, color=color, linewidth=1.2, label=label)
        points = [
            (switches[floors[row.metric]], _number(row))
            for row in select(papers, arm=arm)
            if floors.get(row.metric, len(switches)) < len(switches)
        ]
        if points:
            axes.plot(
                *zip(*points),
                marker,
                color=color,
                markeredgecolor=plots.INK,
                markersize=8,
                label=f"paper's floors, read off: {arm}",
                zorder=5,
            )
    _label_steps(axes, "updates; the class changes at every line")
    axes.set_ylabel("accuracy, class against rest")
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _fid_over_steps(ours, papers, colors) -> Figure | None:
    """Frechet distance over steps: ours, and the paper's."""
    metrics = _distances(ours)
    if not metrics:
        return None
    figure, (grid,) = _grid(1, len(metrics) + 1)
    for axes, metric in zip(grid, metrics):
        _curves(axes, select(ours, metric=metric), colors)
        axes.set_title("ours")
        axes.set_ylabel(_in_words(metric))
    _paper_curves(grid[-1], papers, colors, x="step")
    grid[-1].set_title("paper (read off)")
    grid[-1].set_ylabel("FID")
    for axes in grid:
        _label_steps(axes)
        _from_zero(axes)
        axes.legend()
    return figure


_PLOTS = {
    "table1": _best,
    "table2": _over_steps,
    "table3": _blocks,
    "table4": _blocks,
    "figure2": _last_block,
    "figure3": _forgetting,
    "figure4": _fid_over_steps,
    "sweep": _over_steps,
}
