import collections
import functools
import logging
import pathlib
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from paths import ROOT
from PIL import Image

from ssgan_tf import datasets
from ssgan_tf.datasets import digits32, loading, specs

_SHARED_TFDS = ROOT.parent / "shared" / "tfds"


@pytest.fixture(scope="module")
def digits_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def digits_splits(digits_dir):
    return {
        split: datasets.load_split("digits32", split, digits_dir)
        for split in ("train", "test")
    }


# ---------------------------------------------------------------- few labels


class TestKeepLabels:
    LABELS = np.repeat([0, 1, 2], [100, 7, 40]).astype(np.int32)

    @pytest.mark.parametrize(
        ("fraction", "counts"),
        [(1.0, [100, 7, 40]), (0.1, [10, 1, 4]), (0.07, [7, 1, 3]), (1e-9, [1, 1, 1])],
    )
    def test_keeps_its_share_of_each_class(self, fraction, counts):
        labels = np.random.default_rng(0).permutation(self.LABELS)
        kept = datasets.keep_labels(labels, fraction, seed=3)
        assert kept.dtype == np.int32 and kept.shape == labels.shape
        known = kept != datasets.UNKNOWN_LABEL
        np.testing.assert_array_equal(kept[known], labels[known])
        np.testing.assert_array_equal(np.bincount(kept[known]), counts)
        assert (kept[~known] == -1).all()

    def test_is_a_function_of_the_seed(self):
        first, again, other = (
            datasets.keep_labels(self.LABELS, 0.2, seed) for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    def test_a_smaller_share_is_part_of_a_larger_one(self):
        small, large = (datasets.keep_labels(self.LABELS, f, 5) for f in (0.1, 0.3))
        assert (large[small >= 0] >= 0).all()

    def test_every_image_is_as_likely(self):
        labels = np.zeros(10, np.int32)
        counts = sum(
            datasets.keep_labels(labels, 0.3, seed) == 0 for seed in range(2000)
        )
        # Six deviations of a binomial count.
        assert np.abs(counts - 600).max() < 6 * np.sqrt(2000 * 0.3 * 0.7)

    @pytest.mark.parametrize("fraction", [0, -0.1, 1.01])
    def test_fractions_out_of_range(self, fraction):
        with pytest.raises(ValueError, match=rf"\(0, 1\].*fraction={fraction}"):
            datasets.keep_labels(self.LABELS, fraction, 0)


# ---------------------------------------------------------------- labels of a file


def _saved(tmp_path, labels):
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path / "labels.npy"


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.int32])
def test_labels_of_a_file(dtype, tmp_path):
    path = _saved(tmp_path, np.array([0, 9, -1, 3], dtype))
    labels = datasets.read_labels(path, 4, 10)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, [0, 9, -1, 3])


@pytest.mark.parametrize(
    "labels, match",
    [
        (np.zeros(3, int), r"must hold 4 integers.*int64 of shape \(3,\)"),
        (np.zeros((4, 1), int), r"of shape \(4, 1\)"),
        (np.zeros(4), "with float64"),
        (np.array([0, 1, 2, 10]), r"\[0, 10\).*from 0 to 10"),
        (np.array([0, 1, 2, -2]), "from -2 to 2"),
    ],
)
def test_labels_that_do_not_fit(labels, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        datasets.read_labels(_saved(tmp_path, labels), 4, 10)


def test_a_file_that_holds_no_labels(tmp_path):
    (tmp_path / "labels.npy").write_text("0, 1, 2")
    with pytest.raises(ValueError, match="array of integers as np.save writes it"):
        datasets.read_labels(tmp_path / "labels.npy", 4, 10)
    (tmp_path / "labels.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="array of integers as np.save writes it"):
        datasets.read_labels(tmp_path / "labels.npy", 4, 10)
    np.savez(tmp_path / "labels.npz", labels=np.zeros(4, int))
    with pytest.raises(ValueError, match="an archive of arrays"):
        datasets.read_labels(tmp_path / "labels.npz", 4, 10)
    with pytest.raises(OSError, match="`dataset.label_file` must be .*No such file"):
        datasets.read_labels(tmp_path / "nowhere.npy", 4, 10)


# ---------------------------------------------------------------- specs


def test_specs_name_square_images_of_registered_builders():
    assert {"digits32", "cifar10"} <= set(datasets.DATASETS)
    for name in datasets.DATASETS:
        spec = datasets.get_spec(name)
        builder = tfds.builder(spec.tfds_name)
        assert str(builder.version) == spec.tfds_version
        # Where there are labels they are used, but for images that have none.
        labelled = "label" in builder.info.features and name != "stl10"
        assert spec.num_classes == (
            builder.info.features["label"].num_classes if labelled else 0
        )
        shape = builder.info.features["image"].shape
        assert (shape == spec.image_shape) != (spec.crop is not None)
        assert spec.image_shape[0] == spec.image_shape[1]
    assert datasets.get_spec("cifar10").image_shape == (32, 32, 3)
    assert datasets.get_spec("digits32").image_shape == (32, 32, 1)


def test_unknown_name_is_answered_with_the_close_and_the_legal_ones():
    with pytest.raises(ValueError) as error:
        datasets.get_spec("digit32")
    message = str(error.value)
    assert "Received: name='digit32'" in message
    assert "Did you mean 'digits32'?" in message
    assert "Legal names: celeb_a128, celeb_a64, celeb_a_hq, cifar10, " in message
    assert message.endswith("mnist, stl10, and folder:DIR for a folder of images.")


def test_a_row_with_oblong_images_is_refused():
    with pytest.raises(ValueError, match=r"square.*image_shape=\(32, 40, 3\)"):
        datasets.DatasetSpec("any", "1.0.0", (32, 40, 3), num_classes=2)


# ---------------------------------------------------------------- digits32


def test_digits32_shapes_types_and_classes(digits_splits):
    for split, count in (("train", 1400), ("test", 397)):
        images, labels = digits_splits[split]
        assert images.shape == (count, 32, 32, 1)
        assert images.dtype == np.uint8
        assert labels.shape == (count,)
        assert labels.dtype == np.int32
        assert set(labels) == set(range(10))
        # No class is rare: the split does not follow scikit-learn's order.
        assert np.bincount(labels).min() > 0.07 * count
        assert images.min() == 0
        assert images.max() == 255


def test_digits32_splits_are_disjoint_and_complete(digits_splits):
    from sklearn.datasets import load_digits

    digits = load_digits()
    expected = collections.Counter()
    for digit, label in zip(digits.images, digits.target, strict=True):
        levels = np.floor(digit * 255 / 16 + 0.5).astype(np.uint8)
        resized = Image.fromarray(levels).resize((32, 32), Image.Resampling.BICUBIC)
        expected[resized.tobytes(), int(label)] += 1
    found = collections.Counter(
        (image.tobytes(), int(label))
        for images, labels in digits_splits.values()
        for image, label in zip(images, labels, strict=True)
    )
    assert sum(expected.values()) == 1797
    # Equal multisets of 1,400 + 397 = 1,797: nothing is lost, nothing is in both.
    assert found == expected
    order = np.random.RandomState(0).permutation(1797)
    train_labels = np.bincount(digits.target[order[:1400]])
    np.testing.assert_array_equal(np.bincount(digits_splits["train"][1]), train_labels)


def test_resize_digit_keeps_the_picture():
    from sklearn.datasets import load_digits

    correlations = []
    for digit in load_digits().images[:50]:
        resized = digits32.resize_digit(digit)[..., 0].astype(np.float64)
        pooled = resized.reshape(8, 4, 8, 4).mean(axis=(1, 3))
        correlations.append(np.corrcoef(pooled.ravel(), digit.ravel())[0, 1])
        # Ink is conserved, so the scale is 255 / 16 and nothing wrapped around.
        assert pooled.mean() == pytest.approx(digit.mean() * 255 / 16, rel=0.03)
    assert np.mean(correlations) > 0.99
    assert np.min(correlations) > 0.98


def test_resize_digit_maps_the_extreme_levels_to_the_extremes():
    assert (digits32.resize_digit(np.full((8, 8), 16.0)) == 255).all()
    assert (digits32.resize_digit(np.zeros((8, 8))) == 0).all()


def test_digits32_order_is_fixed(digits_splits, tmp_path):
    images, labels = datasets.load_split("digits32", "test", tmp_path)
    np.testing.assert_array_equal(images, digits_splits["test"][0])
    np.testing.assert_array_equal(labels, digits_splits["test"][1])


def test_digits32_needs_no_network(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    splits = tfds.load(
        "digits32", data_dir=tmp_path, split=["train", "test"], shuffle_files=False
    )
    assert [len(split) for split in splits] == [1400, 397]


# ---------------------------------------------------------------- load_split


def test_cifar10_copy():
    if not (_SHARED_TFDS / "cifar10").exists():
        pytest.skip("no prepared CIFAR-10 beside the repository, in shared/tfds")
    images, labels = datasets.load_split("cifar10", "test", _SHARED_TFDS)
    assert images.shape == (10_000, 32, 32, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(labels), [1000] * 10)
    # The channel means everybody quotes for CIFAR-10, in RGB order.
    means = images.mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(means, [0.494, 0.485, 0.450], atol=0.005)


@pytest.mark.parametrize("resumed_at", [0, 778, 781])
def test_cifar10_copy_is_streamed_in_one_order(resumed_at):
    if not (_SHARED_TFDS / "cifar10").exists():
        pytest.skip("no prepared CIFAR-10 beside the repository, in shared/tfds")
    images, labels = datasets.index_split("cifar10", "train", _SHARED_TFDS)
    stream = datasets.training_dataset(
        images, labels, batch_size=64, seed=3, start_step=resumed_at
    )
    # 781 batches are an epoch, and 16 images.
    orders = np.concatenate([_order(50_000, 3, epoch) for epoch in range(2)])
    for step, (found, found_labels) in enumerate(stream.take(5), resumed_at):
        expected = orders[64 * step : 64 * (step + 1)]
        np.testing.assert_array_equal(found_labels, labels[expected])
        first = images.look_up(tf.constant(expected[0]))
        np.testing.assert_array_equal(found[0], first)


def test_unknown_split_is_refused(digits_dir):
    with pytest.raises(ValueError, match="'train' or 'test'. Received: split='val'"):
        datasets.load_split("digits32", "val", digits_dir)


def test_the_table_says_which_tfds_split_is_read(digits_dir, monkeypatch):
    spec = datasets.DatasetSpec(
        "digits32", "1.0.0", (32, 32, 1), 10, train_split="test", eval_split="train"
    )
    monkeypatch.setitem(specs.DATASETS, "swapped", spec)
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
    monkeypatch.setitem(specs.DATASETS, "wrong", spec)
    with pytest.raises(ValueError, match=match):
        datasets.load_split("wrong", "test", digits_dir)


def test_a_set_without_labels(digits_dir, monkeypatch):
    spec = datasets.DatasetSpec("digits32", "1.0.0", (32, 32, 1), num_classes=0)
    monkeypatch.setitem(specs.DATASETS, "unlabelled", spec)
    _, labels = datasets.load_split("unlabelled", "test", digits_dir)
    np.testing.assert_array_equal(labels, np.full(397, -1, np.int32))


class OddImages(tfds.core.GeneratorBasedBuilder):
    """Images of any shape and of type `dtype`; the second one is `odd_shape`."""

    VERSION = tfds.core.Version("1.0.0")
    dtype = np.uint8
    odd_shape = (32, 40, 3)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(None, None, 3), dtype=self.dtype, encoding_format="png"
                    ),
                    "label": tfds.features.ClassLabel(num_classes=2),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for key, shape in enumerate([(32, 32, 3), self.odd_shape, (32, 32, 3)]):
            yield key, {"image": np.zeros(shape, self.dtype), "label": 1}


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
    monkeypatch.setattr(OddImages, "dtype", dtype)
    monkeypatch.setattr(OddImages, "odd_shape", odd_shape)
    spec = datasets.DatasetSpec("odd_images", "1.0.0", (32, 32, 3), num_classes=2)
    monkeypatch.setitem(specs.DATASETS, "odd", spec)
    with pytest.raises(ValueError, match=match):
        datasets.load_split("odd", "train", tmp_path)


def test_a_failed_download_names_data_set_folder_and_cure(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(FileNotFoundError) as error:
        datasets.load_split("cifar10", "train", tmp_path)
    message = str(error.value)
    assert f"Received: name='cifar10', data_dir='{tmp_path}'" in message
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
    # What a killed process would leave behind, since it cannot clean up.
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


# ---------------------------------------------------------------- epoch_order


@functools.cache
def _order(num_images, seed, epoch, rollbacks=0):
    return datasets.epoch_order(
        num_images, seed=seed, epoch=epoch, rollbacks=rollbacks
    ).numpy()


def test_epoch_order_is_a_permutation():
    for num_images in (1, 2, 3, 37, 1400):
        order = _order(num_images, seed=3, epoch=4)
        np.testing.assert_array_equal(np.sort(order), np.arange(num_images))


def test_epoch_order_depends_on_every_bit_of_its_key():
    keys = [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (-1, 0),
        (2**31, 0),
        (2**40, 0),
        (0, 2**40),
        (2**63 - 1, 0),
        (0, 0, 1),
        (0, 0, 2),
        (2**63 - 1, 0, 1),
    ]
    orders = {tuple(_order(50, *key)) for key in keys}
    assert len(orders) == len(keys)


def test_epoch_order_has_not_changed():
    # A run resumed under a TensorFlow that breaks this would see other images.
    np.testing.assert_array_equal(_order(8, seed=0, epoch=0), [7, 3, 5, 6, 4, 0, 1, 2])
    np.testing.assert_array_equal(_order(8, seed=7, epoch=3), [2, 5, 6, 3, 7, 0, 4, 1])


def test_every_order_is_equally_likely():
    counts = collections.Counter(tuple(_order(3, 5, epoch)) for epoch in range(600))
    assert len(counts) == 6
    # Chi-squared with 5 degrees of freedom: 25.7 is exceeded once in 10,000 times.
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 25.7


@pytest.mark.parametrize("num_images", [20, 1400, 50_000])
def test_orders_are_neither_the_stored_one_nor_each_other(num_images):
    # A correlation of random orders is normal with deviation 1 / sqrt(N - 1).
    places = np.arange(num_images)
    orders = [_order(num_images, seed=0, epoch=epoch) for epoch in range(20)]
    for order, following in zip(orders, orders[1:], strict=False):
        for other in (places, following):
            r = np.corrcoef(order, other)[0, 1]
            assert abs(r) * np.sqrt(num_images - 1) < 4.5


# ---------------------------------------------------------------- epoch_flips


def _flips(num_images, seed, epoch, rollbacks=0):
    return datasets.epoch_flips(
        num_images, seed=seed, epoch=epoch, rollbacks=rollbacks
    ).numpy()


def test_half_of_the_images_are_flipped():
    flips = np.stack([_flips(1000, seed=3, epoch=epoch) for epoch in range(20)])
    assert set(flips.ravel()) == {0, 1}
    # Six deviations, of all and of each place.
    assert abs(flips.mean() - 0.5) < 6 * 0.5 / np.sqrt(flips.size)
    assert np.abs(flips.mean(axis=0) - 0.5).max() < 6 * 0.5 / np.sqrt(20)
    correlations = np.corrcoef(flips) - np.eye(20)
    assert np.abs(correlations).max() < 6 / np.sqrt(1000)


def test_flips_depend_on_every_part_of_their_key_and_on_nothing_else():
    keys = [(0, 0), (0, 1), (1, 0), (2**40, 0), (0, 2**40), (0, 0, 1), (0, 0, 2)]
    assert len({tuple(_flips(64, *key)) for key in keys}) == len(keys)
    # A run resumed under a TensorFlow that breaks this would see other images.
    np.testing.assert_array_equal(
        _flips(12, seed=7, epoch=3), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]
    )


# ---------------------------------------------------------------- training_dataset


def _numbered(num_images):
    """Images and labels that both say their own number."""
    labels = np.arange(num_images, dtype=np.int32)
    images = np.zeros((num_images, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = labels % 256
    images[:, 1, 0, 2] = labels // 256
    images[:, 0, 1, 1] = 17
    return images, labels


def _stream(num_images, steps, *, replicas=1, pipelines=1, pipeline=0, **kwargs):
    """Image numbers `(steps * local replicas, d_steps * b)`, checked for pairing."""
    images, labels = _numbered(num_images)
    context = tf.distribute.InputContext(pipelines, pipeline, replicas)
    dataset = datasets.training_dataset(
        images, labels, input_context=context, **{"seed": 11, **kwargs}
    )
    numbers = []
    for element, label in dataset.take(steps * replicas // pipelines):
        np.testing.assert_array_equal(element, images[label])
        numbers.append(label.numpy())
    return np.stack(numbers)


# N, batch, d_steps: batches that fill an epoch, straddle epochs, are larger than N.
_CASES = [(24, 8, 1), (23, 8, 2), (7, 16, 3)]


@pytest.mark.parametrize("num_images, batch_size, d_steps", _CASES)
@pytest.mark.parametrize("replicas, start_step", [(1, 0), (2, 0), (4, 5)])
def test_stream_follows_its_definition(
    num_images, batch_size, d_steps, replicas, start_step
):
    expected = []
    for step in range(start_step, start_step + 6):
        for replica in range(replicas):
            element = []
            for j in range(d_steps):
                first = (step * d_steps + j) * batch_size
                for sample in range(first + replica, first + batch_size, replicas):
                    epoch, place = divmod(sample, num_images)
                    element.append(_order(num_images, 11, epoch)[place])
            expected.append(element)
    found = _stream(
        num_images,
        6,
        batch_size=batch_size,
        d_steps=d_steps,
        start_step=start_step,
        replicas=replicas,
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("num_images, batch_size, d_steps", _CASES)
@pytest.mark.parametrize("replicas, start_step", [(1, 0), (2, 0), (4, 5)])
def test_flips_follow_their_definition(
    num_images, batch_size, d_steps, replicas, start_step
):
    images, labels = _numbered(num_images)
    stream = datasets.training_dataset(
        images,
        labels,
        batch_size=batch_size,
        seed=11,
        d_steps=d_steps,
        start_step=start_step,
        flip=True,
        input_context=tf.distribute.InputContext(1, 0, replicas),
    )
    elements = stream.take(6 * replicas).as_numpy_iterator()
    for step in range(start_step, start_step + 6):
        for replica in range(replicas):
            expected, numbers = [], []
            for j in range(d_steps):
                first = (step * d_steps + j) * batch_size
                for sample in range(first + replica, first + batch_size, replicas):
                    epoch, place = divmod(sample, num_images)
                    number = _order(num_images, 11, epoch)[place]
                    mirrored = _flips(num_images, 11, epoch)[place]
                    image = images[number]
                    expected.append(image[:, ::-1] if mirrored else image)
                    numbers.append(number)
            found, found_labels = next(elements)
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(found_labels, numbers)


@pytest.mark.parametrize("num_images, batch_size, d_steps", _CASES)
def test_each_epoch_visits_each_image_once(num_images, batch_size, d_steps):
    steps = 4 * num_images // batch_size + 1
    samples = _stream(num_images, steps, batch_size=batch_size, d_steps=d_steps).ravel()
    epochs = len(samples) // num_images
    assert epochs >= 4
    orders = samples[: epochs * num_images].reshape(epochs, num_images)
    np.testing.assert_array_equal(
        np.sort(orders, axis=1), np.tile(np.arange(num_images), (epochs, 1))
    )
    if num_images > 20:
        assert len({tuple(order) for order in orders}) == epochs


@pytest.mark.parametrize("num_images, batch_size, d_steps", _CASES)
def test_starting_late_equals_skipping(num_images, batch_size, d_steps):
    replicas = 2
    kwargs = dict(batch_size=batch_size, d_steps=d_steps, replicas=replicas)
    whole = _stream(num_images, 12, **kwargs)
    for start_step in (1, 7):
        late = _stream(num_images, 12 - start_step, start_step=start_step, **kwargs)
        np.testing.assert_array_equal(late, whole[start_step * replicas :])


@pytest.mark.parametrize("replicas, pipelines", [(2, 1), (4, 1), (2, 2), (4, 2)])
def test_replicas_share_out_the_batches_of_one(replicas, pipelines):
    kwargs = dict(batch_size=8, d_steps=2, start_step=2)
    whole = _stream(23, 9, **kwargs).reshape(9, 2, 8)
    shares = [
        _stream(
            23, 9, replicas=replicas, pipelines=pipelines, pipeline=pipeline, **kwargs
        ).reshape(9, replicas // pipelines, 2, 8 // replicas)
        for pipeline in range(pipelines)
    ]
    # (step, replica, d step, row) -> (step, d step, row, replica)
    together = np.concatenate(shares, axis=1).transpose(0, 2, 3, 1).reshape(9, 2, 8)
    np.testing.assert_array_equal(together, whole)


def test_seeds_give_different_streams_and_one_seed_the_same():
    streams = [
        _stream(300, 20, batch_size=8, seed=seed).tobytes() for seed in (0, 1, 2, 0)
    ]
    assert streams[0] == streams[3]
    assert len(set(streams)) == 3


def test_second_iteration_repeats_the_first():
    dataset = datasets.training_dataset(*_numbered(23), batch_size=8, seed=0)
    first, second = (
        [labels.numpy().tolist() for _, labels in dataset.take(7)] for _ in range(2)
    )
    assert first == second


def test_shapes_are_static_and_the_stream_is_infinite():
    dataset = datasets.training_dataset(
        *_numbered(23),
        batch_size=8,
        d_steps=3,
        seed=0,
        input_context=tf.distribute.InputContext(1, 0, 2),
    )
    assert dataset.element_spec == (
        tf.TensorSpec((12, 2, 2, 3), tf.uint8),
        tf.TensorSpec((12,), tf.int32),
    )
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


def test_far_starts_are_reached_at_once():
    # Far beyond 2 ** 32 samples, as only arithmetic can reach it.
    step = 2**40
    found = _stream(23, 1, batch_size=8, start_step=step)[0]
    samples = [divmod(step * 8 + i, 23) for i in range(8)]
    expected = [_order(23, 11, epoch)[place] for epoch, place in samples]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "kwargs, match",
    [
        (
            {"batch_size": 0},
            r"`batch_size` must be at least 1\. Received: batch_size=0",
        ),
        ({"d_steps": 0}, r"`d_steps` must be at least 1\. Received: d_steps=0"),
        ({"start_step": -1}, r"`start_step` must be at least 0\. Received: .*=-1"),
    ],
)
def test_counts_out_of_range_are_refused(kwargs, match):
    with pytest.raises(ValueError, match=match):
        datasets.training_dataset(
            *_numbered(4), **{"batch_size": 4, "seed": 0, **kwargs}
        )


def test_indivisible_batch_is_refused_with_the_nearest_choices():
    with pytest.raises(
        ValueError,
        match=r"`batch_size` must be divisible by the number of replicas\. Received: "
        r"batch_size=10, num_replicas=4\. Choose 8 or 12",
    ):
        _stream(23, 1, batch_size=10, replicas=4)
    with pytest.raises(ValueError, match=r"Choose 4, or"):
        _stream(23, 1, batch_size=3, replicas=4)


def test_pipelines_of_unequal_size_are_refused():
    with pytest.raises(ValueError, match="num_replicas=3, num_input_pipelines=2"):
        _stream(23, 1, batch_size=6, replicas=3, pipelines=2)


def test_tensors_of_the_wrong_kind_are_refused():
    images, labels = _numbered(4)
    for bad_images, bad_labels, match in (
        (images.astype(np.float32), labels, "images of float32"),
        (images[..., 0], labels, r"images of uint8 and shape \(4, 2, 2\)"),
        (images[:0], labels[:0], r"N > 0\. Received: .*\(0, 2, 2, 3\)"),
        (images, labels.astype(np.int64), "labels of int64"),
        (images, labels[:3], r"shape \(4,\).*Received: labels of int32 and .*\(3,\)"),
    ):
        with pytest.raises(ValueError, match=match):
            datasets.training_dataset(bad_images, bad_labels, batch_size=2, seed=0)


_MIRRORED = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
logical = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, logical)
from ssgan_tf import datasets

labels = np.arange(23, dtype=np.int32)
images = np.broadcast_to(labels[:, None, None, None], (23, 2, 2, 1)).astype(np.uint8)
kwargs = dict(batch_size=8, d_steps=2, seed=5, start_step=3)
single = iter(datasets.training_dataset(images, labels, **kwargs))
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
mirrored = iter(
    strategy.distribute_datasets_from_function(
        lambda context: datasets.training_dataset(
            images, labels, input_context=context, **kwargs
        )
    )
)
for _ in range(10):
    whole = next(single)[1].numpy().reshape(2, 8)
    shares = strategy.experimental_local_results(next(mirrored)[1])
    shares = [share.numpy().reshape(2, 4) for share in shares]
    dealt = np.stack(shares, axis=2).reshape(2, 8)
    np.testing.assert_array_equal(dealt, whole)
print("equal")
"""


@pytest.mark.slow
def test_mirrored_strategy_sees_the_batches_of_one_device():
    # Logical devices must be set up before TensorFlow starts: in a process of its own.
    done = subprocess.run(
        [sys.executable, "-c", _MIRRORED], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1:] == ["equal"]


# ---------------------------------------------------------------- stored images


class Photos(tfds.core.GeneratorBasedBuilder):
    """60 JPEGs of coloured noise, 16x16, with labels; some of them spoilt on demand."""

    VERSION = tfds.core.Version("1.0.0")
    spoilt = {}
    ordered = True

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(None, None, 3), encoding_format="jpeg"
                    ),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            disable_shuffling=self.ordered,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        rng = np.random.default_rng(0)
        for key in range(60):
            image = rng.integers(0, 256, (16, 16, 3), np.uint8)
            image = tf.io.encode_jpeg(image, quality=75).numpy()
            yield key, {"image": self.spoilt.get(key, image), "label": key % 10}


@pytest.fixture
def photos(monkeypatch):
    """Prepares `Photos` in three files; both splits begin and end within a file."""
    spec = datasets.DatasetSpec(
        "photos", "1.0.0", (16, 16, 3), 10, "train[7:-5]", "train[-5:]"
    )
    monkeypatch.setitem(specs.DATASETS, "photos", spec)

    def prepare(folder, *, spoilt=None, **kwargs):
        monkeypatch.setattr(Photos, "spoilt", spoilt or {})
        builder = tfds.builder("photos", data_dir=folder, **kwargs)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(num_shards=3)
        )
        return sorted(pathlib.Path(builder.data_dir).glob("*record*"))

    return prepare


@pytest.fixture(params=["digits32", "photos"])
def both_paths(request, digits_dir, photos, tmp_path, monkeypatch):
    """Decoded images, stored ones and labels of a training split: PNGs, then JPEGs."""
    folder = digits_dir if request.param == "digits32" else tmp_path
    if request.param == "photos":
        # As most data sets; by default TFDS reads such files by turns.
        monkeypatch.setattr(Photos, "ordered", False)
        photos(folder)
    decoded, expected_labels = datasets.load_split(request.param, "train", folder)
    stored, labels = datasets.index_split(request.param, "train", folder)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected_labels)
    return decoded, stored, labels


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


def _assert_same_elements(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "replicas, pipelines, pipeline",
    [(1, 1, 0), (2, 1, 0), (4, 1, 0), (4, 2, 0), (4, 2, 1)],
)
def test_both_paths_give_the_same_stream(both_paths, replicas, pipelines, pipeline):
    decoded, stored, labels = both_paths
    labels = datasets.keep_labels(labels, 0.3, seed=1)
    kwargs = dict(
        d_steps=2,
        start_step=5,
        input_context=tf.distribute.InputContext(pipelines, pipeline, replicas),
    )
    # Four steps, which for photos end in another epoch than they begin in.
    steps = 4 * replicas // pipelines
    expected = _elements(decoded, labels, steps, **kwargs)
    _assert_same_elements(_elements(stored, labels, steps, **kwargs), expected)


def test_both_paths_flip_the_same(both_paths):
    decoded, stored, labels = both_paths
    expected = _elements(decoded, labels, 4, flip=True)
    _assert_same_elements(_elements(stored, labels, 4, flip=True), expected)
    assert any(
        (flipped != plain).any()
        for (flipped, _), (plain, _) in zip(expected, _elements(decoded, labels, 4))
    )


def test_stored_images_resume_at_any_step(both_paths):
    _, stored, labels = both_paths
    context = tf.distribute.InputContext(1, 0, 2)
    whole = _elements(stored, labels, 2 * 9, input_context=context)
    for step in (1, 5, 8):
        late = _elements(
            stored, labels, 2 * (9 - step), start_step=step, input_context=context
        )
        _assert_same_elements(late, whole[2 * step :])


def test_stored_images_have_static_shapes_and_no_end(both_paths):
    decoded, stored, labels = both_paths
    kwargs = dict(batch_size=8, d_steps=3, seed=0)
    context = tf.distribute.InputContext(1, 0, 2)
    dataset = datasets.training_dataset(stored, labels, input_context=context, **kwargs)
    assert dataset.element_spec == (
        tf.TensorSpec((12, *decoded.shape[1:]), tf.uint8),
        tf.TensorSpec((12,), tf.int32),
    )
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


def test_images_that_are_slow_to_decode_keep_their_place(both_paths, monkeypatch):
    decoded, stored, labels = both_paths
    decode = datasets.StoredImages._decode
    threads = []

    def dawdle(length):
        threads.append(1)
        # Not a function of the order: some of each batch come late.
        time.sleep(0.02 if length % 3 == 0 else 0.0)
        threads.append(-1)
        return np.int64(0)

    def slow_decode(self, record):
        wait = tf.numpy_function(dawdle, [tf.strings.length(record)], tf.int64)
        with tf.control_dependencies([wait]):
            return decode(self, tf.identity(record))

    monkeypatch.setattr(datasets.StoredImages, "_decode", slow_decode)
    expected = _elements(decoded, labels, 12)
    for _ in range(2):
        _assert_same_elements(_elements(stored, labels, 12), expected)
    # Several at a time: the order is not kept by decoding one after the other.
    assert np.cumsum(threads).max() > 1


def test_each_share_waits_on_the_device_of_its_replica(both_paths, two_replicas):
    decoded, stored, labels = both_paths
    for images in (decoded, stored):
        iterator = iter(
            two_replicas.distribute_datasets_from_function(
                lambda context, images=images: datasets.training_dataset(
                    images, labels, batch_size=8, seed=0, input_context=context
                )
            )
        )
        for element in next(iterator):
            shares = two_replicas.experimental_local_results(element)
            assert [share.device[-5:] for share in shares] == ["CPU:0", "CPU:1"]


_LARGE = """
import resource
import sys

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from ssgan_tf import datasets
from ssgan_tf.datasets import loading, specs

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


specs.DATASETS["plain"] = datasets.DatasetSpec("plain", "1.0.0", (SIZE, SIZE, 3), 0)
loading.MAX_DECODED_BYTES = COUNT * SIZE * SIZE * 3 - 1
tfds.builder("plain", data_dir=sys.argv[1]).download_and_prepare()
before = peak()
images, labels = datasets.open_split("plain", "train", sys.argv[1])
stream = datasets.training_dataset(images, labels, batch_size=8, seed=0)
seen = {int(image[0, 0, 0]) for batch, _ in stream.take(COUNT // 8) for image in batch}
assert seen == set(range(256)), seen
print((peak() - before) / (COUNT * SIZE * SIZE * 3))
"""


@pytest.mark.slow
def test_stored_images_are_never_in_memory_at_once(tmp_path):
    # The peak of a process of its own, which has read each image once.
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
        match=r"the train split of photos must decode to the shape \(16, 16, 3\)\. "
        rf"Received: image 23, at byte \d+ of {paths[1]}, of shape {shape}",
    ):
        _elements(stored, labels, 6)


def test_a_picture_that_cannot_be_decoded_is_named_at_the_start(photos, tmp_path):
    photos(tmp_path, spoilt={30: b"\xff\xd8\xff no picture"})
    with pytest.raises(ValueError, match=r"image 23 of photos's train split in '.*'"):
        datasets.load_split("photos", "train", tmp_path)


def _starts(data):
    """Where the records of a TFRecord file begin, and where it ends."""
    starts = [0]
    while starts[-1] < len(data):
        size = int.from_bytes(data[starts[-1] : starts[-1] + 8], "little")
        starts.append(starts[-1] + size + 16)
    return starts


def _flip(data, place):
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]


# What becomes of a file and its sixth record, which goes from one byte to another.
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


def _damage(path, how):
    data = path.read_bytes()
    damaged = how(data, *_starts(data)[5:7])
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)


# With labels a file that a split reads whole, without them one that it reads in part.
@pytest.mark.parametrize("num_classes, place", [(10, 1), (0, 2)])
def test_a_damaged_file_is_refused_at_the_start(
    num_classes, place, photos, tmp_path, monkeypatch
):
    path = photos(tmp_path)[place]
    spec = datasets.DatasetSpec(
        "photos", "1.0.0", (16, 16, 3), num_classes, "train[7:-5]"
    )
    monkeypatch.setitem(specs.DATASETS, "photos", spec)
    whole = path.read_bytes()
    for name, how in _DAMAGED_FILES.items():
        _damage(path, how)
        # `open_split` takes one of the two.
        for read in (datasets.load_split, datasets.index_split):
            with pytest.raises(ValueError) as error:
                read("photos", "train", tmp_path)
            message = str(error.value)
            assert f"Received: '{path}'" in message, (name, message)
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
        (text.replace('"20"', '"10"', 1), rf"\(10\)\. Received: '{path}' with 20"),
        (text.replace('"20"', '"21"', 1), rf"\(21\)\. Received: '{path}' with 20"),
        (text.replace('"train"', '"tsain"'), f"'train.*Received: '{path.parent}'"),
    ):
        assert changed != text
        info.write_text(changed)
        with pytest.raises(ValueError, match=words):
            datasets.open_split("photos", "train", tmp_path)


@pytest.mark.parametrize("how", _DAMAGED_RECORDS)
def test_a_record_that_is_damaged_while_it_is_in_use(how, photos, tmp_path):
    path = photos(tmp_path)[1]
    stored, labels = datasets.index_split("photos", "train", tmp_path)
    decoded, _ = datasets.load_split("photos", "train", tmp_path)
    _damage(path, _DAMAGED_RECORDS[how])
    # The file begins with image 13 of the split.
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"image 18, at byte \d+ of {path}"
    ):
        _elements(stored, labels, 6)
    for place in (17, 19):
        image = stored.look_up(tf.constant(place, tf.int64))
        np.testing.assert_array_equal(image, decoded[place])


@pytest.mark.parametrize("how", ["missing", "empty", "cut within a record"])
def test_a_file_that_goes_while_it_is_in_use(how, photos, tmp_path):
    path = photos(tmp_path)[1]
    stored, labels = datasets.index_split("photos", "train", tmp_path)
    _damage(path, _DAMAGED_FILES[how])
    raised = []

    def train():
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            _elements(stored, labels, 6)
        raised.append(str(error.value))

    # Not in this thread: what asks for the file again and again would never end.
    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert raised and f" of {path}, of shape [0 0 0]" in raised[0]


def test_other_file_formats_are_refused(photos, tmp_path):
    photos(tmp_path, file_format="array_record")
    with pytest.raises(ValueError, match=r"TFRecord.*'photos', stored as array_record"):
        datasets.index_split("photos", "train", tmp_path)


def test_stored_images_of_another_type_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(OddImages, "dtype", np.uint16)
    spec = datasets.DatasetSpec("odd_images", "1.0.0", (32, 32, 3), num_classes=2)
    monkeypatch.setitem(specs.DATASETS, "odd", spec)
    with pytest.raises(ValueError, match="uint8 .*Received: uint16 as the images of"):
        datasets.index_split("odd", "train", tmp_path)


def test_stored_labels_out_of_range_are_refused(digits_dir, monkeypatch):
    spec = datasets.DatasetSpec("digits32", "1.0.0", (32, 32, 1), num_classes=9)
    monkeypatch.setitem(specs.DATASETS, "wrong", spec)
    with pytest.raises(ValueError, match=r"\[0, 9\)\. Received: .* labels from 0 to 9"):
        datasets.index_split("wrong", "test", digits_dir)


def test_a_stored_set_without_labels(digits_dir, monkeypatch):
    spec = datasets.DatasetSpec("digits32", "1.0.0", (32, 32, 1), num_classes=0)
    monkeypatch.setitem(specs.DATASETS, "unlabelled", spec)
    stored, labels = datasets.index_split("unlabelled", "test", digits_dir)
    assert stored.shape == (397, 32, 32, 1)
    np.testing.assert_array_equal(labels, np.full(397, -1, np.int32))


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
        assert "1400 images decoded once, 1.4 MiB in memory" in caplog.text
    else:
        assert "1400 images decoded on the fly from 1 files" in caplog.text
