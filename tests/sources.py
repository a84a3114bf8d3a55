"""TFDS data sets for tests: small copies of public ones, and one of our own."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ssgan_tf import datasets


class Photos(tfds.core.GeneratorBasedBuilder):
    """60 labelled images of noise, 16x16: JPEGs, or PNGs of 16 bit.

    Attributes:
        spoilt: number -> what replaces an image, as an array or as bytes.
        ordered: bool. Whether TFDS keeps the order of the files.
        dtype: uint8 or uint16.
    """

    VERSION = tfds.core.Version("1.0.0")
    spoilt = {}
    ordered = True
    dtype = np.uint8

    def _info(self):
        encoding = "jpeg" if self.dtype == np.uint8 else "png"
        image = tfds.features.Image(
            shape=(None, None, 3), dtype=self.dtype, encoding_format=encoding
        )
        label = tfds.features.ClassLabel(num_classes=10)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"image": image, "label": label}),
            disable_shuffling=self.ordered,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        rng = np.random.default_rng(0)
        for key in range(60):
            image = rng.integers(0, 256, (16, 16, 3), self.dtype)
            if self.dtype == np.uint8:
                image = tf.io.encode_jpeg(image, quality=75).numpy()
            yield key, {"image": self.spoilt.get(key, image), "label": key % 10}


def elements(images, labels, steps: int, **kwargs) -> list:
    """The first elements of a training stream with batches of 8 images."""
    dataset = datasets.training_dataset(images, labels, batch_size=8, seed=4, **kwargs)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    assert dataset.element_spec[0].shape[1:] == images.shape[1:]
    return list(dataset.take(steps).as_numpy_iterator())


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
