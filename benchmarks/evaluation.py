"""Times a whole evaluation with a network of Inception's architecture.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --num_images=256 --repeats=20

Shapes, size and operations are Inception's; the weights are random, so the scores mean
nothing. Reals and fakes are noise of CIFAR-10's size. The features of the reals are
extracted once. Then the same number of fakes is scored `--repeats` times, and the
resident memory is read after each. Prints a table and, as the last line, the same as
one JSON object.
"""

import json
import pathlib
import tempfile
import time

from absl import flags

from ssgan_tf.commands.main import run
from ssgan_tf.utils import machine

_NUM_IMAGES = flags.DEFINE_integer(
    "num_images", 10_000, "Number of reals, and of fakes per repeat.", lower_bound=2
)
_REPEATS = flags.DEFINE_integer("repeats", 1, "Number of evaluations.", lower_bound=1)
_METRICS = flags.DEFINE_list(
    "metrics", ["fid", "is", "kid", "swd"], "Metrics to compute."
)
_BATCH_SIZE = 250


def main(argv):
    # TensorFlow takes seconds to import.
    import numpy as np

    from ssgan_tf.evaluation import features, image_scorer

    def batches(seed: int):
        rng = np.random.default_rng(seed)
        for start in range(0, _NUM_IMAGES.value, _BATCH_SIZE):
            size = min(_BATCH_SIZE, _NUM_IMAGES.value - start)
            # Without a colour per image all features would be alike.
            colours = rng.integers(0, 256, (size, 1, 1, 3))
            noise = rng.integers(-40, 41, (size, 32, 32, 3))
            yield np.clip(colours + noise, 0, 255).astype(np.uint8)

    with tempfile.TemporaryDirectory() as folder:
        num_parameters = _save_inception(folder)
        extractor = features.load_inception(folder)
        start = time.perf_counter()
        reals = np.concatenate([*batches(0)])
        scorer = image_scorer.ImageScorer(reals, extractor, metrics=_METRICS.value)
        reals_s = time.perf_counter() - start
        seconds, memory = [], []
        for _ in range(_REPEATS.value):
            start = time.perf_counter()
            scores = scorer.score(batches(1))
            seconds.append(time.perf_counter() - start)
            memory.append(_resident_memory())
    result = {
        "num_images": _NUM_IMAGES.value,
        "inception_parameters": num_parameters,
        "features_of_reals_s": round(reals_s, 1),
        "score_of_fakes_s": round(sorted(seconds)[len(seconds) // 2], 1),
        "peak_memory_mib": round(machine.peak_memory() / 2**20, 1),
        "memory_after_each_mib": [round(size / 2**20, 1) for size in memory],
    }
    for name, value in (result | scores).items():
        print(f"{name:<24}{value}")
    print(json.dumps(result | {"cores": machine.num_cores(), "scores": scores}))


def _save_inception(folder: str) -> int:
    """Saves an untrained Inception; returns its number of parameters."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    trunk = keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3)
    )
    pooled = trunk.output
    logits = keras.layers.Dense(1008)(pooled)
    model = keras.Model(trunk.input, {"pool_3": pooled, "logits": logits})
    module = tf.Module()
    # As plain variables, so that loading needs no Keras.
    module.variables_ = [v.value for v in model.variables]

    @tf.function(input_signature=[tf.TensorSpec((None, 299, 299, 3))])
    def classify(images):
        return model(images, training=False)

    module.classify = classify
    tf.saved_model.save(module, folder, signatures={"serving_default": classify})
    return model.count_params()


def _resident_memory() -> int:
    """Resident memory of this process now, in bytes (Linux only)."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


if __name__ == "__main__":
    run(main)
