"""TFDS data sets for tests: small copies of public ones, and two of our own."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ssgan_tf import datasets


class OddImages(tfds.core.GeneratorBasedBuilder):
    """Three images of type `dtype`; the second one has the shape `odd_shape`."""

    VERSION = tfds.core.Version("1.0.0")
    dtype = np.uint8
    odd_shape = (32, 40, 3)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(None, None, 3), dtype=self.dtype, encoding_format="png"
                    ),
                    "label": tfds.features.ClassLabel(num_classes=2),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for key, shape in enumerate([(32, 32, 3), self.odd_shape, (32, 32, 3)]):
            yield key, {"image": np.zeros(shape, self.dtype), "label": 1}


class Photos(tfds.core.GeneratorBasedBuilder):
    """60 labelled JPEGs of noise, 16x16. `spoilt` replaces some of them."""

    VERSION = tfds.core.Version("1.0.0")
    spoilt = {}
    ordered = True

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(None, None, 3), encoding_format="jpeg"
                    ),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            disable_shuffling=self.ordered,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        rng = np.random.default_rng(0)
        for key in range(60):
            image = rng.integers(0, 256, (16, 16, 3), np.uint8)
            image = tf.io.encode_jpeg(image, quality=75).numpy()
            yield key, {"image": self.spoilt.get(key, image), "label": key % 10}


def _nothing(feature: tfds.features.FeatureConnector):
    """An example of zeros and empty texts."""
    if isinstance(feature, tfds.features.FeaturesDict):
        return {name: _nothing(part) for name, part in feature.items()}
    if isinstance(feature, tfds.features.Text):
        return ""
    return None if feature.shape else np.zeros((), feature.np_dtype)[()]


def prepare_source(
    name: str,
    data_dir,
    counts: dict[str, int],
    make_image: Callable[[str, int], np.ndarray],
    *,
    monkeypatch,
) -> None:
    """Prepares the TFDS data set of a row of the table, with other images.

    Args:
        name: a key of `datasets.DATASETS`.
        data_dir: folder of prepared data sets.
        counts: TFDS split -> number of images.
        make_image: image of a split and number, uint8 of the source's shape.
        monkeypatch: pytest's.
    """
    spec = datasets.get_spec(name)
    builder = tfds.builder(f"{spec.tfds_name}:{spec.tfds_version}", data_dir=data_dir)

    def examples(split: str, num: int):
        for number in range(num):
            example = _nothing(builder.info.features)
            example["image"] = make_image(split, number)
            if "label" in example:
                example["label"] = number % builder.info.features["label"].num_classes
            yield number, example

    with monkeypatch.context() as patch:
        patch.setattr(
            type(builder),
            "_split_generators",
            lambda self, dl_manager: {
                split: examples(split, num) for split, num in counts.items()
            },
        )
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(
                try_download_gcs=False,
                # Large data sets have several files too.
                num_shards=2,
            )
        )
