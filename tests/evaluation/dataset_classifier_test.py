"""The classifier of a data set: training, cache, replicas."""

import contextlib
import dataclasses
import io
import platform
import threading

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ssgan_tf.evaluation import dataset_classifier
from ssgan_tf.utils import files


def random_images(count, size=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(count, size, size, 3), dtype=np.uint8)


def digits():
    """Returns images at 32 x 32 and labels: training split, test split."""
    data = load_digits()
    images = np.stack(
        [
            np.asarray(
                Image.fromarray((digit * (255 / 16)).astype(np.uint8)).resize((32, 32))
            )
            for digit in data.images
        ]
    )[..., np.newaxis]
    return tuple(
        (images[part], data.target[part]) for part in (slice(1400), slice(1400, None))
    )


@pytest.fixture(scope="module")
def digits_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def digits_cnn(digits_cache):
    return classifier_of(*digits(), digits_cache)


def classifier_of(train, test, cache_dir):
    return dataset_classifier.dataset_classifier(
        "digits32", train, test, num_classes=10, cache_dir=str(cache_dir)
    )


class TestDatasetClassifier:
    def test_accuracy_on_digits(self, digits_cnn):
        _, (images, labels) = digits()
        activations, logits = digits_cnn.extract(images)
        accuracy = np.mean(logits.argmax(axis=1) == labels)
        assert accuracy == digits_cnn.test_accuracy
        assert 0.95 < accuracy < 1
        assert digits_cnn.name == "digits32_cnn"
        assert activations.shape == (397, 64) and logits.shape == (397, 10)

    def test_logits_are_linear_in_the_features(self, digits_cnn):
        activations, logits = digits_cnn.extract(digits()[1][0])
        design = np.column_stack([activations, np.ones(len(activations))])
        weights = np.linalg.lstsq(design, logits, rcond=None)[0]
        np.testing.assert_allclose(design @ weights, logits, atol=1e-3)
        assert logits.std() > 1

    def test_traced_once_for_all_batch_sizes(self, digits_cnn):
        images, _ = digits()[1]
        expected, _ = digits_cnn.extract(images)
        for batch_size in (7, 50, 397):
            other = dataclasses.replace(digits_cnn, batch_size=batch_size)
            np.testing.assert_allclose(
                other.extract(images)[0], expected, rtol=1e-4, atol=1e-5
            )
        assert digits_cnn.forward.experimental_get_tracing_count() == 1

    def test_cache_hit_is_bit_identical(self, digits_cnn, digits_cache):
        train, (images, labels) = digits()
        (file,) = digits_cache.glob("*.npz")
        written = file.stat().st_mtime_ns
        cached = classifier_of(train, (images, labels), digits_cache)
        for ours, theirs in zip(
            cached.extract(images), digits_cnn.extract(images), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
        assert cached.test_accuracy == digits_cnn.test_accuracy
        assert cached.fingerprint == digits_cnn.fingerprint
        # The accuracy is that on the test images given now, not on earlier ones.
        wrong = classifier_of(train, (images, (labels + 1) % 10), digits_cache)
        assert wrong.test_accuracy < 0.05
        assert file.stat().st_mtime_ns == written

    def test_rejects_another_size(self, digits_cnn):
        with pytest.raises(ValueError, match="32, 32, 1"):
            digits_cnn.extract(random_images(2, size=28)[..., :1])


@pytest.fixture
def two_steps(monkeypatch):
    """Shortens training where the weights do not matter."""
    monkeypatch.setattr(dataset_classifier, "MIN_STEPS", 2)
    monkeypatch.setattr(dataset_classifier, "MAX_STEPS", 2)


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(dataset_classifier, "train_classifier", lambda *args: None)


class TestCache:
    def data(self):
        images, labels = random_images(150), np.arange(150) % 3
        return {"train": (images, labels), "test": (images[:9], labels[:9])}

    def train(self, cache_dir, name="noise", **changes):
        arguments = self.data() | {"num_classes": 3} | changes
        return dataset_classifier.dataset_classifier(
            name, cache_dir=str(cache_dir), **arguments
        )

    @pytest.mark.slow
    @pytest.mark.usefixtures("two_steps")
    def test_damaged_file_is_replaced(self, tmp_path, caplog):
        expected = self.train(tmp_path)
        (file,) = tmp_path.glob("*.npz")
        good = file.read_bytes()
        for bad in (b"", b"nonsense", good[: len(good) // 2], self.other_weights()):
            file.write_bytes(bad)
            caplog.clear()
            again = self.train(tmp_path)
            assert "training it again" in caplog.text
            assert [f.name for f in tmp_path.iterdir() if f.is_file()] == [file.name]
            assert len(file.read_bytes()) == len(good)
            # The seed decides, up to rounding.
            images = random_images(20, seed=5)
            np.testing.assert_allclose(
                again.extract(images)[0], expected.extract(images)[0], atol=1e-3
            )
        caplog.clear()
        self.train(tmp_path)
        assert "training it again" not in caplog.text

    def other_weights(self):
        stream = io.BytesIO()
        np.savez(stream, np.zeros(3), np.zeros(4))
        return stream.getvalue()

    @pytest.mark.usefixtures("two_steps")
    def test_one_trains_and_the_others_wait(self, tmp_path, caplog):
        barrier, extractors = threading.Barrier(2), []

        def train():
            barrier.wait(60)
            extractors.append(self.train(tmp_path))

        threads = [threading.Thread(target=train) for _ in range(2)]
        with caplog.at_level("INFO"):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert caplog.text.count("trained in") == 1
        first, second = extractors
        assert first.fingerprint == second.fingerprint

    @pytest.mark.usefixtures("no_training")
    def test_two_machines_write_at_once(self, tmp_path, monkeypatch, caplog):
        # A shared folder whose file system has no locks.
        monkeypatch.setattr(files, "lock", lambda _: contextlib.nullcontext())
        savez = np.savez

        def write_meanwhile(stream, *weights):
            monkeypatch.setattr(np, "savez", savez)
            with monkeypatch.context() as other:
                other.setattr(platform, "node", lambda: "other")
                self.train(tmp_path)
            savez(stream, *weights)

        monkeypatch.setattr(np, "savez", write_meanwhile)
        self.train(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
        self.train(tmp_path)
        assert "training it again" not in caplog.text

    @pytest.mark.usefixtures("no_training")
    def test_the_name_is_a_hash_of_all_that_matters(self, tmp_path):
        images, labels = self.data()["train"]
        one_pixel = images.copy()
        one_pixel[7, 3, 3, 1] ^= 1
        one_label = labels.copy()
        one_label[5] = (one_label[5] + 1) % 3
        for changes in (
            {},
            {"name": "noise2"},
            {"seed": 1},
            {"train": (one_pixel, labels)},
            {"train": (images, one_label)},
            {"num_classes": 4},
        ):
            self.train(tmp_path, **changes)
        names = {path.name for path in tmp_path.glob("*.npz")}
        assert len(names) == 6
        self.train(tmp_path, test=(images[3:8], labels[3:8]))
        assert {path.name for path in tmp_path.glob("*.npz")} == names
        # As written by earlier versions.
        assert "noise_cnn-284cd13dbb513964.npz" in names

    @pytest.mark.usefixtures("two_steps")
    def test_seed_decides_the_features(self, tmp_path):
        images = random_images(20, seed=5)
        first = self.train(tmp_path / "a").extract(images)[0]
        second = self.train(tmp_path / "b").extract(images)[0]
        other = self.train(tmp_path / "a", seed=1).extract(images)[0]
        np.testing.assert_allclose(first, second, atol=1e-3)
        assert np.abs(first - other).max() > 0.1

    @pytest.mark.usefixtures("two_steps")
    def test_global_random_state_is_left_alone(self, tmp_path):
        keras.utils.set_random_seed(3)
        expected = keras.random.uniform((4,)), np.random.rand(4)
        keras.utils.set_random_seed(3)
        self.train(tmp_path)
        actual = keras.random.uniform((4,)), np.random.rand(4)
        np.testing.assert_array_equal(actual[0], expected[0])
        np.testing.assert_array_equal(actual[1], expected[1])

    @pytest.mark.parametrize(
        ("name", "part", "value", "message"),
        [
            ("lsun/bedroom", 0, None, "name='lsun/bedroom'"),
            ("train", 0, np.zeros((150, 8, 8, 3), np.float32), "train_images.dtype"),
            ("test", 0, np.zeros((9, 4, 4, 3), np.uint8), "test_images.shape"),
            ("train", 1, np.arange(150), "values=0 to 149"),
            ("train", 1, np.zeros(149, np.int64), r"train_labels.shape=\(149,\)"),
            ("test", 1, -np.ones(9, np.int64), "values=-1 to -1"),
            ("train", 1, np.zeros(150), "dtype=float64"),
        ],
    )
    def test_rejects(self, tmp_path, name, part, value, message):
        changes = {"name": name}
        if name in self.data():
            data = list(self.data()[name])
            data[part] = value
            changes = {name: data}
        with pytest.raises(ValueError, match=message):
            self.train(tmp_path, **changes)


def test_shifts_are_shifts():
    """Every image of a batch is a window of its own padded image, label attached."""
    images, labels = random_images(20, size=8), np.arange(20)
    shifts = set()
    for batch, batch_labels in dataset_classifier.shifted_batches(
        (images, labels), steps=3, seed=0
    ):
        for image, label in zip(batch, batch_labels, strict=True):
            padded = np.pad(images[label], ((4, 4), (4, 4), (0, 0)), mode="edge")
            windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8, 3))
            match = np.all(windows[:, :, 0] == image, axis=(2, 3, 4))
            assert match.sum() == 1
            shifts.add(tuple(np.argwhere(match)[0]))
        assert np.bincount(batch_labels, minlength=20).max() <= 8
    assert len(shifts) > 75 and {top for top, _ in shifts} == set(range(9))


@pytest.mark.usefixtures("no_training")
def test_replicas_move_no_feature(tmp_path, two_replicas):
    images, labels = random_images(15), np.arange(15) % 3
    one, two = (
        dataset_classifier.dataset_classifier(
            "x",
            (images, labels),
            (images[:7], labels[:7]),
            num_classes=3,
            cache_dir=str(tmp_path),
            strategy=strategy,
        )
        for strategy in (None, two_replicas)
    )
    assert two.fingerprint == one.fingerprint
    assert two.test_accuracy == one.test_accuracy
    for num in (1, 15):
        for actual, expected in zip(
            two.extract(images[:num]), one.extract(images[:num]), strict=True
        ):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    assert two.forward.experimental_get_tracing_count() == 2

    # Each replica reads its own weights.
    def devices():
        variables = two.forward.get_concrete_function().variables
        return ", ".join({variable.device[-5:] for variable in variables})

    names = two_replicas.experimental_local_results(two_replicas.run(devices))
    assert names == ("CPU:0", "CPU:1")
