"""Whether scores rank what everybody can rank: real images, spoilt more and more.

    python benchmarks/distortions.py --tfds_data_dir=~/tensorflow_datasets

"Fakes" are training images of CIFAR-10, compared with the test split under the
features of the classifier that is trained on the spot: as they are; blurred (Gaussian,
deviation in pixels); with noise (Gaussian, deviation in grey levels of 255); and with
classes left out, by as many images of the others. Prints a Markdown table and, as the
last line, the same as one JSON object. Ends with exit code 1 if the Frechet distance
does not grow within each of the three rows.
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
    "What to compute.",
)
_NUM_FAKES = flags.DEFINE_integer(
    "num_fakes", None, "Default: as many as test images.", lower_bound=2
)


def main(argv):
    # TensorFlow and SciPy take seconds to import: only now.
    import numpy as np
    from scipy import ndimage

    from ssgan_tf import datasets
    from ssgan_tf.evaluation import dataset_classifier, image_scorer
    from ssgan_tf.evaluation.metrics import name_under
    from ssgan_tf.utils import files

    train, test = (
        datasets.load_split(_DATASET.value, split, _TFDS_DATA_DIR.value)
        for split in ("train", "test")
    )
    images, labels = train
    num_classes = datasets.get_spec(_DATASET.value).num_classes
    extractor = dataset_classifier.dataset_classifier(
        _DATASET.value, *train, *test, num_classes, str(files.cache_dir())
    )
    count = _NUM_FAKES.value or len(test[0])
    scorer = image_scorer.ImageScorer(
        test[0],
        extractor,
        metrics=_METRICS.value,
        num_fakes=count,
        cache_dir=files.cache_dir() / "references",
    )
    order = np.random.default_rng(0).permutation(len(images))

    def without(dropped: int):
        kept = order[labels[order] >= dropped]
        return images[kept[:count]]

    def blurred(deviation: float):
        sigmas = (0, deviation, deviation, 0)
        smooth = ndimage.gaussian_filter(without(0).astype(np.float32), sigmas)
        return np.rint(smooth).astype(np.uint8)

    def noisy(deviation: float):
        noise = np.random.default_rng(1).normal(0, deviation, without(0).shape)
        return np.rint(np.clip(without(0) + noise, 0, 255)).astype(np.uint8)

    rows = {"training images": [("as they are", without(0))]}
    rows["blur, pixels"] = [(d, blurred(d)) for d in (0.5, 1.0, 2.0)]
    rows["noise, grey levels"] = [(d, noisy(d)) for d in (4, 16, 64)]
    most = num_classes // 2
    rows["classes left out"] = [(d, without(d)) for d in (1, most // 2, most)]

    frechet = name_under(extractor.name, "fid")
    found, grows = [], True
    for what, fakes in rows.items():
        # What is spoilt a little is worse than what is not.
        last = found[0][frechet] if found else -np.inf
        for amount, each in fakes:
            numbers = scorer.score([each])
            found.append({"fakes": f"{what}: {amount}"} | numbers)
            grows &= numbers[frechet] > last
            last = numbers[frechet]
    names = list(found[0])
    print("| " + " | ".join(names) + " |")
    print("|---" * len(names) + "|")
    for row in found:
        numbers = (f"{row[name]:.4g}" for name in names[1:])
        print(f"| {row['fakes']} | " + " | ".join(numbers) + " |")
    protocol = scorer.protocol() | {"extractor_accuracy": extractor.test_accuracy}
    print(json.dumps({"rows": found, "grows": bool(grows), "protocol": protocol}))
    return int(not grows)


if __name__ == "__main__":
    run(main)
