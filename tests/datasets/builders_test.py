"""Every row of the table, read from small data sets in TFDS's own format."""

import shutil

import numpy as np
import pytest
import sources
import tensorflow as tf
import tensorflow_datasets as tfds

from ssgan_tf import datasets
from ssgan_tf.datasets import builders, crops, preparation


def _noise(seed, height, width, channels=3):
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def _bilinear(image, size):
    """TensorFlow 1's: source = target * scale, no antialiasing."""
    image = np.asarray(image, np.float64)
    for axis in (0, 1):
        length = image.shape[axis]
        places = np.arange(size) * length / size
        below = np.floor(places).astype(int)
        above = np.minimum(below + 1, length - 1)
        share = (places - below).reshape([-1, 1, 1] if axis == 0 else [1, -1, 1])
        low, high = image.take(below, axis), image.take(above, axis)
        image = low + share * (high - low)
    return image


def _assert_rounded(found, expected):
    assert found.dtype == np.uint8
    # Half a level, and what float32 adds to it.
    assert np.abs(found - expected).max() <= 0.5 + 1e-3


# ---------------------------------------------------------------- crops


@pytest.mark.parametrize("size", [64, 128])
def test_celeb_a_is_the_central_160(size):
    image = _noise(0, 218, 178)
    found = crops.celeb_a(image, size).numpy()
    _assert_rounded(found, _bilinear(image[29:189, 9:169], size))


@pytest.mark.parametrize("height, width", [(300, 261), (90, 101), (128, 128)])
def test_crop_or_pad_never_resizes(height, width):
    image = _noise(1, height, width)
    found = crops.crop_or_pad(image, 128).numpy()
    expected = np.zeros((128, 128, 3), np.uint8)
    kept = image[max(0, (height - 128) // 2) :, max(0, (width - 128) // 2) :][
        :128, :128
    ]
    top, left = ((128 - side) // 2 for side in kept.shape[:2])
    expected[top : top + kept.shape[0], left : left + kept.shape[1]] = kept
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("height, width", [(80, 111), (97, 60), (64, 64)])
def test_reference_images_are_the_central_square(height, width):
    image = _noise(2, height, width)
    side = min(height, width)
    top, left = int((height - side) / 2), int((width - side) / 2)
    square = image[top : top + side, left : left + side]
    _assert_rounded(crops.random_square(image, 32).numpy(), _bilinear(square, 32))


def test_halving_is_a_mean_of_four():
    image = _noise(3, 96, 96)
    found = crops.halve(image, 48).numpy()
    _assert_rounded(found, image.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3)))


def _seed(number):
    return tf.constant([7, number], tf.int64)


def test_random_squares():
    height, width, size = 200, 160, 32
    # Each pixel says where it is.
    rows, columns = np.indices((height, width))
    places = np.dstack([rows, columns, _noise(4, height, width, 1)]).astype(np.uint8)
    crop = tf.function(lambda seed: crops.random_square(places, size, seed))
    sides, tops, lefts = [], [], []
    for number in range(400):
        found = crop(_seed(number)).numpy()
        top, left = found[0, 0, :2].astype(int)
        # The last row lies (size - 1) / size of the side below the first.
        side = round((int(found[-1, 0, 0]) - top) * size / (size - 1))
        # The rounding of that row leaves a choice.
        fits = [
            each
            for each in range(side - 1, side + 2)
            if top + each <= height
            and left + each <= width
            and np.abs(
                found - _bilinear(places[top : top + each, left : left + each], size)
            ).max()
            <= 0.501
        ]
        assert len(fits) == 1
        sides.append(fits[0]), tops.append(top), lefts.append(left)
    # 50 to 100 % of the area, but no more than the width: 127 is the first whole number
    # above the root of half of it. Every one of them is as likely; six deviations.
    legal = np.arange(127, 161)
    assert min(sides) == 127 and max(sides) == 160
    assert abs(np.mean(sides) - legal.mean()) < 6 * np.std(legal) / np.sqrt(400)
    slack = height - np.array(sides)
    assert max(tops) > 60 and min(tops) == 0 and min(lefts) == 0 and max(lefts) > 25
    assert abs(np.mean(np.array(tops) / slack) - 0.5) < 6 * 0.29 / 20


def test_a_random_square_is_a_function_of_its_seed():
    image = _noise(5, 90, 80)
    first, again, other = (crops.random_square(image, 32, _seed(n)) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first.numpy() != other.numpy()).any()


def test_an_image_without_such_a_square_is_squeezed():
    image = _noise(6, 300, 100)
    found = crops.random_square(image, 32, _seed(0)).numpy()
    _assert_rounded(found, _bilinear(image, 32))


# ---------------------------------------------------------------- rows

# What the images of the sources look like.
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
# Row -> images of its training and of its reference split, for these sources.
_SIZES = {"stl10": (9, 5), "celeb_a_hq": (12, 3000), "lsun_bedroom": (198, 2)}


def _source_image(tfds_name):
    shape = _SOURCE_SHAPES[tfds_name]

    def make(split, number):
        if tfds_name == "celeb_a_hq/128":
            return np.full(shape, number % 256, np.uint8)
        seed = [len(split), number]
        if shape:
            return _noise(seed, *shape)
        height, width = np.random.default_rng(seed).integers(100, 220, 2)
        return _noise(seed, height, width)

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
            sources.prepare_source(rows[tfds_name], path, counts, make, monkeypatch)
    return path


def _source(name, split, data_dir):
    """Images and labels as TFDS itself has them, stored order."""
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
        return image.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    if name.startswith("celeb_a") and name != "celeb_a_hq":
        return _bilinear(image[29:189, 9:169], size)
    if name == "lsun_bedroom":
        return crops.crop_or_pad(image, size).numpy()
    if name in ("imagenet64", "imagenet128", "imagenet256"):
        if split == "train":
            seed = tf.constant([builders._CROP_SEED, number], tf.int64)
            return crops.random_square(image, size, seed).numpy()
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        return _bilinear(image[top : top + side, left : left + side], size)
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
            _assert_rounded(images[number], expected)
            assert labels[number] == (label if spec.num_classes else -1)
        assert labels.min() >= 0 if spec.num_classes else (labels == -1).all()
        # It is small, and says so.
        published = spec.train_count if split == "train" else spec.eval_count
        warned = f"{name}, {split} split: {count} images" in caplog.text
        assert warned == (count != published)
        stored, _ = datasets.index_split(name, split, data_dir)
        last = stored.look_up(tf.constant(count - 1, tf.int64))
        np.testing.assert_array_equal(last, images[-1])


def test_the_counts_of_the_table_are_those_of_its_splits():
    # The last 1 % of 3,033,042.
    bedroom = datasets.get_spec("lsun_bedroom")
    assert bedroom.train_count + bedroom.eval_count == 3_033_042
    assert bedroom.train_count == round(0.99 * 3_033_042)
    faces = datasets.get_spec("celeb_a_hq")
    assert (faces.train_count, faces.eval_count) == (27_000, 3_000)
    assert datasets.get_spec("imagenet128").train_count == 1_281_167
    for spec in datasets.DATASETS.values():
        assert spec.train_count > 0 < spec.eval_count


def test_digits32_is_complete(caplog):
    datasets.index_split("digits32", "train")
    assert "published" not in caplog.text


def test_prepared_rows_are_tfds_data_sets(data_dir):
    datasets.prepare("imagenet64", data_dir)
    splits = tfds.load("ssgan_prepared/imagenet64", data_dir=data_dir)
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 8,
        "test": 5,
    }
    names = {config.name for config in builders.SsganPrepared.BUILDER_CONFIGS}
    assert names == {n for n, s in datasets.DATASETS.items() if s.crop}


@pytest.fixture
def bedroom_dir(data_dir, tmp_path):
    """The source of `lsun_bedroom` alone, not yet cropped."""
    shutil.copytree(data_dir / "lsun", tmp_path / "lsun")
    return tmp_path


def test_several_files_keep_the_order(bedroom_dir, data_dir, monkeypatch):
    images, _ = datasets.load_split("lsun_bedroom", "train", data_dir)
    monkeypatch.setattr(builders, "_MAX_SHARD_BYTES", 50 * images[0].nbytes)
    again, _ = datasets.load_split("lsun_bedroom", "train", bedroom_dir)
    np.testing.assert_array_equal(again, images)
    stored, _ = datasets.index_split("lsun_bedroom", "train", bedroom_dir)
    assert len(stored.paths) == 4


@pytest.mark.parametrize("name", ["imagenet64", "lsun_bedroom"])
def test_a_part_is_that_part_of_the_whole(name, data_dir):
    images, labels = datasets.load_split(name, "train", data_dir)
    spec = datasets.get_spec(name)
    part = builders._cropped(spec, str(data_dir), spec.train_split, True, 3, 7)
    for number, (key, example) in enumerate(part, 3):
        assert key == number
        np.testing.assert_array_equal(tf.io.decode_png(example["image"]), images[key])
        assert example.get("label", -1) == labels[key]
    assert key == 6


def test_what_is_prepared_needs_its_source_no_more(bedroom_dir):
    first, _ = datasets.load_split("lsun_bedroom", "test", bedroom_dir)
    shutil.rmtree(bedroom_dir / "lsun")
    again, _ = datasets.load_split("lsun_bedroom", "test", bedroom_dir)
    np.testing.assert_array_equal(again, first)


def test_interrupted_preparation_leaves_nothing(bedroom_dir, monkeypatch):
    track = builders.progress.track

    def interrupted(items, *args):
        for i, item in enumerate(track(items, *args)):
            if i == 100:
                raise KeyboardInterrupt
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(builders.progress, "track", interrupted)
        with pytest.raises(KeyboardInterrupt):
            datasets.load_split("lsun_bedroom", "test", bedroom_dir)
    assert not (bedroom_dir / "ssgan_prepared/lsun_bedroom/1.0.0").exists()
    assert len(datasets.load_split("lsun_bedroom", "test", bedroom_dir)[0]) == 2


@pytest.mark.parametrize("files", [1, 4])
def test_progress_is_shown_to_the_end(files, bedroom_dir, monkeypatch):
    seen = []

    def track(items, total, what):
        yield from items
        seen.append((total, what))

    monkeypatch.setattr(builders.progress, "track", track)
    monkeypatch.setattr(builders, "_MAX_SHARD_BYTES", 200 // files * 128 * 128 * 3)
    datasets.prepare("lsun_bedroom", bedroom_dir)
    assert seen == [
        (198, "preparing lsun_bedroom, train"),
        (2, "preparing lsun_bedroom, test"),
    ]


# ---------------------------------------------------------------- what is missing


@pytest.mark.parametrize(
    "name, files, giver",
    [
        (
            "imagenet128",
            ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"],
            "image-net.org",
        ),
        ("celeb_a_hq", ["data128x128.tar"], "progressive_growing_of_gans"),
    ],
)
def test_files_to_fetch_by_hand_are_named(name, files, giver, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("TFDS was asked")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    with pytest.raises(FileNotFoundError) as error:
        datasets.load_split(name, "train", tmp_path)
    message = str(error.value)
    manual = tmp_path / "downloads" / "manual"
    assert f"fetched by hand: {', '.join(files)}, from https://" in message
    assert giver in message and f"folder='{manual}'" in message
    assert "--tfds_data_dir" in message
    # With all but the last, that one is missed.
    manual.mkdir(parents=True)
    for file in files[:-1]:
        (manual / file).touch()
    with pytest.raises(FileNotFoundError, match=f"by hand: {files[-1]}, from"):
        datasets.load_split(name, "train", tmp_path)
    # With all of them it is TFDS's turn.
    (manual / files[-1]).touch()
    with pytest.raises(FileNotFoundError, match="failed with .*TFDS was asked"):
        datasets.load_split(name, "train", tmp_path)


def test_those_files_are_what_tfds_looks_for():
    for spec in datasets.DATASETS.values():
        builder = tfds.builder(spec.tfds_name)
        by_hand = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
        assert (spec.by_hand is None) == (by_hand is None)


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
    monkeypatch.setattr(preparation.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"ssgan-tf\[beam\]"):
        datasets.prepare("lsun_bedroom", bedroom_dir, "DirectRunner")


@pytest.mark.slow
def test_beam_prepares_the_same(bedroom_dir, data_dir, monkeypatch):
    pytest.importorskip("apache_beam")
    images, _ = datasets.load_split("lsun_bedroom", "train", data_dir)
    monkeypatch.setattr(builders, "_MAX_SHARD_BYTES", 50 * images[0].nbytes)
    datasets.prepare("lsun_bedroom", bedroom_dir, "DirectRunner")
    again, _ = datasets.load_split("lsun_bedroom", "train", bedroom_dir)
    np.testing.assert_array_equal(again, images)
