"""Splits that are read, and checked against the table."""

import logging

import numpy as np
import pytest
import sources
import tensorflow_datasets as tfds
from optional import PREPARED_DATA, needs_cifar10

from ssgan_tf import datasets
from ssgan_tf.datasets import loading


@needs_cifar10
def test_cifar10_copy():
    images, labels = datasets.load_split("cifar10", "test", PREPARED_DATA)
    assert images.shape == (10_000, 32, 32, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(labels), [1000] * 10)
    # The well-known channel means of CIFAR-10, in RGB order.
    means = images.mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(means, [0.494, 0.485, 0.450], atol=0.005)


def test_unknown_split_is_refused(digits_dir):
    with pytest.raises(ValueError, match="split='val'"):
        datasets.load_split("digits32", "val", digits_dir)


def test_the_table_names_the_tfds_splits(digits_dir, monkeypatch):
    spec = datasets.DatasetSpec(
        "digits32", "1.0.0", (32, 32, 1), 10, train_split="test", eval_split="train"
    )
    monkeypatch.setitem(datasets.DATASETS, "swapped", spec)
    assert len(datasets.load_split("swapped", "train", digits_dir)[1]) == 397
    assert len(datasets.load_split("swapped", "test", digits_dir)[1]) == 1400


@pytest.mark.parametrize(
    "image_shape, num_classes, match",
    [
        ((28, 28, 1), 10, r"shape \(28, 28, 1\).*Received: uint8 .*\(32, 32, 1\)"),
        ((32, 32, 3), 10, r"shape \(32, 32, 3\).*Received: uint8 .*\(32, 32, 1\)"),
        ((32, 32, 1), 9, r"\[0, 9\)\. Received: .* labels from 0 to 9"),
    ],
)
def test_a_data_set_that_contradicts_its_row_is_refused(
    image_shape, num_classes, match, digits_dir, monkeypatch
):
    spec = datasets.DatasetSpec("digits32", "1.0.0", image_shape, num_classes)
    monkeypatch.setitem(datasets.DATASETS, "wrong", spec)
    with pytest.raises(ValueError, match=match):
        datasets.load_split("wrong", "test", digits_dir)


def test_a_set_without_labels(digits_dir, monkeypatch):
    spec = datasets.DatasetSpec("digits32", "1.0.0", (32, 32, 1), num_classes=0)
    monkeypatch.setitem(datasets.DATASETS, "unlabelled", spec)
    _, labels = datasets.load_split("unlabelled", "test", digits_dir)
    np.testing.assert_array_equal(labels, np.full(397, -1, np.int32))


@pytest.mark.parametrize(
    "dtype, odd_shape, match",
    [
        (np.uint8, (32, 40, 3), r"must be square.*\(32, 40, 3\) as image 1 of odd's"),
        (
            np.uint8,
            (16, 16, 3),
            r"\(32, 32, 3\)\. Received: .*\(16, 16, 3\) as image 1",
        ),
        (np.uint16, (32, 32, 3), r"must be uint8 .*Received: uint16 .* as image 0"),
    ],
)
def test_an_odd_image_is_named(dtype, odd_shape, match, tmp_path, monkeypatch):
    monkeypatch.setattr(sources.OddImages, "dtype", dtype)
    monkeypatch.setattr(sources.OddImages, "odd_shape", odd_shape)
    spec = datasets.DatasetSpec("odd_images", "1.0.0", (32, 32, 3), num_classes=2)
    monkeypatch.setitem(datasets.DATASETS, "odd", spec)
    with pytest.raises(ValueError, match=match):
        datasets.load_split("odd", "train", tmp_path)


def test_a_failed_download_names_data_set_folder_and_cure(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(FileNotFoundError) as error:
        datasets.load_split("cifar10", "train", tmp_path)
    message = str(error.value)
    assert "'cifar10'" in message and f"data_dir='{tmp_path}'" in message
    assert "cifar10/3.0.2" in message
    assert "ConnectionError: no route to host" in message
    assert "--tfds_data_dir" in message


def test_interrupted_preparation_leaves_no_broken_cache(tmp_path, monkeypatch):
    generate = datasets.Digits32._generate_examples

    def interrupted(self, digits, indices):
        for i, example in enumerate(generate(self, digits, indices)):
            if len(indices) == 397 and i == 100:
                raise KeyboardInterrupt
            yield example

    with monkeypatch.context() as patch:
        patch.setattr(datasets.Digits32, "_generate_examples", interrupted)
        with pytest.raises(KeyboardInterrupt):
            datasets.load_split("digits32", "test", tmp_path)
    assert not (tmp_path / "digits32" / "1.0.0").exists()
    # A killed process cannot remove its temporary folder.
    leftover = tmp_path / "digits32" / "incomplete.ABC123_1.0.0"
    leftover.mkdir(parents=True)
    (leftover / "digits32-train.tfrecord-00000-of-00001").write_bytes(b"half a rec")
    assert len(datasets.load_split("digits32", "test", tmp_path)[1]) == 397


def test_losing_the_race_to_prepare_is_no_error(tmp_path, monkeypatch):
    prepare = tfds.core.DatasetBuilder.download_and_prepare

    def prepare_late(self, **kwargs):
        prepare(self, **kwargs)
        raise OSError("Directory not empty")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", prepare_late)
    assert len(datasets.load_split("digits32", "test", tmp_path)[1]) == 397


@pytest.mark.parametrize("spare_bytes, decoded", [(0, True), (-1, False)])
def test_small_splits_are_decoded_once(
    spare_bytes, decoded, digits_dir, digits_splits, monkeypatch, caplog
):
    size = 1400 * 32 * 32
    monkeypatch.setattr(loading, "MAX_DECODED_BYTES", size + spare_bytes)
    caplog.set_level(logging.INFO, "absl")
    images, labels = datasets.open_split("digits32", "train", digits_dir)
    expected_images, expected_labels = digits_splits["train"]
    np.testing.assert_array_equal(labels, expected_labels)
    assert isinstance(images, datasets.StoredImages) is not decoded
    if decoded:
        np.testing.assert_array_equal(images, expected_images)
        assert "1400 images decoded once, 1.4 MiB" in caplog.text
    else:
        assert "1400 images in 1 files, decoded on the fly" in caplog.text
