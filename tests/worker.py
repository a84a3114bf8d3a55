"""One of several workers: takes a step with its share of a batch, saves the changes.

python worker.py OUT.npz
"""

import sys

import numpy as np
import tensorflow as tf
from objectives import FOUR, ONE_STEP, build, changes, on_replicas, values

from ssgan_tf.utils import strategies


def main(path: str) -> None:
    strategy = strategies.get_strategy("multi_worker")
    workers = strategies.Workers(strategy)
    index = strategy.cluster_resolver.task_id
    agreed = [
        workers.add([index + 1, 10]).tolist(),
        workers.from_chief([7 + 10 * index, 8 + index]),
        [workers.count, strategy.num_replicas_in_sync],
    ]
    workers.check_same("the same")
    try:
        workers.check_same(f"another on {index}")
    except ValueError:
        agreed.append([-1, -1])
    with strategy.scope():
        gan = build(FOUR, **ONE_STEP)
    before = values(gan.generator), values(gan.discriminator)
    shared, logs = on_replicas(strategy, FOUR, 1, 1, **ONE_STEP)
    np.savez(
        path,
        agreed=agreed,
        **{f"logs {name}": value for name, value in logs[0].items()},
        **changes(shared, before),
    )


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main(sys.argv[1])
