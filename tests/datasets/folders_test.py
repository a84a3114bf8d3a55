"""Folders of images as data sets."""

import os
import pathlib
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
    image_folders.fill(tmp_path, 40)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._photo0001.png").write_bytes(b"of a foreign disk")
    image_folders.fill(tmp_path / ".hidden", 2)
    listing = folders.listing(str(tmp_path))
    assert listing.classes == ()
    names = [entry.name for split in listing.splits.values() for entry in split]
    assert sorted(names) == [f"photo{i:04}.png" for i in range(40)]
    assert {entry.label for entry in listing.splits["train"]} == {-1}


def test_about_a_tenth_is_held_out_and_stays_so(tmp_path):
    def held_out(num):
        for i in range(num):
            (tmp_path / f"{i}.png").touch()
        return {entry.name for entry in folders.listing(str(tmp_path)).splits["test"]}

    few, many = held_out(500), held_out(2000)
    # Six deviations of a binomial count.
    assert abs(len(many) - 200) < 6 * np.sqrt(2000 * 0.1 * 0.9)
    assert many & {f"{i}.png" for i in range(500)} == few


def test_each_split_and_class_gets_its_images(tmp_path):
    # With so few images the hash alone would leave some classes without.
    for label in range(40):
        for i in range(3):
            path = tmp_path / f"class{label:02}" / "deep" / f"{i}.JPG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    listing = folders.listing(str(tmp_path))
    assert listing.classes == tuple(f"class{label:02}" for label in range(40))
    assert {entry.label for entry in listing.splits["train"]} == set(range(40))
    assert listing.splits["test"]
    for split in listing.splits.values():
        assert all(e.name.startswith(f"class{e.label:02}/deep/") for e in split)


def test_no_split_is_empty(tmp_path):
    for num in range(100):
        folder = tmp_path / str(num)
        folder.mkdir()
        for i in range(10):
            (folder / f"{num}-{i}.png").touch()
        splits = folders.listing(str(folder)).splits
        assert splits["train"] and splits["test"]
        assert set(splits["train"]).isdisjoint(splits["test"])
        assert len(splits["train"]) + len(splits["test"]) == 10


@pytest.mark.parametrize(
    "train, other", [("train", "test"), ("train", "val"), ("Training", "Testing")]
)
def test_a_folder_that_is_divided_already(train, other, tmp_path):
    for top, num in ((train, 9), (other, 4)):
        for name in ("b", "a"):
            image_folders.fill(tmp_path / top / name, num)
    listing = folders.listing(str(tmp_path))
    assert listing.classes == ("a", "b")
    assert {s: len(e) for s, e in listing.splits.items()} == {"train": 18, "test": 8}
    assert listing.splits["test"][0] == folders.Entry(f"{other}/a/photo0000.png", 0)
    # Train and something else are classes.
    (tmp_path / other).rename(tmp_path / "bus")
    assert set(folders.classes(str(tmp_path))) == {"bus", train}
    # So are two held-out ones without.
    (tmp_path / train).rename(tmp_path / other)
    (tmp_path / "bus").rename(tmp_path / "valid")
    assert set(folders.classes(str(tmp_path))) == {other, "valid"}


def test_one_class_alone_is_none(tmp_path):
    image_folders.fill(tmp_path / "all", 10)
    name = datasets.folder_name(tmp_path, 12, 3)
    assert datasets.get_spec(name).num_classes == 0


def test_other_files_are_counted(tmp_path, caplog):
    image_folders.fill(tmp_path / "a", 10)
    image_folders.fill(tmp_path / "b", 10)
    for name in ("a/1.gif", "b/2.GIF", "b/deep/x.tif", "README", "a/.hidden.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = folders.listing(str(tmp_path))
    assert listing.others == {".gif": 2, ".tif": 1, "without ending": 1}
    # Only the first call prepares and warns.
    for _ in range(2):
        _load(tmp_path)
        assert caplog.text.count("2 .gif, 1 .tif, 1 without ending") == 1


def test_a_folder_that_cannot_be_entered(tmp_path, monkeypatch):
    image_folders.fill(tmp_path / "a", 10)
    image_folders.fill(tmp_path / "b", 10)
    scandir = os.scandir

    def guarded(path):
        if os.path.basename(path) == "b":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(OSError, match="/b': Permission denied"):
        folders.listing(str(tmp_path))


def test_links_are_followed_once(tmp_path):
    image_folders.fill(tmp_path / "photos", 10)
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    listing = folders.listing(str(tmp_path))
    assert sum(map(len, listing.splits.values())) == 10


# --- As a data set --------------------------------------------------------------


def test_images_and_labels_of_a_folder(tmp_path):
    for place, name in enumerate(("zebra", "ant", "cat")):
        image_folders.fill(tmp_path / name, 15, seed=100 * place)
    label_of = {}
    for split in ("train", "test"):
        images, labels = _load(tmp_path, split)
        assert images.dtype == np.uint8 and images.shape[1:] == (12, 12, 3)
        assert labels.dtype == np.int32
        listing = folders.listing(str(tmp_path)).splits[split]
        assert listing == sorted(listing, key=lambda entry: entry.name)
        for image, label, entry in zip(images, labels, listing, strict=True):
            np.testing.assert_array_equal(image, Image.open(tmp_path / entry.name))
            label_of[image.tobytes()] = label
    classes = {"ant": 0, "cat": 1, "zebra": 2}
    assert label_of == {
        image_folders.noise(100 * place + i, 12, 12).tobytes(): classes[name]
        for place, name in enumerate(("zebra", "ant", "cat"))
        for i in range(15)
    }
    spec = datasets.get_spec(datasets.folder_name(tmp_path, 12, 3))
    assert spec.num_classes == 3 and spec.image_shape == (12, 12, 3)
    builder = datasets.prepare(datasets.folder_name(tmp_path, 12, 3))
    assert builder.info.features["label"].names == sorted(classes)


def test_images_left_in_their_files_are_the_same(tmp_path, monkeypatch):
    for place, name in enumerate("ab"):
        image_folders.fill(tmp_path / name, 20, seed=100 * place)
    # Several files per split.
    monkeypatch.setattr(builders, "MAX_SHARD_BYTES", 5 * 12 * 12 * 3)
    name = datasets.folder_name(tmp_path, 12, 3)
    images, labels = datasets.load_split(name, "train")
    stored, stored_labels = datasets.index_split(name, "train")
    assert len(stored.paths) > 5
    np.testing.assert_array_equal(stored_labels, labels)
    for i, image in enumerate(images):
        np.testing.assert_array_equal(stored.look_up(tf.constant(i, tf.int64)), image)


def _mixed(folder, num):
    """Writes images of all kinds. Returns the names of damaged ones."""
    kinds = [("png", {}), ("jpg", {"quality": 60}), ("bmp", {}), ("webp", {})]
    for i in range(num - 11):
        suffix, kwargs = kinds[i % 4]
        size = np.random.default_rng(i).integers(5, 24, 2)
        image_folders.write(
            folder / f"{i:04}.{suffix}", image_folders.noise(i, *size), **kwargs
        )
    cmyk = Image.fromarray(image_folders.noise(1, 20, 20, 4), "CMYK")
    image_folders.write(folder / "cmyk.jpg", cmyk)
    image_folders.write(
        folder / "sixteen.png", image_folders.noise(2, 9, 9, 1).astype(np.uint16) * 257
    )
    image_folders.write(folder / "transparent.png", image_folders.noise(3, 9, 9, 4))
    image_folders.write(folder / "grey.png", image_folders.noise(4, 9, 9, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    image_folders.write(folder / "turned.jpg", image_folders.noise(5, 16, 9), exif=exif)
    image_folders.write(folder / "dot.png", image_folders.noise(6, 1, 1))
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
    return set(damaged)


def test_a_folder_of_everything(tmp_path, caplog):
    num = 3000
    damaged = _mixed(tmp_path, num)
    name = datasets.folder_name(tmp_path, 16, 3)
    builder = datasets.prepare(name)
    assert set(builder.info.metadata["unreadable"]) == damaged
    assert all(file in caplog.text for file in damaged)
    listing = folders.listing(str(tmp_path))
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
    assert total == num - 5
    # The list of files that were left out is stored.
    again = datasets.prepare(name)
    assert again.info.metadata["unreadable"].keys() == damaged


def test_a_folder_is_prepared_once_and_again_when_it_changes(tmp_path, cache):
    image_folders.fill(tmp_path, 12)
    name = datasets.folder_name(tmp_path, 12, 3)

    def prepared_at():
        return str(datasets.prepare(name).data_dir)

    first = prepared_at()
    before = {path: path.stat().st_mtime_ns for path in pathlib.Path(first).iterdir()}
    assert prepared_at() == first and first.startswith(str(cache))
    assert before == {p: p.stat().st_mtime_ns for p in pathlib.Path(first).iterdir()}
    for change in (
        lambda: image_folders.write(
            tmp_path / "more.png", image_folders.noise(0, 12, 12)
        ),
        lambda: (tmp_path / "more.png").rename(tmp_path / "other.png"),
        lambda: image_folders.write(
            tmp_path / "other.png", image_folders.noise(1, 5, 5)
        ),
        lambda: os.utime(tmp_path / "other.png", (1, 1)),
    ):
        change()
        assert prepared_at() != first
        first = prepared_at()
    assert len(_load(tmp_path)[0]) + len(_load(tmp_path, "test")[0]) == 13
    for size, colors in ((8, 3), (12, 1)):
        assert _load(tmp_path, size=size, colors=colors)[0].shape[1:] == (
            size,
            size,
            colors,
        )


def test_folders_of_one_name_are_not_mixed_up(tmp_path):
    for place in "ab":
        image_folders.fill(tmp_path / place / "photos", 12, seed=ord(place))
        for path in (tmp_path / place / "photos").iterdir():
            os.utime(path, (1, 1))
    first, second = (_load(tmp_path / place / "photos")[0] for place in "ab")
    assert first.tobytes() != second.tobytes()
    # Also if their files have the same names, sizes and times.
    empty = (
        folders.Listing(str(tmp_path / place / "photos"), (), {}, {}) for place in "ab"
    )
    assert len({folders.fingerprint(one, (8, 8, 3)) for one in empty}) == 2
    # A file that was replaced by one of the same size and time is noticed.
    path = tmp_path / "a" / "photos"
    listing = folders.listing(str(path))
    before = folders.fingerprint(listing, (12, 12, 3))
    file = path / "photo0003.png"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    os.utime(file, (1, 1))
    assert folders.fingerprint(listing, (12, 12, 3)) != before


def test_odd_files_are_left_out_by_name(tmp_path, caplog):
    image_folders.fill(tmp_path, 20)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
        file.write(b"nothing")
    builder = datasets.prepare(datasets.folder_name(tmp_path, 12, 3))
    left_out = builder.info.metadata["unreadable"]
    assert set(left_out) == {"pipe.png", "link.png", "loop.png", "caf\ufffd.png"}
    str(left_out).encode()
    caplog.text.encode()
    assert len(_load(tmp_path)[0]) + len(_load(tmp_path, "test")[0]) == 20


def test_names_that_are_not_utf8(tmp_path):
    top = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9")
    for name in ("ant", os.fsdecode(b"b\xe9\xe9")):
        image_folders.fill(pathlib.Path(top, name), 10)
    builder = datasets.prepare(datasets.folder_name(top, 12, 3))
    assert builder.info.features["label"].names == ["ant", "b\ufffd\ufffd"]


def test_a_name_may_be_long(tmp_path):
    path = tmp_path / ("\u5199" * 80)
    image_folders.fill(path, 10)
    assert len(_load(path)[0]) == 9
    short = datasets.short_name(datasets.folder_name(path, 12, 3))
    assert short == "\u5199" * 33 + "_12x12x3"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
    ],
)
def test_a_full_disk(error, photos, cache, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(builders.SsganFolder, "download_and_prepare", fail)
    with pytest.raises(OSError, match="No space left.*XDG_CACHE_HOME") as caught:
        _load(photos)
    assert f"'{cache}'" in str(caught.value)


def test_remains_of_killed_processes_are_removed(photos, cache):
    remains = cache / "ssgan_folder" / "other-0123" / "incomplete.ABC_1.0.0"
    remains.mkdir(parents=True)
    (remains / "part").touch()
    _load(photos)
    assert not remains.exists()


def test_beam_prepares_no_folders(photos):
    name = datasets.folder_name(photos, 12, 3)
    with pytest.raises(ValueError, match="beam_runner='DirectRunner'"):
        datasets.prepare(name, beam_runner="DirectRunner")


def test_a_folder_needs_no_network(photos, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(_load(photos)[0]) + len(_load(photos, "test")[0]) == 12


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
    for i in range(4):
        path = tmp_path / "bad" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="class.*bad/0.png"):
        _load(tmp_path)


@pytest.mark.parametrize(
    "files, error, match",
    [
        (None, FileNotFoundError, "photos' does not exist"),
        ([], ValueError, r"\.png, .*photos'"),
        (["a.txt"], ValueError, "holds none"),
        (["a.png", "b.png"], ValueError, "10.*photos' with 2"),
        (
            [f"{i}.png" for i in range(9)] + ["class/a.png"],
            ValueError,
            "'..png' beside the folder 'class'",
        ),
        (
            [f"a/{i}.png" for i in range(9)] + ["b/0.png", "b/1.png"],
            ValueError,
            "3.*photos' with 2 of 'b'",
        ),
        (
            [f"{top}/a/{i}.png" for top in ("train", "test") for i in range(5)]
            + [f"test/b/{i}.png" for i in range(5)],
            ValueError,
            "'test' has 'b' and 'train' does not",
        ),
        (
            [f"train/{name}/{i}.png" for name in "ab" for i in range(5)]
            + [f"val/{i}.png" for i in range(5)],
            ValueError,
            "'train' has 'a' and 'val' does not",
        ),
        (
            [f"{top}/a/{i}.png" for top in ("train", "val", "test") for i in range(5)],
            ValueError,
            "'test', 'train', 'val'",
        ),
        (
            [f"{top}/{i}.png" for top in ("train", "test", "bus") for i in range(5)],
            ValueError,
            "'bus', 'test', 'train'",
        ),
        (
            [f"Train/{name}/{i}.png" for name in "ab" for i in range(5)],
            ValueError,
            "with 'Train'.*folder:.*photos/Train ",
        ),
        (
            [f"train/{i}.png" for i in range(9)] + ["cover.png"],
            ValueError,
            "not both",
        ),
    ],
)
def test_a_folder_that_cannot_be_a_data_set(files, error, match, tmp_path):
    if files is not None:
        (tmp_path / "photos").mkdir()
        for name in files:
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    with pytest.raises(error, match=match):
        _load(tmp_path / "photos")


@pytest.mark.parametrize(
    "size, colors, match",
    [
        ((64, 48), 3, r"resolution=\(64, 48\)"),
        (0, 3, "resolution=0"),
        (64.0, 3, "resolution=64.0"),
        (64, 4, "colors=4"),
        (64, None, "colors=None"),
    ],
)
def test_shapes_that_cannot_be(size, colors, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        datasets.folder_name(tmp_path, size, colors)


@pytest.mark.parametrize(
    "name, match",
    [
        ("folder:/photos", "name='folder:/photos'"),
        ("folder:/photos@64x48x3", "square"),
        ("folder:/photos@64x64x2", "colors=2"),
        ("folder:@64x64x3", "name='folder:@64x64x3'"),
    ],
)
def test_invalid_names(name, match):
    with pytest.raises(ValueError, match=match):
        datasets.get_spec(name)


def test_a_name_does_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = datasets.folder_name("folder:a@b/c", 64, 1)
    assert name == f"folder:{tmp_path}/a@b/c@64x64x1"
    assert folders.parse(name) == (f"{tmp_path}/a@b/c", (64, 64, 1))


def test_short_names_are_file_names():
    assert datasets.short_name("cifar10") == "cifar10"
    name = "folder:/home/me/My photos, 2@64x64x1"
    assert datasets.short_name(name) == "My_photos_2_64x64x1"
