"""Times the train step of a config against the same mathematics written plainly.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --gin_config=quickstart.gin

Both steps run in this process by turns, on fake data, and between them the product of
two 2,048 x 2,048 matrices in float32: medians, after the calls that compile. Prints a
table and, as the last line, the same as one JSON object.

`fraction_of_matmul_peak` is the work of the step, over its time, over the rate of that
product. The full-size step (SS-GAN on CIFAR-10, batch 64, one update of D) is counted
as 693 GFLOP, forward and backward, however few operations it takes; others as many as
their own graph has.
"""

import json
import statistics
import time

from absl import app, flags

from ssgan_tf import cli

_GIN_CONFIG = flags.DEFINE_multi_string(
    "gin_config", ["ssgan_cifar10.gin"], "Gin file."
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", ["options.disc_iters = 1"], "Gin binding."
)
_REPEATS = flags.DEFINE_integer("repeats", 10, "Timed steps of each.", lower_bound=1)
_MATRIX_SIZE = 2048
_FULL_SIZE = (
    ("options.architecture", "resnet_cifar"),
    ("options.batch_size", 64),
    ("options.disc_iters", 1),
    ("SSGAN.rotated_batch_size", 64),
)
_FULL_SIZE_GFLOP = 693.0


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument: {argv[1]}")
    # TensorFlow takes seconds to import: only now.
    import gin
    import numpy as np
    import plain
    import tensorflow as tf

    from ssgan_tf import config, dry_run, experiment, strategies

    config.parse(_GIN_CONFIG.value, _GIN_BINDINGS.value)
    plan = config.experiment()
    strategy = strategies.get_strategy("one_device")
    images_per_step = plan.options.disc_iters * plan.options.batch_size
    images = tf.constant(
        np.random.default_rng(0).integers(
            0, 256, (images_per_step, *plan.spec.image_shape), np.uint8
        )
    )
    dataset = tf.data.Dataset.from_tensors(
        (images, tf.zeros(images_per_step, tf.int32))
    )
    gan = experiment.build(plan, strategy)
    gan.steps_per_execution = 1
    gan.make_train_function()
    iterator = iter(dataset.repeat())
    plain_gan = experiment.build(plan, strategy)
    plain_gan.average = None
    plain_step = tf.function(lambda: plain.step(plain_gan, images), autograph=False)
    matrix = tf.random.stateless_normal((_MATRIX_SIZE, _MATRIX_SIZE), (0, 0))
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)))

    def our_step():
        float(gan.train_function(iterator)["loss/g"])

    def written_plainly():
        with plain.forms():
            float(plain_step()["loss/g"])

    def multiply():
        float(product())

    def seconds(function) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    timed = (our_step, written_plainly, multiply)
    first_step, *_ = (seconds(function) for function in timed)
    times = [[seconds(function) for function in timed] for _ in range(_REPEATS.value)]
    ours, plains, products = (
        statistics.median(each) for each in zip(*times, strict=True)
    )
    gflop = dry_run.step_flops(plan) / 1e9
    full_size = _FULL_SIZE_GFLOP if _is_full_size(gin, plan) else gflop
    peak = 2 * _MATRIX_SIZE**3 / products / 1e9
    result = {
        "ms_per_step": round(1e3 * ours, 2),
        "ms_per_plain_step": round(1e3 * plains, 2),
        "speedup_over_plain": round(plains / ours, 3),
        "images_per_second": round(images_per_step / ours, 1),
        "first_step_s": round(first_step, 2),
        "gflop_per_step": round(gflop, 2),
        "gflop_counted": round(full_size, 2),
        "matmul_gflop_per_second": round(peak, 1),
        "fraction_of_matmul_peak": round(full_size / ours / peak, 3),
    }
    for name, value in result.items():
        print(f"{name:<26}{value:>12,}")
    facts = {
        "config": _GIN_CONFIG.value,
        "device": tf.config.list_logical_devices()[-1].device_type,
        "precision": "float32",
        "compiled": False,
    }
    print(json.dumps(facts | result))


def _is_full_size(gin, plan) -> bool:
    """Whether the step is the one that takes 693 GFLOP."""
    bound = {"G.width": None, "D.width": None} | dict(_FULL_SIZE)

    def said(parameter):
        try:
            return gin.query_parameter(parameter)
        except ValueError:
            return None

    return plan.dataset == "cifar10" and all(
        said(parameter) == value for parameter, value in bound.items()
    )


if __name__ == "__main__":
    cli.run(main)
