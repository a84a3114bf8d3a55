"""Splits that are read, and checked against the table."""

import logging

import numpy as np
import pytest
import sources
import tensorflow_datasets as tfds

from ssgan_tf import datasets
from ssgan_tf.datasets import loading


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


READERS = pytest.mark.parametrize("read", [datasets.load_split, datasets.index_split])


@READERS
def test_labels_out_of_range(read, digits_dir, monkeypatch):
    spec = datasets.DatasetSpec("digits32", "1.0.0", (32, 32, 1), num_classes=9)
    monkeypatch.setitem(datasets.DATASETS, "wrong", spec)
    with pytest.raises(ValueError, match=r"\[0, 9\).* labels from 0 to 9"):
        read("wrong", "test", digits_dir)


@READERS
def test_a_set_without_labels(read, digits_dir, monkeypatch):
    spec = datasets.DatasetSpec("digits32", "1.0.0", (32, 32, 1))
    monkeypatch.setitem(datasets.DATASETS, "unlabelled", spec)
    images, labels = read("unlabelled", "test", digits_dir)
    assert images.shape == (397, 32, 32, 1)
    np.testing.assert_array_equal(labels, np.full(397, -1, np.int32))


@READERS
def test_images_of_another_type(read, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(sources.Photos, "dtype", np.uint16)
    photos(tmp_path)
    with pytest.raises(ValueError, match="uint8.*uint16 .*'photos'"):
        read("photos", "train", tmp_path)


@pytest.mark.parametrize("shape", [(16, 20, 3), (8, 8, 3)])
def test_an_odd_image_is_named(shape, photos, tmp_path):
    photos(tmp_path, spoilt={9: np.zeros(shape, np.uint8)})
    with pytest.raises(ValueError) as error:
        datasets.load_split("photos", "train", tmp_path)
    for fact in ("(16, 16, 3)", str(shape), "image 2 of photos's train split"):
        assert fact in str(error.value)


def test_a_failed_download_names_data_set_folder_and_cure(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(FileNotFoundError) as error:
        datasets.load_split("cifar10", "train", tmp_path)
    for fact in ("'cifar10/3.0.2'", f"'{tmp_path}'", "ConnectionError", "no route"):
        assert fact in str(error.value)


def test_a_killed_preparation_leaves_no_broken_cache(tmp_path):
    remains = tmp_path / "digits32" / "incomplete.ABC123_1.0.0"
    remains.mkdir(parents=True)
    (remains / "digits32-train.tfrecord-00000-of-00001").write_bytes(b"half a rec")
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
