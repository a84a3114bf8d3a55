"""Kills a run again and again, and compares its result with an undisturbed run.

    python benchmarks/soak.py
    python benchmarks/soak.py --num_workers=2 --rounds=10

A round starts the run (a tiny GAN on digits32, checkpoints every 20 steps) and kills it
with SIGKILL at a random moment in the first `--longest` seconds: while it imports,
compiles, trains, or writes a checkpoint. With several workers one of them is killed;
the others must end by themselves, unless they still wait for it to join. After the last
round the run finishes.

Prints a table and, as the last line, the same as one JSON object. The exit code is 0 if
no round hung or lost an earlier checkpoint, and the last checkpoint is bit-identical to
that of the undisturbed run.
"""

import itertools
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

_ROUNDS = flags.DEFINE_integer("rounds", 50, "Number of kills.", lower_bound=1)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 1, "Processes that train together.", lower_bound=1
)
_STEPS = flags.DEFINE_integer("steps", 20000, "Training steps.", lower_bound=20)
_LONGEST = flags.DEFINE_float("longest", 30.0, "Longest time until a kill, in seconds.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the moments and the victims.")
_INTERVAL = 20
# Seconds in which the other workers must end by themselves.
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
    """Starts all workers; each appends its output to a log file."""
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
    """Waits for a run to end with exit code 0."""
    codes = [worker.wait() for worker in workers]
    if any(codes):
        raise OSError(f"A run failed with exit codes {codes}. See {model_dir}.*.log.")


def kill_at(workers: list[subprocess.Popen], seconds: float, victim: int) -> float:
    """Kills a worker after some seconds.

    Returns:
        Seconds until the others ended; infinity if they had to be killed.
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
    """Number of times that the logs of the workers contain some words."""
    logs = model_dir.parent.glob(f"{model_dir.name}.*.log")
    return sum(log.read_text().count(words) for log in logs)


def tensors(checkpoints, step: int) -> dict:
    """The tensors of a checkpoint as bytes, by name."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(checkpoints.prefix(step))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {name: reader.get_tensor(name).tobytes() for name in names}


def main(argv):
    startup.import_tensorflow()
    from ssgan_tf.training.checkpoints import Checkpoints

    rng = random.Random(_SEED.value)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = (
            pathlib.Path(folder) / name for name in ("undisturbed", "killed")
        )
        finish(start(undisturbed), undisturbed)
        checkpoints = Checkpoints(killed / "checkpoints")
        steps, seconds_to_end, num_lost, num_hung = [0], [], 0, 0
        for _ in range(_ROUNDS.value):
            workers = start(killed)
            seconds = rng.uniform(0.0, _LONGEST.value)
            victim = rng.randrange(len(workers))
            joined = count(killed, "all workers are there")
            seconds_to_end.append(kill_at(workers, seconds, victim))
            if seconds_to_end[-1] == math.inf:
                num_hung += count(killed, "all workers are there") > joined
            step = max(checkpoints.steps(), default=0)
            num_lost += step < steps[-1]
            steps.append(step)
        finish(start(killed), killed)
        damaged, tracebacks = (
            count(killed, words) for words in ("skipped: ", "Traceback")
        )
        actual = tensors(checkpoints, _STEPS.value)
        expected = tensors(Checkpoints(undisturbed / "checkpoints"), _STEPS.value)
    ended = [seconds for seconds in seconds_to_end if math.isfinite(seconds)]
    result = {
        "rounds": _ROUNDS.value,
        "workers": _NUM_WORKERS.value,
        "steps": _STEPS.value,
        "steps_reached_when_killed": steps[-1],
        "rounds_that_gained_steps": sum(
            after > before for before, after in itertools.pairwise(steps)
        ),
        "rounds_that_lost_a_checkpoint": num_lost,
        "damaged_checkpoints_skipped": damaged,
        "tracebacks": tracebacks,
        "rounds_that_ended_by_themselves": len(ended),
        "rounds_that_hung": num_hung,
        "longest_end_s": round(max(ended, default=0.0), 1),
        "tensors": len(expected),
        "tensors_that_differ": sum(
            actual.get(name) != value for name, value in expected.items()
        ),
    }
    for name, value in result.items():
        print(f"{name:<32}{value:>10}")
    print(json.dumps(result))
    differs = result["tensors_that_differ"] or set(actual) != set(expected)
    return int(bool(num_lost or num_hung or differs))


if __name__ == "__main__":
    run(main)
