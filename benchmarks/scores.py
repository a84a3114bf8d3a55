"""Times the Frechet distance on features that are drawn batch by batch and not held.

    python benchmarks/scores.py
    python benchmarks/scores.py --samples=5000

Two sets of correlated features, half of them cut off at 0 as by a ReLU: moments of
each in one pass (`moments_s`, without the drawing), then the distance between them
(`distance_s`). On the first `--tfgan_samples` of either set, which TFGAN must hold, its
distance is timed from the features, and so is ours with the moments. Everything is
in float64, on the CPU. Prints a table and, as the last line, the same as one JSON
object.

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
    # TensorFlow takes seconds to import: only now.
    import numpy as np
    import tensorflow as tf

    from ssgan_tf.evaluation import frechet, tfgan

    def draw(count: int, seed: int):
        """Batches of features, float32; another mean and covariance for each seed."""
        rng = np.random.default_rng(seed)
        dim = _DIM.value
        mixing = rng.normal(size=(dim, dim)).astype(np.float32) / dim**0.5
        floor = np.where(np.arange(dim) % 2, 0.0, -np.inf).astype(np.float32)
        for start in range(0, count, _BATCH_SIZE):
            size = min(_BATCH_SIZE, count - start)
            noise = rng.standard_normal((size, dim), np.float32)
            # The mean goes with the seed too.
            yield np.maximum(noise + noise @ mixing + 0.1 * mixing[0], floor)

    def timed_moments(count: int, seed: int):
        """Moments, and the seconds they took besides the drawing."""
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
        moments = frechet.moments(clocked(draw(count, seed)))
        return moments, time.perf_counter() - start - drawing

    def timed(function, *arguments):
        start = time.perf_counter()
        value = float(function(*arguments))
        return value, time.perf_counter() - start

    (real, real_s), (fake, fake_s) = (timed_moments(_SAMPLES.value, s) for s in (0, 1))
    distance, distance_s = timed(frechet.distance, real, fake)
    peak = machine.peak_memory()

    held = [np.concatenate([*draw(_TFGAN_SAMPLES.value, seed)]) for seed in (0, 1)]
    ours, ours_s = timed(
        lambda: frechet.distance(*(frechet.moments([each]) for each in held))
    )
    reference = tfgan.import_eval().frechet_classifier_distance_from_activations
    activations = [tf.constant(each, tf.float64) for each in held]
    theirs, theirs_s = timed(reference, *activations)
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


if __name__ == "__main__":
    run(main)
