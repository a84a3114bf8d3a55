"""The measurements of a study: a tidy table, from which its report is made.

`results.csv` has one measurement per row. The paper's numbers are rows without a seed.
A run that lacks its last measurement has a row without a value.
"""

import dataclasses
import itertools
import os
import pathlib
import statistics
from collections.abc import Callable, Iterable, Sequence

from ssgan_tf.evaluation import protocols
from ssgan_tf.experiments.jobs import Campaign, Job
from ssgan_tf.utils.tables import Table

SPREAD = "logit_spread_real"
PROBE = "probe_accuracy"
PROBE_PEAK, PROBE_END = "last_block_highest", "last_block_at_the_end"
FORGETTING = "accuracy"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One row of the table.

    Attributes:
        experiment: str. Name of the study.
        scale: str. Scale of the study, or "".
        dataset, row, arm: str. Data set, row of Table 2 and method of the run. In
            figure 3 the accuracies over steps have the task as their row.
        seed: int. Seed of the run; None for the paper's numbers.
        step: int. Step of the checkpoint.
        block: int. Block of D.
        metric: str. Name of the metric.
        value: float. None if it is missing, and for the paper's numbers.
        paper: str. The paper's number, such as "87.86" or "87.86 +- 3.44". A row with a
            value has the number that the report shows beside it: that of the same step,
            or at the last step if the paper names none. The FID is shown beside any
            Frechet distance.
        protocol: str. The facts that the value depends on besides the weights.
        run: str. Name of the run.
        config: str. Config files and bindings, as flags.
        commit: str. Commit of the last training session, if known.
        seconds: float. Wall time of training.
        machine: str. Machine of the last training session, if known.
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


@dataclasses.dataclass(frozen=True)
class Study:
    """Runs whose measurements belong in one report.

    Attributes:
        name: str. A key of `recipes.STUDIES`, or "sweep".
        scale: str. A key of `recipes.SCALES`, or "".
        title: str. One line.
        command: str. The command that runs it.
        jobs: in order.
        source: str. A key of `_READERS`: which table of a run is read.
        paper: the paper's numbers.
        differences: differences from the paper, one sentence each.
    """

    name: str
    scale: str
    title: str
    command: str
    jobs: tuple[Job, ...]
    source: str
    paper: tuple[Measurement, ...] = ()
    differences: tuple[str, ...] = ()


def read(path: str | os.PathLike) -> list[Measurement]:
    """Reads the table.

    Raises:
        ValueError: the table is damaged; the message names the row and the column.
    """
    return Table(path, Measurement).rows()


def select(measurements: Iterable[Measurement], **fields) -> list[Measurement]:
    """The measurements with these fields."""
    return [
        row
        for row in measurements
        if all(getattr(row, name) == value for name, value in fields.items())
    ]


def arms_of(measurements: Sequence[Measurement]) -> list[str]:
    """The arms of a study, in the order of its runs."""
    runs = [row for row in measurements if row.run]
    return list(dict.fromkeys(row.arm for row in [*runs, *measurements]))


def finals(measurements: Iterable[Measurement]) -> list[Measurement]:
    """The measurements at the last step of their runs."""
    runs = [row for row in measurements if row.run]
    last: dict[str, int] = {}
    for row in runs:
        last[row.run] = max(row.step, last.get(row.run, 0))
    return [row for row in runs if row.step == last[row.run]]


# --- From the runs to the table ------------------------------------------------


def collect(study: Study, campaign: Campaign) -> list[Measurement]:
    """Collects the paper's numbers, and the measurements of the runs so far.

    Args:
        study: its jobs may be done or not.
        campaign: knows the run directories.

    Raises:
        ValueError: a table of a run cannot be read.
    """
    measurements = list(study.paper)
    for job in study.jobs:
        path = campaign.run_dir(job)
        readings = _READERS[study.source](path, job.steps)
        missing = Measurement(
            experiment=study.name,
            scale=study.scale,
            dataset=job.dataset,
            row=job.row,
            arm=job.arm,
            seed=job.seed,
            step=job.steps,
            run=job.name,
            config=job.config,
            **(_circumstances(path) if readings else {}),
        )
        rows = [dataclasses.replace(missing, **reading) for reading in readings]
        if not select(rows, step=job.steps):
            rows.append(missing)
        measurements += [
            dataclasses.replace(row, paper=_paper_number(row, study, job.steps))
            for row in rows
        ]
    return measurements


def _paper_number(row: Measurement, study: Study, last_step: int) -> str:
    """The paper's number that the report shows beside a measurement, if any."""
    metric = "fid" if protocols.is_distance(row.metric) else row.metric
    place = {"dataset": row.dataset, "row": row.row, "arm": row.arm, "metric": metric}
    for number in select(study.paper, **place):
        step = last_step if number.step is None else number.step
        if row.step == step and number.block in (None, row.block):
            return number.paper
    return ""


def _circumstances(path: pathlib.Path) -> dict:
    """Commit, machine and wall time of a run, if known."""
    # TensorFlow takes seconds to import.
    from ssgan_tf.training import events
    from ssgan_tf.training.run_dir import RunDir

    facts = {"seconds": round(events.train_seconds(path), 1) or None}
    if sessions := RunDir(path).environments():
        last = sessions[max(sessions)]
        cores = f"{last['cores']} core{'s' * (last['cores'] > 1)}"
        devices = [name for name in last["devices"] if not name.startswith("CPU")]
        facts["machine"] = ", ".join([last["cpu"], cores, *devices])
        facts["commit"] = last["commit"] or ""
    return facts


# Each reader returns fields of measurements.


def _scores(path: pathlib.Path, steps: int) -> list[dict]:
    """The mean of every metric."""
    from ssgan_tf.evaluation.score_table import FILENAME, ScoreTable

    return _latest(
        {"step": row.step, "metric": metric, "value": mean, "protocol": row.protocol}
        for row in ScoreTable(path / FILENAME).rows()
        for metric, mean in row.means().items()
    )


def _probe(path: pathlib.Path, steps: int) -> list[dict]:
    """The test accuracy of every block."""
    from ssgan_tf.experiments.probe import ProbeTable

    return _latest(
        {
            "step": row.step,
            "block": row.block,
            "metric": PROBE,
            "value": row.test_accuracy,
            "protocol": row.protocol,
        }
        for row in ProbeTable(path / "probe.csv").rows()
    )


def _latest(readings: Iterable[dict]) -> list[dict]:
    """The last reading of each number, by step."""
    by_key = {(row["step"], row.get("block"), row["metric"]): row for row in readings}
    return [by_key[key] for key in sorted(by_key)]


def _last_block(path: pathlib.Path, steps: int) -> list[dict]:
    """The accuracy of the last block over steps, its highest and its last."""
    readings = _probe(path, steps)
    last = max((reading["block"] for reading in readings), default=None)
    readings = [reading for reading in readings if reading["block"] == last]
    if readings and readings[-1]["step"] == steps:
        end = readings[-1]
        highest = max(reading["value"] for reading in readings)
        readings += [
            end | {"metric": PROBE_PEAK, "value": highest},
            end | {"metric": PROBE_END},
        ]
    return readings


def _forgetting(path: pathlib.Path, steps: int) -> list[dict]:
    """The accuracy over steps, and its summary."""
    from ssgan_tf.experiments import forgetting

    rows = forgetting.read(path / forgetting.FILENAME)
    readings = [
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
        points = [(row.step, row.task, row.accuracy) for row in rows]
        end = {"step": steps, "protocol": rows[-1].protocol}
        readings += [
            end | {"metric": metric, "value": value}
            for metric, value in forgetting_summary(points).items()
        ]
    return readings


_READERS: dict[str, Callable] = {
    "scores": _scores,
    "probe": _probe,
    "last_block": _last_block,
    "forgetting": _forgetting,
}


def segments(points: Iterable[tuple]) -> list[list[tuple]]:
    """Sorts points `(step, task, ...)`, and cuts them where the task changes."""
    groups = itertools.groupby(sorted(points), key=lambda point: point[1])
    return [list(points_of_task) for _, points_of_task in groups]


def forgetting_summary(points: Sequence[tuple[int, int, float]]) -> dict[str, float]:
    """Summarizes Figure 3.

    A task's first evaluation, at the switch, precedes its first update. The lowest of
    the others is its floor, the highest its peak. The very first task follows no switch
    and is left out of the mean of floors.

    Args:
        points: `(step, task, accuracy)` of all evaluations. Every cycle has every task
            once, in one order.

    Returns:
        `at_switches`, `floors` and `peaks`: means over the tasks. `floor_task_2` and
        `floor_task_2_again`: the floor of the third task, and its floor one cycle
        later: the switches at 2,000 and 12,000 steps of the paper. `first_cycle` and
        `second_cycle`: means over all evaluations but those at switches; and
        `second_minus_first`. Numbers without points are left out, and all means but
        `at_switches` if a task has an evaluation at its switch alone.
    """
    tasks = len({task for _, task, _ in points})
    parts = segments(points)
    after = [[accuracy for _, _, accuracy in part[1:]] for part in parts]
    numbers = {}
    if len(parts) > 1:
        numbers["at_switches"] = statistics.fmean(part[0][2] for part in parts[1:])
        if all(after):
            numbers["floors"] = statistics.fmean(map(min, after[1:]))
            numbers["peaks"] = statistics.fmean(map(max, after))
    for part, name in ((2, "floor_task_2"), (2 + tasks, "floor_task_2_again")):
        if part < len(after) and after[part]:
            numbers[name] = min(after[part])
    if len(parts) >= 2 * tasks and all(after):
        first, second = (
            statistics.fmean(accuracy for part in cycle for accuracy in part)
            for cycle in (after[:tasks], after[tasks : 2 * tasks])
        )
        numbers |= {
            "first_cycle": first,
            "second_cycle": second,
            "second_minus_first": second - first,
        }
    return numbers
