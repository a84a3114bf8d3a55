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
    assert datasets.get_spec("cifar10").image_shape == (32, 32, 3)
    assert datasets.get_spec("digits32").image_shape == (32, 32, 1)


def test_an_unknown_name_is_answered_with_close_and_legal_names():
    with pytest.raises(ValueError) as error:
        datasets.get_spec("digit32")
    message = str(error.value)
    assert "Received: name='digit32'" in message
    assert message.index("'digits32'") < message.index("celeb_a128, celeb_a64, ")
    assert "stl10" in message and "folder:DIR" in message


def test_a_row_with_oblong_images_is_refused():
    with pytest.raises(ValueError, match=r"image_shape=\(32, 40, 3\)"):
        datasets.DatasetSpec("any", "1.0.0", (32, 40, 3), num_classes=2)
