"""Plots of an experiment's numbers, the paper's among them; and all that is written."""

import dataclasses
import re
import statistics
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, ScalarFormatter

from ssgan_tf.evaluation import protocols
from ssgan_tf.experiments import results
from ssgan_tf.experiments.results import Measurement
from ssgan_tf.utils import plots

_PANEL = (4.8, 3.4)
_THIN = {"linewidth": 0.8, "alpha": 0.45}


def draw(numbers: Sequence[Measurement]) -> Figure | None:
    """The plot of an experiment; None where there is none of its numbers yet.

    Args:
        numbers: all of one experiment, as `results.read` gives them.
    """
    if not any(each.value is not None and each.run for each in numbers):
        return None
    return _PLOTS[numbers[0].experiment](numbers)


# --- Parts ---------------------------------------------------------------------


def _colors(numbers: Sequence[Measurement]) -> dict[str, str]:
    """A colour for each arm, the same in all panels of an experiment."""
    arms = results.arms_of(numbers)
    return dict(zip(arms, plots.colors(len(arms)), strict=True))


def _values(numbers: Iterable[Measurement], **fields) -> list[Measurement]:
    return [
        each
        for each in numbers
        if each.value is not None
        and all(getattr(each, name) == value for name, value in fields.items())
    ]


def _by_seed(numbers: Sequence[Measurement], x: str) -> dict[int, dict[int, float]]:
    curves: dict[int, dict[int, float]] = {}
    for each in numbers:
        curves.setdefault(each.seed, {})[getattr(each, x)] = each.value
    return curves


def _shared(curves: Sequence[dict[int, float]]) -> tuple[list[int], list[list[float]]]:
    """The places where all curves have a value, and the values there."""
    places = sorted(set.intersection(*map(set, curves)))
    return places, [[curve[place] for curve in curves] for place in places]


def _curves(
    axes, numbers: Sequence[Measurement], color: str, label: str, x: str = "step"
):
    """A thin line for each seed, and their mean, where all have a value, on top."""
    curves = list(_by_seed(numbers, x).values())
    if not curves:
        return
    if len(curves) > 1:
        for curve in curves:
            axes.plot(*zip(*sorted(curve.items())), color=color, **_THIN)
    shared, columns = _shared(curves)
    means = list(map(statistics.fmean, columns))
    of = f" (n={len(curves)})"
    axes.plot(shared, means, ".-", color=color, linewidth=2.2, label=label + of)


def _mean_of(paper: str) -> float:
    """The paper's number without its deviation; of a range, the middle."""
    numbers = [float(text) for text in re.findall(r"[\d.]+", paper.partition("+-")[0])]
    return statistics.fmean(numbers)


def _headlines(numbers: Iterable[Measurement]) -> list[str]:
    found = dict.fromkeys(each.metric for each in numbers if each.value is not None)
    return [metric for metric in found if protocols.is_distance(metric)]


def _grid(rows: int, columns: int, widths=None) -> tuple[Figure, list[list]]:
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows))
    axes = figure.subplots(
        rows, columns, squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    return figure, axes


def _from_zero(axes) -> None:
    """A scale from zero on, with room for the markers of the highest values."""
    axes.set_ylim(0, 1.05 * axes.dataLim.ymax)


def _label_steps(axes, label: str = "generator steps") -> None:
    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _in_words(metric: str) -> str:
    kind = "FID" if metric.startswith("fid_") else "Frechet distance"
    return f"{kind}\n({metric})"


# --- One for each experiment ---------------------------------------------------


def _over_steps(numbers: Sequence[Measurement]) -> Figure | None:
    """A line of panels for each row: Frechet distance and spread of D's logits."""
    ours = [each for each in numbers if each.run and each.value is not None]
    places = [
        (dataset, row, metric)
        for dataset, row in dict.fromkeys((each.dataset, each.row) for each in ours)
        for metric in _headlines(_values(ours, dataset=dataset, row=row))
    ]
    if not places:
        return None
    colors = _colors(numbers)
    figure, grid = _grid(len(places), 2)
    for (dataset, row, metric), (left, right) in zip(places, grid, strict=True):
        here = _values(ours, dataset=dataset, row=row)
        for arm, color in colors.items():
            of_arm = _values(here, arm=arm)
            _curves(left, _values(of_arm, metric=metric), color, arm or "ours")
            _curves(right, _values(of_arm, metric=results.SPREAD), color, arm or "ours")
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


def _sweep(numbers: Sequence[Measurement]) -> Figure | None:
    """As `_over_steps`, with all combinations in one line of panels."""
    merged = []
    for each in numbers:
        fields = {"arm": each.row, "row": ""}
        merged.append(dataclasses.replace(each, **fields))
    return _over_steps(merged)


def _best(numbers: Sequence[Measurement]) -> Figure | None:
    """A line of panels for each data set: every seed of ours, and the paper's best."""
    ours = results.finals(each for each in numbers if each.run)
    places = [
        (dataset, metric)
        for dataset in dict.fromkeys(each.dataset for each in ours)
        for metric in _headlines(_values(ours, dataset=dataset))
    ]
    if not places:
        return None
    colors = _colors(numbers)
    figure, grid = _grid(len(places), 2)
    for (dataset, metric), (left, right) in zip(places, grid, strict=True):
        papers = [each for each in numbers if not each.run and each.dataset == dataset]
        arms = list(dict.fromkeys(each.arm for each in papers))
        for place, arm in enumerate(arms):
            color = colors[arm]
            values = [
                each.value
                for each in _values(ours, dataset=dataset, metric=metric, arm=arm)
            ]
            left.plot([place] * len(values), values, "o", color=color, alpha=0.45)
            if values:
                left.plot(place, min(values), "_", color=color, markersize=24)
        right.bar(
            range(len(arms)),
            [_mean_of(each.paper) for each in papers],
            color=[colors[arm] for arm in arms],
        )
        left.set_title(f"{dataset}: ours, each seed")
        left.set_ylabel(_in_words(metric))
        right.set_title("paper, best of three")
        right.set_ylabel("FID")
        for axes in (left, right):
            axes.set_xticks(range(len(arms)), arms, rotation=20)
            axes.set_xlim(-0.5, len(arms) - 0.5)
            _from_zero(axes)
    return figure


def _blocks(numbers: Sequence[Measurement]) -> Figure:
    """Accuracy over blocks: ours, and the paper's beside it."""
    ours = results.finals(each for each in numbers if each.run)
    figure, ((left, right),) = _grid(1, 2)
    for arm, color in _colors(numbers).items():
        _curves(left, _values(ours, arm=arm), color, arm, x="block")
        papers = [each for each in numbers if not each.run and each.arm == arm]
        if papers:
            right.plot(
                [each.block for each in papers],
                [_mean_of(each.paper) for each in papers],
                ".--",
                color=color,
                label=arm,
            )
    for axes, title in ((left, "ours"), (right, "paper")):
        axes.set_title(title)
        axes.set_xlabel("block of D")
        axes.set_ylabel("top-1 accuracy on the test split")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def _last_block(numbers: Sequence[Measurement]) -> Figure:
    """Accuracy over training, and how far the paper's fell from where."""
    figure, ((left, right),) = _grid(1, 2, widths=(3, 1))
    colors = _colors(numbers)
    for place, (arm, color) in enumerate(colors.items()):
        _curves(left, _values(numbers, arm=arm, metric=results.PROBE), color, arm)
        peak, end = (
            _mean_of(each.paper)
            for metric in (results.PROBE_PEAK, results.PROBE_END)
            for each in numbers
            if (each.run, each.arm, each.metric) == ("", arm, metric)
        )
        right.plot([place, place], [peak, end], color=color)
        right.plot(place, peak, "^", color=color)
        right.plot(place, end, "o", color=color)
    left.set_title("ours")
    _label_steps(left)
    left.set_ylabel("top-1 accuracy, last block")
    left.legend()
    right.set_title("paper (read off):\nhighest ▲ to last ●")
    right.set_xticks(range(len(colors)), list(colors), rotation=20)
    right.set_xlim(-0.5, len(colors) - 0.5)
    _from_zero(right)
    return figure


def _forgetting(numbers: Sequence[Measurement]) -> Figure:
    """Accuracy on the class of the moment, which changes at the vertical lines."""
    figure = Figure(figsize=(10.0, 4.2))
    axes = figure.subplots()
    values = _values(numbers, metric=results.FORGETTING)
    parts = results.segments(
        sorted({(each.step, each.row) for each in values if each.run})
    )
    switches = [part[0][0] for part in parts]
    for step in switches[1:]:
        axes.axvline(step, color=plots.INK, linewidth=0.6, alpha=0.35)
    tasks = len({part[0][1] for part in parts})
    for (arm, color), marker in zip(_colors(numbers).items(), "sD", strict=True):
        curves = list(_by_seed(_values(values, arm=arm), "step").values())
        if not curves:
            continue
        shared, columns = _shared(curves)
        if len(curves) > 1:
            low, high = map(min, columns), map(max, columns)
            axes.fill_between(
                shared, list(low), list(high), color=color, alpha=0.25, linewidth=0
            )
        means = list(map(statistics.fmean, columns))
        label = f"{arm} (n={len(curves)})"
        axes.plot(shared, means, color=color, linewidth=1.2, label=label)
        label = f"paper's floors, read off: {arm}"
        for metric, task in (
            ("floor_task_2", 2),
            ("floor_task_2_again", 2 + tasks),
        ):
            for each in numbers:
                known = (each.run, each.arm, each.metric) == ("", arm, metric)
                if known and task < len(switches):
                    axes.plot(
                        switches[task],
                        _mean_of(each.paper),
                        marker,
                        color=color,
                        markeredgecolor=plots.INK,
                        markersize=8,
                        linestyle="none",
                        label=label,
                        zorder=5,
                    )
                    label = None
    _label_steps(axes, "updates; the class changes at every line")
    axes.set_ylabel("accuracy, class against rest")
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _fid_over_steps(numbers: Sequence[Measurement]) -> Figure | None:
    """Frechet distance over steps: ours, and the paper's beside it."""
    metrics = _headlines(numbers)
    if not metrics:
        return None
    figure, (grid,) = _grid(1, len(metrics) + 1)
    for arm, color in _colors(numbers).items():
        for axes, metric in zip(grid, metrics):
            _curves(axes, _values(numbers, arm=arm, metric=metric), color, arm)
        papers = [each for each in numbers if not each.run and each.arm == arm]
        grid[-1].plot(
            [each.step for each in papers],
            [_mean_of(each.paper) for each in papers],
            ".--",
            color=color,
            label=arm,
        )
    for axes, metric in zip(grid, metrics):
        axes.set_title("ours")
        axes.set_ylabel(_in_words(metric))
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
    "sweep": _sweep,
}
