"""digits32."""

import collections
import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from ssgan_tf import datasets
from ssgan_tf.datasets import digits32


def test_digits32_shapes_types_and_classes(digits_splits):
    for split, count in (("train", 1400), ("test", 397)):
        images, labels = digits_splits[split]
        assert images.shape == (count, 32, 32, 1)
        assert images.dtype == np.uint8
        assert labels.shape == (count,)
        assert labels.dtype == np.int32
        assert set(labels) == set(range(10))
        # The split does not follow scikit-learn's order, so that no class is rare.
        assert np.bincount(labels).min() > 0.07 * count
        assert images.min() == 0
        assert images.max() == 255


def test_digits32_splits_are_disjoint_and_complete(digits_splits):
    from sklearn.datasets import load_digits

    digits = load_digits()
    expected = collections.Counter()
    for digit, label in zip(digits.images, digits.target, strict=True):
        levels = np.floor(digit * 255 / 16 + 0.5).astype(np.uint8)
        resized = Image.fromarray(levels).resize((32, 32), Image.Resampling.BICUBIC)
        expected[resized.tobytes(), int(label)] += 1
    images = collections.Counter(
        (image.tobytes(), int(label))
        for pixels, labels in digits_splits.values()
        for image, label in zip(pixels, labels, strict=True)
    )
    assert sum(expected.values()) == 1797
    # Equal multisets of 1,797 images: none is lost, none is in both splits.
    assert images == expected
    order = np.random.RandomState(0).permutation(1797)
    train_labels = np.bincount(digits.target[order[:1400]])
    np.testing.assert_array_equal(np.bincount(digits_splits["train"][1]), train_labels)


def test_resized_digits_look_alike():
    from sklearn.datasets import load_digits

    correlations = []
    for digit in load_digits().images[:50]:
        resized = digits32.resize_digit(digit)[..., 0].astype(np.float64)
        pooled = resized.reshape(8, 4, 8, 4).mean(axis=(1, 3))
        correlations.append(np.corrcoef(pooled.ravel(), digit.ravel())[0, 1])
        # The amount of ink shows that the scale is 255 / 16 and no level wrapped.
        assert pooled.mean() == pytest.approx(digit.mean() * 255 / 16, rel=0.03)
    assert np.mean(correlations) > 0.99
    assert np.min(correlations) > 0.98


def test_resize_digit_maps_the_extreme_levels_to_the_extremes():
    assert (digits32.resize_digit(np.full((8, 8), 16.0)) == 255).all()
    assert (digits32.resize_digit(np.zeros((8, 8))) == 0).all()


def test_digits32_order_is_fixed(digits_splits, tmp_path):
    images, labels = datasets.load_split("digits32", "test", tmp_path)
    np.testing.assert_array_equal(images, digits_splits["test"][0])
    np.testing.assert_array_equal(labels, digits_splits["test"][1])


def test_digits32_needs_no_network(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    splits = tfds.load(
        "digits32", data_dir=tmp_path, split=["train", "test"], shuffle_files=False
    )
    assert [len(split) for split in splits] == [1400, 397]
