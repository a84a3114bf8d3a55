"""The table and the report of a study: our measurements beside the paper's numbers."""

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ssgan_tf.evaluation import protocols
from ssgan_tf.experiments import results
from ssgan_tf.experiments.results import Measurement, Study, select
from ssgan_tf.utils import tables
from ssgan_tf.utils.progress import clock

NOT_YET = "not yet run"


class _Layout(NamedTuple):
    """The layout of a study's table.

    Attributes:
        keys: fields of `Measurement` that identify a line.
        words: the metrics that are shown, with their descriptions; empty: the Frechet
            distances, each in a line of its own.
        best: bool. Whether the lowest over seeds is shown, instead of mean and
            standard deviation.
    """

    keys: tuple[str, ...]
    words: Mapping[str, str] = {}
    best: bool = False

    def has(self, metric: str) -> bool:
        """Whether the table shows a metric."""
        return metric in self.words if self.words else protocols.is_distance(metric)

    def average(self, values: list[float]) -> str:
        """The values of the seeds as one number, with their deviation."""
        decimals = 3 if self.words else 2
        if self.best:
            return f"{min(values):.{decimals}f}"
        mean = f"{statistics.fmean(values):.{decimals}f}"
        if len(values) == 1:
            return mean
        return f"{mean} +- {statistics.stdev(values):.{decimals}f}"


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
_BLOCKS = _Layout(("block",), {results.PROBE: results.PROBE})
_LAYOUTS = {
    "table1": _Layout(("dataset",), best=True),
    "table2": _ROWS,
    "table3": _BLOCKS,
    "table4": _BLOCKS,
    "figure2": _Layout(("metric",), _LAST_BLOCK),
    "figure3": _Layout(("metric",), _FORGETTING),
    "figure4": _Layout(("step",)),
    "sweep": _ROWS,
}


def table(measurements: Sequence[Measurement]) -> list[list[str]]:
    """The table: a header and a list of cells for each line.

    Args:
        measurements: all of one study.
    """
    layout = _LAYOUTS[measurements[0].experiment]
    ours = [row for row in measurements if row.run]
    papers = select(measurements, run="")
    values = _shown(layout, ours if "step" in layout.keys else results.finals(ours))
    arms = results.arms_of(measurements)
    arms_of_paper = {row.arm for row in papers}
    has_distances = not layout.words
    header = list(layout.keys) + ["metric"] * has_distances
    for arm in arms:
        header.append(arm or "ours")
        if arm in arms_of_paper:
            header.append("paper (FID)" if has_distances else "paper")
    lines = [header]
    for place in _places(layout, [*papers, *values, *ours]):
        here = select(values, **place)
        for metric in dict.fromkeys(row.metric for row in here) or [""]:
            line = [layout.words.get(key, str(key)) for key in place.values()]
            if has_distances:
                line.append(metric or "-")
            for arm in arms:
                seeds = select(here, arm=arm, metric=metric)
                line.append(_cell(layout, seeds, place, select(ours, arm=arm)))
                if arm in arms_of_paper:
                    numbers = select(papers, arm=arm, **place)
                    line.append(numbers[0].paper if numbers else "-")
            lines.append(line)
    return lines


def _shown(layout: _Layout, measurements: Iterable[Measurement]) -> list[Measurement]:
    """The values of the metrics that the table shows."""
    return [
        row for row in measurements if row.value is not None and layout.has(row.metric)
    ]


def _places(layout: _Layout, measurements: Iterable[Measurement]) -> list[dict]:
    """The fields that identify each line, in the order of the lines."""
    places = dict.fromkeys(
        tuple(getattr(row, name) for name in layout.keys) for row in measurements
    )
    if layout.keys == ("metric",):
        places = [(metric,) for metric in layout.words if (metric,) in places]
    elif layout.keys in (("block",), ("step",)):
        places = sorted(place for place in places if place[0] is not None)
    return [dict(zip(layout.keys, place, strict=True)) for place in places]


def _cell(
    layout: _Layout,
    seeds: Sequence[Measurement],
    place: dict,
    runs: Sequence[Measurement],
) -> str:
    """The cell of an arm: one value per seed, out of all measurements of its runs."""
    of_runs = {name: place[name] for name in ("dataset", "row") if name in place}
    runs = select(runs, **of_runs)
    if not seeds:
        is_missing = any(row.value is None for row in runs)
        # The paper's runs may have steps that ours never reach.
        is_reached = "step" not in place or select(runs, **place)
        return NOT_YET if is_missing and is_reached else "-"
    planned = len({row.run for row in runs})
    suffix = f" of {planned}" if len(seeds) < planned else ""
    average = layout.average([row.value for row in seeds])
    return f"{average} (n={len(seeds)}{suffix})"


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
    deviation = "Mean +- standard deviation over n training seeds, divided by n - 1"
    if study.paper:
        deviation += "; the paper does not name its divisor"
    paragraphs = [
        f"# {study.name}{scale}: {study.title}",
        f"Made by `{study.command}`: {len(done)} of {len(study.jobs)} runs are done.",
        "\n".join(tables.markdown_table(*table(measurements))),
        "The best of n training seeds." if layout.best else f"{deviation}.",
        *_protocol_in_words(study, layout, measurements),
    ]
    if picture is not None:
        paragraphs.append(f"![{study.name}]({picture})")
    if study.differences:
        paragraphs += ["## How far from the paper", _bullets(study.differences)]
    if missing:
        paragraphs += ["## Not yet run", _bullets(missing)]
    return "\n\n".join([*paragraphs, *_runs(measurements)]) + "\n"


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _grouped(items: Iterable, key: Callable) -> dict:
    """The items with each key, in order."""
    groups: dict = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _protocol_in_words(study: Study, layout: _Layout, measurements) -> list[str]:
    lines = [_SOURCES[study.source]]
    shown = _shown(layout, measurements)
    if any(row.metric.startswith("frechet_") for row in shown):
        paper = ", and not comparable with the paper's" if study.paper else ""
        lines[0] += (
            " On the features of a small classifier trained on the data set's labels "
            f"that is no FID{paper}."
        )
    by_metric = _grouped(shown, lambda row: (row.dataset, row.metric))
    for (_, metric), rows in by_metric.items():
        for key, values in _differences(rows).items():
            lines.append(
                f"**Not comparable among themselves**, as {key} of "
                f"{layout.words.get(metric, metric)} differs: {' | '.join(values)}."
            )
    by_protocol = _grouped(shown, lambda row: row.protocol)
    for text, rows in by_protocol.items():
        heading = "Protocol"
        if not layout.words:
            heading += f" of {', '.join(dict.fromkeys(row.metric for row in rows))}"
        if len(by_protocol) > 1:
            heading += f" ({', '.join(dict.fromkeys(map(_method, rows)))})"
        lines.append(f"{heading}: {text}.")
    return lines


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
        "Balanced accuracy on the test split of one class against the rest. "
        "docs/reproduce.md defines floors, peaks and cycles."
    ),
}


def _runs(measurements: Sequence[Measurement]) -> list[str]:
    """The steps, wall time, commit, machine and configuration of each run."""
    values = [row for row in measurements if row.value is not None]
    last = {row.run: row for row in results.finals(values)}
    if not last:
        return []
    cells = [["run", "steps", "wall time of training", "commit", "machine"]]
    for run, row in last.items():
        duration = clock(row.seconds) if row.seconds else "-"
        facts = [row.commit or "-", row.machine or "-"]
        cells.append([run, f"{row.step:,}", duration, *facts])
    configs = _grouped(
        last.values(), lambda row: re.sub(r"(seed=)\d+", r"\1SEED", row.config)
    )
    lines = [
        f"`{text}`, SEED = {', '.join(str(row.seed) for row in rows)}"
        for text, rows in configs.items()
    ]
    return ["## Runs", "\n".join(tables.markdown_table(*cells)), _bullets(lines)]
