"""Images that are decoded from their files, one by one."""

import threading

import numpy as np
import pytest
import sources
import tensorflow as tf

from ssgan_tf import datasets
from ssgan_tf.datasets import loading


def test_stored_images_decode_to_those_of_tfds(both_paths):
    decoded, stored, _ = both_paths
    assert stored.shape == decoded.shape and stored.dtype == decoded.dtype
    look_up = tf.function(stored.look_up)
    for index in tf.range(0, len(decoded), 7, dtype=tf.int64):
        np.testing.assert_array_equal(look_up(index), decoded[index])


def test_stored_images_of_the_other_split(photos, tmp_path):
    assert len(photos(tmp_path)) == 3
    _, labels = datasets.index_split("photos", "train", tmp_path)
    np.testing.assert_array_equal(labels, np.arange(7, 55) % 10)
    stored, labels = datasets.index_split("photos", "test", tmp_path)
    decoded, _ = datasets.load_split("photos", "test", tmp_path)
    np.testing.assert_array_equal(labels, [5, 6, 7, 8, 9])
    np.testing.assert_array_equal(stored.look_up(tf.constant(4, tf.int64)), decoded[4])


WHOLE, OBLONG = (
    tf.io.encode_jpeg(np.full((16, width, 3), 99, np.uint8)).numpy()
    for width in (16, 20)
)


@pytest.mark.parametrize(
    "spoilt, shape",
    [
        (b"\xff\xd8\xff no picture", r"\[0 0 0\]"),
        (WHOLE[: len(WHOLE) // 2], r"\[0 0 0\]"),
        (OBLONG, r"\[16 20 3\]"),
    ],
)
def test_a_spoilt_image_is_named(spoilt, shape, photos, tmp_path):
    # Image 23 of the training split, which begins with image 7.
    paths = photos(tmp_path, spoilt={30: spoilt})
    with pytest.raises(ValueError, match="image 23 of photos's train split"):
        datasets.load_split("photos", "train", tmp_path)
    stored, labels = datasets.index_split("photos", "train", tmp_path)
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=rf"photos.*image 23, at byte \d+ of {paths[1]}, of shape {shape}",
    ):
        sources.elements(stored, labels, 6)


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
            assert str(path) in str(error.value), name
            assert "{{" not in str(error.value)
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


@pytest.mark.parametrize(
    "damage", [*_DAMAGED_RECORDS, "missing", "empty", "cut within a record"]
)
def test_a_file_that_is_damaged_while_it_is_in_use(damage, photos, tmp_path):
    path = photos(tmp_path)[1]
    stored, labels = datasets.index_split("photos", "train", tmp_path)
    decoded, _ = datasets.load_split("photos", "train", tmp_path)
    _damage(path, _DAMAGED_FILES[damage])
    raised = []

    def train():
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            sources.elements(stored, labels, 6)
        raised.append(str(error.value))

    # In another thread, because retries of a missing file would never end.
    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert raised and f" of {path}, of shape [0 0 0]" in raised[0]
    if damage in _DAMAGED_RECORDS:
        # The file begins with image 13 of the split.
        assert "image 18, at byte" in raised[0]
        for place in (17, 19):
            image = stored.look_up(tf.constant(place, tf.int64))
            np.testing.assert_array_equal(image, decoded[place])


def test_other_file_formats_are_refused(photos, tmp_path):
    photos(tmp_path, file_format="array_record")
    with pytest.raises(ValueError, match="'photos', stored as array_record"):
        datasets.index_split("photos", "train", tmp_path)
