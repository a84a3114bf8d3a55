"""Times both paths of the input pipeline against the train step.

    python benchmarks/input_pipeline.py --tfds_data_dir=~/tensorflow_datasets
    python benchmarks/input_pipeline.py --gin_config=quickstart.gin --dataset=digits32

"Decoded once" gathers from the decoded split in memory; "on the fly" reads and decodes
each image when it is needed. `datasets.open_split` decides which of them training uses.
Each path supplies the stream of the config, batches of uint8, through the one-device
strategy while nothing else runs. The step trains on fake data. Prints a table and, as
the last line, the same as one JSON object.

The time to the first batch is measured from a prepared data set to a batch on the
device. Memory is what a path keeps between batches. `ratio_to_step` is that of the
slower path.
"""

import json
import statistics
import time

from absl import flags

from ssgan_tf.commands.main import run

_GIN_CONFIG = flags.DEFINE_multi_string(
    "gin_config", ["ssgan_cifar10.gin"], "Gin file."
)
_GIN_BINDINGS = flags.DEFINE_multi_string("gin_bindings", [], "Gin binding.")
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set to read. None: the one of the config."
)
_TFDS_DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir", None, "Folder of prepared TFDS data sets."
)
_SECONDS = flags.DEFINE_float(
    "seconds", 5.0, "Measured seconds per path.", lower_bound=0.0
)
_STEPS = flags.DEFINE_integer(
    "steps", 3, "Number of timed train steps, 0 for none.", lower_bound=0
)
_WARM_UP_BATCHES = 20


def main(argv):
    # TensorFlow takes seconds to import.
    import tensorflow as tf

    from ssgan_tf import config, datasets
    from ssgan_tf.utils import strategies

    config.parse(_GIN_CONFIG.value, _GIN_BINDINGS.value)
    plan = config.plan()
    strategy = strategies.get_strategy("one_device")
    name = _DATASET.value or plan.dataset
    # Prepares the data set if needed, which is not part of the measured time.
    datasets.index_split(name, "train", _TFDS_DATA_DIR.value)
    paths = {}
    for path, open_split, memory in (
        ("decoded once", datasets.load_split, lambda images: images.nbytes),
        ("on the fly", datasets.index_split, lambda images: images.index_bytes),
    ):
        start = time.perf_counter()
        images, labels = open_split(name, "train", _TFDS_DATA_DIR.value)
        iterator = _stream(strategy, plan, images, labels)
        next(iterator)
        paths[path] = {
            "first_batch_s": round(time.perf_counter() - start, 2),
            "memory_mib": round(memory(images) / 2**20, 2),
            "images_per_second": round(_rate(iterator)),
        }
    step_rate = _step_rate(strategy, plan) if _STEPS.value else None
    _print_table(paths, step_rate)
    slower = min(rates["images_per_second"] for rates in paths.values())
    facts = {
        "dataset": name,
        "config": _GIN_CONFIG.value,
        "device": tf.config.list_logical_devices()[-1].device_type,
        **{
            column: {path: values[column] for path, values in paths.items()}
            for column in ("images_per_second", "first_batch_s", "memory_mib")
        },
        "step_images_per_second": step_rate and round(step_rate, 1),
        "ratio_to_step": step_rate and round(slower / step_rate, 1),
    }
    print(json.dumps(facts))


def _stream(strategy, plan, images, labels):
    """Iterates over the training stream, one element per step."""
    from ssgan_tf import datasets

    return iter(
        strategy.distribute_datasets_from_function(
            lambda context: datasets.training_dataset(
                images,
                labels,
                batch_size=plan.options.batch_size,
                seed=plan.run.seed,
                d_steps=plan.options.disc_iters,
                input_context=context,
            )
        )
    )


def _rate(iterator) -> float:
    """Images per second."""
    for _ in range(_WARM_UP_BATCHES):
        next(iterator)
    start, num_images, seconds = time.perf_counter(), 0, 0.0
    while seconds <= _SECONDS.value:
        images, _ = next(iterator)
        num_images += images.shape[0]
        seconds = time.perf_counter() - start
    return num_images / seconds


def _step_rate(strategy, plan) -> float:
    """Images per second of the train step, median over the steps."""
    import tensorflow as tf

    from ssgan_tf.training import loop

    images_per_step = plan.options.disc_iters * plan.options.batch_size
    noise = tf.random.stateless_uniform(
        (images_per_step, *plan.spec.image_shape), (0, 0), 0, 256, tf.int32
    )
    batch = (tf.cast(noise, tf.uint8), tf.zeros(images_per_step, tf.int32))
    gan = loop.build(plan, strategy)
    gan.steps_per_execution = 1
    gan.make_train_function()
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    seconds = []
    # The first step compiles.
    for _ in range(1 + _STEPS.value):
        start = time.perf_counter()
        float(gan.train_function(iterator)["loss/g"])
        seconds.append(time.perf_counter() - start)
    return images_per_step / statistics.median(seconds[1:])


def _print_table(paths, step_rate) -> None:
    columns = ("images/s", "x step", "first batch, s", "memory, MiB")
    print(f"{'':<14}" + "".join(f"{column:>16}" for column in columns))
    for path, values in paths.items():
        rate = values["images_per_second"]
        ratio = f"{rate / step_rate:,.1f}" if step_rate else "-"
        print(
            f"{path:<14}{rate:>16,}{ratio:>16}{values['first_batch_s']:>16,.2f}"
            f"{values['memory_mib']:>16,.2f}"
        )
    if step_rate:
        print(f"{'train step':<14}{step_rate:>16,.1f}{1:>16}")


if __name__ == "__main__":
    run(main)
