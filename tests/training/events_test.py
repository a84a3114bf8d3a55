"""Curves from TensorBoard events of killed and resumed sessions."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from ssgan_tf.training.events import read, step_seconds, train_seconds


def write(folder, name: str, events, torn: int = 0) -> None:
    """Writes an event file of (wall time, step, value[, tag])."""
    folder.mkdir(exist_ok=True)
    path = folder / f"events.out.tfevents.{name}"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for wall_time, step, value, *tag in events:
            event = event_pb2.Event(wall_time=wall_time, step=step)
            if value is None:
                event.file_version = "brain.Event:2"
            else:
                (tag,) = tag or ["a"]
                event.summary.value.append(
                    summary_pb2.Summary.Value(tag=tag, simple_value=value)
                )
            writer.write(event.SerializeToString())
    if torn:
        path.write_bytes(path.read_bytes()[:-torn])


def curve_of(run):
    (curve,) = read(run).values()
    return dict(zip(curve.steps.tolist(), curve.values.tolist(), strict=True))


def test_what_tensorflow_writes(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path / "tensorboard"))
    scores = tf.summary.create_file_writer(str(tmp_path / "tensorboard/scores-1"))
    for step in (0, 10, 20):
        with writer.as_default(step):
            tf.summary.scalar("loss/g", np.float32(0.1) * step)
            tf.summary.image("fake_images", np.zeros((1, 4, 4, 1), np.uint8))
            if step:
                tf.summary.scalar("loss/d", -step)
    with scores.as_default(20):
        tf.summary.scalar("fid", 3.0)
    writer.close()
    scores.close()
    curves = read(tmp_path)
    assert list(curves) == ["loss/d", "loss/g"]
    np.testing.assert_array_equal(curves["loss/d"].steps, [10, 20])
    np.testing.assert_array_equal(curves["loss/d"].values, [-10.0, -20.0])
    np.testing.assert_array_equal(
        curves["loss/g"].values, np.float32([0.0, 1.0, 2.0]).astype(np.float64)
    )
    assert curves["loss/d"].steps.dtype == np.int64
    assert curves["loss/d"].values.dtype == np.float64


def test_the_later_session_wins(tmp_path):
    folder = tmp_path / "tensorboard"
    first = [(100.0, 0, None)] + [(101.0 + s, s, 1.0) for s in (2, 4, 6, 8)]
    second = [(200.0, 0, None)] + [(201.0 + s, s, 2.0) for s in (5, 7)]
    # The names of the files do not tell their order.
    write(folder, "b", first)
    write(folder, "a", second)
    assert curve_of(tmp_path) == {2: 1.0, 4: 1.0, 5: 2.0, 7: 2.0}
    assert train_seconds(tmp_path) == pytest.approx(9.0 + 8.0, abs=1e-9)


def test_a_resumed_session_replaces_nothing(tmp_path):
    folder = tmp_path / "tensorboard"
    write(folder, "a", [(1.0, 0, None), (2.0, 4, 1.0)])
    write(folder, "b", [(3.0, 0, None), (4.0, 8, 2.0)])
    assert curve_of(tmp_path) == {4: 1.0, 8: 2.0}


def test_a_rollback_in_a_session(tmp_path):
    steps = [(2, 1.0), (4, 1.0), (6, 1.0), (4, 2.0), (8, 2.0)]
    events = [(float(i), step, value) for i, (step, value) in enumerate(steps)]
    write(tmp_path / "tensorboard", "a", events)
    assert curve_of(tmp_path) == {2: 1.0, 4: 2.0, 8: 2.0}


def test_steps_taken_again_replace_all_tags(tmp_path):
    before = [(1.0, 2, 1.0, "b"), (2.0, 4, 1.0), (3.0, 4, 1.0, "b"), (4.0, 8, 1.0)]
    after = [(5.0, 4, 2.0), (6.0, 6, 2.0), (7.0, 6, 2.0, "b")]
    write(tmp_path / "tensorboard", "a", before + after)
    steps = {tag: list(curve.steps) for tag, curve in read(tmp_path).items()}
    assert steps == {"a": [4, 6], "b": [2, 6]}


def test_an_incomplete_event_is_skipped(tmp_path):
    write(tmp_path / "tensorboard", "a", [(1.0, 2, 1.0), (2.0, 4, 1.0)], torn=3)
    assert curve_of(tmp_path) == {2: 1.0}


def test_without_events(tmp_path):
    assert read(tmp_path) == {} and train_seconds(tmp_path) == 0
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out.tfevents.1").touch()
    assert read(tmp_path) == {} and train_seconds(tmp_path) == 0


def test_the_time_of_a_step(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    # The median of 2, 2.5 and 9. Not counted: the older session, step 0 and the second
    # tag of a step.
    write(run / "tensorboard", "1", [(0, 1, 1.0), (100, 2, 1.0), (200, 3, 1.0)])
    events = [(1000, 0, 1.0), (1050, 1, 1.0), (1052, 2, 1.0), (1054, 2, 1.0, "b")]
    events += [(1054.5, 3, 1.0), (1063.5, 4, 1.0)]
    write(run / "tensorboard", "2", events)
    assert step_seconds(run) == 2.5
    write(run / "tensorboard", "3", events[:4])
    with pytest.raises(ValueError, match="model_dir=.*run, with 2"):
        (run / "tensorboard/events.out.tfevents.2").unlink()
        step_seconds(run)
