"""Starts several workers on this machine, to try distributed training.

    ssgan launch --num_workers=2 -- train --gin_config=quickstart.gin --model_dir=run

Every worker runs the command after `--`, with its own `TF_CONFIG`, on the CPU. SIGTERM
and SIGINT are forwarded to all workers, and SIGHUP as SIGTERM. The exit code is that of
the first worker that failed, or 0. After a failure the other workers end by themselves,
except those that still wait for the failed one to join: they are killed after a minute.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from absl import app, flags

from ssgan_tf.commands.main import COMMANDS
from ssgan_tf.utils.processes import Processes, cluster_environments, exit_code

USAGE = (
    "The command of the workers follows --, for example `ssgan launch "
    "--num_workers=2 -- train --gin_config=quickstart.gin --model_dir=run`."
)
_KILL_AFTER_SECONDS = 60.0
_SIGNALLED = (128 + signal.SIGTERM, 128 + signal.SIGINT)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 2, "Number of processes.", lower_bound=1
)


def launch(command: Sequence[str], num_workers: int) -> int:
    """Runs a command in several processes and prints their output as "[index] line".

    Args:
        command: program and arguments.
        num_workers: int >= 1.

    Returns:
        The exit code of the first worker that failed, 128 + the signal if it was
        killed; 0 if none failed.
    """
    codes: list[int] = []
    first_failure = threading.Lock()

    def follow(index, worker):
        for line in worker.stdout:
            print(f"[{index}] {line}", end="", flush=True)
        code = exit_code(worker)
        codes.append(code)
        # After a signal, the workers need time to save a checkpoint.
        if code not in (0, *_SIGNALLED) and first_failure.acquire(blocking=False):
            kill_timer.start()

    with Processes() as workers:
        kill_timer = threading.Timer(_KILL_AFTER_SECONDS, workers.kill)
        kill_timer.daemon = True
        threads = []
        for index, environment in enumerate(cluster_environments(num_workers)):
            worker = workers.start(
                command,
                environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            threads.append(threading.Thread(target=follow, args=(index, worker)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return next((code for code in codes if code), 0)


def main(argv):
    command = argv[1] if len(argv) > 1 else None
    if command not in COMMANDS or command == "launch":
        raise app.UsageError(USAGE)
    return launch([sys.executable, "-m", "ssgan_tf", *argv[1:]], _NUM_WORKERS.value)
