"""tf.distribute strategies, and the workers that share one."""

import contextlib
import faulthandler
import hashlib
import json
import os
import signal
import textwrap
import threading
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf.utils.machine import nvidia_gpus

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
JOIN_SECONDS = 600.0


def get_strategy(name: str = "auto", tpu: str | None = None) -> tf.distribute.Strategy:
    """Creates a strategy.

    Call it before any TensorFlow operation: workers and TPUs join when the runtime
    starts. With several workers it returns after all of them have joined.

    Args:
        name: one of
            "one_device": the first GPU, or the CPU;
            "mirrored": all GPUs of this host, or all its logical CPU devices;
            "multi_worker": the devices of all hosts in the environment variable
            `TF_CONFIG`;
            "tpu": all cores of a TPU;
            "auto": "tpu" if `tpu` is given, else "multi_worker" if `TF_CONFIG` has
            several workers, else "mirrored" if there are several GPUs, else
            "one_device".
        tpu: name or address of the TPU. "local", and None with "tpu", is the TPU of
            this machine.

    Raises:
        ValueError: unknown name; `tpu` without "tpu"; `TF_CONFIG` is missing or wrong.
        ConnectionError: the TPU or the other workers cannot be reached.
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
    if name == "auto" and os.environ.get("TF_CONFIG"):
        if len(sum(cluster().values(), [])) > 1:
            name = "multi_worker"
    if name == "multi_worker":
        return _multi_worker_strategy()
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not gpus and (unused := nvidia_gpus()):
        logging.warning(
            "TensorFlow %s does not use the GPU of this machine (%s). `pip install "
            '"ssgan-tf[gpu]"` brings the CUDA libraries, and `ssgan doctor` helps.',
            tf.__version__,
            "; ".join(unused),
        )
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        cpus = [device.name for device in tf.config.list_logical_devices("CPU")]
        return tf.distribute.MirroredStrategy(gpus or cpus)
    return tf.distribute.OneDeviceStrategy(gpus[0] if gpus else "/cpu:0")


def _tpu_strategy(tpu: str) -> tf.distribute.Strategy:
    # A missing library, device or address each raise another exception.
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu)
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, OSError, RuntimeError, tf.errors.OpError) as error:
        raise ConnectionError(
            f"TensorFlow {tf.__version__} cannot reach the TPU of --tpu={tpu}: "
            f"{type(error).__name__}: {textwrap.shorten(str(error), 200)} A TPU VM "
            "needs the package tensorflow-tpu; elsewhere pass the name of the TPU."
        ) from error


def _multi_worker_strategy() -> tf.distribute.Strategy:
    addresses = sum(cluster().values(), [])
    logging.info(
        "%s: waiting for all of %s, %.0f seconds at most",
        os.environ["TF_CONFIG"],
        addresses,
        JOIN_SECONDS,
    )
    try:
        with _time_limit(JOIN_SECONDS):
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise ConnectionError(
            "This worker cannot listen on its port or cannot reach the other workers: "
            f"{textwrap.shorten(error.message, 200)}. Received: "
            f"TF_CONFIG={os.environ['TF_CONFIG']}."
        ) from error
    logging.info("all workers are there")
    return strategy


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Ends the process, with the stack and exit code 1, if the block takes longer.

    While TensorFlow waits for other workers, Python's threads and signal handlers do
    not run. Nothing is written yet, so signals may end the process at once.
    """
    handlers = {}
    # Other threads cannot set handlers.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            handlers[number] = signal.signal(number, signal.SIG_DFL)
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        # TensorFlow has replaced the handler of SIGTERM by one that does nothing.
        for number, handler in handlers.items():
            signal.signal(number, handler)


def cluster() -> dict[str, list[str]]:
    """The addresses in `TF_CONFIG` by role.

    Raises:
        ValueError: `TF_CONFIG` is missing or wrong.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        task = config["task"]
        spec = tf.train.ClusterSpec(config["cluster"])
        spec.task_address(task["type"], task["index"])
        workers = spec.as_dict()
        addresses = sum(workers.values(), [])
        ports = [address.rpartition(":")[2] for address in addresses]
        is_valid = (
            set(workers) <= {"chief", "worker"}
            and len(workers.get("chief", [0])) == 1
            and len(set(addresses)) == len(addresses)
            and all(port.isdecimal() and 0 < int(port) < 2**16 for port in ports)
            and type(task["index"]) is int
        )
    except (ValueError, LookupError, TypeError):
        is_valid = False
    if not is_valid:
        raise ValueError(
            "`TF_CONFIG` must be JSON with the host:port of every worker and the index "
            'of this one, such as {"cluster": {"worker": ["host0:12345", '
            '"host1:12345"]}, "task": {"type": "worker", "index": 0}}; roles are '
            f"chief and worker, with at most one chief. Received: TF_CONFIG={text!r}. "
            "To score a run while it trains, start another process without TF_CONFIG "
            "and with --schedule=continuous_eval."
        )
    return workers


class Workers:
    """The processes that share a strategy; usually one.

    All workers run the same program, each with its part of every batch. Only the chief
    writes files. Decisions that depend on files, signals or clocks must be shared, or
    one worker would wait for the others for ever. Therefore all workers must call the
    methods in the same order.

    Attributes:
        is_chief: bool. Whether this process writes files.
        count: int. Number of workers.

    Args:
        strategy: the strategy of all workers.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.is_chief = strategy.extended.should_checkpoint
        self.count = 1
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            spec = strategy.cluster_resolver.cluster_spec()
            self.count = sum(map(spec.num_tasks, spec.jobs)) or 1
        self._add = sum_over_workers(strategy, self.count)

    def add(self, values) -> np.ndarray:
        """Sums integers over the workers; each passes its own."""
        values = np.asarray(values, np.int64)
        return values if self.count == 1 else self._add(tf.constant(values)).numpy()

    def from_chief(self, values: list[int]) -> list[int]:
        """Broadcasts the chief's integers. Other workers pass a list of that length."""
        return self.add(values if self.is_chief else [0] * len(values)).tolist()

    def check_same(self, text: str) -> None:
        """Checks that all workers pass the same text.

        Raises:
            ValueError: they do not. All workers raise it.
        """
        # With 48 bits the sums stay below 2**63.
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
        if self.add(digest) != self.count * digest:
            raise ValueError(
                "All workers must have the same flags and configuration. Received: "
                f"on this one of {self.count}\n{text}\nand another one on another "
                "worker. Start all of them with the same command."
            )

    def wait(self) -> None:
        """Returns after all workers have called it."""
        self.add(0)


def sum_over_workers(strategy: tf.distribute.Strategy, num_workers: int) -> Callable:
    """Returns a collective function that sums an int64 tensor over the workers."""
    replicas_per_worker = strategy.num_replicas_in_sync // num_workers

    @tf.function
    def add(values):
        # Every replica of a worker has the worker's values.
        per_replica = strategy.run(tf.identity, (values,))
        return strategy.reduce("SUM", per_replica, axis=None) // replicas_per_worker

    return add


def jit_compiles(
    setting: str, strategy: tf.distribute.Strategy, accumulate: int = 1
) -> bool:
    """Whether XLA compiles the train step under a strategy.

    Args:
        setting: "true", "false" or "auto". "auto" compiles on one GPU without
            accumulation. On CPUs oneDNN's convolutions are faster than XLA's.
            Collectives cannot be compiled. With accumulation XLA runs the pieces of a
            batch at the same time, which takes the memory that they should save.
        strategy: the strategy of the step. TPUs compile every step in any case.
        accumulate: int. Number of pieces of a replica's batch.

    Raises:
        ValueError: unknown setting, or "true" with several replicas or pieces.
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
            "`--jit_compile=true` needs one replica without accumulation: collectives "
            "cannot be compiled, and compiled pieces save no memory. Received: "
            f"replicas={replicas}, accumulate={accumulate}. Use --jit_compile=auto."
        )
    return setting == "true"
