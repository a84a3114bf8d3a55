"""Ours beside the paper's: the table and the report of an experiment's numbers."""

import dataclasses
import re
import statistics
from collections.abc import Sequence

from ssgan_tf.evaluation import protocols
from ssgan_tf.experiments import results
from ssgan_tf.experiments.results import Measurement, Study
from ssgan_tf.utils import tables
from ssgan_tf.utils.progress import clock

NOT_YET = "not yet run"


@dataclasses.dataclass(frozen=True)
class _Table:
    """How the table of an experiment is made of its numbers.

    Attributes:
        places: fields of `Number` that name a line.
        metrics: which numbers; None: the Frechet distances, each in a line of its own.
        decimals: int.
        last: only numbers at the last step.
        best: the lowest over seeds, not mean and standard deviation.
        words: what `metrics` are, for a reader.
    """

    places: tuple[str, ...]
    metrics: tuple[str, ...] | None = None
    decimals: int = 2
    last: bool = True
    best: bool = False
    words: dict[str, str] = dataclasses.field(default_factory=dict)

    def wants(self, metric: str) -> bool:
        """Whether a metric is one of those."""
        if self.metrics is None:
            return protocols.is_distance(metric)
        return metric in self.metrics

    def place(self, number: Measurement) -> tuple:
        """The line of a number."""
        return tuple(getattr(number, name) for name in self.places)


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
_ROWS = _Table(("dataset", "row"))
_BLOCKS = _Table(("block",), (results.PROBE,), decimals=3)
_TABLES = {
    "table1": _Table(("dataset",), best=True),
    "table2": _ROWS,
    "table3": _BLOCKS,
    "table4": _BLOCKS,
    "figure2": _Table(("metric",), tuple(_LAST_BLOCK), decimals=3, words=_LAST_BLOCK),
    "figure3": _Table(("metric",), tuple(_FORGETTING), decimals=3, words=_FORGETTING),
    "figure4": _Table(("step",), last=False),
    "sweep": _ROWS,
}


def table(numbers: Sequence[Measurement]) -> list[list[str]]:
    """Ours beside the paper's: a header and one list of cells for each line.

    Args:
        numbers: all of one experiment.
    """
    how = _TABLES[numbers[0].experiment]
    ours = [each for each in numbers if each.run]
    values = [
        each
        for each in (results.finals(ours) if how.last else ours)
        if each.value is not None and how.wants(each.metric)
    ]
    papers = [each for each in numbers if not each.run]
    arms = results.arms_of(numbers)
    of_paper = {each.arm for each in papers}
    header = list(how.places) + ["metric"] * (how.metrics is None)
    for arm in arms:
        header.append(arm or "ours")
        if arm in of_paper:
            header.append("paper (FID)" if how.metrics is None else "paper")
    lines = [header]
    for place in _places(how, [*papers, *values, *ours]):
        here = [each for each in values if how.place(each) == place]
        for metric in dict.fromkeys(each.metric for each in here) or [""]:
            line = [how.words.get(part, str(part)) for part in place]
            if how.metrics is None:
                line.append(metric or "-")
            for arm in arms:
                found = [
                    each for each in here if (each.arm, each.metric) == (arm, metric)
                ]
                line.append(_cell(how, place, arm, found, ours))
                if arm in of_paper:
                    texts = [
                        each.paper
                        for each in papers
                        if (how.place(each), each.arm) == (place, arm)
                    ]
                    line.append(texts[0] if texts else "-")
            lines.append(line)
    return lines


def _places(how: _Table, numbers) -> list[tuple]:
    """The lines of a table, in order."""
    places = list(dict.fromkeys(map(how.place, numbers)))
    if how.places == ("metric",):
        return sorted(
            (place for place in places if place[0] in how.metrics),
            key=lambda place: how.metrics.index(place[0]),
        )
    if how.places in (("block",), ("step",)):
        return sorted(place for place in places if place[0] is not None)
    return places


def _cell(how: _Table, place: tuple, arm: str, found, ours) -> str:
    of_arm = [each for each in ours if each.arm == arm]
    for name, value in zip(how.places, place, strict=True):
        if name in ("dataset", "row"):
            of_arm = [each for each in of_arm if getattr(each, name) == value]
    if not found:
        is_missing = any(each.value is None for each in of_arm)
        # The paper's runs may have steps that ours never come to.
        comes_to = how.places != ("step",) or place in map(how.place, of_arm)
        return NOT_YET if is_missing and comes_to else "-"
    values = [each.value for each in found]
    planned = len({each.run for each in of_arm})
    of = f" of {planned}" if len(values) < planned else ""
    return f"{_average(values, how.decimals, how.best)} (n={len(values)}{of})"


def _average(values: list[float], decimals: int, best: bool) -> str:
    if best:
        return f"{min(values):.{decimals}f}"
    mean = f"{statistics.fmean(values):.{decimals}f}"
    if len(values) == 1:
        return mean
    return f"{mean} +- {statistics.stdev(values):.{decimals}f}"


def report(
    experiment: Study, numbers: Sequence[Measurement], picture: str | None
) -> str:
    """What was done and what came out, as Markdown.

    Args:
        experiment: what it is about.
        numbers: its table.
        picture: name of the picture beside the report; None: there is nothing to show.
    """
    how = _TABLES[experiment.name]
    done = {each.run for each in results.finals(numbers) if each.value is not None}
    missing = [job.name for job in experiment.jobs if job.name not in done]
    scale = f", {experiment.scale} scale" if experiment.scale else ""
    lines = [
        f"# {experiment.name}{scale}: {experiment.title}",
        "",
        f"Made by `{experiment.command}`: {len(done)} of {len(experiment.jobs)} runs "
        "are done.",
        "",
        *tables.markdown_table(*table(numbers)),
        "",
        _spread_in_words(experiment, how),
        "",
        *_protocol_in_words(experiment, how, numbers),
    ]
    if picture is not None:
        lines += ["", f"![{experiment.name}]({picture})"]
    if experiment.differences:
        lines += ["", "## How far from the paper", ""]
        lines += [f"- {sentence}" for sentence in experiment.differences]
    if missing:
        lines += ["", "## Not yet run", "", *_by_seeds(missing)]
    return "\n".join([*lines, *_runs(numbers), ""])


def _by_seeds(names: Sequence[str]) -> list[str]:
    """Runs that differ in their seeds alone as one line."""
    seeds: dict[str, list[str]] = {}
    for name in names:
        run, _, seed = name.rpartition("-seed")
        seeds.setdefault(run, []).append(seed)
    return [f"- {run}, seed {', '.join(each)}" for run, each in seeds.items()]


def _spread_in_words(experiment: Study, how: _Table) -> str:
    if how.best:
        return "The best of n training seeds."
    of_paper = "; by what the paper divides is not given" if experiment.paper else ""
    return (
        f"Mean +- standard deviation over n training seeds, divided by n - 1{of_paper}."
    )


def _protocol_in_words(experiment: Study, how: _Table, numbers) -> list[str]:
    lines = [_SOURCES[experiment.source]]
    used = [each for each in numbers if each.value is not None]
    used = [each for each in used if how.wants(each.metric)]
    if any(each.metric.startswith("frechet_") for each in used):
        of_paper = ", and not comparable with the paper's" if experiment.paper else ""
        lines[0] += (
            " On the features of a small classifier trained on the data set's labels "
            f"that is no FID{of_paper}."
        )
    kinds: dict[tuple, list[Measurement]] = {}
    of_protocols: dict[str, list[Measurement]] = {}
    for each in used:
        kinds.setdefault((each.dataset, each.metric), []).append(each)
        of_protocols.setdefault(each.protocol, []).append(each)
    for (_, metric), found in kinds.items():
        for key, values in _differences(found).items():
            lines.append(
                f"**Not comparable among themselves**, as {key} of "
                f"{how.words.get(metric, metric)} differs: {' | '.join(values)}."
            )
    for text, found in of_protocols.items():
        heading = "Protocol"
        if how.metrics is None:
            heading += f" of {', '.join(dict.fromkeys(each.metric for each in found))}"
        if len(of_protocols) > 1:
            heading += f" ({', '.join(dict.fromkeys(map(_method, found)))})"
        lines.append(f"{heading}: {text}.")
    return [part for line in lines for part in (line, "")][:-1]


def _differences(numbers: Sequence[Measurement]) -> dict[str, list[str]]:
    """What differs in the protocols of one score, with all values of it.

    Whether fakes have labels is up to the method: `labels` may differ among methods.
    """
    texts = list(dict.fromkeys(each.protocol for each in numbers))
    found = protocols.differences(texts)
    labels = {
        (_method(each), protocols.facts_of(each.protocol).get("labels"))
        for each in numbers
    }
    if len(labels) == len(set(map(_method, numbers))):
        found.pop("labels", None)
    return {key: list(dict.fromkeys(values)) for key, values in found.items()}


def _method(number: Measurement) -> str:
    """What is compared: the arm; in a sweep, which has none, the combination."""
    return number.arm or number.row


_OF_PROBE = (
    "Top-1 accuracy on the test split of a linear classifier that is fitted to the "
    "features of D on the training split, as docs/probe.md says."
)
_SOURCES = {
    "scores": "Frechet distance between generated and test images.",
    "probe": _OF_PROBE,
    "last_block": _OF_PROBE,
    "forgetting": (
        "Accuracy on the test split, the class of the moment against the rest, both "
        "sides counting alike. At a switch an evaluation comes before any update on "
        "the new class. Of the others of a class the floor is the lowest and the peak "
        "the highest; their means are over classes, those of cycles over all "
        "evaluations but the ones at switches. The second switch and the one a cycle "
        "later are those at 2,000 and 12,000 steps in the paper."
    ),
}


def _runs(numbers: Sequence[Measurement]) -> list[str]:
    """Which run was trained on what, how long, by which configuration."""
    last: dict[str, Measurement] = {}
    for each in numbers:
        if each.value is not None and each.run:
            last[each.run] = max(last.get(each.run, each), each, key=lambda n: n.step)
    if not last:
        return []
    cells = [["run", "steps", "wall time of training", "commit", "machine"]]
    for run, each in last.items():
        took = clock(each.seconds) if each.seconds else "-"
        cells.append(
            [run, f"{each.step:,}", took, each.commit or "-", each.machine or "-"]
        )
    lines = ["", "## Runs", "", *tables.markdown_table(*cells), ""]
    configs: dict[str, list[int]] = {}
    for each in last.values():
        text = re.sub(r"(seed=)\d+", r"\1SEED", each.config)
        configs.setdefault(text, []).append(each.seed)
    for text, seeds in configs.items():
        lines.append(f"- `{text}`, SEED = {', '.join(map(str, seeds))}")
    return lines
