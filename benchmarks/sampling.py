"""Times the steps before a score: images from G, and features of images.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --gin_config=quickstart.gin --batch_sizes=64,256
    python benchmarks/sampling.py --inception_path=/path/to/inception

An untrained G is exported, reloaded and sampled as in scoring. The features are those
of the small classifier, here untrained, or with `--inception_path` those of Inception.
Both run alternately, in batches of each size; the results are medians, without the
calls that compile. Prints a table and, as the last line, the same as one JSON object.
"""

import dataclasses
import json
import pathlib
import statistics
import tempfile
import time

from absl import flags

from ssgan_tf.commands.main import run
from ssgan_tf.utils import machine

_GIN_CONFIG = flags.DEFINE_multi_string(
    "gin_config", ["ssgan_cifar10.gin"], "Gin file."
)
_GIN_BINDINGS = flags.DEFINE_multi_string("gin_bindings", [], "Gin binding.")
_INCEPTION_PATH = flags.DEFINE_string(
    "inception_path", None, "TFGAN's Inception: SavedModel folder or TF-Hub handle."
)
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["16", "64", "256"], "Images per call.")
_NUM_IMAGES = flags.DEFINE_integer(
    "num_images", 512, "Images per timing.", lower_bound=1
)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Timings per batch size.", lower_bound=1)


def main(argv):
    batch_sizes = [_positive(size) for size in _BATCH_SIZES.value]
    # TensorFlow takes seconds to import.
    import numpy as np
    import tensorflow as tf

    from ssgan_tf import config
    from ssgan_tf.evaluation import dataset_classifier, features
    from ssgan_tf.modules import reading, writing

    config.parse(_GIN_CONFIG.value, _GIN_BINDINGS.value)
    plan = config.plan()
    # Modules are float32, whatever the precision of training.
    gan = plan.build_gan(precision="float32")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "module"
        writing.export(
            gan.generator, gan.discriminator, gan.latents, path=path, metadata={}
        )
        module = reading.load(path)
    if _INCEPTION_PATH.value:
        extractor = features.load_inception(_INCEPTION_PATH.value)
    else:
        extractor = dataset_classifier.classifier_extractor(
            "untrained_cnn",
            dataset_classifier.build_classifier(
                plan.spec.image_shape, num_classes=10, seed=0
            ),
        )
    images = np.random.default_rng(0).integers(
        0, 256, (_NUM_IMAGES.value, *plan.spec.image_shape), np.uint8
    )

    rows = [
        {"batch_size": size} | _rates(module, extractor, images, size)
        for size in batch_sizes
    ]
    print("".join(f"{name:>22}" for name in rows[0]))
    for row in rows:
        print("".join(f"{value:>22,}" for value in row.values()))
    facts = {
        "config": _GIN_CONFIG.value,
        "image_shape": plan.spec.image_shape,
        "extractor": extractor.name,
        "num_images": _NUM_IMAGES.value,
        "device": tf.config.list_logical_devices()[-1].device_type,
        "cores": machine.num_cores(),
        "precision": "float32",
    }
    print(json.dumps(facts | {"rates": rows}))


def _rates(module, extractor, images, batch_size: int) -> dict[str, float]:
    """Images per second at one batch size."""
    extract = dataclasses.replace(extractor, batch_size=batch_size).extract

    def sample():
        for _ in module.sample_batches(_NUM_IMAGES.value, batch_size=batch_size):
            pass

    functions = {"sampled": sample, "features": lambda: extract(images)}
    for function in functions.values():
        function()
    seconds = {name: [] for name in functions}
    for _ in range(_REPEATS.value):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {
        f"{name}_per_second": round(_NUM_IMAGES.value / statistics.median(times), 1)
        for name, times in seconds.items()
    }


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(
            "Batch sizes must be positive integers. Received: "
            f"--batch_sizes={','.join(_BATCH_SIZES.value)}."
        )
    return int(text)


if __name__ == "__main__":
    run(main)
