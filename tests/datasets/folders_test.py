import os
import pathlib
import socket
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny
from absl.testing import flagsaver
from PIL import Image

from ssgan_tf import config, datasets
from ssgan_tf.commands import train
from ssgan_tf.commands.main import run
from ssgan_tf.datasets import builders, folders, image_files
from ssgan_tf.evaluation import dataset_classifier, module_scorer
from ssgan_tf.modules import reading
from ssgan_tf.training import loop


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of its own for every test."""
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    return path / "ssgan_tf" / "folders"


def _noise(seed, height, width, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def _write(path, image, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path, **kwargs)


def _fill(folder, num, size=12, seed=0):
    """PNG files of noise, of one size: they come out as they are."""
    for i in range(num):
        _write(folder / f"photo{i:04}.png", _noise(seed + i, size, size))


def _load(folder, split="train", size=12, colors=3):
    return datasets.load_split(datasets.folder_name(folder, size, colors), split)


@pytest.fixture
def photos(tmp_path):
    """A flat folder."""
    _fill(tmp_path / "photos", 12)
    return tmp_path / "photos"


# ---------------------------------------------------------------- one image


def _read(tmp_path, image, name="image.png", shape=(8, 8, 3), **kwargs):
    _write(tmp_path / name, image, **kwargs)
    return np.asarray(image_files.read_square(tmp_path / name, shape))


def test_an_image_of_the_right_size_is_not_touched(tmp_path):
    image = _noise(0, 8, 8)
    np.testing.assert_array_equal(_read(tmp_path, image), image)
    np.testing.assert_array_equal(_read(tmp_path, image, "image.bmp"), image)
    webp = _read(tmp_path, image, "image.webp", lossless=True)
    np.testing.assert_array_equal(webp, image)


@pytest.mark.parametrize("height, width", [(8, 14), (13, 8)])
def test_the_central_square_is_taken(height, width, tmp_path):
    image = _noise(1, height, width)
    top, left = (height - 8) // 2, (width - 8) // 2
    expected = image[top : top + 8, left : left + 8]
    np.testing.assert_array_equal(_read(tmp_path, image), expected)


def test_shrinking_does_not_alias(tmp_path):
    # A checkerboard is grey from afar; skipping pixels would leave black or white.
    checkerboard = (np.indices((64, 96)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = _read(tmp_path, checkerboard, shape=(8, 8, 1))
    assert np.abs(small.astype(int) - 127.5).max() < 3


def test_shrinking_keeps_the_picture(tmp_path):
    # Lanczos's filter of a smooth picture is that picture, seen at the centres of the
    # larger pixels; away from the border, where the filter is cut off.
    def wave(size):
        centres = (np.arange(size) + 0.5) / size
        x, y = np.meshgrid(centres, centres)
        return 127.5 + 100 * np.sin(2 * np.pi * x) * np.cos(2 * np.pi * y)

    small = _read(tmp_path, np.round(wave(96)).astype(np.uint8), shape=(32, 32, 1))
    np.testing.assert_allclose(small[3:-3, 3:-3], wave(32)[3:-3, 3:-3], atol=2)


ORIENTATIONS = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_the_camera_may_have_been_turned(orientation, suffix, tmp_path):
    # Blocks of 4x4 pixels, which survive JPEG.
    image = np.kron(_noise(2, 4, 4), np.ones((4, 4, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = _read(
        tmp_path,
        image,
        f"image.{suffix}",
        (16, 16, 3),
        exif=exif,
        quality=100,
        **({"subsampling": 0} if suffix == "jpg" else {}),
        **({"lossless": True} if suffix == "webp" else {}),
    )
    expected = ORIENTATIONS[orientation](image).astype(int)
    assert np.abs(found - expected).max() <= (6 if suffix == "jpg" else 0)


def test_16_bit_levels_are_scaled(tmp_path):
    levels = np.linspace(0, 65535, 64).reshape(8, 8).round().astype(np.uint16)
    expected = np.floor(levels / 65535 * 255 + 0.5)
    found = _read(tmp_path, levels, shape=(8, 8, 1))
    np.testing.assert_array_equal(found, expected)
    colour = _read(tmp_path, levels)
    np.testing.assert_array_equal(colour, np.dstack(3 * [expected]))


def test_transparency_is_laid_on_white(tmp_path):
    image = _noise(3, 8, 8, 4)
    image[0, 0, 3], image[0, 1, 3] = 0, 255
    alpha = image[..., 3:] / 255
    expected = image[..., :3] * alpha + 255 * (1 - alpha)
    found = _read(tmp_path, image)
    assert np.abs(found - expected).max() <= 1
    np.testing.assert_array_equal(found[0, 0], 3 * [255])
    np.testing.assert_array_equal(found[0, 1], image[0, 1, :3])
    # One colour of a palette may be transparent too.
    palette = Image.fromarray(np.array([[0, 1]] * 2, np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    found = _read(tmp_path, palette, shape=(2, 2, 3), transparency=1)
    np.testing.assert_array_equal(found[0], [[255, 0, 0], [255, 255, 255]])


def test_cmyk_becomes_rgb(tmp_path):
    # Cyan ink takes away red.
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0] = 255
    image = Image.fromarray(inks, "CMYK")
    found = _read(tmp_path, image, "image.jpg", (16, 16, 3), quality=95)
    assert np.abs(found.astype(int) - [0, 255, 255]).max() <= 3


def test_grey_and_colour_become_each_other(tmp_path):
    grey, image = _noise(4, 8, 8, 1), _noise(5, 8, 8)
    np.testing.assert_array_equal(_read(tmp_path, grey), np.dstack(3 * [grey]))
    weights = [0.299, 0.587, 0.114]
    found = _read(tmp_path, image, shape=(8, 8, 1))
    assert found.shape == (8, 8)
    assert np.abs(found - image @ weights).max() <= 1


def test_what_a_file_is_called_does_not_matter(tmp_path):
    image = _noise(6, 8, 8)
    _write(tmp_path / "photo.jpg", image, format="PNG")
    found = image_files.read_square(tmp_path / "photo.jpg", (8, 8, 3))
    np.testing.assert_array_equal(found, image)
    # Nor does it help.
    _write(tmp_path / "animation.png", image, format="GIF")
    with pytest.raises(OSError, match="cannot identify"):
        image_files.read_square(tmp_path / "animation.png", (8, 8, 3))


def test_one_pixel_fills_the_square(tmp_path):
    image = np.array([[[10, 20, 30]]], np.uint8)
    np.testing.assert_array_equal(
        _read(tmp_path, image), np.broadcast_to([10, 20, 30], (8, 8, 3))
    )


# ---------------------------------------------------------------- which files


def test_a_flat_folder(tmp_path):
    _fill(tmp_path, 40)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._photo0001.png").write_bytes(b"of a foreign disk")
    _fill(tmp_path / ".hidden", 2)
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
    # So few that the hash alone would leave some without.
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


def test_no_split_is_empty():
    for num in range(200):
        entries = [folders.Entry(f"{num}/{i}.png", -1) for i in range(10)]
        splits = folders._split(entries)
        assert splits["train"] and splits["test"]
        assert set(splits["train"]).isdisjoint(splits["test"])
        assert len(splits["train"]) + len(splits["test"]) == 10
    # Of a class of one image, that is trained on.
    alone = [folders.Entry(f"class{i}/0.png", i) for i in range(200)]
    assert folders._split(alone) == {"train": alone, "test": []}


@pytest.mark.parametrize(
    "train, other", [("train", "test"), ("train", "val"), ("Training", "Testing")]
)
def test_a_folder_that_is_divided_already(train, other, tmp_path):
    for top, num in ((train, 9), (other, 4)):
        for name in ("b", "a"):
            _fill(tmp_path / top / name, num)
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
    _fill(tmp_path / "all", 10)
    name = datasets.folder_name(tmp_path, 12, 3)
    assert datasets.get_spec(name).num_classes == 0


def test_other_files_are_counted(tmp_path, caplog):
    _fill(tmp_path / "a", 10)
    _fill(tmp_path / "b", 10)
    for name in ("a/1.gif", "b/2.GIF", "b/deep/x.tif", "README", "a/.hidden.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = folders.listing(str(tmp_path))
    assert listing.others == {".gif": 2, ".tif": 1, "without ending": 1}
    # Said once.
    for _ in range(2):
        _load(tmp_path)
        said = "no images by their endings: 2 .gif, 1 .tif, 1 without ending"
        assert caplog.text.count(said) == 1


def test_a_folder_that_cannot_be_entered(tmp_path, monkeypatch):
    _fill(tmp_path / "a", 10)
    _fill(tmp_path / "b", 10)
    scandir = os.scandir

    def guarded(path):
        if os.path.basename(path) == "b":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(OSError, match="must be readable. Received: '.*/b', which fai"):
        folders.listing(str(tmp_path))


def test_links_are_followed_once(tmp_path):
    _fill(tmp_path / "photos", 10)
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    listing = folders.listing(str(tmp_path))
    assert sum(map(len, listing.splits.values())) == 10


# ---------------------------------------------------------------- as a data set


def test_images_and_labels_of_a_folder(tmp_path):
    for place, name in enumerate(("zebra", "ant", "cat")):
        _fill(tmp_path / name, 15, seed=100 * place)
    found = {}
    for split in ("train", "test"):
        images, labels = _load(tmp_path, split)
        assert images.dtype == np.uint8 and images.shape[1:] == (12, 12, 3)
        assert labels.dtype == np.int32
        listing = folders.listing(str(tmp_path)).splits[split]
        assert listing == sorted(listing, key=lambda entry: entry.name)
        for image, label, entry in zip(images, labels, listing, strict=True):
            np.testing.assert_array_equal(image, Image.open(tmp_path / entry.name))
            found[image.tobytes()] = label
    classes = {"ant": 0, "cat": 1, "zebra": 2}
    assert found == {
        _noise(100 * place + i, 12, 12).tobytes(): classes[name]
        for place, name in enumerate(("zebra", "ant", "cat"))
        for i in range(15)
    }
    spec = datasets.get_spec(datasets.folder_name(tmp_path, 12, 3))
    assert spec.num_classes == 3 and spec.image_shape == (12, 12, 3)
    builder = datasets.prepare(datasets.folder_name(tmp_path, 12, 3))
    assert builder.info.features["label"].names == sorted(classes)


def test_images_left_in_their_files_are_the_same(tmp_path, monkeypatch):
    for place, name in enumerate("ab"):
        _fill(tmp_path / name, 20, seed=100 * place)
    # Several files per split.
    monkeypatch.setattr(builders, "_MAX_SHARD_BYTES", 5 * 12 * 12 * 3)
    name = datasets.folder_name(tmp_path, 12, 3)
    images, labels = datasets.load_split(name, "train")
    stored, stored_labels = datasets.index_split(name, "train")
    assert len(stored.paths) > 5
    np.testing.assert_array_equal(stored_labels, labels)
    for i, image in enumerate(images):
        np.testing.assert_array_equal(stored.look_up(tf.constant(i, tf.int64)), image)


def _mixed(folder, num):
    """Images of any size and kind; returns the names of those that are none."""
    kinds = [("png", {}), ("jpg", {"quality": 60}), ("bmp", {}), ("webp", {})]
    for i in range(num - 11):
        suffix, kwargs = kinds[i % 4]
        size = np.random.default_rng(i).integers(5, 24, 2)
        _write(folder / f"{i:04}.{suffix}", _noise(i, *size), **kwargs)
    cmyk = Image.fromarray(_noise(1, 20, 20, 4), "CMYK")
    _write(folder / "cmyk.jpg", cmyk)
    _write(folder / "sixteen.png", _noise(2, 9, 9, 1).astype(np.uint16) * 257)
    _write(folder / "transparent.png", _noise(3, 9, 9, 4))
    _write(folder / "grey.png", _noise(4, 9, 9, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    _write(folder / "turned.jpg", _noise(5, 16, 9), exif=exif)
    _write(folder / "dot.png", _noise(6, 1, 1))
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
    # What was left out is still known when the folder is read again.
    again = datasets.prepare(name)
    assert again.info.metadata["unreadable"].keys() == damaged


def test_a_folder_is_prepared_once_and_again_when_it_changes(tmp_path, cache):
    _fill(tmp_path, 12)
    name = datasets.folder_name(tmp_path, 12, 3)

    def prepared_at():
        return str(datasets.prepare(name).data_dir)

    first = prepared_at()
    before = {path: path.stat().st_mtime_ns for path in pathlib.Path(first).iterdir()}
    assert prepared_at() == first and first.startswith(str(cache))
    assert before == {p: p.stat().st_mtime_ns for p in pathlib.Path(first).iterdir()}
    for change in (
        lambda: _write(tmp_path / "more.png", _noise(0, 12, 12)),
        lambda: (tmp_path / "more.png").rename(tmp_path / "other.png"),
        lambda: _write(tmp_path / "other.png", _noise(1, 5, 5)),
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
        _fill(tmp_path / place / "photos", 12, seed=ord(place))
        for path in (tmp_path / place / "photos").iterdir():
            os.utime(path, (1, 1))
    first, second = (_load(tmp_path / place / "photos")[0] for place in "ab")
    assert first.tobytes() != second.tobytes()
    # Even if all that is known of their files is the same.
    empty = (
        folders.Listing(str(tmp_path / place / "photos"), (), {}, {}) for place in "ab"
    )
    assert len({folders.fingerprint(each, (8, 8, 3)) for each in empty}) == 2
    # Nor is a file that takes another's place, size and time.
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
    _fill(tmp_path, 20)
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


def test_names_that_are_no_text(tmp_path):
    top = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9")
    for name in ("ant", os.fsdecode(b"b\xe9\xe9")):
        _fill(pathlib.Path(top, name), 10)
    builder = datasets.prepare(datasets.folder_name(top, 12, 3))
    assert builder.info.features["label"].names == ["ant", "b\ufffd\ufffd"]


def test_a_name_may_be_long(tmp_path):
    path = tmp_path / ("\u5199" * 80)
    _fill(path, 10)
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
    with pytest.raises(OSError, match="No space left.* set XDG_CACHE_HOME") as caught:
        _load(photos)
    assert f"'{cache}'" in str(caught.value)


def test_what_a_killed_process_leaves_goes(photos, cache):
    left = cache / "ssgan_folder" / "other-0123" / "incomplete.ABC_1.0.0"
    left.mkdir(parents=True)
    (left / "part").touch()
    _load(photos)
    assert not left.exists()


def test_beam_prepares_no_folders(photos):
    name = datasets.folder_name(photos, 12, 3)
    with pytest.raises(ValueError, match="None for a folder of .*'DirectRunner'"):
        datasets.prepare(name, beam_runner="DirectRunner")


def test_a_folder_needs_no_network(photos, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(_load(photos)[0]) + len(_load(photos, "test")[0]) == 12


def test_an_interruption_leaves_nothing_half_written(tmp_path, cache, monkeypatch):
    _fill(tmp_path, 40)
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


# ---------------------------------------------------------------- clear errors


def test_too_many_unreadable_files_are_an_error(tmp_path, cache):
    _fill(tmp_path, 30)
    for i in range(11):
        (tmp_path / f"photo{i:04}.png").write_bytes(b"no longer")
    with pytest.raises(ValueError) as error:
        _load(tmp_path)
    message = str(error.value)
    assert "Of 30 files at most 10 may be unreadable" in message
    assert all(f"photo{i:04}.png" in message for i in range(11))
    assert not list(cache.glob("ssgan_folder/*/1.0.0"))


def test_a_class_that_cannot_be_read_is_an_error(tmp_path):
    _fill(tmp_path / "good", 20)
    for i in range(4):
        path = tmp_path / "bad" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="Every class must have images that can be"):
        _load(tmp_path)


@pytest.mark.parametrize(
    "files, error, match",
    [
        (None, FileNotFoundError, "must be there. Received: '.*photos', which is not"),
        ([], ValueError, r"must hold some: \.png, .*photos' with none"),
        (["a.txt"], ValueError, "with none"),
        (["a.png", "b.png"], ValueError, "at least 10 of them. Received: .* with 2"),
        (
            [f"{i}.png" for i in range(9)] + ["class/a.png"],
            ValueError,
            "not both. Received: .*'..png' beside the folder 'class'",
        ),
        (
            [f"a/{i}.png" for i in range(9)] + ["b/0.png", "b/1.png"],
            ValueError,
            "at least 3 images. Received: .*photos' with 2 of 'b'",
        ),
        (
            [f"{top}/a/{i}.png" for top in ("train", "test") for i in range(5)]
            + [f"test/b/{i}.png" for i in range(5)],
            ValueError,
            "must have the same class folders. .* 'test' has 'b' and 'train' has none",
        ),
        (
            [f"train/{name}/{i}.png" for name in "ab" for i in range(5)]
            + [f"val/{i}.png" for i in range(5)],
            ValueError,
            "'train' and 'val' must have the same .* 'train' has 'a' and 'val' has",
        ),
        (
            [f"{top}/a/{i}.png" for top in ("train", "val", "test") for i in range(5)],
            ValueError,
            "must hold `train`, one of test, .* Received: .*'test', 'train', 'val'. Mo",
        ),
        (
            [f"{top}/{i}.png" for top in ("train", "test", "bus") for i in range(5)],
            ValueError,
            "no other folder of images. Received: .* with 'bus', 'test', 'train'",
        ),
        (
            [f"Train/{name}/{i}.png" for name in "ab" for i in range(5)],
            ValueError,
            "with 'Train'. .* to this program: folder:.*photos/Train$",
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
        ((64, 48), 3, r"one whole number.*Received: resolution=\(64, 48\)"),
        (0, 3, "Received: resolution=0"),
        (64.0, 3, "Received: resolution=64.0"),
        (64, 4, r"1 \(grey\) or 3. Received: colors=4"),
        (64, None, "Received: colors=None"),
    ],
)
def test_shapes_that_cannot_be(size, colors, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        datasets.folder_name(tmp_path, size, colors)


@pytest.mark.parametrize(
    "name, match",
    [
        ("folder:/photos", "must end in the shape .*Received: name='folder:/photos'"),
        ("folder:/photos@64x48x3", "must be square"),
        ("folder:/photos@64x64x2", "colors=2"),
        ("folder:@64x64x3", "must end in the shape"),
    ],
)
def test_names_that_say_too_little(name, match):
    with pytest.raises(ValueError, match=match):
        datasets.get_spec(name)


def test_a_name_says_the_same_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = datasets.folder_name("folder:a@b/c", 64, 1)
    assert name == f"folder:{tmp_path}/a@b/c@64x64x1"
    assert folders.parse(name) == (f"{tmp_path}/a@b/c", (64, 64, 1))


def test_short_names_are_file_names():
    assert datasets.short_name("cifar10") == "cifar10"
    name = "folder:/home/me/My photos, 2@64x64x1"
    assert datasets.short_name(name) == "My_photos_2_64x64x1"


# ---------------------------------------------------------------- in a config


def _plan(*bindings, config_file="ssgan_cifar10.gin", image_folder=None):
    config.parse([config_file], list(bindings))
    return config.plan(image_folder=image_folder)


@pytest.fixture
def animals(tmp_path):
    """Two classes."""
    for place, name in enumerate(("ant", "bee")):
        _fill(tmp_path / "animals" / name, 20, seed=100 * place)
    return tmp_path / "animals"


def test_a_folder_named_by_a_config(photos):
    plan = _plan(
        f"dataset.name = 'folder:{photos}'",
        "dataset.resolution = 64",
        "dataset.colors = 1",
        "options.architecture = 'resnet5'",
    )
    assert plan.dataset == f"folder:{photos}@64x64x1"
    assert plan.spec.image_shape == (64, 64, 1)
    assert plan.build_gan().generator.image_shape == (64, 64, 1)


def test_one_flag_takes_the_shape_of_the_config(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    plan = _plan(image_folder="photos")
    assert plan.dataset == f"folder:{photos}@32x32x3"
    # What is written down gives the same run, from anywhere and without the flag.
    monkeypatch.chdir("/")
    operative = pathlib.Path(photos.parent, "operative.gin")
    operative.write_text(config.operative_config())
    assert _plan(config_file=str(operative)) == plan
    grey = _plan(config_file="quickstart.gin", image_folder=str(photos))
    assert grey.dataset == f"folder:{photos}@32x32x1"


def test_what_is_bound_wins_over_the_shape_of_the_config(photos, animals):
    bound = ("dataset.resolution = 64", "dataset.colors = 1")
    plan = _plan(*bound, image_folder=str(photos))
    assert plan.dataset == f"folder:{photos}@64x64x1"
    # One folder takes the place of another.
    named = (f"dataset.name = 'folder:{photos}'", *bound)
    plan = _plan(*named, image_folder=f"folder:{animals}")
    assert plan.dataset == f"folder:{animals}@64x64x1"


@pytest.mark.parametrize(
    "bindings, match",
    [
        (["dataset.resolution = (32, 48)"], r"one whole number.*\(32, 48\)"),
        (["dataset.colors = 4"], "colors=4"),
        (["dataset.resolution = 48"], "size=48. Architectures for that size: "),
        (["ModularGAN.conditional = True"], "must be False for a data set without"),
        (["dataset.label_file = 'labels.npy'"], "label_file='labels.npy'"),
        (["dataset.flip = 1"], "flip"),
    ],
)
def test_folders_that_cannot_be_trained_on(bindings, match, photos):
    with pytest.raises(ValueError, match=match):
        _plan(*bindings, image_folder=str(photos)).build_gan()


@pytest.mark.parametrize(
    "bindings, match",
    [
        (["dataset.resolution = 64"], "resolution=64"),
        (["dataset.colors = 3"], "colors=3"),
        (["dataset.name = 'folder:photos'"], "Received: resolution=None"),
        (["dataset.label_file = 3"], "name of a file in quotes"),
        (
            [
                "dataset.name = 'folder:/nowhere'",
                "dataset.resolution = 32",
                "dataset.colors = 3",
            ],
            "must be there. Received: '/nowhere', which is not. Name another one.$",
        ),
    ],
)
def test_bindings_that_cannot_be(bindings, match):
    with pytest.raises(config.ConfigError, match=match):
        _plan(*bindings)


@pytest.mark.parametrize("folder", ["", "folder:"])
def test_an_unset_variable_is_no_folder(folder, photos, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(config.ConfigError, match="must name a folder. Received: --im"):
        _plan(image_folder=folder)


def test_a_folder_without_its_prefix_is_recognised(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    with pytest.raises(ValueError, match="Did you mean 'folder:photos'"):
        datasets.get_spec("photos")


def test_a_file_of_labels_is_the_same_from_anywhere(animals, monkeypatch):
    monkeypatch.chdir(animals.parent)
    plan = _plan(
        "dataset.resolution = 12",
        "dataset.label_file = 'labels.npy'",
        image_folder="animals",
    )
    assert plan.data.label_file == str(animals.parent / "labels.npy")
    (animals.parent / "operative.gin").write_text(config.operative_config())
    monkeypatch.chdir("/")
    assert _plan(config_file=str(animals.parent / "operative.gin")) == plan
    with pytest.raises(OSError, match="`dataset.label_file` must .* No such file.* Na"):
        loop._open_data(plan, None)


def test_labels_that_nobody_reads(animals):
    bindings = ("dataset.label_file = 'labels.npy'", "dataset.resolution = 32")
    with pytest.raises(config.ConfigError, match="`dataset.label_file` must be None f"):
        _plan(*bindings, image_folder=str(animals)).build_gan()


def test_labels_of_a_file_are_trained_on(animals):
    name = datasets.folder_name(animals, 12, 3)
    _, labels = datasets.load_split(name, "train")
    others = np.where(np.arange(len(labels)) % 3 == 0, -1, 1 - labels)
    np.save(animals.parent / "labels.npy", others)
    bindings = (
        "dataset.resolution = 12",
        f"dataset.label_file = '{animals.parent / 'labels.npy'}'",
    )
    plan = _plan(*bindings, image_folder=str(animals))
    np.testing.assert_array_equal(loop._open_data(plan, None)[1], others)
    few = _plan(*bindings, "dataset.label_fraction = 0.3", image_folder=str(animals))
    found = loop._open_data(few, None)[1]
    kept = found >= 0
    np.testing.assert_array_equal(found[kept], others[kept])
    for label in (0, 1):
        assert (found == label).sum() == np.ceil(0.3 * (others == label).sum())
    np.save(animals.parent / "labels.npy", others[:-1])
    with pytest.raises(ValueError, match=f"must hold {len(labels)} integers"):
        loop._open_data(plan, None)


@pytest.mark.parametrize("flip", [False, True])
def test_flips_reach_the_train_step(flip, photos):
    plan = _plan(
        f"dataset.flip = {flip}",
        "dataset.resolution = 32",
        "dataset.colors = 3",
        "options.batch_size = 12",
        "SSGAN.rotated_batch_size = 16",
        "G.width = 4",
        "D.width = 4",
        image_folder=str(photos),
    )
    data = loop._open_data(plan, None)
    images, _ = next(iter(loop._stream(plan.build_gan(), plan, *data)))
    known = {image.tobytes() for image in data[0].numpy()}
    upright = [image.tobytes() in known for image in images.numpy()]
    mirrored = [image[:, ::-1].tobytes() in known for image in images.numpy()]
    assert all(a != b for a, b in zip(upright, mirrored))
    assert all(upright) != flip


def test_training_on_a_folder_with_one_flag(animals, monkeypatch, capfd):
    monkeypatch.chdir(animals.parent)
    flags = [*tiny.flags("options.training_steps = 2"), "--image_folder=animals"]
    monkeypatch.setattr(sys, "argv", ["ssgan", *flags, "--model_dir=run"])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as caught:
        run(train.main)
    assert not caught.value.code, capfd.readouterr()
    assert pathlib.Path("run/folder.txt").read_text().strip() == folders.state(
        f"folder:{animals}@32x32x1"
    )
    module = reading.load("run/tfhub/2")
    assert module.image_shape == (32, 32, 1)
    name = f"folder:{animals}@32x32x1"
    assert module.metadata["dataset"] == name
    module_scorer.check_shape(module, name)


def test_scores_against_a_folder(animals, monkeypatch):
    monkeypatch.setattr(dataset_classifier, "_train_classifier", lambda *args: None)
    name = datasets.folder_name(animals, 12, 3)
    scorer = module_scorer.ModuleScorer(
        name, module_scorer.ScoringOptions(metrics=("fid",))
    )
    assert scorer.extractor.name == "animals_12x12x3_cnn"
    cache = pathlib.Path(os.environ["XDG_CACHE_HOME"], "ssgan_tf")
    assert list(cache.glob("animals_12x12x3_cnn-*.npz"))
    assert list(cache.glob("references/animals_12x12x3-test-*.npz"))
