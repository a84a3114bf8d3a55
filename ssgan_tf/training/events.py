"""The curves of a training, read from its TensorBoard events."""

import os
from typing import NamedTuple

import numpy as np
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.util import tensor_util

from ssgan_tf.training.run_dir import RunDir


class Curve(NamedTuple):
    """One scalar over training.

    Attributes:
        steps: int64, `(points,)`, ascending. Those of the training.
        values: float64, `(points,)`.
    """

    steps: np.ndarray
    values: np.ndarray


def read(model_dir: str | os.PathLike) -> dict[str, Curve]:
    """All scalars that the training of a run has written, by tag.

    Where steps were taken again, after a kill or a rollback, the later ones count. The
    curves of scores are not among them: `scores.csv` has those, with their protocols.

    Args:
        model_dir: run directory. Without events there are no curves.
    """
    points: dict[str, dict[int, float]] = {}
    last = 0
    for session in _sessions(model_dir):
        for event in session:
            values = event.summary.value
            if values and event.step < last:
                # The training has gone back: what it did from there on is undone.
                for curve in points.values():
                    for step in [step for step in curve if step >= event.step]:
                        del curve[step]
            if values:
                last = event.step
            for value in values:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = float(tensor_util.make_ndarray(value.tensor))
                    points.setdefault(value.tag, {})[event.step] = number
    return {
        tag: Curve(
            np.array(list(curve), dtype=np.int64),
            np.array(list(curve.values()), dtype=np.float64),
        )
        for tag, curve in sorted(points.items())
        if curve
    }


def train_seconds(model_dir: str | os.PathLike) -> float:
    """Wall time of a training in seconds, without the time between its sessions.

    From the first to the last event of each; steps that were taken twice count twice.

    Args:
        model_dir: run directory. Without events it is 0.
    """
    return sum(
        session[-1].wall_time - session[0].wall_time for session in _sessions(model_dir)
    )


def step_seconds(model_dir: str | os.PathLike) -> float:
    """Median time of one step, from the wall times of the events.

    Of the last session, which must have written at every step. What is written at
    its first step, and what comes before, is left out: the step is compiled then.

    Args:
        model_dir: run directory.

    Raises:
        ValueError: there are fewer than three steps.
    """
    times: dict[int, float] = {}
    for event in _sessions(model_dir)[-1]:
        if event.step and event.summary.value:
            times.setdefault(event.step, event.wall_time)
    if len(times) < 3:
        raise ValueError(
            "A run that is timed must have three steps. Received: "
            f"model_dir={model_dir}, with {len(times)}."
        )
    return float(np.median(np.diff([*times.values()])))


def _sessions(model_dir) -> list[list]:
    """The events of every file, from the oldest to the newest."""
    sessions = []
    for path in sorted(RunDir(model_dir).tensorboard.glob("events.out.tfevents.*")):
        # What a process that was killed has left of its last event is passed over.
        if events := list(event_file_loader.EventFileLoader(str(path)).Load()):
            sessions.append(events)
    return sorted(sessions, key=lambda events: events[0].wall_time)
