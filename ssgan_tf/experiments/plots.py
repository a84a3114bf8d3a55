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
from ssgan_tf.experiments.results import Measurement
from ssgan_tf.utils import plots

_PANEL = (4.8, 3.4)
_THIN = {"linewidth": 0.8, "alpha": 0.45}


def draw(measurements: Sequence[Measurement]) -> Figure | None:
    """Draws the plot of a study; None if no run has a measurement yet.

    Args:
        measurements: all of one study, as `results.read` returns them.
    """
    if not any(row.run for row in _values(measurements)):
        return None
    return _PLOTS[measurements[0].experiment](measurements)


# --- Parts ---------------------------------------------------------------------


def _colors(measurements: Sequence[Measurement]) -> dict[str, str]:
    """A colour for each arm, the same in all panels of a study."""
    arms = results.arms_of(measurements)
    return dict(zip(arms, plots.colors(len(arms)), strict=True))


def _select(measurements: Iterable[Measurement], **fields) -> list[Measurement]:
    """The measurements with these fields."""
    return [
        row
        for row in measurements
        if all(getattr(row, name) == value for name, value in fields.items())
    ]


def _values(measurements: Iterable[Measurement], **fields) -> list[Measurement]:
    """The measurements with a value and these fields."""
    return [row for row in _select(measurements, **fields) if row.value is not None]


def _by_seed(rows: Sequence[Measurement], x: str) -> dict[int, dict[int, float]]:
    curves: dict[int, dict[int, float]] = {}
    for row in rows:
        curves.setdefault(row.seed, {})[getattr(row, x)] = row.value
    return curves


def _shared(curves: Sequence[dict[int, float]]) -> tuple[list[int], list[list[float]]]:
    """The places at which all curves have a value, and these values."""
    places = sorted(set.intersection(*map(set, curves)))
    return places, [[curve[place] for curve in curves] for place in places]


def _curves(
    axes: Axes,
    rows: Sequence[Measurement],
    *,
    color: str,
    label: str,
    x: str = "step",
) -> None:
    """Draws a thin line for each seed, and on top their mean where all have a value."""
    curves = list(_by_seed(rows, x).values())
    if not curves:
        return
    if len(curves) > 1:
        for curve in curves:
            axes.plot(*zip(*sorted(curve.items())), color=color, **_THIN)
    shared, columns = _shared(curves)
    means = list(map(statistics.fmean, columns))
    label = f"{label} (n={len(curves)})"
    axes.plot(shared, means, ".-", color=color, linewidth=2.2, label=label)


def _paper_curve(axes: Axes, rows: Sequence[Measurement], *, x: str, **style) -> None:
    """Draws the paper's numbers."""
    places = [getattr(row, x) for row in rows]
    axes.plot(places, [_mean_of(row.paper) for row in rows], ".--", **style)


def _mean_of(paper: str) -> float:
    """The paper's number without its deviation; the middle of a range."""
    numbers = [float(text) for text in re.findall(r"[\d.]+", paper.partition("+-")[0])]
    return statistics.fmean(numbers)


def _distances(measurements: Iterable[Measurement]) -> list[str]:
    """Names of the Frechet distances among the measurements."""
    metrics = dict.fromkeys(row.metric for row in _values(measurements))
    return [metric for metric in metrics if protocols.is_distance(metric)]


def _grid(rows: int, columns: int, widths=None) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows))
    axes = figure.subplots(
        rows, columns, squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    return figure, axes


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


def _over_steps(measurements: Sequence[Measurement]) -> Figure | None:
    """Two panels for each row: Frechet distance and spread of D's logits."""
    ours = [row for row in _values(measurements) if row.run]
    places = [
        (dataset, row, metric)
        for dataset, row in dict.fromkeys((m.dataset, m.row) for m in ours)
        for metric in _distances(_select(ours, dataset=dataset, row=row))
    ]
    if not places:
        return None
    colors = _colors(measurements)
    figure, grid = _grid(len(places), 2)
    for (dataset, row, metric), (left, right) in zip(places, grid, strict=True):
        here = _select(ours, dataset=dataset, row=row)
        for arm, color in colors.items():
            style = {"color": color, "label": arm or "ours"}
            _curves(left, _select(here, arm=arm, metric=metric), **style)
            _curves(right, _select(here, arm=arm, metric=results.SPREAD), **style)
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


def _sweep(measurements: Sequence[Measurement]) -> Figure | None:
    """As `_over_steps`, with all combinations in the same two panels."""
    return _over_steps(
        [dataclasses.replace(row, arm=row.row, row="") for row in measurements]
    )


def _best(measurements: Sequence[Measurement]) -> Figure | None:
    """Two panels for each data set: every seed of ours, and the paper's best."""
    ours = results.finals(measurements)
    places = [
        (dataset, metric)
        for dataset in dict.fromkeys(row.dataset for row in ours)
        for metric in _distances(_select(ours, dataset=dataset))
    ]
    if not places:
        return None
    colors = _colors(measurements)
    figure, grid = _grid(len(places), 2)
    for (dataset, metric), (left, right) in zip(places, grid, strict=True):
        papers = _select(measurements, run="", dataset=dataset)
        arms = list(dict.fromkeys(row.arm for row in papers))
        for place, arm in enumerate(arms):
            rows = _values(ours, dataset=dataset, metric=metric, arm=arm)
            values = [row.value for row in rows]
            places_of_seeds = [place] * len(values)
            left.plot(places_of_seeds, values, "o", color=colors[arm], alpha=0.45)
            if values:
                left.plot(place, min(values), "_", color=colors[arm], markersize=24)
        right.bar(
            range(len(arms)),
            [_mean_of(row.paper) for row in papers],
            color=[colors[arm] for arm in arms],
        )
        left.set_title(f"{dataset}: ours, each seed")
        left.set_ylabel(_in_words(metric))
        right.set_title("paper, best of three")
        right.set_ylabel("FID")
        _label_arms(left, arms)
        _label_arms(right, arms)
    return figure


def _blocks(measurements: Sequence[Measurement]) -> Figure:
    """Accuracy over blocks: ours, and the paper's."""
    ours = results.finals(measurements)
    figure, ((left, right),) = _grid(1, 2)
    for arm, color in _colors(measurements).items():
        _curves(left, _values(ours, arm=arm), color=color, label=arm, x="block")
        papers = _select(measurements, run="", arm=arm)
        if papers:
            _paper_curve(right, papers, x="block", color=color, label=arm)
    for axes, title in ((left, "ours"), (right, "paper")):
        axes.set_title(title)
        axes.set_xlabel("block of D")
        axes.set_ylabel("top-1 accuracy on the test split")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def _last_block(measurements: Sequence[Measurement]) -> Figure:
    """Accuracy over steps: ours, and the paper's highest and last."""
    figure, ((left, right),) = _grid(1, 2, widths=(3, 1))
    colors = _colors(measurements)
    for place, (arm, color) in enumerate(colors.items()):
        rows = _values(measurements, arm=arm, metric=results.PROBE)
        _curves(left, rows, color=color, label=arm)
        papers = _select(measurements, run="", arm=arm)
        (peak,) = _select(papers, metric=results.PROBE_PEAK)
        (end,) = _select(papers, metric=results.PROBE_END)
        peak, end = _mean_of(peak.paper), _mean_of(end.paper)
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


def _forgetting(measurements: Sequence[Measurement]) -> Figure:
    """Accuracy on the class of the moment, which changes at the vertical lines."""
    figure = Figure(figsize=(10.0, 4.2))
    axes = figure.subplots()
    values = _values(measurements, metric=results.FORGETTING)
    parts = results.segments(sorted({(row.step, row.row) for row in values if row.run}))
    switches = [part[0][0] for part in parts]
    for step in switches[1:]:
        axes.axvline(step, color=plots.INK, linewidth=0.6, alpha=0.35)
    num_tasks = len({part[0][1] for part in parts})
    for (arm, color), marker in zip(_colors(measurements).items(), "sD", strict=True):
        curves = list(_by_seed(_select(values, arm=arm), "step").values())
        if not curves:
            continue
        shared, columns = _shared(curves)
        if len(curves) > 1:
            low, high = list(map(min, columns)), list(map(max, columns))
            axes.fill_between(shared, low, high, color=color, alpha=0.25, linewidth=0)
        means = list(map(statistics.fmean, columns))
        label = f"{arm} (n={len(curves)})"
        axes.plot(shared, means, color=color, linewidth=1.2, label=label)
        label = f"paper's floors, read off: {arm}"
        for metric, task in (
            ("floor_task_2", 2),
            ("floor_task_2_again", 2 + num_tasks),
        ):
            for row in _select(measurements, run="", arm=arm, metric=metric):
                if task < len(switches):
                    axes.plot(
                        switches[task],
                        _mean_of(row.paper),
                        marker,
                        color=color,
                        markeredgecolor=plots.INK,
                        markersize=8,
                        linestyle="none",
                        label=label,
                        zorder=5,
                    )
                    # One entry in the legend.
                    label = None
    _label_steps(axes, "updates; the class changes at every line")
    axes.set_ylabel("accuracy, class against rest")
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _fid_over_steps(measurements: Sequence[Measurement]) -> Figure | None:
    """Frechet distance over steps: ours, and the paper's."""
    metrics = _distances(measurements)
    if not metrics:
        return None
    figure, (grid,) = _grid(1, len(metrics) + 1)
    *ours, paper = grid
    for arm, color in _colors(measurements).items():
        for axes, metric in zip(ours, metrics, strict=True):
            rows = _values(measurements, arm=arm, metric=metric)
            _curves(axes, rows, color=color, label=arm)
        papers = _select(measurements, run="", arm=arm)
        _paper_curve(paper, papers, x="step", color=color, label=arm)
    for axes, metric in zip(ours, metrics, strict=True):
        axes.set_title("ours")
        axes.set_ylabel(_in_words(metric))
    paper.set_title("paper (read off)")
    paper.set_ylabel("FID")
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
    "sweep": _sweep,
}
