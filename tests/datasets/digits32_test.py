"""digits32."""

import collections
import socket

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ssgan_tf import datasets


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
    # In the order of a fixed permutation, so that no class is rare.
    order = np.random.RandomState(0).permutation(1797)
    for places, (pixels, labels) in zip(
        (order[:1400], order[1400:]), digits_splits.values(), strict=True
    ):
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (32, 32, 1)
        assert labels.dtype == np.int32
        counts = np.bincount(digits.target[places])
        np.testing.assert_array_equal(np.bincount(labels), counts)


def test_digits32_is_the_same_everywhere_and_needs_no_network(
    digits_splits, tmp_path, monkeypatch, caplog
):
    def refuse(*args, **kwargs):
        raise OSError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    images, labels = datasets.load_split("digits32", "test", tmp_path)
    np.testing.assert_array_equal(images, digits_splits["test"][0])
    np.testing.assert_array_equal(labels, digits_splits["test"][1])
    # No warning that it is not the published data set.
    assert "published" not in caplog.text
    splits = tfds.load("digits32", data_dir=tmp_path, split=["train", "test"])
    assert [len(split) for split in splits] == [1400, 397]
