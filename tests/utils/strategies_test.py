"""The choice of a strategy, and the agreement of its workers."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ssgan_tf.utils import processes, strategies


def config(cluster, **task):
    return json.dumps({"cluster": cluster, "task": {"type": "worker"} | task})


ONE = {"worker": ["a:1"]}
TWO = {"worker": ["a:1", "b:2"]}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)


@pytest.mark.parametrize("value", [None, "", config(ONE, index=0)])
def test_auto_without_gpus_and_other_workers(value, monkeypatch):
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    strategy = strategies.get_strategy("auto")
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    assert "CPU:0" in strategy.extended.worker_devices[0].upper()


def test_mirrored_takes_all_devices():
    strategy = strategies.get_strategy("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == 4


@pytest.mark.parametrize("name", ["auto", "multi_worker"])
def test_several_workers(name, monkeypatch):
    made = []
    monkeypatch.setenv("TF_CONFIG", config(TWO, index=1))
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", lambda: made.append(1)
    )
    strategies.get_strategy(name)
    assert made == [1]


def test_a_port_in_use(monkeypatch):
    def fail():
        raise tf.errors.UnknownError(None, None, "Could not start gRPC server")

    monkeypatch.setenv("TF_CONFIG", config(TWO, index=1))
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", fail)
    with pytest.raises(ConnectionError, match="not start gRPC.*TF_CONFIG="):
        strategies.get_strategy("multi_worker")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "two hosts",
        "[]",
        '{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}',
        config({"worker": []}, index=0),
        config({"worker": "a:1"}, index=0),
        config({"worker": ["a"]}, index=0),
        config({"worker": ["a:0"]}, index=0),
        config({"worker": ["a:1_0"]}, index=0),
        config({"worker": ["a:99999"]}, index=0),
        config({"worker": ["a:1", "a:1"]}, index=0),
        config({"worker": ["a:1"], "ps": ["b:2"]}, index=0),
        config({"worker": ["a:1"], "chief": ["b:2", "c:3"]}, index=0),
        config(TWO),
        config(TWO, index=2),
        config(TWO, index="1"),
        config(TWO, index=True),
        config(TWO, type="evaluator", index=0),
    ],
)
def test_wrong_clusters(value, monkeypatch):
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(ValueError, match="Received: TF_CONFIG="):
        strategies.get_strategy("multi_worker")


def test_a_chief_beside_workers(monkeypatch):
    cluster = {"chief": ["c:3"], "worker": ["a:1"]}
    monkeypatch.setenv("TF_CONFIG", config(cluster, type="chief", index=0))
    assert strategies.cluster() == cluster


def test_a_name_that_is_no_strategy():
    with pytest.raises(ValueError, match="--strategy=one"):
        strategies.get_strategy("one")


def test_a_tpu_goes_with_its_strategy():
    with pytest.raises(ValueError, match="--strategy=mirrored, --tpu=mine"):
        strategies.get_strategy("mirrored", "mine")


@pytest.mark.parametrize(
    ("name", "tpu", "expected"),
    [("tpu", None, "local"), ("auto", "mine", "mine"), ("tpu", "mine", "mine")],
)
def test_a_tpu_that_does_not_exist(name, tpu, expected, monkeypatch):
    def resolver(tpu):
        raise OSError(f"no TPU called {tpu}")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
    words = f"--tpu={expected}: OSError: no TPU called {expected}"
    with pytest.raises(ConnectionError, match=words):
        strategies.get_strategy(name, tpu)


def test_one_process_agrees_with_itself(two_replicas):
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        workers = strategies.Workers(strategy)
        assert workers.is_chief and workers.count == 1
        np.testing.assert_array_equal(workers.add([3, 4]), [3, 4])
        assert workers.from_chief([5, -1]) == [5, -1]
        workers.check_same("text")
        workers.wait()
        # Two replicas of one worker count once.
        add = strategies.sum_over_workers(strategy, num_workers=1)
        summed = add(tf.constant([3, 4], tf.int64))
        np.testing.assert_array_equal(summed, [3, 4])


GIVE_UP = """
from ssgan_tf.utils import strategies
strategies.JOIN_SECONDS = 2.0
strategies.get_strategy("auto")
"""


@pytest.mark.slow
def test_waiting_for_a_missing_worker_ends():
    first, _ = processes.cluster_environments(2)
    done = subprocess.run(
        [sys.executable, "-c", GIVE_UP],
        env={**os.environ, **first},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1
    assert "Timeout (0:00:02)!" in done.stderr
    assert "in _multi_worker_strategy" in done.stderr


def test_an_unused_gpu_is_logged(nvidia_smi, caplog):
    caplog.set_level("INFO", "absl")
    strategies.get_strategy("auto")
    (message,) = caplog.messages
    assert "NVIDIA H100" in message and "ssgan-tf[gpu]" in message
    nvidia_smi.unlink()
    strategies.get_strategy("auto")
    assert len(caplog.messages) == 1
