"""Kills a training again and again, and compares where it ends with one left alone.

    python benchmarks/soak.py
    python benchmarks/soak.py --num_workers=2 --rounds=10

A round starts the training (a tiny GAN on digits32, checkpoints every 20 steps) and, at
a random moment between its start and `--longest` seconds later, kills it with SIGKILL:
while it imports, compiles, trains, or writes a checkpoint. Of several workers one is
killed, and the others have to end by themselves, but for those that still wait for it
to join. After the last round it may finish.

Prints a table and, as the last line, the same as one JSON object. The exit code is 0 if
no round hung or lost a checkpoint that an earlier one had, and the last checkpoint
holds the same bits as that of the training left alone.
"""

import json
import math
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from absl import flags

from ssgan_tf.commands.main import run
from ssgan_tf.utils import startup
from ssgan_tf.utils.processes import cluster_environments

_ROUNDS = flags.DEFINE_integer("rounds", 50, "How often to kill.", lower_bound=1)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 1, "Processes that train together.", lower_bound=1
)
_STEPS = flags.DEFINE_integer("steps", 20000, "Training steps.", lower_bound=20)
_LONGEST = flags.DEFINE_float("longest", 30.0, "Seconds until a kill, at most.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments and the victims.")
_INTERVAL = 20
# Seconds that the other workers have to end by themselves.
_PATIENCE = 60.0
_BINDINGS = (
    "run_config.deterministic = True",
    "run_config.iterations_per_loop = 5",
    f"run_config.save_checkpoints_steps = {_INTERVAL}",
    f"run_config.save_summary_steps = {_INTERVAL}",
    "run_config.keep_checkpoint_max = 3",
    "options.batch_size = 8",
    "options.z_dim = 8",
    "SSGAN.rotated_batch_size = 16",
    "G.width = 4",
    "D.width = 4",
    "ModularGAN.lr_schedule = 'constant'",
)


def start(model_dir: pathlib.Path) -> list[subprocess.Popen]:
    """Starts all workers; their output is added to a file each."""
    environments = [os.environ]
    if _NUM_WORKERS.value > 1:
        environments = cluster_environments(_NUM_WORKERS.value)
    bindings = (*_BINDINGS, f"options.training_steps = {_STEPS.value}")
    command = [
        sys.executable,
        "-m",
        "ssgan_tf",
        "train",
        "--gin_config=quickstart.gin",
    ]
    command += [f"--gin_bindings={binding}" for binding in bindings]
    workers = []
    for index, environment in enumerate(environments):
        with open(f"{model_dir}.{index}.log", "a") as log:
            workers.append(
                subprocess.Popen(
                    [*command, f"--model_dir={model_dir}"],
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return workers


def finish(workers: list[subprocess.Popen], model_dir: pathlib.Path) -> None:
    """Waits for a training to end well."""
    codes = [worker.wait() for worker in workers]
    if any(codes):
        raise OSError(
            f"A training must end well. Received: exit codes {codes}. See "
            f"{model_dir}.*.log."
        )


def kill_at(workers: list[subprocess.Popen], seconds: float, victim: int) -> float:
    """Kills a worker after some seconds.

    Returns:
        Seconds that the others lived on; infinity if they had to be killed.
    """
    time.sleep(seconds)
    workers[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    try:
        for worker in workers:
            worker.wait(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        for worker in workers:
            worker.kill()
            worker.wait()
        return math.inf
    return time.monotonic() - killed


def count(model_dir: pathlib.Path, words: str) -> int:
    """How often the workers have said something."""
    logs = model_dir.parent.glob(f"{model_dir.name}.*.log")
    return sum(log.read_text().count(words) for log in logs)


def tensors(checkpoints, step: int) -> dict:
    """The numbers of a checkpoint as bytes, by name."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(checkpoints.prefix(step))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {name: reader.get_tensor(name).tobytes() for name in names}


def main(argv):
    startup.import_tensorflow()
    from ssgan_tf.training.checkpoints import Checkpoints

    moments = random.Random(_SEED.value)
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = (pathlib.Path(folder) / name for name in ("alone", "killed"))
        finish(start(alone), alone)
        checkpoints = Checkpoints(killed / "checkpoints")
        reached, outlived, lost, hung = [0], [], 0, 0
        for _ in range(_ROUNDS.value):
            workers = start(killed)
            seconds = moments.uniform(0.0, _LONGEST.value)
            victim = moments.randrange(len(workers))
            joined = count(killed, "all workers are there")
            outlived.append(kill_at(workers, seconds, victim))
            if outlived[-1] == math.inf:
                hung += count(killed, "all workers are there") > joined
            step = max(checkpoints.steps(), default=0)
            lost += step < reached[-1]
            reached.append(step)
        finish(start(killed), killed)
        damaged, tracebacks = (count(killed, w) for w in ("skipped: ", "Traceback"))
        ours = tensors(checkpoints, _STEPS.value)
        theirs = tensors(Checkpoints(alone / "checkpoints"), _STEPS.value)
    result = {
        "rounds": _ROUNDS.value,
        "workers": _NUM_WORKERS.value,
        "steps": _STEPS.value,
        "steps_reached_when_killed": reached[-1],
        "rounds_that_gained_steps": sum(
            after > before for before, after in zip(reached, reached[1:], strict=False)
        ),
        "rounds_that_lost_a_checkpoint": lost,
        "damaged_checkpoints_skipped": damaged,
        "tracebacks": tracebacks,
        "rounds_that_ended_by_themselves": sum(map(math.isfinite, outlived)),
        "rounds_that_hung": hung,
        "longest_end_s": round(max(filter(math.isfinite, outlived), default=0.0), 1),
        "tensors": len(theirs),
        "tensors_that_differ": sum(ours.get(k) != v for k, v in theirs.items()),
    }
    for name, value in result.items():
        print(f"{name:<32}{value:>10}")
    print(json.dumps(result))
    differs = result["tensors_that_differ"] or set(ours) != set(theirs)
    return int(bool(lost or hung or differs))


if __name__ == "__main__":
    run(main)
