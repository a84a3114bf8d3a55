"""Checks that scores rank real images with growing distortions correctly.

    python benchmarks/distortions.py --tfds_data_dir=~/tensorflow_datasets

The "fakes" are training images of CIFAR-10, compared with the test split on features of
the classifier that is trained on the data set: unchanged; blurred (Gaussian, deviation
in pixels); with noise (Gaussian, deviation in grey levels of 255); and with classes
replaced by images of the others. Prints a Markdown table and, as the last line, the
same as one JSON object. The exit code is 1 if the Frechet distance does not grow within
each of the three groups.
"""

import json

from absl import flags

from ssgan_tf.commands.main import run

_DATASET = flags.DEFINE_string("dataset", "cifar10", "Data set with labels.")
_TFDS_DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir", None, "Folder of prepared TFDS data sets."
)
_METRICS = flags.DEFINE_list(
    "metrics",
    ["fid", "is", "kid", "prd", "precision_recall", "density_coverage"],
    "Metrics to compute.",
)
_NUM_FAKES = flags.DEFINE_integer(
    "num_fakes", None, "Default: the number of test images.", lower_bound=2
)


def main(argv):
    # TensorFlow takes seconds to import.
    from ssgan_tf import datasets
    from ssgan_tf.evaluation import dataset_classifier, image_scorer
    from ssgan_tf.utils import files

    train, test = (
        datasets.load_split(_DATASET.value, split, _TFDS_DATA_DIR.value)
        for split in ("train", "test")
    )
    num_classes = datasets.get_spec(_DATASET.value).num_classes
    extractor = dataset_classifier.dataset_classifier(
        _DATASET.value,
        train,
        test,
        num_classes=num_classes,
        cache_dir=str(files.cache_dir()),
    )
    count = _NUM_FAKES.value or len(test[0])
    scorer = image_scorer.ImageScorer(
        test[0],
        extractor,
        metrics=_METRICS.value,
        num_fakes=count,
        cache_dir=files.cache_dir() / "references",
    )
    groups = _distorted(*train, num_classes, count)
    rows, is_growing = _score(scorer, extractor.name, groups)
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|---" * len(names) + "|")
    for row in rows:
        numbers = (f"{row[name]:.4g}" for name in names[1:])
        print(f"| {row['fakes']} | " + " | ".join(numbers) + " |")
    protocol = scorer.protocol() | {"extractor_accuracy": extractor.test_accuracy}
    facts = {"rows": rows, "grows": bool(is_growing), "protocol": protocol}
    print(json.dumps(facts))
    return int(not is_growing)


def _distorted(images, labels, num_classes: int, count: int) -> dict[str, list]:
    """Kind of distortion -> pairs of its amount and `count` distorted images."""
    import numpy as np
    from scipy import ndimage

    order = np.random.default_rng(0).permutation(len(images))

    def without(num_dropped: int):
        kept = order[labels[order] >= num_dropped]
        return images[kept[:count]]

    def blurred(deviation: float):
        sigmas = (0, deviation, deviation, 0)
        smooth = ndimage.gaussian_filter(without(0).astype(np.float32), sigmas)
        return np.rint(smooth).astype(np.uint8)

    def noisy(deviation: float):
        noise = np.random.default_rng(1).normal(0, deviation, without(0).shape)
        return np.rint(np.clip(without(0) + noise, 0, 255)).astype(np.uint8)

    half = num_classes // 2
    return {
        "training images": [("as they are", without(0))],
        "blur, pixels": [(d, blurred(d)) for d in (0.5, 1.0, 2.0)],
        "noise, grey levels": [(d, noisy(d)) for d in (4, 16, 64)],
        "classes left out": [(d, without(d)) for d in (1, half // 2, half)],
    }


def _score(scorer, extractor_name: str, groups: dict) -> tuple[list[dict], bool]:
    """A row of scores per distortion, and whether the distance grows in each group."""
    from ssgan_tf.evaluation.metrics import name_under

    frechet = name_under(extractor_name, "fid")
    rows, is_growing = [], True
    for kind, distortions in groups.items():
        # Each group is compared with the unchanged images, the first row.
        previous = rows[0][frechet] if rows else float("-inf")
        for amount, fakes in distortions:
            scores = scorer.score([fakes])
            rows.append({"fakes": f"{kind}: {amount}"} | scores)
            is_growing &= scores[frechet] > previous
            previous = scores[frechet]
    return rows, is_growing


if __name__ == "__main__":
    run(main)
