"""Reads the curves of a run from its TensorBoard events."""

import os
from typing import NamedTuple

import numpy as np
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.util import tensor_util

from ssgan_tf.training.run_dir import RunDir


class Curve(NamedTuple):
    """A scalar over training.

    Attributes:
        steps: int64, `(points,)`, ascending. Train steps.
        values: float64, `(points,)`.
    """

    steps: np.ndarray
    values: np.ndarray


def read(model_dir: str | os.PathLike) -> dict[str, Curve]:
    """Reads all scalars that training has written.

    If steps were taken again, after a kill or a rollback, the later ones count. Scores
    are not included: `scores.csv` has them, with their protocols.

    Args:
        model_dir: run directory.

    Returns:
        Tag -> curve; empty without events.
    """
    points: dict[str, dict[int, float]] = {}
    last = 0
    for session in _sessions(model_dir):
        for event in session:
            values = event.summary.value
            if values and event.step < last:
                # Training was resumed at an earlier step: drop the points after it.
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
    """Wall time of training in seconds, without the time between sessions.

    A session takes from its first to its last event. Steps that were taken twice count
    twice.

    Args:
        model_dir: run directory. Without events the time is 0.
    """
    return sum(
        session[-1].wall_time - session[0].wall_time for session in _sessions(model_dir)
    )


def step_seconds(model_dir: str | os.PathLike) -> float:
    """Median seconds per step of the last session, from the wall times of its events.

    The session must have written events at every step. The time up to the first step is
    not counted, because the step is compiled then.

    Args:
        model_dir: run directory.

    Raises:
        ValueError: the session has fewer than three steps.
    """
    times: dict[int, float] = {}
    for event in _sessions(model_dir)[-1]:
        if event.step and event.summary.value:
            times.setdefault(event.step, event.wall_time)
    if len(times) < 3:
        raise ValueError(
            "A run that is timed must have at least three steps. Received: "
            f"model_dir={model_dir}, with {len(times)}. Train it for more steps."
        )
    return float(np.median(np.diff([*times.values()])))


def _sessions(model_dir) -> list[list]:
    """The events of each file, from the oldest to the newest."""
    sessions = []
    for path in sorted(RunDir(model_dir).tensorboard.glob("events.out.tfevents.*")):
        # The loader skips the last event of a killed process, which is incomplete.
        if events := list(event_file_loader.EventFileLoader(str(path)).Load()):
            sessions.append(events)
    return sorted(sessions, key=lambda events: events[0].wall_time)
