"""The numbers of an experiment: a tidy table, from which its report is made.

`results.csv` has one number per row. The paper's numbers are rows without a seed; a run
whose last number is missing has a row without a value.
"""

import dataclasses
import os
import pathlib
import statistics
from collections.abc import Callable, Iterable, Sequence

from ssgan_tf.evaluation import protocols
from ssgan_tf.experiments.jobs import Campaign, Job
from ssgan_tf.utils import tables

SPREAD = "logit_spread_real"
PROBE = "probe_accuracy"
PROBE_PEAK, PROBE_END = "last_block_highest", "last_block_at_the_end"
FORGETTING = "accuracy"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One row of the table.

    Attributes:
        experiment, scale: what was asked for.
        dataset, row, arm: what was trained on what. Of figure 3, the numbers over steps
            have the task as their row.
        seed: int. Of the run; None for the paper's numbers.
        step: int. Of the checkpoint.
        block: int. Of D.
        metric: str. Its name.
        value: float. None where it is missing, and for the paper's numbers.
        paper: str. The paper's number: "87.86", "87.86 +- 3.44". In a row with a value
            that of its place, which the report puts beside it: of the same step, or at
            the last one where the paper says none; and beside any Frechet distance
            the FID.
        protocol: str. What moves the value besides the weights.
        run: str. Name of the run.
        config: str. Files and bindings, as flags.
        commit, machine: str. Of the last training session, where that is known.
        seconds: float. Wall time of the training.
    """

    experiment: str
    scale: str
    dataset: str = ""
    row: str = ""
    arm: str = ""
    seed: int | None = None
    step: int | None = None
    block: int | None = None
    metric: str = ""
    value: float | None = None
    paper: str = ""
    protocol: str = ""
    run: str = ""
    config: str = ""
    commit: str = ""
    seconds: float | None = None
    machine: str = ""


_COLUMNS = [field.name for field in dataclasses.fields(Measurement)]
_NUMERIC = {"seed": int, "step": int, "block": int, "value": float, "seconds": float}
_AGAIN = "Make it again with the command of its report."


@dataclasses.dataclass(frozen=True)
class Study:
    """Runs whose numbers belong into one report.

    Attributes:
        name, scale: str.
        title: str. What it is, in a line.
        command: str. What makes it.
        jobs: in order.
        source: which table of a run is read: a key of `_READERS`.
        paper: the paper's numbers.
        differences: what differs from the paper, one sentence each.
    """

    name: str
    scale: str
    title: str
    command: str
    jobs: tuple[Job, ...]
    source: str
    paper: tuple[Measurement, ...] = ()
    differences: tuple[str, ...] = ()


def write(path: str | os.PathLike, numbers: Iterable[Measurement]) -> None:
    """Writes the table, whole or not at all."""
    tables.write_csv(
        path,
        _COLUMNS,
        (
            {
                name: "" if value is None else str(value)
                for name, value in dataclasses.asdict(number).items()
            }
            for number in numbers
        ),
    )


def read(path: str | os.PathLike) -> list[Measurement]:
    """The numbers of a table that `write` wrote.

    Raises:
        ValueError: it is no such table; the message names a cell that cannot be read.
        OSError: it cannot be read.
    """
    columns, rows = tables.read_csv(path)
    if columns != _COLUMNS:
        raise ValueError(
            f"A table of results must have the columns {_COLUMNS}. Received: {path} "
            f"with the columns {columns}. {_AGAIN}"
        )
    return [_number(path, place, row) for place, row in enumerate(rows, start=1)]


def _number(path, place: int, row: dict[str, str]) -> Measurement:
    if None in row or None in row.values():
        raise ValueError(
            f"Each row of a table of results must have {len(_COLUMNS)} cells. "
            f"Received: {path}, row {place} with others. {_AGAIN}"
        )
    fields = dict(row)
    for name, kind in _NUMERIC.items():
        try:
            fields[name] = kind(row[name]) if row[name] else None
        except ValueError as error:
            raise ValueError(
                f"Cells of a table of results must be of type {kind.__name__}, or "
                f"empty, in the column {name}. Received: {path}, row {place}, "
                f"{name}={row[name]}. {_AGAIN}"
            ) from error
    return Measurement(**fields)


# --- From the runs to the table ------------------------------------------------


def collect(experiment: Study, campaign: Campaign) -> list[Measurement]:
    """All numbers of an experiment: the paper's, and those that its runs have so far.

    Args:
        experiment: whose jobs are looked at, done or not.
        campaign: where they lie.

    Raises:
        ValueError: a table of a run cannot be read.
    """
    numbers = list(experiment.paper)
    for job in experiment.jobs:
        found = _READERS[experiment.source](campaign.run_dir(job), job.steps)
        common = {
            "experiment": experiment.name,
            "scale": experiment.scale,
            "dataset": job.dataset,
            "row": job.row,
            "arm": job.arm,
            "seed": job.seed,
            "run": job.name,
            "config": job.config,
        }
        if found:
            common |= _circumstances(campaign.run_dir(job))
        if not any(each["step"] == job.steps for each in found):
            found.append({"step": job.steps})
        numbers += [
            _beside(Measurement(**common | each), experiment.paper, job.steps)
            for each in found
        ]
    return numbers


def _circumstances(path: pathlib.Path) -> dict:
    """Commit, machine and wall time of a run, as far as they are known."""
    # TensorFlow takes seconds to import.
    from ssgan_tf.training import events
    from ssgan_tf.training.run_dir import RunDir

    sessions = RunDir(path).environments()
    last = sessions[max(sessions)] if sessions else {}
    machine = [last["cpu"], _cores(last["cores"])] if last else []
    machine += [each for each in last.get("devices", ()) if not each.startswith("CPU")]
    return {
        "commit": last.get("commit") or "",
        "machine": ", ".join(machine),
        "seconds": round(events.train_seconds(path), 1) or None,
    }


def _cores(count: int) -> str:
    return f"{count} core{'s' * (count > 1)}"


def _scores(run, steps: int) -> list[dict]:
    """Means of every metric; the last ones where a step was scored more than once."""
    from ssgan_tf.evaluation.score_table import FILENAME, ScoreTable

    found = {}
    for row in ScoreTable(run / FILENAME).rows():
        for column, text in row.items():
            metric = column.removesuffix("_mean")
            if metric != column and text:
                found[int(row["step"]), metric] = {
                    "step": int(row["step"]),
                    "metric": metric,
                    "value": float(text),
                    "protocol": row["protocol"],
                }
    return [found[key] for key in sorted(found)]


def _probe(run, steps: int) -> list[dict]:
    """Test accuracies of every block; of the last protocol of a step."""
    from ssgan_tf.experiments.probe import ProbeTable

    found = {}
    for row in ProbeTable(run / "probe.csv").rows():
        found[int(row["step"]), int(row["block"])] = {
            "step": int(row["step"]),
            "block": int(row["block"]),
            "metric": PROBE,
            "value": float(row["test_accuracy"]),
            "protocol": row["protocol"],
        }
    return [found[key] for key in sorted(found)]


def _last_block(run, steps: int) -> list[dict]:
    """The accuracy of the last block over steps, its highest and its last."""
    found = _probe(run, steps)
    last = max((each["block"] for each in found), default=None)
    found = [each for each in found if each["block"] == last]
    if found and found[-1]["step"] == steps:
        end, highest = found[-1], max(each["value"] for each in found)
        found += [
            end | {"metric": PROBE_PEAK, "value": highest},
            end | {"metric": PROBE_END},
        ]
    return found


def _forgetting(run, steps: int) -> list[dict]:
    """Accuracies over steps, and what `forgetting_summary` makes of them."""
    from ssgan_tf.experiments import forgetting

    path = run / forgetting.FILENAME
    rows = forgetting.read(path) if path.exists() else []
    found = [
        {
            "step": row.step,
            "row": f"task {row.task}",
            "metric": FORGETTING,
            "value": row.accuracy,
            "protocol": row.protocol,
        }
        for row in rows
    ]
    if rows and rows[-1].step == steps:
        common = {"step": steps, "protocol": rows[-1].protocol}
        summary = forgetting_summary(
            [(row.step, row.task, row.accuracy) for row in rows]
        )
        found += [common | {"metric": k, "value": v} for k, v in summary.items()]
    return found


_READERS: dict[str, Callable] = {
    "scores": _scores,
    "probe": _probe,
    "last_block": _last_block,
    "forgetting": _forgetting,
}


def segments(points: Sequence[tuple]) -> list[list[tuple]]:
    """Points `(step, task, ...)` in order of steps, cut where the task changes."""
    parts: list[list[tuple]] = []
    for point in sorted(points):
        if not parts or parts[-1][-1][1] != point[1]:
            parts.append([])
        parts[-1].append(point)
    return parts


def forgetting_summary(points: Sequence[tuple[int, int, float]]) -> dict[str, float]:
    """What Figure 3 shows, in numbers.

    Of a task's evaluations the first, at the switch, is before any update on it; its
    floor is the lowest of the others, its peak the highest. The first task of all
    follows no switch and counts in no mean of floors.

    Args:
        points: `(step, task, accuracy)` of all evaluations. Every cycle has every task
            once, in one order.

    Returns:
        `at_switches`, `floors` and `peaks`: means over the tasks. `floor_task_2` and
        `floor_task_2_again`: the floor of the third task, and its floor one cycle
        later: the switches at 2,000 and 12,000 steps of the paper. `first_cycle` and
        `second_cycle`: means over all evaluations but those at switches; and
        `second_minus_first`. What there are no points for is left out: all means of
        others than the evaluations at switches where a task has none.
    """
    tasks = len({task for _, task, _ in points})
    parts = segments(points)
    after = [[accuracy for _, _, accuracy in part[1:]] for part in parts]
    found = {}
    if len(parts) > 1:
        found["at_switches"] = statistics.fmean(part[0][2] for part in parts[1:])
    if len(parts) > 1 and all(after):
        found["floors"] = statistics.fmean(map(min, after[1:]))
        found["peaks"] = statistics.fmean(map(max, after))
    for part, name in ((2, "floor_task_2"), (2 + tasks, "floor_task_2_again")):
        if part < len(after) and after[part]:
            found[name] = min(after[part])
    if len(parts) >= 2 * tasks and all(after):
        first, second = (
            statistics.fmean(accuracy for part in cycle for accuracy in part)
            for cycle in (after[:tasks], after[tasks : 2 * tasks])
        )
        found |= {
            "first_cycle": first,
            "second_cycle": second,
            "second_minus_first": second - first,
        }
    return found


def _beside(
    number: Measurement, paper: Sequence[Measurement], last_step: int
) -> Measurement:
    """A number with the paper's beside it, where that has one."""
    if number.value is None:
        return number
    kind = "fid" if protocols.is_distance(number.metric) else number.metric
    place = (number.dataset, number.row, number.arm, kind, number.step)
    for other in paper:
        step = last_step if other.step is None else other.step
        same = place == (other.dataset, other.row, other.arm, other.metric, step)
        if same and other.block in (None, number.block):
            return dataclasses.replace(number, paper=other.paper)
    return number


def arms_of(numbers: Sequence[Measurement]) -> list[str]:
    """The arms of an experiment, in the order of its runs."""
    runs = [each for each in numbers if each.run]
    return list(dict.fromkeys(each.arm for each in [*runs, *numbers]))


def finals(numbers: Iterable[Measurement]) -> list[Measurement]:
    """The numbers at the last step of their runs."""
    numbers = list(numbers)
    last: dict[str, int] = {}
    for each in numbers:
        if each.step is not None:
            last[each.run] = max(each.step, last.get(each.run, 0))
    return [each for each in numbers if each.run and each.step == last[each.run]]
