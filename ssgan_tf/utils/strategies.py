"""The tf.distribute strategy, and the processes that share one: made here only."""

import contextlib
import faulthandler
import hashlib
import json
import os
import signal
import textwrap
import threading
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf.utils.machine import nvidia_gpus

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
_ROLES = ("chief", "worker")
_JOIN_SECONDS = 600.0


def get_strategy(name: str = "auto", tpu: str | None = None) -> tf.distribute.Strategy:
    """Makes a strategy.

    Must come before anything else that TensorFlow computes: workers and TPUs are
    joined when its runtime starts. Under several workers it returns when all of them
    have come.

    Args:
        name: "one_device": the first GPU, or the CPU; "mirrored": all GPUs of this
            host, or all its logical CPU devices; "multi_worker": those of all hosts
            that the environment variable `TF_CONFIG` names; "tpu": all cores of a TPU;
            "auto": "tpu" where `tpu` is given, "multi_worker" where `TF_CONFIG` names
            several workers, "mirrored" where there are several GPUs, else
            "one_device".
        tpu: name or address of the TPU; "local" is that of this machine, and so is
            None under "tpu".

    Raises:
        ValueError: unknown name; `tpu` without "tpu"; `TF_CONFIG` is missing or names
            no cluster of workers with this process in it.
        ConnectionError: there is no such TPU.
    """
    if name not in STRATEGIES:
        raise ValueError(
            f"`--strategy` must be one of {', '.join(STRATEGIES)}. Received: "
            f"--strategy={name}."
        )
    if tpu is not None and name not in ("auto", "tpu"):
        raise ValueError(
            f"`--tpu` goes with --strategy=tpu. Received: --strategy={name}, "
            f"--tpu={tpu}. Leave one of them out."
        )
    if name == "tpu" or tpu is not None:
        return _tpu_strategy(tpu or "local")
    if name == "multi_worker" or (name == "auto" and _num_workers_named() > 1):
        return _multi_worker_strategy()
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not gpus and (there := nvidia_gpus()):
        logging.warning(
            "This machine has %s, which TensorFlow %s does not use: the CPU computes. "
            '`pip install "ssgan-tf[gpu]"` brings its CUDA libraries; `ssgan doctor` '
            "says more.",
            "; ".join(there),
            tf.__version__,
        )
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        cpus = [device.name for device in tf.config.list_logical_devices("CPU")]
        return tf.distribute.MirroredStrategy(gpus or cpus)
    return tf.distribute.OneDeviceStrategy(gpus[0] if gpus else "/cpu:0")


def _tpu_strategy(tpu: str) -> tf.distribute.Strategy:
    # What is missing shows in many ways: no library, no device, no such address.
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu)
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, OSError, RuntimeError, tf.errors.OpError) as error:
        raise ConnectionError(
            "`--tpu` must name a TPU that TensorFlow can reach. Received: "
            f"--tpu={tpu}, with TensorFlow {tf.__version__}, which fails with: "
            f"{type(error).__name__}: {textwrap.shorten(str(error), 200)} On a TPU VM "
            "install the package tensorflow-tpu and say --strategy=tpu; elsewhere name "
            "the TPU."
        ) from error


def _num_workers_named() -> int:
    return sum(map(len, _cluster().values())) if os.environ.get("TF_CONFIG") else 0


def _multi_worker_strategy() -> tf.distribute.Strategy:
    cluster = _cluster()
    logging.info(
        "%s: waiting for all of %s, %.0f seconds at most",
        os.environ["TF_CONFIG"],
        sum(cluster.values(), []),
        _JOIN_SECONDS,
    )
    try:
        with _at_most(_JOIN_SECONDS):
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise ConnectionError(
            "A worker must be able to listen on its own port and to reach the others. "
            f"Received: TF_CONFIG={os.environ['TF_CONFIG']}, which fails with: "
            f"{textwrap.shorten(error.message, 200)}. Is another process using the "
            "port?"
        ) from error
    logging.info("all workers are there")
    return strategy


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Ends the process, with the stack and exit code 1, if the block takes longer.

    TensorFlow waits for other workers for ever, and so that neither Python's threads
    nor its handlers of signals get a turn. Nothing has been written yet, so that
    signals may do what they do by default.
    """
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            handlers[number] = signal.signal(number, signal.SIG_DFL)
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        # TensorFlow puts a handler of its own for SIGTERM, which does nothing.
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _cluster() -> dict[str, list[str]]:
    """The workers that `TF_CONFIG` names, by role, after checking all of it."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        roles, index = set(cluster), task["index"]
        addresses = cluster[task["type"]]
        named = sum(cluster.values(), [])
        good = (
            roles <= set(_ROLES)
            and all(isinstance(each, list) and each for each in cluster.values())
            and all(
                isinstance(address, str) and _is_port(address.rpartition(":")[2])
                for address in named
            )
            and len(set(named)) == len(named)
            and len(cluster.get("chief", [0])) == 1
            and type(index) is int
            and 0 <= index < len(addresses)
        )
    except (ValueError, LookupError, TypeError):
        good = False
    if not good:
        raise ValueError(
            "`TF_CONFIG` must be JSON that lists the host:port of every worker and "
            'says which of them this process is, such as {"cluster": {"worker": '
            '["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}; '
            f"roles are {' and '.join(_ROLES)}, of which there is one chief at most. "
            f"Received: TF_CONFIG={text!r}. An evaluation beside a training is a "
            "process of its own: start it without TF_CONFIG, with "
            "--schedule=continuous_eval."
        )
    return cluster


def _is_port(text: str) -> bool:
    return text.isdigit() and 0 < int(text) < 2**16


class Workers:
    """The processes that share a strategy; usually there is one.

    All of them run the same program, each with its own part of every batch. What is
    written is written by the chief; what depends on the outer world (files, signals,
    clocks) they have to agree on, or one of them would wait for the others for ever.
    So all must call the methods in the same order.

    Attributes:
        is_chief: bool. Whether this process writes.
        count: int. How many there are.

    Args:
        strategy: theirs.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.is_chief = strategy.extended.should_checkpoint
        self.count = 1
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            spec = strategy.cluster_resolver.cluster_spec()
            self.count = sum(map(spec.num_tasks, spec.jobs)) or 1
        replicas_of_one = strategy.num_replicas_in_sync // self.count

        @tf.function
        def add(values):
            each = strategy.run(tf.identity, (values,))
            return strategy.reduce("SUM", each, axis=None) // replicas_of_one

        self._add = add

    def add(self, values) -> np.ndarray:
        """The sum, over the workers, of integers that each has."""
        values = np.asarray(values, np.int64)
        return values if self.count == 1 else self._add(tf.constant(values)).numpy()

    def from_chief(self, values: list[int]) -> list[int]:
        """The chief's integers; of the others, only how many there are matters."""
        return self.add(values if self.is_chief else [0] * len(values)).tolist()

    def check_same(self, text: str) -> None:
        """Refuses to go on where the workers do not all have the same text.

        Raises:
            ValueError: they do not; by every worker.
        """
        # 48 bits: sums stay below 2**63.
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
        if self.add(digest) != self.count * digest:
            raise ValueError(
                "All workers must be started with the same flags and configuration. "
                f"Received: on this one of {self.count}\n{text}\nand something else on "
                "another. Start all of them with the same command."
            )

    def wait(self) -> None:
        """Returns when all workers have come here."""
        self.add(0)


def jit_compiles(
    setting: str, strategy: tf.distribute.Strategy, accumulate: int = 1
) -> bool:
    """Whether XLA is asked to compile the train step under a strategy.

    Args:
        setting: "true" or "false"; "auto": on one GPU, of a batch in one piece. On a
            CPU oneDNN's convolutions are faster than XLA's; the exchanges between
            replicas cannot be compiled; and XLA runs the pieces of a batch side by
            side, which takes the memory that they are to save.
        strategy: where the step runs. On TPUs it compiles every step by itself.
        accumulate: int. Pieces of a replica's batch.

    Raises:
        ValueError: "true" on several replicas or for several pieces, or an unknown
            setting.
    """
    replicas = strategy.num_replicas_in_sync
    if setting == "auto":
        device = tf.DeviceSpec.from_string(strategy.extended.worker_devices[0])
        return replicas == accumulate == 1 and device.device_type == "GPU"
    if setting not in ("true", "false"):
        raise ValueError(
            "`--jit_compile` must be auto, true or false. Received: "
            f"--jit_compile={setting}."
        )
    if setting == "true" and (replicas > 1 or accumulate > 1):
        raise ValueError(
            "`--jit_compile=true` takes a single replica and a batch in one piece: "
            "exchanges between replicas are not compiled, and compiled pieces save no "
            f"memory. Received: replicas={replicas}, accumulate={accumulate}. Take "
            "--jit_compile=auto."
        )
    return setting == "true"
