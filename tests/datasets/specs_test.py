"""The table of data sets."""

import pytest
import tensorflow_datasets as tfds

from ssgan_tf import datasets


def test_specs_name_square_images_of_registered_builders():
    assert {"digits32", "cifar10"} <= set(datasets.DATASETS)
    for name in datasets.DATASETS:
        spec = datasets.get_spec(name)
        builder = tfds.builder(spec.tfds_name)
        assert str(builder.version) == spec.tfds_version
        # Labels are used, except for the unlabelled images of STL-10.
        labelled = "label" in builder.info.features and name != "stl10"
        assert spec.num_classes == (
            builder.info.features["label"].num_classes if labelled else 0
        )
        shape = builder.info.features["image"].shape
        assert (shape == spec.image_shape) != (spec.crop is not None)
        assert spec.image_shape[0] == spec.image_shape[1]
        assert (builder.MANUAL_DOWNLOAD_INSTRUCTIONS is None) == (spec.by_hand is None)
    assert datasets.get_spec("cifar10").image_shape == (32, 32, 3)
    assert datasets.get_spec("digits32").image_shape == (32, 32, 1)
    with pytest.raises(ValueError, match="image_shape=.32, 64, 3.*'mine'"):
        datasets.DatasetSpec("mine", "1.0.0", (32, 64, 3))


def test_an_unknown_name_is_answered_with_close_and_legal_names():
    with pytest.raises(ValueError) as error:
        datasets.get_spec("digit32")
    for fact in ("name='digit32'", "'digits32'", "celeb_a128", "stl10", "folder:DIR"):
        assert fact in str(error.value)
