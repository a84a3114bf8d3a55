"""Images that are decoded from their files, one by one."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import sources
import tensorflow as tf
from paths import ROOT

from ssgan_tf import datasets
from ssgan_tf.datasets import loading


def test_stored_images_decode_to_those_of_tfds(both_paths):
    decoded, stored, _ = both_paths
    assert stored.shape == decoded.shape and stored.dtype == decoded.dtype
    look_up = tf.function(stored.look_up)
    for index in tf.range(len(decoded), dtype=tf.int64):
        np.testing.assert_array_equal(look_up(index), decoded[index])


def test_stored_images_of_the_other_split(photos, tmp_path):
    assert len(photos(tmp_path)) == 3
    stored, labels = datasets.index_split("photos", "test", tmp_path)
    decoded, _ = datasets.load_split("photos", "test", tmp_path)
    np.testing.assert_array_equal(labels, [5, 6, 7, 8, 9])
    np.testing.assert_array_equal(stored.look_up(tf.constant(4, tf.int64)), decoded[4])


def test_splits_are_read_file_after_file(photos, tmp_path):
    photos(tmp_path)
    _, labels = datasets.index_split("photos", "train", tmp_path)
    np.testing.assert_array_equal(labels, np.arange(7, 55) % 10)


def _elements(images, labels, steps, **kwargs):
    dataset = datasets.training_dataset(images, labels, batch_size=8, seed=4, **kwargs)
    return list(dataset.take(steps).as_numpy_iterator())


_LARGE = """
import resource
import sys

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from ssgan_tf import datasets
from ssgan_tf.datasets import loading

SIZE, COUNT = 512, 320


class Plain(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="png")
        features = tfds.features.FeaturesDict({"image": image})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for key in range(COUNT):
            yield key, {"image": np.full((SIZE, SIZE, 3), key % 256, np.uint8)}


def peak():
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


datasets.DATASETS["plain"] = datasets.DatasetSpec("plain", "1.0.0", (SIZE, SIZE, 3), 0)
loading.MAX_DECODED_BYTES = COUNT * SIZE * SIZE * 3 - 1
tfds.builder("plain", data_dir=sys.argv[1]).download_and_prepare()
before = peak()
images, labels = datasets.open_split("plain", "train", sys.argv[1])
stream = datasets.training_dataset(images, labels, batch_size=8, seed=0)
batches = stream.take(COUNT // 8)
values = {int(image[0, 0, 0]) for batch, _ in batches for image in batch}
assert values == set(range(256)), values
print((peak() - before) / (COUNT * SIZE * SIZE * 3))
"""


@pytest.mark.slow
def test_stored_images_are_never_in_memory_at_once(tmp_path):
    # The peak memory of a process that reads each image once.
    done = subprocess.run(
        [sys.executable, "-c", _LARGE, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # As a share of the decoded images, which are 252 MB.
    assert float(done.stdout.split()[-1]) < 0.5


@pytest.mark.parametrize(
    "spoil, shape",
    [
        (lambda image: b"\xff\xd8\xff no picture", r"\[0 0 0\]"),
        (lambda image: image[: len(image) // 2], r"\[0 0 0\]"),
        (
            lambda image: tf.io.encode_jpeg(np.zeros((16, 20, 3), np.uint8)).numpy(),
            r"\[16 20 3\]",
        ),
    ],
    ids=["no picture", "half a picture", "oblong"],
)
def test_a_spoilt_image_is_named(spoil, shape, photos, tmp_path):
    whole = tf.io.encode_jpeg(np.full((16, 16, 3), 99, np.uint8)).numpy()
    # Image 23 of the training split, which begins with image 7.
    paths = photos(tmp_path, spoilt={30: spoil(whole)})
    stored, labels = datasets.index_split("photos", "train", tmp_path)
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=rf"photos.*image 23, at byte \d+ of {paths[1]}, of shape {shape}",
    ):
        _elements(stored, labels, 6)


def test_a_picture_that_cannot_be_decoded_is_named_at_the_start(photos, tmp_path):
    photos(tmp_path, spoilt={30: b"\xff\xd8\xff no picture"})
    with pytest.raises(ValueError, match=r"image 23 of photos's train split in '.*'"):
        datasets.load_split("photos", "train", tmp_path)


def _starts(data):
    """The first byte of each record of a TFRecord file, and the end of the file."""
    starts = [0]
    while starts[-1] < len(data):
        size = int.from_bytes(data[starts[-1] : starts[-1] + 8], "little")
        starts.append(starts[-1] + size + 16)
    return starts


def _flip(data, place):
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]


# Functions of the content of a file, and of start and end of its sixth record.
_DAMAGED_RECORDS = {
    "length": lambda data, start, end: _flip(data, start + 1),
    "top of the length": lambda data, start, end: _flip(data, start + 7),
    "checksum of the length": lambda data, start, end: _flip(data, start + 9),
    "label": lambda data, start, end: _flip(data, end - 6),
    "picture": lambda data, start, end: _flip(data, (start + end) // 2),
    "checksum": lambda data, start, end: _flip(data, end - 2),
}
_DAMAGED_FILES = _DAMAGED_RECORDS | {
    "cut within a record": lambda data, start, end: data[: start + 100],
    "cut between records": lambda data, start, end: data[:start],
    "cut by one record": lambda data, start, end: data[: _starts(data)[-2]],
    "empty": lambda data, start, end: b"",
    "longer": lambda data, start, end: data + data[start:end],
    "missing": lambda data, start, end: None,
}


def _damage(path, damage):
    data = path.read_bytes()
    damaged = damage(data, *_starts(data)[5:7])
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)


# With labels the split reads the whole file, without labels a part of it.
@pytest.mark.parametrize("num_classes, place", [(10, 1), (0, 2)])
def test_a_damaged_file_is_refused_at_the_start(
    num_classes, place, photos, tmp_path, monkeypatch
):
    path = photos(tmp_path)[place]
    spec = datasets.DatasetSpec(
        "photos", "1.0.0", (16, 16, 3), num_classes, train_split="train[7:-5]"
    )
    monkeypatch.setitem(datasets.DATASETS, "photos", spec)
    whole = path.read_bytes()
    for name, damage in _DAMAGED_FILES.items():
        _damage(path, damage)
        for read in (datasets.load_split, datasets.index_split):
            with pytest.raises(ValueError) as error:
                read("photos", "train", tmp_path)
            message = str(error.value)
            assert str(path) in message, (name, message)
            assert "prepare it again" in message and "{{" not in message
        path.write_bytes(whole)
    assert len(datasets.load_split("photos", "train", tmp_path)[1]) == 48


@pytest.mark.parametrize("spare_bytes", [0, -1])
def test_numbers_of_records_that_are_not_those_of_the_files(
    spare_bytes, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(loading, "MAX_DECODED_BYTES", 48 * 768 + spare_bytes)
    path = photos(tmp_path)[0]
    info = path.parent / "dataset_info.json"
    text = info.read_text()
    for changed, words in (
        (text.replace('"20"', '"10"', 1), f"'{path}' .*20 .*10"),
        (text.replace('"20"', '"21"', 1), f"'{path}' .*20 .*21"),
        (text.replace('"train"', '"tsain"'), f"'train.*'{path.parent}'"),
    ):
        assert changed != text
        info.write_text(changed)
        with pytest.raises(ValueError, match=words):
            datasets.open_split("photos", "train", tmp_path)


@pytest.mark.parametrize("damage", _DAMAGED_RECORDS)
def test_a_record_that_is_damaged_while_it_is_in_use(damage, photos, tmp_path):
    path = photos(tmp_path)[1]
    stored, labels = datasets.index_split("photos", "train", tmp_path)
    decoded, _ = datasets.load_split("photos", "train", tmp_path)
    _damage(path, _DAMAGED_RECORDS[damage])
    # The file begins with image 13 of the split.
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"image 18, at byte \d+ of {path}"
    ):
        _elements(stored, labels, 6)
    for place in (17, 19):
        image = stored.look_up(tf.constant(place, tf.int64))
        np.testing.assert_array_equal(image, decoded[place])


@pytest.mark.parametrize("damage", ["missing", "empty", "cut within a record"])
def test_a_file_that_goes_while_it_is_in_use(damage, photos, tmp_path):
    path = photos(tmp_path)[1]
    stored, labels = datasets.index_split("photos", "train", tmp_path)
    _damage(path, _DAMAGED_FILES[damage])
    raised = []

    def train():
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            _elements(stored, labels, 6)
        raised.append(str(error.value))

    # In another thread, because retries of the missing file would never end.
    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert raised and f" of {path}, of shape [0 0 0]" in raised[0]


def test_other_file_formats_are_refused(photos, tmp_path):
    photos(tmp_path, file_format="array_record")
    with pytest.raises(ValueError, match="'photos', stored as array_record"):
        datasets.index_split("photos", "train", tmp_path)


def test_stored_images_of_another_type_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.OddImages, "dtype", np.uint16)
    spec = datasets.DatasetSpec("odd_images", "1.0.0", (32, 32, 3), num_classes=2)
    monkeypatch.setitem(datasets.DATASETS, "odd", spec)
    with pytest.raises(ValueError, match="uint16"):
        datasets.index_split("odd", "train", tmp_path)


def test_stored_labels_out_of_range_are_refused(digits_dir, monkeypatch):
    spec = datasets.DatasetSpec("digits32", "1.0.0", (32, 32, 1), num_classes=9)
    monkeypatch.setitem(datasets.DATASETS, "wrong", spec)
    with pytest.raises(ValueError, match=r"\[0, 9\)\. Received: .* labels from 0 to 9"):
        datasets.index_split("wrong", "test", digits_dir)


def test_a_stored_set_without_labels(digits_dir, monkeypatch):
    spec = datasets.DatasetSpec("digits32", "1.0.0", (32, 32, 1), num_classes=0)
    monkeypatch.setitem(datasets.DATASETS, "unlabelled", spec)
    stored, labels = datasets.index_split("unlabelled", "test", digits_dir)
    assert stored.shape == (397, 32, 32, 1)
    np.testing.assert_array_equal(labels, np.full(397, -1, np.int32))
