"""Times the Frechet distance on features that are streamed batch by batch.

    python benchmarks/scores.py
    python benchmarks/scores.py --samples=5000

There are two sets of correlated features, half of them cut off at 0 as by a ReLU.
`moments_s` times the moments of a set in one pass, without the random draws, and
`distance_s` the distance between the sets. TFGAN, which needs all features in memory,
computes the distance of the first `--tfgan_samples` of both sets; the time of ours
includes the moments. Everything is float64 on the CPU. Prints a table and, as the last
line, the same as one JSON object.

`peak_memory_mib` is that of the process before TFGAN is imported.
"""

import json
import time

from absl import flags

from ssgan_tf.commands.main import run
from ssgan_tf.utils import machine

_SAMPLES = flags.DEFINE_integer(
    "samples", 50_000, "Rows of each set of features.", lower_bound=2
)
_DIM = flags.DEFINE_integer("dim", 2048, "Width of the features.", lower_bound=1)
_TFGAN_SAMPLES = flags.DEFINE_integer(
    "tfgan_samples", 5000, "Rows of each set for the comparison.", lower_bound=2
)
_BATCH_SIZE = 1000


def main(argv):
    # TensorFlow takes seconds to import.
    import numpy as np
    import tensorflow as tf

    from ssgan_tf.evaluation import frechet, tfgan

    (real, real_s), (fake, fake_s) = (
        _timed_moments(_SAMPLES.value, seed) for seed in (0, 1)
    )
    distance, distance_s = _timed(frechet.distance, real, fake)
    peak = machine.peak_memory()

    sets = [np.concatenate([*_batches(_TFGAN_SAMPLES.value, seed)]) for seed in (0, 1)]
    ours, ours_s = _timed(
        lambda: frechet.distance(*(frechet.moments([rows]) for rows in sets))
    )
    reference = tfgan.import_eval().frechet_classifier_distance_from_activations
    activations = [tf.constant(rows, tf.float64) for rows in sets]
    theirs, theirs_s = _timed(reference, *activations)
    result = {
        "moments_s": round((real_s + fake_s) / 2, 3),
        "distance_s": round(distance_s, 3),
        "frechet_distance": distance,
        "peak_memory_mib": round(peak / 2**20, 1),
        "ours_on_fewer_s": round(ours_s, 3),
        "tfgan_on_fewer_s": round(theirs_s, 3),
        "speedup_over_tfgan": round(theirs_s / ours_s, 2),
        "relative_difference": abs(ours - theirs) / abs(theirs),
    }
    for name, value in result.items():
        print(f"{name:<22}{value:>14,.6g}")
    facts = {
        "samples": _SAMPLES.value,
        "dim": _DIM.value,
        "tfgan_samples": _TFGAN_SAMPLES.value,
        "device": "CPU",
        "cores": machine.num_cores(),
        "precision": "float64",
    }
    print(json.dumps(facts | result))


def _batches(count: int, seed: int):
    """Batches of float32 features; mean and covariance depend on the seed."""
    import numpy as np

    rng = np.random.default_rng(seed)
    dim = _DIM.value
    mixing = rng.normal(size=(dim, dim)).astype(np.float32) / dim**0.5
    floor = np.where(np.arange(dim) % 2, 0.0, -np.inf).astype(np.float32)
    for start in range(0, count, _BATCH_SIZE):
        size = min(_BATCH_SIZE, count - start)
        noise = rng.standard_normal((size, dim), np.float32)
        yield np.maximum(noise + noise @ mixing + 0.1 * mixing[0], floor)


def _timed_moments(count: int, seed: int):
    """Moments, and their seconds without the random draws."""
    from ssgan_tf.evaluation import frechet

    drawing = 0.0

    def clocked(batches):
        nonlocal drawing
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            drawing += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    start = time.perf_counter()
    moments = frechet.moments(clocked(_batches(count, seed)))
    return moments, time.perf_counter() - start - drawing


def _timed(function, *arguments):
    start = time.perf_counter()
    value = float(function(*arguments))
    return value, time.perf_counter() - start


if __name__ == "__main__":
    run(main)
