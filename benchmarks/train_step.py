"""Times the train step of a config against the same mathematics written plainly.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --gin_config=quickstart.gin --profile
    python benchmarks/train_step.py --noplain --gin_bindings="options.batch_size=256"

Both steps and the product of two 2,048 x 2,048 float32 matrices run alternately in this
process, on fake data; the results are medians, without the calls that compile. The
plain step is float32, not compiled, and runs on one replica only. Prints a table and,
as the last line, the same as one JSON object.

`fraction_of_matmul_peak` is the work of the step, over its time, over the rate of that
product. The full-size step (SS-GAN on CIFAR-10, batch 64, one update of D) counts as
693 GFLOP, forward and backward, even if rewrites save operations; other steps count as
the operations of their graph. `peak_memory_mib` is that of the process after its first
steps. `--profile` adds the time by kind of op: each instant counts for the first row of
the table that has an op running.
"""

import glob
import json
import statistics
import tempfile
import time

from absl import app, flags

from ssgan_tf.commands.main import run
from ssgan_tf.utils import machine

_GIN_CONFIG = flags.DEFINE_multi_string(
    "gin_config", ["ssgan_cifar10.gin"], "Gin file."
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Gin binding, over options.disc_iters = 1."
)
_JIT_COMPILE = flags.DEFINE_enum(
    "jit_compile", "auto", ["auto", "true", "false"], "As for `ssgan train`."
)
_REPLICAS = flags.DEFINE_integer(
    "replicas", 1, "Logical CPU devices that share the batch.", lower_bound=1
)
_PLAIN = flags.DEFINE_bool("plain", True, "Time the plain step too.")
_PROFILE = flags.DEFINE_bool("profile", False, "Print the time by kind of op.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Timed calls.", lower_bound=1)
_MATRIX_SIZE = 2048
_FULL_SIZE = (
    ("options.architecture", "resnet_cifar"),
    ("options.batch_size", 64),
    ("options.disc_iters", 1),
    ("SSGAN.rotated_batch_size", 64),
)
_FULL_SIZE_GFLOP = 693.0
# Parts of the names of ops.
_KINDS = {
    "convolutions": ("Conv2D",),
    "batch norms, biases": ("BatchNorm", "BiasAdd"),
    "pooling": ("Pool",),
    "ReLU": ("Relu",),
    "copies": ("Pad", "Slice", "Concat", "Reverse", "Transpose", "Split", "Tile"),
    "optimizers, average": ("ResourceApply", "Assign"),
}


def main(argv):
    if _PLAIN.value and _REPLICAS.value > 1:
        raise app.UsageError("The plain step runs on one replica only. Add --noplain.")
    # TensorFlow takes seconds to import.
    import tensorflow as tf

    from ssgan_tf import config
    from ssgan_tf.training import dry_run
    from ssgan_tf.utils import strategies

    if _REPLICAS.value > 1:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * _REPLICAS.value,
        )
    config.parse(_GIN_CONFIG.value, ["options.disc_iters = 1", *_GIN_BINDINGS.value])
    plan = config.plan()
    strategy = strategies.get_strategy(
        "mirrored" if _REPLICAS.value > 1 else "one_device"
    )
    images = _fake_images(plan)
    gan, our_step = _our_step(plan, strategy, images)
    first_step = _seconds(our_step)
    our_step()
    memory = machine.peak_memory()
    functions = {"ours": our_step, "product": _matrix_product()}
    if _PLAIN.value:
        functions["plain"] = _plain_step(plan, strategy, images)
    medians = _medians(functions)
    gflop = dry_run.step_flops(plan) / 1e9
    counted = _FULL_SIZE_GFLOP if _is_full_size(plan) else gflop
    peak = 2 * _MATRIX_SIZE**3 / medians["product"] / 1e9
    result = {"ms_per_step": round(1e3 * medians["ours"], 2)}
    if _PLAIN.value:
        result |= {
            "ms_per_plain_step": round(1e3 * medians["plain"], 2),
            "speedup_over_plain": round(medians["plain"] / medians["ours"], 3),
        }
    result |= {
        "images_per_second": round(images.shape[0] / medians["ours"], 1),
        "first_step_s": round(first_step, 2),
        "peak_memory_mib": round(memory / 2**20),
        "gflop_per_step": round(gflop, 2),
        "gflop_counted": round(counted, 2),
        "matmul_gflop_per_second": round(peak, 1),
        "fraction_of_matmul_peak": round(counted / medians["ours"] / peak, 3),
    }
    for name, value in result.items():
        print(f"{name:<26}{value:>12,}")
    facts = _facts(plan, strategy) | {"compiled": gan.jit_compile}
    if _PROFILE.value:
        facts["profile_ms"] = _profile(our_step)
        print("\nms per step by kind of op")
        for kind, milliseconds in facts["profile_ms"].items():
            print(f"{kind:<26}{milliseconds:>12,}")
    print(json.dumps(facts | result))


def _fake_images(plan):
    """uint8 noise, the images of one step."""
    import numpy as np
    import tensorflow as tf

    count = plan.options.disc_iters * plan.options.batch_size
    shape = (count, *plan.spec.image_shape)
    return tf.constant(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def _our_step(plan, strategy, images):
    """The GAN, and a function that takes one step on these images."""
    import tensorflow as tf

    from ssgan_tf.training import loop

    share = images.shape[0] // strategy.num_replicas_in_sync
    dataset = tf.data.Dataset.from_tensors((images[:share], tf.zeros(share, tf.int32)))
    gan = loop.build(plan, strategy, _JIT_COMPILE.value)
    gan.steps_per_execution = 1
    gan.make_train_function()
    iterator = iter(
        strategy.distribute_datasets_from_function(lambda _: dataset.repeat())
    )
    return gan, lambda: float(gan.train_function(iterator)["loss/g"])


def _matrix_product():
    import tensorflow as tf

    matrix = tf.random.stateless_normal((_MATRIX_SIZE, _MATRIX_SIZE), (0, 0))
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)))
    return lambda: float(product())


def _medians(functions: dict) -> dict[str, float]:
    """Seconds of each function; the functions run alternately."""
    # The first calls compile.
    for function in functions.values():
        function()
    seconds = {name: [] for name in functions}
    for _ in range(_REPEATS.value):
        for name, function in functions.items():
            seconds[name].append(_seconds(function))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _facts(plan, strategy) -> dict:
    import tensorflow as tf

    device = tf.DeviceSpec.from_string(strategy.extended.worker_devices[0])
    return {
        "config": _GIN_CONFIG.value,
        "bindings": _GIN_BINDINGS.value,
        "device": device.device_type,
        "replicas": strategy.num_replicas_in_sync,
        "cores": machine.num_cores(),
        "precision": plan.options.precision,
        "accumulate": plan.options.accumulate,
    }


def _seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _plain_step(plan, strategy, images):
    """A function that takes one plain step, float32 and uncompiled, on these images."""
    import plain
    import tensorflow as tf

    with strategy.scope():
        gan = plan.build_gan(precision="float32")
    gan.average = None
    step = tf.function(lambda: plain.step(gan, images), autograph=False)

    def run():
        with plain.forms():
            float(step()["loss/g"])

    return run


def _profile(step, num_steps: int = 5) -> dict[str, float]:
    """Milliseconds per step by kind of op, from TensorFlow's own trace."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(num_steps):
                step()
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        space = xplane_pb2.XSpace()
        with open(path, "rb") as file:
            space.ParseFromString(file.read())
    kinds = [*_KINDS, "other ops", "no op"]
    events = []
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                # Ops are traced as `name:type`. Their runners are traced as
                # `Runner::Run` or under the name of the whole function.
                name = plane.event_metadata[event.metadata_id].name
                _, colon, op = name.partition(":")
                if not colon or op.startswith((":", "__inference", " ")):
                    continue
                start = 1000 * line.timestamp_ns + event.offset_ps
                rank = _rank(op)
                events += [(start, rank, 1), (start + event.duration_ps, rank, -1)]
    events.sort()
    running, spent = [0] * len(kinds), [0] * len(kinds)
    # The rank `no op` always counts as running.
    running[-1] = 1
    for (time_ps, rank, change), following in zip(events, events[1:], strict=False):
        running[rank] += change
        first = next(i for i, count in enumerate(running) if count)
        spent[first] += following[0] - time_ps
    return {
        kind: round(ps / 1e9 / num_steps, 2)
        for kind, ps in zip(kinds, spent, strict=True)
    }


def _rank(op: str) -> int:
    for rank, names in enumerate(_KINDS.values()):
        if any(name in op for name in names):
            return rank
    return len(_KINDS)


def _is_full_size(plan) -> bool:
    """Whether the step is the one of 693 GFLOP."""
    import gin

    full_size = {"G.width": None, "D.width": None} | dict(_FULL_SIZE)

    def bound(parameter):
        try:
            return gin.query_parameter(parameter)
        except ValueError:
            return None

    return plan.dataset == "cifar10" and all(
        bound(parameter) == value for parameter, value in full_size.items()
    )


if __name__ == "__main__":
    run(main)
