"""What a report on runs shows, section by section: only what is there."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ssgan_tf.evaluation import protocols
from ssgan_tf.evaluation.score_table import FILENAME, ScoreTable
from ssgan_tf.experiments.probe import ProbeTable
from ssgan_tf.reports import figures, page
from ssgan_tf.training import events
from ssgan_tf.training.events import Curve
from ssgan_tf.training.run_dir import RunDir, bindings

MAX_GRIDS = 12

# Where the config of a GAN has them, or that of a classifier whose task changes.
_PARAMETERS = {
    "GAN": ("options.gan_class",),
    "data set": ("dataset.name",),
    "architecture": ("options.architecture", "forgetting.architecture"),
    "width of G": ("G.width",),
    "width of D": ("D.width",),
    "batch": ("options.batch_size", "forgetting.batch_size"),
    "updates of D per step": ("options.disc_iters",),
    "steps per task": ("forgetting.steps_per_task",),
    "weight of the rotation loss": ("forgetting.weight_rotation_loss",),
    "seed": ("run_config.seed", "forgetting.seed"),
    "steps": ("options.training_steps", "forgetting.training_steps"),
}
_TITLES = {
    "loss": "Losses",
    "loss/rotation": "Rotation loss",
    "loss/class": "Loss of the classifier",
    "accuracy/class": "Accuracy on the classifier's task",
    "accuracy/rotation": "Rotation accuracy of D",
    "logits": "Mean logits of D",
}
_LEVELS = {"accuracy/class": ("chance", 0.5), "accuracy/rotation": ("chance", 0.25)}


@dataclasses.dataclass(frozen=True)
class _Run:
    """What a report shows of a run directory, read once.

    Attributes:
        label: its name in the report.
        folder: where it lies.
        bindings: the parameters of its latest config.
        scores: the rows of its table.
        probe: the same for the probe: one row per step, a metric for each block.
        curves: what the training wrote, by tag.
        seconds: of wall time that the training took.
        grids: the sample grids, by step.
        environments: what its sessions ran on, by first step.
    """

    label: str
    folder: RunDir
    bindings: dict[str, str]
    scores: list[dict[str, str]]
    probe: list[dict[str, str]]
    curves: dict[str, Curve]
    seconds: float
    grids: dict[int, pathlib.Path]
    environments: dict[int, dict]

    @property
    def is_classifier(self) -> bool:
        """Whether it is of `ssgan forget`: no GAN, with nothing to score or sample."""
        return "forgetting.training_steps" in self.bindings


def render(paths: Sequence[str | os.PathLike]) -> str:
    """A page on one run, or on several side by side.

    Args:
        paths: run directories, at least one.

    Returns:
        HTML of ASCII characters, which loads nothing.

    Raises:
        FileNotFoundError: one holds no run.
        ValueError: one is named twice, or a file of one is damaged.
        OSError: a file cannot be read.
    """
    labels = _labels(paths)
    runs = [_read(path, label) for path, label in zip(paths, labels, strict=True)]
    title = " against ".join(labels) if len(labels) < 3 else f"{len(labels)} runs"
    sections = {
        "Training": _training(runs),
        "Scores": _scores(runs),
        "Samples": _samples(runs),
        "Curves": _curves(runs),
        "Linear probe of D": _probe(runs),
        "Rotation confusions": _confusions(runs),
        "Configuration": _configuration(runs),
        "Environment": _environment(runs),
    }
    return page.page(title, _lead(runs), sections)


# What there is.


def _labels(paths: Sequence[str | os.PathLike]) -> list[str]:
    """Names of the folders where these tell the runs apart, else the paths."""
    places = [pathlib.Path(path).resolve() for path in paths]
    if len(set(places)) < len(places):
        raise ValueError(
            "A report shows every run once. Received: "
            f"{', '.join(map(str, paths))}, of which two are one folder. Leave one out."
        )
    names = [place.name for place in places]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _read(path: str | os.PathLike, label: str) -> _Run:
    folder = RunDir(path)
    grids = {
        int(picture.stem): picture
        for picture in folder.samples.glob("*.png")
        if picture.stem.isdecimal()
    }
    return _Run(
        label=label,
        folder=folder,
        bindings=bindings(folder.latest_config().read_text()),
        scores=ScoreTable(folder.path / FILENAME).rows(),
        probe=_joined_blocks(ProbeTable(folder.path / "probe.csv").rows()),
        curves=events.read(path),
        seconds=events.train_seconds(path),
        grids=dict(sorted(grids.items())),
        environments=folder.environments(),
    )


def _joined_blocks(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Rows of the probe's table as those of scores: a metric for every block."""
    joined: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        key = {name: row[name] for name in ("step", "protocol")}
        metric = f"accuracy, block {row['block']}_mean"
        joined.setdefault((*key.values(),), key)[metric] = row["test_accuracy"]
    return list(joined.values())


def _missing(what: str, runs: Sequence[_Run], has: Callable[[_Run], bool]) -> str:
    """A word on the runs that lack something."""
    without = [run.label for run in runs if not has(run)]
    if not without:
        return ""
    whose = f": {', '.join(without)}" if len(runs) > 1 else ""
    return page.note(f"No {what}{whose}.")


def _missing_of_gans(
    what: str, runs: Sequence[_Run], has: Callable[[_Run], bool]
) -> str:
    """The same of what only a GAN can have."""
    return _missing(what, runs, lambda run: run.is_classifier or has(run))


# What was trained.


def _value(run: _Run, name: str) -> str:
    """A parameter without the signs that only gin needs; "" where it has no place."""
    found = (run.bindings[p] for p in _PARAMETERS[name] if p in run.bindings)
    return next(found, "").strip("@'\"")


def _lead(runs: Sequence[_Run]) -> str:
    """What was trained on what, as far as the runs agree."""
    words = {
        "GAN": "{}",
        "data set": "{}",
        "architecture": "{}",
        "steps": "{} steps",
        "batch": "batch {}",
        "seed": "seed {}",
    }
    parts = []
    for name, phrase in words.items():
        first, *others = {_value(run, name) for run in runs}
        if first and not others:
            parts.append(phrase.format(first))
    return " \u00b7 ".join(parts)


def _training(runs: Sequence[_Run]) -> str:
    rows = [
        (name, *(_value(run, name) or "-" for run in runs))
        for name in _PARAMETERS
        if name != "steps" and any(_value(run, name) for run in runs)
    ]
    rows += [
        ("parameters bound", *(len(run.bindings) for run in runs)),
        ("steps", *map(_progress, runs)),
        ("wall time", *map(_wall_time, runs)),
    ]
    return page.table(["", *(run.label for run in runs)], rows)


def _progress(run: _Run) -> str:
    ends = (int(curve.steps[-1]) for curve in run.curves.values())
    last = max([0, *run.folder.checkpoints.steps(), *run.grids, *ends])
    planned = _value(run, "steps")
    of = f" of {int(planned):,}" if planned.isdecimal() else ""
    return f"{last:,}{of}{'' if run.folder.train_done.exists() else ', not done'}"


def _wall_time(run: _Run) -> str:
    if not run.seconds:
        return "-"
    if run.seconds < 60:
        return f"{run.seconds:.0f} s"
    hours, minutes = divmod(round(run.seconds / 60), 60)
    return f"{hours} h {minutes:02} min"


# Scores and the probe.

_ByRun = dict[str, dict[int, dict[str, str]]]


def _scores(runs: Sequence[_Run]) -> str:
    word = _missing_of_gans("scores yet", runs, lambda run: bool(run.scores))
    return _measured(runs, lambda run: run.scores, "scores") + word


def _probe(runs: Sequence[_Run]) -> str:
    if not any(run.probe for run in runs):
        return ""
    what = page.note("Accuracy of a linear classifier on the images of the test.")
    word = _missing_of_gans("probe", runs, lambda run: bool(run.probe))
    return what + _measured(runs, lambda run: run.probe, "probe", _over_blocks) + word


def _measured(
    runs: Sequence[_Run],
    rows_of: Callable[[_Run], list[dict[str, str]]],
    name: str,
    further: Callable[[str, _ByRun], str] | None = None,
) -> str:
    """For every protocol: the last numbers, the protocol, the numbers over steps."""
    texts = [*dict.fromkeys(row["protocol"] for run in runs for row in rows_of(run))]
    parts = []
    if apart := protocols.differences(texts):
        said = (f"{key}: {' | '.join(values)}" for key, values in apart.items())
        parts.append(
            page.note(
                "Numbers of different protocols do not compare. These differ in "
                f"{'; '.join(said)}."
            )
        )
    for number, protocol in enumerate(texts):
        by_run = {
            run.label: _by_step(
                row for row in rows_of(run) if row["protocol"] == protocol
            )
            for run in runs
        }
        drawn = [further(f"{name}-{number}", by_run)] if further else []
        drawn += _over_steps(f"{name}-{number}", by_run)
        facts = page.table(["", ""], protocols.facts_of(protocol).items())
        parts += [
            _last_numbers(by_run),
            page.details("Protocol", facts),
            page.figures(drawn),
        ]
    return "\n".join(parts)


def _by_step(rows: Iterable[dict[str, str]]) -> dict[int, dict[str, str]]:
    """The rows in the order of their steps; of one step the last row."""
    return dict(sorted({int(row["step"]): row for row in rows}.items()))


def _metrics(by_run: _ByRun) -> list[str]:
    return list(
        dict.fromkeys(
            column.removesuffix("_mean")
            for rows in by_run.values()
            for row in rows.values()
            for column, value in row.items()
            if column.endswith("_mean") and value
        )
    )


def _last_numbers(by_run: _ByRun) -> str:
    last = {label: [*rows.items()][-1] for label, rows in by_run.items() if rows}
    lines = [("step", *(f"{step:,}" for step, _ in last.values()))]
    lines += [
        (metric, *(_number(row, metric) for _, row in last.values()))
        for metric in _metrics(by_run)
    ]
    return page.table(["", *last], lines)


def _number(row: dict[str, str], metric: str) -> str:
    mean, std = (row.get(f"{metric}_{part}") for part in ("mean", "std"))
    if not mean:
        return "-"
    # Of one number it is 0.
    spread = f" \u00b1 {float(std):.2g}" if std and float(std) else ""
    return f"{float(mean):.4g}{spread}"


def _over_steps(name: str, by_run: _ByRun) -> list[str]:
    """A figure for every metric, where a run has several steps."""
    drawn = []
    if any(len(rows) > 1 for rows in by_run.values()):
        for number, metric in enumerate(_metrics(by_run)):
            lines = {
                label: _line(
                    {step: row.get(f"{metric}_mean") for step, row in rows.items()}
                )
                for label, rows in by_run.items()
            }
            drawn.append(figures.lines(f"{name}-{number}", metric, lines))
    return drawn


def _over_blocks(name: str, by_run: _ByRun) -> str:
    """The last numbers of the probe, block after block."""
    lines = {}
    for label, rows in by_run.items():
        last = [*rows.values()][-1] if rows else {}
        metrics = _metrics({label: {0: last}})
        lines[label] = _line(dict(enumerate(last[f"{m}_mean"] for m in metrics)))
    title = "accuracy over blocks, last step"
    return figures.lines(f"{name}-blocks", title, lines, x_label="block")


def _line(points: dict[int, str | float | None]) -> dict[str, Curve]:
    """The one line of a run, if it has a point."""
    numbers = {place: float(value) for place, value in points.items() if value}
    if not numbers:
        return {}
    return {"": Curve(np.array([*numbers]), np.array([*numbers.values()]))}


# Curves.


def _curves(runs: Sequence[_Run]) -> str:
    tags = dict.fromkeys(tag for run in runs for tag in run.curves)
    found = figures.families(tag for tag in tags if not _is_sigma(tag))
    order = dict.fromkeys([*(name for name in _TITLES if name in found), *found])
    drawn = []
    for number, family in enumerate(order):
        lines = {
            run.label: {
                side: run.curves[tag]
                for side, tag in found[family].items()
                if tag in run.curves
            }
            for run in runs
        }
        title = _TITLES.get(family, family)
        level = _LEVELS.get(family)
        drawn.append(figures.lines(f"curve-{number}", title, lines, level=level))
    drawn += [
        _singular_values(runs, player)
        for player in ("d", "g")
        if any(tag.startswith(f"sigma/{player}/") for tag in tags)
    ]
    words = [
        _missing("curves", runs, lambda run: bool(run.curves)),
        _missing_of_gans(
            "singular values", runs, lambda run: any(map(_is_sigma, run.curves))
        ),
    ]
    longest = max(
        (len(c.steps) for run in runs for c in run.curves.values()), default=0
    )
    if longest > figures.MAX_POINTS:
        words.append(
            page.note(
                f"Of more than {figures.MAX_POINTS} points, lines show means of "
                "neighbouring ones."
            )
        )
    return "\n".join([page.figures(drawn), *words])


def _is_sigma(tag: str) -> bool:
    return tag.startswith("sigma/")


def _singular_values(runs: Sequence[_Run], player: str) -> str:
    """Every layer of a single run; of several runs the largest of all layers."""
    prefix = f"sigma/{player}/"
    lines = {
        run.label: {
            tag.removeprefix(prefix): curve
            for tag, curve in run.curves.items()
            if tag.startswith(prefix)
        }
        for run in runs
    }
    title = f"Largest singular value, layers of {player.upper()}"
    if len(runs) > 1:
        title = f"Largest singular value of all layers of {player.upper()}"
        lines = {label: _largest(each.values()) for label, each in lines.items()}
    return figures.lines(f"sigma-{player}", title, lines)


def _largest(every: Iterable[Curve]) -> dict[str, Curve]:
    """The one line of the largest of several curves at each step."""
    points: dict[int, float] = {}
    for curve in every:
        for step, value in zip(curve.steps, curve.values, strict=True):
            points[step] = max(value, points.get(step, value))
    return _line(points)


# Samples and rotation.


def _samples(runs: Sequence[_Run]) -> str:
    word = _missing_of_gans("samples yet", runs, lambda run: bool(run.grids))
    steps = _evenly(sorted({step for run in runs for step in run.grids}), MAX_GRIDS)
    if not steps:
        return word
    series = {
        run.label: {step: run.grids[step] for step in sorted(_latest(run.grids, steps))}
        for run in runs
        if run.grids
    }
    same = page.note("All pictures of a run are drawn from the same noise.")
    return page.picture_series(series) + same + word


def _evenly(items: Sequence[int], count: int) -> list[int]:
    """Some of the items, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def _latest(there: Iterable[int], steps: Sequence[int]) -> set[int]:
    """For each step the last one that is there, else the first."""
    there = sorted(there)
    return {max((s for s in there if s <= step), default=there[0]) for step in steps}


def _confusions(runs: Sequence[_Run]) -> str:
    drawn = []
    for run in runs:
        for side in ("real", "fake"):
            column = f"rotation_confusion_{side}"
            if counted := [row for row in run.scores if row.get(column)]:
                row = max(counted, key=lambda row: int(row["step"]))
                caption = f"{run.label}, {side} images, step {int(row['step']):,}"
                drawn.append(page.confusion(caption, json.loads(row[column])))
    if not drawn:
        return ""
    what = page.note(
        "Of the images in the orientation of a row, counter-clockwise, the share that "
        "D takes for that of a column."
    )
    return what + page.in_a_row(drawn)


# Configuration and environment.


def _configuration(runs: Sequence[_Run]) -> str:
    labels = [run.label for run in runs]
    parts = []
    if len(runs) > 1:
        names = sorted({name for run in runs for name in run.bindings})
        values = {name: [run.bindings.get(name, "-") for run in runs] for name in names}
        rows = [(name, *each) for name, each in values.items() if len(set(each)) > 1]
        equal = page.note("The configurations are equal.")
        parts.append(page.table(["differs", *labels], rows) if rows else equal)
    for run in runs:
        for path in run.folder.configs():
            name = path.name if len(runs) == 1 else f"{run.label}: {path.name}"
            parts.append(page.details(name, page.code(path.read_text())))
    return "\n".join(parts)


def _environment(runs: Sequence[_Run]) -> str:
    word = _missing(
        "record of the environment", runs, lambda run: bool(run.environments)
    )
    columns = {}
    for run in runs:
        former = None
        for step, facts in run.environments.items():
            if facts != former:
                columns[f"{run.label}, from step {step:,}"] = facts
            former = facts
    if not columns:
        return word
    names = dict.fromkeys(name for facts in columns.values() for name in facts)
    rows = [
        (name, *(_fact(facts.get(name)) for facts in columns.values()))
        for name in names
    ]
    return page.table(["", *columns], rows) + word


def _fact(value) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
