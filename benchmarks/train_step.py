"""Times the train step of a config on fake data.

    python benchmarks/train_step.py --gin_config=quickstart.gin

Prints a table and, as the last line, the same as one JSON object. Medians over
`--repeats` calls of one step each, after the call that compiles.
"""

import json
import statistics
import time

from absl import app, flags

from ssgan_tf import cli

_GIN_CONFIG = flags.DEFINE_multi_string("gin_config", ["quickstart.gin"], "Gin file.")
_GIN_BINDINGS = flags.DEFINE_multi_string("gin_bindings", [], "Gin binding.")
_REPEATS = flags.DEFINE_integer("repeats", 20, "Timed steps.", lower_bound=1)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument: {argv[1]}")
    # TensorFlow takes seconds to import: only now.
    import numpy as np
    import tensorflow as tf

    from ssgan_tf import config, dry_run, experiment, strategies

    config.parse(_GIN_CONFIG.value, _GIN_BINDINGS.value)
    plan = config.experiment()
    gan = experiment.build(plan, strategies.get_strategy("one_device"))
    images_per_step = plan.options.disc_iters * plan.options.batch_size
    fake_data = np.random.default_rng(0).integers(
        0, 256, (images_per_step, *plan.spec.image_shape), np.uint8
    )
    batch = tf.constant(fake_data), tf.zeros(images_per_step, tf.int32)
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    gan.steps_per_execution = 1
    gan.make_train_function()

    def step() -> float:
        start = time.perf_counter()
        logs = gan.train_function(iterator)
        float(logs["loss/g"])
        return time.perf_counter() - start

    result = {"first_step_s": round(step(), 2)}
    seconds = statistics.median(step() for _ in range(_REPEATS.value))
    gflop = dry_run.step_flops(plan) / 1e9
    result |= {
        "ms_per_step": round(1e3 * seconds, 2),
        "images_per_second": round(images_per_step / seconds, 1),
        "gflop_per_step": round(gflop, 2),
        "gflop_per_second": round(gflop / seconds, 1),
    }
    for name, value in result.items():
        print(f"{name:<20}{value:>12,}")
    print(json.dumps({"config": _GIN_CONFIG.value, **result}))


if __name__ == "__main__":
    cli.run(main)
