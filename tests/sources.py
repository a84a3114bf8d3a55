"""TFDS data sets as TFDS would have prepared them, of images that a test makes."""

from collections.abc import Callable

import numpy as np
import tensorflow_datasets as tfds

from ssgan_tf import datasets


def _nothing(feature: tfds.features.FeatureConnector):
    """An example of zeros and empty texts."""
    if isinstance(feature, tfds.features.FeaturesDict):
        return {name: _nothing(each) for name, each in feature.items()}
    if isinstance(feature, tfds.features.Text):
        return ""
    return None if feature.shape else np.zeros((), feature.np_dtype)[()]


def prepare_source(
    name: str,
    data_dir,
    counts: dict[str, int],
    make_image: Callable[[str, int], np.ndarray],
    monkeypatch,
) -> None:
    """Writes what a row of the table is read from, in TFDS's own format and features.

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
                # As large data sets have several files.
                num_shards=2,
            )
        )
