"""Every row of the table, prepared from small data sets in TFDS's format."""

import importlib.util
import shutil

import image_folders
import numpy as np
import pytest
import resizing
import sources
import tensorflow as tf
import tensorflow_datasets as tfds
from optional import needs_beam

from ssgan_tf import datasets
from ssgan_tf.datasets import builders, crops
from ssgan_tf.utils import progress

# Shapes of the source images; None if they differ.
_SOURCE_SHAPES = {
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "cifar100": (32, 32, 3),
    "stl10": (96, 96, 3),
    "celeb_a": (218, 178, 3),
    "celeb_a_hq/128": (128, 128, 3),
    "lsun/bedroom": None,
    "imagenet2012": None,
    "imagenet_resized/32x32": (32, 32, 3),
    "imagenet_resized/64x64": (64, 64, 3),
}
_COUNTS = {
    "stl10": {"train": 2, "test": 5, "unlabelled": 9},
    "celeb_a_hq/128": {"train": 3012},
    "lsun/bedroom": {"train": 200, "validation": 3},
}
# Row -> number of training and of reference images.
_SIZES = {"stl10": (9, 5), "celeb_a_hq": (12, 3000), "lsun_bedroom": (198, 2)}


def _source_image(tfds_name):
    shape = _SOURCE_SHAPES[tfds_name]

    def make(split, number):
        if tfds_name == "celeb_a_hq/128":
            return np.full(shape, number % 256, np.uint8)
        seed = [len(split), number]
        if shape:
            return resizing.noise(seed, *shape)
        height, width = np.random.default_rng(seed).integers(100, 220, 2)
        return resizing.noise(seed, height, width)

    return make


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for tfds_name in _SOURCE_SHAPES:
            rows = {s.tfds_name: n for n, s in datasets.DATASETS.items()}
            other = "validation" if "imagenet" in tfds_name else "test"
            counts = _COUNTS.get(tfds_name, {"train": 8, other: 5})
            make = _source_image(tfds_name)
            sources.prepare_source(
                rows[tfds_name], path, counts, make, monkeypatch=monkeypatch
            )
    return path


def _source(name, split, data_dir):
    """Images and labels as TFDS has them, in stored order."""
    spec = datasets.get_spec(name)
    tfds_split = spec.train_split if split == "train" else spec.eval_split
    examples = tfds.load(
        f"{spec.tfds_name}:{spec.tfds_version}",
        split=tfds_split,
        data_dir=data_dir,
        shuffle_files=False,
        read_config=tfds.ReadConfig(interleave_cycle_length=1),
    )
    return [(e["image"], e.get("label", -1)) for e in examples.as_numpy_iterator()]


def _expected(name, split, number, image):
    size = datasets.get_spec(name).image_shape[0]
    if name == "stl10":
        return image.reshape((48, 2, 48, 2, 3)).mean(axis=(1, 3))
    if name.startswith("celeb_a") and name != "celeb_a_hq":
        return resizing.bilinear(image[29:189, 9:169], size)
    if name == "lsun_bedroom":
        return crops.crop_or_pad(image, size).numpy()
    if name in ("imagenet64", "imagenet128", "imagenet256"):
        if split == "train":
            seed = tf.constant([builders.CROP_SEED, number], tf.int64)
            return crops.random_square(image, size, seed).numpy()
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        return resizing.bilinear(image[top : top + side, left : left + side], size)
    return image


@pytest.mark.parametrize("name", sorted(set(datasets.DATASETS) - {"digits32"}))
def test_every_row(name, data_dir, caplog):
    spec = datasets.get_spec(name)
    for split, count in zip(("train", "test"), _SIZES.get(name, (8, 5))):
        images, labels = datasets.load_split(name, split, data_dir)
        assert images.dtype == np.uint8
        assert images.shape == (count, *spec.image_shape)
        source = _source(name, split, data_dir)
        for number in range(min(count, 20)):
            image, label = source[number]
            expected = _expected(name, split, number, image)
            resizing.assert_rounded(images[number], expected)
            assert labels[number] == (label if spec.num_classes else -1)
        assert labels.min() >= 0 if spec.num_classes else (labels == -1).all()
        # The log warns of every split that is not the published one.
        published = spec.train_count if split == "train" else spec.eval_count
        warned = f"{name}, {split} split: {count} images" in caplog.text
        assert warned == (count != published)
        if spec.crop:
            prepared = tfds.load(f"ssgan_prepared/{name}", data_dir=data_dir)
            assert len(prepared[split]) == count
        stored, _ = datasets.index_split(name, split, data_dir)
        last = stored.look_up(tf.constant(count - 1, tf.int64))
        np.testing.assert_array_equal(last, images[-1])


def test_the_counts_of_the_table_are_those_of_its_splits():
    # The last 1 % of 3,033,042.
    bedroom = datasets.get_spec("lsun_bedroom")
    assert bedroom.train_count + bedroom.eval_count == 3_033_042
    assert bedroom.train_count == round(0.99 * 3_033_042)


@pytest.fixture
def bedroom_dir(data_dir, tmp_path):
    """The source of `lsun_bedroom` alone, not yet cropped."""
    shutil.copytree(data_dir / "lsun", tmp_path / "lsun")
    return tmp_path


@pytest.mark.parametrize("name", ["imagenet64", "lsun_bedroom"])
def test_files_made_independently_are_the_same(name, data_dir, tmp_path, monkeypatch):
    images, labels = datasets.load_split(name, "train", data_dir)
    source = datasets.get_spec(name).tfds_name.split("/")[0]
    shutil.copytree(data_dir / source, tmp_path / source)
    builder = builders.SsganPrepared(config=name, data_dir=tmp_path)
    builder.in_parts = True
    monkeypatch.setattr(
        builders, "MAX_SHARD_BYTES", len(images) // 3 * images[0].nbytes
    )
    builder.download_and_prepare(download_config=builders.OFFLINE)
    parts, part_labels = datasets.load_split(name, "train", tmp_path)
    np.testing.assert_array_equal(parts, images)
    np.testing.assert_array_equal(part_labels, labels)
    assert len(datasets.index_split(name, "train", tmp_path)[0].paths) > 2


@pytest.mark.parametrize("files", [1, 4])
def test_progress_is_shown_to_the_end(files, bedroom_dir, data_dir, monkeypatch):
    finished = []

    def track(items, total, task):
        yield from items
        finished.append((total, task))

    monkeypatch.setattr(progress, "track", track)
    monkeypatch.setattr(builders, "MAX_SHARD_BYTES", 200 // files * 128 * 128 * 3)
    images, _ = datasets.load_split("lsun_bedroom", "train", bedroom_dir)
    assert finished == [
        (198, "preparing lsun_bedroom, train"),
        (2, "preparing lsun_bedroom, test"),
    ]
    stored, _ = datasets.index_split("lsun_bedroom", "train", bedroom_dir)
    assert len(stored.paths) == files
    expected, _ = datasets.load_split("lsun_bedroom", "train", data_dir)
    np.testing.assert_array_equal(images, expected)
    # The prepared images do not need their source.
    shutil.rmtree(bedroom_dir / "lsun")
    assert len(datasets.load_split("lsun_bedroom", "test", bedroom_dir)[0]) == 2


# --- Missing or damaged files ---------------------------------------------------


@pytest.mark.parametrize("name", ["imagenet128", "celeb_a_hq"])
def test_files_to_fetch_by_hand_are_named(name, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("TFDS was asked")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    by_hand = datasets.get_spec(name).by_hand
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    # Only missing files are named.
    for i, file in enumerate(by_hand.files):
        with pytest.raises(FileNotFoundError) as error:
            datasets.load_split(name, "train", tmp_path)
        for fact in (", ".join(by_hand.files[i:]), by_hand.source, f"'{manual}'"):
            assert fact in str(error.value)
        (manual / file).touch()
    # If none is missing, TFDS prepares them.
    with pytest.raises(FileNotFoundError, match="TFDS was asked"):
        datasets.load_split(name, "train", tmp_path)


def test_a_damaged_source_is_named(bedroom_dir):
    (file,) = bedroom_dir.glob("lsun/bedroom/3.1.0/*train*00000-of*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with pytest.raises(FileNotFoundError) as error:
        datasets.load_split("lsun_bedroom", "test", bedroom_dir)
    assert "lsun/bedroom/3.1.0" in str(error.value)
    assert not (bedroom_dir / "ssgan_prepared/lsun_bedroom/1.0.0").exists()


def test_a_beam_runner_needs_beam(bedroom_dir, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"'DirectRunner', name='lsun_bedroom'"):
        datasets.prepare("lsun_bedroom", bedroom_dir, "DirectRunner")


def test_beam_prepares_no_folders(tmp_path):
    image_folders.touch(tmp_path, *(f"{i}.png" for i in range(10)))
    name = datasets.folder_name(tmp_path, 12, 3)
    with pytest.raises(ValueError, match=f"'DirectRunner', name='{name}'"):
        datasets.prepare(name, beam_runner="DirectRunner")


@pytest.mark.slow
@needs_beam
def test_beam_prepares_the_same(bedroom_dir, data_dir, monkeypatch):
    images, _ = datasets.load_split("lsun_bedroom", "train", data_dir)
    monkeypatch.setattr(builders, "MAX_SHARD_BYTES", 50 * images[0].nbytes)
    datasets.prepare("lsun_bedroom", bedroom_dir, "DirectRunner")
    again, _ = datasets.load_split("lsun_bedroom", "train", bedroom_dir)
    np.testing.assert_array_equal(again, images)
