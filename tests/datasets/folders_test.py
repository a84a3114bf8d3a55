"""Folders of images as data sets."""

import os
import pathlib
import re
import socket

import image_folders
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssgan_tf import datasets
from ssgan_tf.datasets import builders, folders, image_files

pytestmark = pytest.mark.usefixtures("cache")


def _load(folder, split="train", size=12, colors=3):
    return datasets.load_split(datasets.folder_name(folder, size, colors), split)


@pytest.fixture
def photos(tmp_path):
    """A flat folder."""
    image_folders.fill(tmp_path / "photos", 12)
    return tmp_path / "photos"


# --- Which files ----------------------------------------------------------------


def test_a_flat_folder(tmp_path):
    image_folders.touch(tmp_path, *(f"photo{i:04}.png" for i in range(40)))
    others = ("notes.txt", "a.gif", "B.GIF", "deep/README", "._photo.png", ".hid/a.png")
    image_folders.touch(tmp_path, *others)
    (tmp_path / "deep" / "again").symlink_to(tmp_path)
    content = folders.read(str(tmp_path))
    assert content.classes == ()
    names = [entry.name for split in content.splits.values() for entry in split]
    assert sorted(names) == [f"photo{i:04}.png" for i in range(40)]
    assert {entry.label for entry in content.splits["train"]} == {-1}
    assert content.others == {".gif": 2, ".txt": 1, "without ending": 1}


def test_about_a_tenth_is_held_out_and_stays_so(tmp_path):
    def held_out(num):
        image_folders.touch(tmp_path, *(f"{i}.png" for i in range(num)))
        return {entry.name for entry in folders.read(str(tmp_path)).splits["test"]}

    few, many = held_out(500), held_out(2000)
    # Six deviations of a binomial count.
    assert abs(len(many) - 200) < 6 * np.sqrt(2000 * 0.1 * 0.9)
    assert many & {f"{i}.png" for i in range(500)} == few


def test_each_split_and_class_gets_its_images(tmp_path):
    # With so few images the hash alone would leave some classes without.
    names = [f"class{label:02}" for label in range(40)]
    files = (f"{name}/deep/{i}.JPG" for name in names for i in range(3))
    image_folders.touch(tmp_path, *files)
    content = folders.read(str(tmp_path))
    assert content.classes == tuple(names)
    assert {entry.label for entry in content.splits["train"]} == set(range(40))
    for split in content.splits.values():
        assert all(e.name.startswith(f"class{e.label:02}/deep/") for e in split)


def test_no_split_is_empty(tmp_path):
    for num in range(100):
        folder = tmp_path / str(num)
        image_folders.touch(folder, *(f"{num}-{i}.png" for i in range(10)))
        splits = folders.read(str(folder)).splits
        assert splits["train"] and splits["test"]
        assert set(splits["train"]).isdisjoint(splits["test"])
        assert len(splits["train"]) + len(splits["test"]) == 10


@pytest.mark.parametrize(
    "train, other", [("train", "test"), ("train", "val"), ("Training", "Testing")]
)
def test_a_folder_that_is_divided_already(train, other, tmp_path):
    for top, num in ((train, 9), (other, 4)):
        files = (f"{top}/{name}/{i}.png" for name in "ba" for i in range(num))
        image_folders.touch(tmp_path, *files)
    content = folders.read(str(tmp_path))
    assert content.classes == ("a", "b")
    assert {s: len(e) for s, e in content.splits.items()} == {"train": 18, "test": 8}
    assert content.splits["test"][0] == folders.Entry(f"{other}/a/0.png", 0)
    # Train and something else are classes.
    (tmp_path / other).rename(tmp_path / "bus")
    assert set(folders.classes(str(tmp_path))) == {"bus", train}
    # So are two held-out ones without.
    (tmp_path / train).rename(tmp_path / other)
    (tmp_path / "bus").rename(tmp_path / "valid")
    assert set(folders.classes(str(tmp_path))) == {other, "valid"}


def test_a_linked_split_and_a_linked_class(tmp_path):
    files = (f"train/{name}/{i}.png" for name in "ab" for i in range(5))
    image_folders.touch(tmp_path, *files)
    (tmp_path / "test").symlink_to(tmp_path / "train")
    splits = folders.read(str(tmp_path)).splits
    assert len(splits["train"]) == len(splits["test"]) == 10
    (tmp_path / "train" / "c").symlink_to(tmp_path / "train" / "a")
    for folder in (tmp_path, tmp_path / "train"):
        with pytest.raises(ValueError, match="with 0 of 'c'"):
            folders.read(str(folder))


def test_one_class_alone_is_none(tmp_path):
    image_folders.touch(tmp_path, *(f"all/{i}.png" for i in range(10)))
    name = datasets.folder_name(tmp_path, 12, 3)
    assert datasets.get_spec(name).num_classes == 0


def test_a_folder_that_cannot_be_entered(tmp_path, monkeypatch):
    image_folders.touch(tmp_path, "a/0.png", "b/0.png")
    scandir = os.scandir

    def guarded(path):
        if os.path.basename(path) == "b":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(OSError, match="/b': Permission denied"):
        folders.read(str(tmp_path))


# --- As a data set --------------------------------------------------------------


def test_images_and_labels_of_a_folder(tmp_path, monkeypatch):
    # Several files per split.
    monkeypatch.setattr(builders, "MAX_SHARD_BYTES", 5 * 12 * 12 * 3)
    classes = ["ant", "cat", "zebra"]
    for label, folder in enumerate(classes):
        image_folders.fill(tmp_path / folder, 15, seed=100 * label)
    label_of = {}
    for split in ("train", "test"):
        images, labels = _load(tmp_path, split)
        assert images.dtype == np.uint8 and labels.dtype == np.int32
        entries = folders.read(str(tmp_path)).splits[split]
        assert entries == sorted(entries, key=lambda entry: entry.name)
        name = datasets.folder_name(tmp_path, 12, 3)
        stored, stored_labels = datasets.index_split(name, split)
        np.testing.assert_array_equal(stored_labels, labels)
        look_up = tf.function(stored.look_up)
        for i, entry in enumerate(entries):
            expected = Image.open(tmp_path / entry.name)
            np.testing.assert_array_equal(images[i], expected)
            np.testing.assert_array_equal(look_up(tf.constant(i, tf.int64)), expected)
            label_of[images[i].tobytes()] = labels[i]
    assert label_of == {
        image_folders.noise(100 * label + i, 12, 12).tobytes(): label
        for label in range(3)
        for i in range(15)
    }
    assert len(datasets.index_split(name, "train")[0].paths) > 5
    spec = datasets.get_spec(name)
    assert spec.num_classes == 3 and spec.image_shape == (12, 12, 3)
    assert datasets.prepare(name).info.features["label"].names == classes


def _mixed(folder, num):
    """Writes images of all kinds. Returns the names of damaged ones."""
    kinds = [("png", {}), ("jpg", {"quality": 60}), ("bmp", {}), ("webp", {})]
    for i in range(num - 10):
        suffix, kwargs = kinds[i % 4]
        image = image_folders.noise(i, *np.random.default_rng(i).integers(5, 24, 2))
        image_folders.write(folder / f"{i:04}.{suffix}", image, **kwargs)
    others = {
        "cmyk.jpg": Image.fromarray(image_folders.noise(1, 20, 20, 4), "CMYK"),
        "sixteen.png": image_folders.noise(2, 9, 9, 1)[..., 0].astype(np.uint16) * 257,
        "transparent.png": image_folders.noise(3, 9, 9, 4),
        "grey.png": image_folders.noise(4, 9, 9, 1)[..., 0],
        "dot.png": image_folders.noise(6, 1, 1),
    }
    for name, image in others.items():
        image_folders.write(folder / name, image)
    whole = (folder / "0000.png").read_bytes()
    damaged = {
        "cut.png": whole[: len(whole) // 2],
        "empty.jpg": b"",
        "text.bmp": b"no image at all",
        "torn.webp": b"RIFF" + whole,
        "zeros.png": bytes(500),
    }
    for name, content in damaged.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.png")
    (folder / "link.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    return {*damaged, "pipe.png", "link.png", "loop.png"}


def test_a_folder_of_everything(tmp_path, caplog):
    damaged = _mixed(tmp_path, 1200)
    image_folders.touch(tmp_path, "1.gif", "2.GIF", "README")
    name = datasets.folder_name(tmp_path, 16, 3)
    # The files that were left out are logged once, and stored.
    for _ in range(2):
        builder = datasets.prepare(name)
        assert set(builder.info.metadata["unreadable"]) == damaged
    for words in (*damaged, "2 .gif, 1 without ending"):
        assert caplog.text.count(f" {words}") == 1
    listing = folders.read(str(tmp_path))
    total = 0
    for split in ("train", "test"):
        images, labels = datasets.load_split(name, split)
        readable = [e for e in listing.splits[split] if e.name not in damaged]
        assert images.shape == (len(readable), 16, 16, 3)
        assert (labels == -1).all()
        for image, entry in zip(images, readable, strict=True):
            expected = image_files.read_square(tmp_path / entry.name, (16, 16, 3))
            np.testing.assert_array_equal(image, expected)
        total += len(images)
    assert total == 1200 - 5


def test_a_folder_is_prepared_once_and_again_when_it_changes(tmp_path, cache):
    image_folders.fill(tmp_path, 12)
    name = datasets.folder_name(tmp_path, 12, 3)

    def prepared_at():
        return str(datasets.prepare(name).data_dir)

    first = prepared_at()
    before = {path: path.stat().st_mtime_ns for path in pathlib.Path(first).iterdir()}
    assert prepared_at() == first and first.startswith(str(cache))
    assert before == {p: p.stat().st_mtime_ns for p in pathlib.Path(first).iterdir()}
    more, other = tmp_path / "more.png", tmp_path / "other.png"
    for change in (
        lambda: image_folders.write(more, image_folders.noise(0, 12, 12)),
        lambda: more.rename(other),
        lambda: image_folders.write(other, image_folders.noise(1, 5, 5)),
        lambda: os.utime(other, (1, 1)),
    ):
        change()
        assert prepared_at() != first
        first = prepared_at()
    assert len(_load(tmp_path)[0]) + len(_load(tmp_path, "test")[0]) == 13
    for size, colors in ((8, 3), (12, 1)):
        images, _ = _load(tmp_path, size=size, colors=colors)
        assert images.shape[1:] == (size, size, colors)


def test_folders_of_one_name_are_not_mixed_up(photos, tmp_path):
    # Even if their files have the same names, sizes and times.
    empty = (
        folders.Listing(str(tmp_path / place / "photos"), (), {}, {}) for place in "ab"
    )
    assert len({folders.fingerprint(one, (8, 8, 3)) for one in empty}) == 2
    # A file that was replaced by one of the same size and time is noticed.
    file = photos / "photo0003.png"
    os.utime(file, (1, 1))
    listing = folders.read(str(photos))
    before = folders.fingerprint(listing, (12, 12, 3))
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    os.utime(file, (1, 1))
    assert folders.fingerprint(listing, (12, 12, 3)) != before


def test_long_names_and_names_that_are_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"\xe9") / ("\u5199" * 80)
    for name in ("ant", os.fsdecode(b"b\xe9\xe9")):
        image_folders.fill(path / name, 10)
    name = datasets.folder_name(path, 12, 3)
    labels = datasets.prepare(name).info.features["label"].names
    assert labels == ["ant", "b\ufffd\ufffd"]
    assert datasets.short_name(name) == "\u5199" * 33 + "_12x12x3"


def test_a_full_disk(photos, cache, monkeypatch):
    words = "No space left on device"

    def fail(*args, **kwargs):
        raise errors.pop()

    monkeypatch.setattr(builders.SsganFolder, "download_and_prepare", fail)
    errors = [OSError(28, words), tf.errors.ResourceExhaustedError(None, None, words)]
    while errors:
        with pytest.raises(OSError, match=f"'{cache}': .*{words}.*XDG_CACHE_HOME"):
            _load(photos)


def test_remains_of_killed_processes_are_removed_and_no_network_is_used(
    photos, cache, monkeypatch
):
    def refuse(*args, **kwargs):
        raise OSError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    remains = cache / "ssgan_folder" / "other-0123" / "incomplete.ABC_1.0.0"
    remains.mkdir(parents=True)
    (remains / "part").touch()
    assert len(_load(photos)[0]) + len(_load(photos, "test")[0]) == 12
    assert not remains.exists()


def test_an_interruption_leaves_nothing_half_written(tmp_path, cache, monkeypatch):
    image_folders.fill(tmp_path, 40)
    read_square = image_files.read_square

    def interrupted(path, image_shape):
        if path.endswith("photo0030.png"):
            raise KeyboardInterrupt
        return read_square(path, image_shape)

    with monkeypatch.context() as patch:
        patch.setattr(image_files, "read_square", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _load(tmp_path)
    assert not list(cache.glob("ssgan_folder/*/1.0.0"))
    assert len(_load(tmp_path)[0]) + len(_load(tmp_path, "test")[0]) == 40


# --- Clear errors ---------------------------------------------------------------


def test_too_many_unreadable_files_are_an_error(tmp_path, cache):
    image_folders.fill(tmp_path, 30)
    for i in range(11):
        (tmp_path / f"photo{i:04}.png").write_bytes(b"no longer")
    with pytest.raises(ValueError) as error:
        _load(tmp_path)
    message = str(error.value)
    assert "10 of 30 files" in message
    assert all(f"photo{i:04}.png" in message for i in range(11))
    assert not list(cache.glob("ssgan_folder/*/1.0.0"))


def test_a_class_that_cannot_be_read_is_an_error(tmp_path):
    image_folders.fill(tmp_path / "good", 20)
    image_folders.touch(tmp_path, *(f"bad/{i}.png" for i in range(4)))
    with pytest.raises(ValueError, match="class.*bad/0.png"):
        _load(tmp_path)


def _files(*tops, num=5):
    return [f"{top}/{i}.png" for top in tops for i in range(num)]


@pytest.mark.parametrize(
    "files, match",
    [
        ([], r"\.png, .*photos'"),
        (["a.txt"], "holds none"),
        (["a.png", "b.png"], "10.*photos' with 2"),
        (_files(".", "class"), "'0.png' beside the folder 'class'"),
        (_files("a", "c") + _files("b", num=2), "3.*photos' with 2 of 'b'"),
        (_files("train/a", "test/a", "test/b"), "'train/' has no 'b'"),
        (_files("train/a", "train/b", "val"), "'val/' has no 'a'"),
        (_files("train/a", "val/a", "test/a"), "'test', 'train', 'val'"),
        (_files("train", "test", "bus"), "'bus', 'test', 'train'"),
        (_files("Train/a", "Train/b"), "with 'Train'.*folder:.*photos/Train "),
        (_files(".", "train"), "not both"),
        (_files("train", "train/a", "test"), "photos/train' with '0.png' beside"),
    ],
)
def test_a_folder_that_cannot_be_a_data_set(files, match, tmp_path):
    image_folders.touch(tmp_path / "photos", *files)
    with pytest.raises(ValueError, match=match):
        _load(tmp_path / "photos")


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(FileNotFoundError, match=f"/{name}'"):
            _load(tmp_path / name)


@pytest.mark.parametrize(
    "size, colors", [((64, 48), 3), (0, 3), (64.0, 3), (64, 4), (64, None)]
)
def test_shapes_that_cannot_be(size, colors, tmp_path):
    match = re.escape(f"resolution={size}, colors={colors}")
    with pytest.raises(ValueError, match=match):
        datasets.folder_name(tmp_path, size, colors)


@pytest.mark.parametrize(
    "end", ["/photos", "/photos@64x48x3", "@64x64x3", "/a@64x64x2"]
)
def test_invalid_names(end):
    with pytest.raises(ValueError, match="colors=2|name='folder:"):
        datasets.get_spec(f"folder:{end}")


def test_names_from_any_working_directory_and_for_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = datasets.folder_name("folder:a@b/My photos, 2", 64, 1)
    assert name == f"folder:{tmp_path}/a@b/My photos, 2@64x64x1"
    assert folders.parse(name) == (f"{tmp_path}/a@b/My photos, 2", (64, 64, 1))
    assert datasets.short_name(name) == "My_photos_2_64x64x1"
    assert datasets.short_name("cifar10") == "cifar10"
