"""Prepared data sets, shared by the tests of this folder."""

import pathlib

import numpy as np
import pytest
import sources
import tensorflow_datasets as tfds

from ssgan_tf import datasets


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="session")
def digits_splits(digits_dir):
    return {
        split: datasets.load_split("digits32", split, digits_dir)
        for split in ("train", "test")
    }


@pytest.fixture
def photos(monkeypatch):
    """Prepares `Photos` in three files. Both splits begin and end within a file."""
    spec = datasets.DatasetSpec(
        "photos",
        "1.0.0",
        (16, 16, 3),
        num_classes=10,
        train_split="train[7:-5]",
        eval_split="train[-5:]",
    )
    monkeypatch.setitem(datasets.DATASETS, "photos", spec)

    def prepare(folder, *, spoilt=None, **kwargs):
        monkeypatch.setattr(sources.Photos, "spoilt", spoilt or {})
        builder = tfds.builder("photos", data_dir=folder, **kwargs)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(num_shards=3)
        )
        return sorted(pathlib.Path(builder.data_dir).glob("*record*"))

    return prepare


@pytest.fixture(params=["digits32", "photos"])
def both_paths(request, digits_dir, photos, tmp_path, monkeypatch):
    """Decoded images, stored images and labels of a training split: PNG, then JPEG."""
    folder = digits_dir if request.param == "digits32" else tmp_path
    if request.param == "photos":
        # By default TFDS interleaves the files of such data sets.
        monkeypatch.setattr(sources.Photos, "ordered", False)
        photos(folder)
    decoded, expected_labels = datasets.load_split(request.param, "train", folder)
    stored, labels = datasets.index_split(request.param, "train", folder)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected_labels)
    return decoded, stored, labels


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """An empty cache; the folder for prepared folders of images in it."""
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    return path / "ssgan_tf" / "folders"
