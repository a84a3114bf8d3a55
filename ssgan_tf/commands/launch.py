"""Starts several workers on this machine, to try what several hosts would do.

    ssgan launch --num_workers=2 -- train --gin_config=quickstart.gin --model_dir=run

Everything behind `--` is the command that each of them runs, with its own `TF_CONFIG`,
on the CPU. SIGTERM and SIGINT go to all of them, and SIGHUP as SIGTERM. The exit code
is that of the first worker that failed, 0 if none did. The others end by themselves
when one does, but for those that are still waiting for it to join: they are killed
after a minute.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from absl import app, flags

from ssgan_tf.commands.main import COMMANDS, run
from ssgan_tf.utils import local_cluster

_USAGE = (
    "The command of the workers stands behind --, for example `ssgan launch "
    "--num_workers=2 -- train --gin_config=quickstart.gin --model_dir=run`."
)
_PATIENCE = 60.0
_TOLD = (128 + signal.SIGTERM, 128 + signal.SIGINT)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 2, "How many processes.", lower_bound=1
)


def launch(command: Sequence[str], num_workers: int) -> int:
    """Runs a command in `num_workers` processes; their output gets "[index] " before.

    Returns:
        The exit code: that of the first worker that failed, 128 + the signal of one
        that was killed; 0 if none failed.
    """
    workers = [
        subprocess.Popen(
            command,
            # A file of the user's called random.py is no module of Python's.
            env=environment | {"PYTHONSAFEPATH": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A terminal's Ctrl-C comes to them through this process, once.
            start_new_session=True,
        )
        for environment in local_cluster.environments(num_workers)
    ]

    def forward(number, frame):
        # A terminal that is closed ends them too, after a checkpoint.
        asked = signal.SIGTERM if number == signal.SIGHUP else number
        for worker in workers:
            worker.send_signal(asked)

    codes: list[int] = []
    failed = threading.Event()

    def follow(index, worker):
        for line in worker.stdout:
            print(f"[{index}] {line}", end="", flush=True)
        code = worker.wait()
        codes.append(code if code >= 0 else 128 - code)
        # Who was told to end has its time to save.
        if code not in (0, *_TOLD) and not failed.is_set():
            failed.set()
            impatient.start()

    def kill():
        for worker in workers:
            worker.kill()

    impatient = threading.Timer(_PATIENCE, kill)
    impatient.daemon = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    threads = [
        threading.Thread(target=follow, args=numbered)
        for numbered in enumerate(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return next((code for code in codes if code), 0)


def main(argv):
    command = argv[1] if len(argv) > 1 else None
    if command not in COMMANDS or command == "launch":
        raise app.UsageError(_USAGE)
    return launch([sys.executable, "-m", "ssgan_tf", *argv[1:]], _NUM_WORKERS.value)


if __name__ == "__main__":
    run(main, usage=_USAGE)
