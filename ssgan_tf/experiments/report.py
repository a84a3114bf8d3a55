"""The table and the report of a study: our measurements beside the paper's numbers."""

import dataclasses
import re
import statistics
from collections.abc import Iterable, Sequence

from ssgan_tf.evaluation import protocols
from ssgan_tf.experiments import results
from ssgan_tf.experiments.results import Measurement, Study
from ssgan_tf.utils import tables
from ssgan_tf.utils.progress import clock

NOT_YET = "not yet run"


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The layout of a study's table.

    Attributes:
        keys: fields of `Measurement` that identify a line.
        metrics: the metrics that are shown; None: the Frechet distances, each in a line
            of its own.
        decimals: int.
        last: bool. Whether only measurements at the last step are shown.
        best: bool. Whether the lowest over seeds is shown, instead of mean and
            standard deviation.
        words: metric -> its description.
    """

    keys: tuple[str, ...]
    metrics: tuple[str, ...] | None = None
    decimals: int = 2
    last: bool = True
    best: bool = False
    words: dict[str, str] = dataclasses.field(default_factory=dict)

    def has(self, metric: str) -> bool:
        """Whether the table shows a metric."""
        if self.metrics is None:
            return protocols.is_distance(metric)
        return metric in self.metrics

    def place(self, measurement: Measurement) -> tuple:
        """The line of a measurement."""
        return tuple(getattr(measurement, name) for name in self.keys)


_FORGETTING = {
    "at_switches": "at switches, mean",
    "floors": "floors, mean",
    "peaks": "peaks, mean",
    "floor_task_2": "floor after the second switch",
    "floor_task_2_again": "the same, one cycle later",
    "first_cycle": "first cycle, mean",
    "second_cycle": "second cycle, mean",
    "second_minus_first": "second cycle minus first",
}
_LAST_BLOCK = {
    results.PROBE_PEAK: "highest over training",
    results.PROBE_END: "at the end of training",
}
_ROWS = _Layout(("dataset", "row"))
_BLOCKS = _Layout(("block",), (results.PROBE,), decimals=3)
_LAYOUTS = {
    "table1": _Layout(("dataset",), best=True),
    "table2": _ROWS,
    "table3": _BLOCKS,
    "table4": _BLOCKS,
    "figure2": _Layout(("metric",), tuple(_LAST_BLOCK), decimals=3, words=_LAST_BLOCK),
    "figure3": _Layout(("metric",), tuple(_FORGETTING), decimals=3, words=_FORGETTING),
    "figure4": _Layout(("step",), last=False),
    "sweep": _ROWS,
}


def table(measurements: Sequence[Measurement]) -> list[list[str]]:
    """The table: a header and a list of cells for each line.

    Args:
        measurements: all of one study.
    """
    layout = _LAYOUTS[measurements[0].experiment]
    ours = [row for row in measurements if row.run]
    papers = [row for row in measurements if not row.run]
    values = [
        row
        for row in (results.finals(ours) if layout.last else ours)
        if row.value is not None and layout.has(row.metric)
    ]
    arms = results.arms_of(measurements)
    arms_of_paper = {row.arm for row in papers}
    header = list(layout.keys) + ["metric"] * (layout.metrics is None)
    for arm in arms:
        header.append(arm or "ours")
        if arm in arms_of_paper:
            header.append("paper (FID)" if layout.metrics is None else "paper")
    lines = [header]
    for place in _places(layout, [*papers, *values, *ours]):
        here = [row for row in values if layout.place(row) == place]
        for metric in dict.fromkeys(row.metric for row in here) or [""]:
            line = [layout.words.get(part, str(part)) for part in place]
            if layout.metrics is None:
                line.append(metric or "-")
            for arm in arms:
                seeds = [row for row in here if (row.arm, row.metric) == (arm, metric)]
                line.append(_cell(layout, place, seeds, _of_arm(ours, arm)))
                if arm in arms_of_paper:
                    number = _of_arm(papers, arm, layout, place)
                    line.append(number[0].paper if number else "-")
            lines.append(line)
    return lines


def _of_arm(
    rows: Iterable[Measurement],
    arm: str,
    layout: _Layout | None = None,
    place: tuple = (),
) -> list[Measurement]:
    """The measurements of an arm, or those in one place of it."""
    return [
        row
        for row in rows
        if row.arm == arm and (layout is None or layout.place(row) == place)
    ]


def _places(layout: _Layout, measurements: Iterable[Measurement]) -> list[tuple]:
    """The lines of a table, in order."""
    places = list(dict.fromkeys(map(layout.place, measurements)))
    if layout.keys == ("metric",):
        return sorted(
            (place for place in places if place[0] in layout.metrics),
            key=lambda place: layout.metrics.index(place[0]),
        )
    if layout.keys in (("block",), ("step",)):
        return sorted(place for place in places if place[0] is not None)
    return places


def _cell(
    layout: _Layout,
    place: tuple,
    seeds: Sequence[Measurement],
    runs: Sequence[Measurement],
) -> str:
    """The cell of an arm: one value per seed, out of all measurements of its runs."""
    for name, value in zip(layout.keys, place, strict=True):
        if name in ("dataset", "row"):
            runs = [row for row in runs if getattr(row, name) == value]
    if not seeds:
        is_missing = any(row.value is None for row in runs)
        # The paper's runs may have steps that ours never reach.
        is_reached = layout.keys != ("step",) or place in map(layout.place, runs)
        return NOT_YET if is_missing and is_reached else "-"
    values = [row.value for row in seeds]
    planned = len({row.run for row in runs})
    suffix = f" of {planned}" if len(values) < planned else ""
    return f"{_average(layout, values)} (n={len(values)}{suffix})"


def _average(layout: _Layout, values: list[float]) -> str:
    if layout.best:
        return f"{min(values):.{layout.decimals}f}"
    mean = f"{statistics.fmean(values):.{layout.decimals}f}"
    if len(values) == 1:
        return mean
    return f"{mean} +- {statistics.stdev(values):.{layout.decimals}f}"


def report(
    study: Study, measurements: Sequence[Measurement], picture: str | None
) -> str:
    """The report, as Markdown.

    Args:
        study: its jobs and words.
        measurements: its table.
        picture: name of the picture beside the report, or None.
    """
    layout = _LAYOUTS[study.name]
    finals = results.finals(measurements)
    done = {row.run for row in finals if row.value is not None}
    missing = [job.name for job in study.jobs if job.name not in done]
    scale = f", {study.scale} scale" if study.scale else ""
    lines = [
        f"# {study.name}{scale}: {study.title}",
        "",
        f"Made by `{study.command}`: {len(done)} of {len(study.jobs)} runs are done.",
        "",
        *tables.markdown_table(*table(measurements)),
        "",
        _spread_in_words(study, layout),
        "",
        *_protocol_in_words(study, layout, measurements),
    ]
    if picture is not None:
        lines += ["", f"![{study.name}]({picture})"]
    if study.differences:
        lines += ["", "## How far from the paper", ""]
        lines += [f"- {sentence}" for sentence in study.differences]
    if missing:
        lines += ["", "## Not yet run", "", *_by_seeds(missing)]
    return "\n".join([*lines, *_runs(measurements), ""])


def _by_seeds(names: Sequence[str]) -> list[str]:
    """Groups runs that differ in their seeds alone into one line."""
    seeds: dict[str, list[str]] = {}
    for name in names:
        run, _, seed = name.rpartition("-seed")
        seeds.setdefault(run, []).append(seed)
    return [f"- {run}, seed {', '.join(of_run)}" for run, of_run in seeds.items()]


def _spread_in_words(study: Study, layout: _Layout) -> str:
    if layout.best:
        return "The best of n training seeds."
    paper = "; the paper does not name its divisor" if study.paper else ""
    return f"Mean +- standard deviation over n training seeds, divided by n - 1{paper}."


def _protocol_in_words(study: Study, layout: _Layout, measurements) -> list[str]:
    lines = [_SOURCES[study.source]]
    shown = [
        row for row in measurements if row.value is not None and layout.has(row.metric)
    ]
    if any(row.metric.startswith("frechet_") for row in shown):
        paper = ", and not comparable with the paper's" if study.paper else ""
        lines[0] += (
            " On the features of a small classifier trained on the data set's labels "
            f"that is no FID{paper}."
        )
    by_metric: dict[tuple, list[Measurement]] = {}
    by_protocol: dict[str, list[Measurement]] = {}
    for row in shown:
        by_metric.setdefault((row.dataset, row.metric), []).append(row)
        by_protocol.setdefault(row.protocol, []).append(row)
    for (_, metric), rows in by_metric.items():
        for key, values in _differences(rows).items():
            lines.append(
                f"**Not comparable among themselves**, as {key} of "
                f"{layout.words.get(metric, metric)} differs: {' | '.join(values)}."
            )
    for text, rows in by_protocol.items():
        heading = "Protocol"
        if layout.metrics is None:
            heading += f" of {', '.join(dict.fromkeys(row.metric for row in rows))}"
        if len(by_protocol) > 1:
            heading += f" ({', '.join(dict.fromkeys(map(_method, rows)))})"
        lines.append(f"{heading}: {text}.")
    return [part for line in lines for part in (line, "")][:-1]


def _differences(rows: Sequence[Measurement]) -> dict[str, list[str]]:
    """The facts that differ between the protocols of one score, with all values.

    Methods may differ in `labels`: a method with labels needs labels for its fakes.
    """
    texts = list(dict.fromkeys(row.protocol for row in rows))
    differences = protocols.differences(texts)
    labels = {
        (_method(row), protocols.facts_of(row.protocol).get("labels")) for row in rows
    }
    if len(labels) == len(set(map(_method, rows))):
        differences.pop("labels", None)
    return {key: list(dict.fromkeys(values)) for key, values in differences.items()}


def _method(measurement: Measurement) -> str:
    """The method: the arm or, in a sweep, which has no arms, the combination."""
    return measurement.arm or measurement.row


_OF_PROBE = (
    "Top-1 accuracy on the test split of a linear classifier that is fitted to the "
    "features of D on the training split, as docs/probe.md says."
)
_SOURCES = {
    "scores": "Frechet distance between generated and test images.",
    "probe": _OF_PROBE,
    "last_block": _OF_PROBE,
    "forgetting": (
        "Balanced accuracy on the test split of one class against the rest. An "
        "evaluation at a switch precedes the first update on the new class. The floor "
        "and the peak of a class are its lowest and highest accuracy, without the "
        "evaluations at switches; their means are over classes. The mean of a cycle "
        "is over all its evaluations except those at switches. The paper has the "
        "second switch at 2,000 steps and the same switch of the next cycle at "
        "12,000."
    ),
}


def _runs(measurements: Sequence[Measurement]) -> list[str]:
    """The steps, wall time, commit, machine and configuration of each run."""
    last: dict[str, Measurement] = {}
    for row in measurements:
        if row.value is not None and row.run:
            last[row.run] = max(last.get(row.run, row), row, key=lambda row: row.step)
    if not last:
        return []
    cells = [["run", "steps", "wall time of training", "commit", "machine"]]
    for run, row in last.items():
        duration = clock(row.seconds) if row.seconds else "-"
        facts = [row.commit or "-", row.machine or "-"]
        cells.append([run, f"{row.step:,}", duration, *facts])
    lines = ["", "## Runs", "", *tables.markdown_table(*cells), ""]
    configs: dict[str, list[int]] = {}
    for row in last.values():
        text = re.sub(r"(seed=)\d+", r"\1SEED", row.config)
        configs.setdefault(text, []).append(row.seed)
    for text, seeds in configs.items():
        lines.append(f"- `{text}`, SEED = {', '.join(map(str, seeds))}")
    return lines
