"""Child processes that receive this process's signals, and clusters of one machine."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence

# Received signal -> forwarded signal. No command saves a checkpoint on SIGHUP.
_FORWARDED = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGINT: signal.SIGINT,
    signal.SIGHUP: signal.SIGTERM,
}
_GRACE_SECONDS = 20.0


class Processes:
    """A group of child processes, for a `with` block.

    While the block runs, the children receive this process's SIGTERM and SIGINT, and
    its SIGHUP as SIGTERM. Children that still run at the end of the block, for example
    after an exception, are terminated, and killed 20 seconds later.

    Example:

        with Processes() as processes:
            child = processes.start([sys.executable, "-m", "ssgan_tf", "train"])
            code = exit_code(child)
            processes.exit_if_signalled()
    """

    def __init__(self):
        # Children and received signals in their order. A child gets the later ones by
        # `_forward` and the earlier ones by `start`: none is lost or sent twice.
        self._log: list[subprocess.Popen | signal.Signals] = []

    def __enter__(self):
        self._handlers = {
            number: signal.signal(number, self._forward)
            for number in _FORWARDED
            # Under nohup, SIGHUP stays ignored.
            if signal.getsignal(number) != signal.SIG_IGN
        }
        return self

    def __exit__(self, *exception):
        try:
            self._end()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        **options,
    ) -> subprocess.Popen:
        """Starts a command in a session of its own, without standard input.

        Args:
            command: program and arguments.
            environment: environment variables; None for those of this process.
            options: arguments of `subprocess.Popen`, such as `stdout`.
        """
        environment = os.environ if environment is None else environment
        child = subprocess.Popen(
            command,
            # A user's file called random.py must not hide Python's module.
            env={**environment, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            # The terminal's Ctrl-C reaches the child once, through this process.
            start_new_session=True,
            **options,
        )
        self._log.append(child)
        for event in self._log[: self._log.index(child)]:
            if isinstance(event, signal.Signals):
                child.send_signal(_FORWARDED[event])
        return child

    def kill(self) -> None:
        """Kills the children that still run, and the processes that they started."""
        for child in self._running():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

    def exit_if_signalled(self) -> None:
        """Ends this process if it received a signal.

        Raises:
            SystemExit: with 128 + the first signal.
        """
        for event in self._log:
            if isinstance(event, signal.Signals):
                print(f"ended by {event.name}", flush=True)
                raise SystemExit(128 + event)

    def _forward(self, number, frame):
        self._log.append(signal.Signals(number))
        for child in self._running():
            child.send_signal(_FORWARDED[number])

    def _running(self) -> list[subprocess.Popen]:
        children = [event for event in self._log if isinstance(event, subprocess.Popen)]
        return [child for child in children if child.poll() is None]

    def _end(self) -> None:
        running = self._running()
        for child in running:
            child.terminate()
        try:
            for child in running:
                child.wait(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            for child in running:
                child.wait()


def exit_code(child: subprocess.Popen) -> int:
    """Waits for a child; returns its exit code, or 128 + the signal that killed it."""
    code = child.wait()
    return code if code >= 0 else 128 - code


def cluster_environments(num_workers: int) -> list[dict[str, str]]:
    """Returns one environment per worker of a cluster on this machine's CPU.

    Args:
        num_workers: int >= 1.

    Returns:
        This process's environment, with a `TF_CONFIG` that differs in the index, and
        without GPUs.
    """
    # Ports on which no process listens.
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(num_workers)
        ]
        addresses = ["{}:{}".format(*bound.getsockname()) for bound in sockets]
    cluster = {"worker": addresses}
    return [
        {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CONFIG": json.dumps(
                {"cluster": cluster, "task": {"type": "worker", "index": index}}
            ),
        }
        for index in range(num_workers)
    ]
