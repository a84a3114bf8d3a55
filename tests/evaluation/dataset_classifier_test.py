"""The classifier of a data set: training, cache, replicas."""

import io
import threading

import keras
import numpy as np
import pytest

from ssgan_tf import datasets
from ssgan_tf.evaluation import dataset_classifier
from ssgan_tf.utils import files


def random_images(count, size=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(count, size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def digits():
    """Images and labels: training split, test split."""
    return [datasets.load_split("digits32", split) for split in ("train", "test")]


def classifier_of(train, test):
    """From the cache of all tests, which train it once."""
    return dataset_classifier.dataset_classifier(
        "digits32", train, test, num_classes=10, cache_dir=str(files.cache_dir())
    )


@pytest.fixture(scope="module")
def digits_cnn(digits):
    return classifier_of(*digits)


class TestDatasetClassifier:
    def test_accuracy_on_digits(self, digits, digits_cnn):
        images, labels = digits[1]
        activations, logits = digits_cnn.extract(images)
        accuracy = np.mean(logits.argmax(axis=1) == labels)
        assert accuracy == digits_cnn.test_accuracy
        assert 0.95 < accuracy < 1
        assert digits_cnn.name == "digits32_cnn"
        assert activations.shape == (397, 64) and logits.shape == (397, 10)
        # Logits are linear in the features.
        design = np.column_stack([activations, np.ones(len(activations))])
        weights = np.linalg.lstsq(design, logits, rcond=None)[0]
        np.testing.assert_allclose(design @ weights, logits, atol=1e-3)
        assert logits.std() > 1

    def test_cache_hit_is_bit_identical(self, digits, digits_cnn):
        train, (images, labels) = digits
        (file,) = files.cache_dir().glob("digits32_cnn-*.npz")
        written = file.stat().st_mtime_ns
        cached = classifier_of(train, (images, labels))
        for ours, theirs in zip(
            cached.extract(images), digits_cnn.extract(images), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
        assert cached.test_accuracy == digits_cnn.test_accuracy
        assert cached.fingerprint == digits_cnn.fingerprint
        # The accuracy is that on the test images given now, not on earlier ones.
        wrong = classifier_of(train, (images, (labels + 1) % 10))
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
        np.savez(other := io.BytesIO(), np.ones(3))
        for bad in (b"", b"nonsense", good[: len(good) // 2], other.getvalue()):
            file.write_bytes(bad)
            caplog.clear()
            again = self.train(tmp_path)
            assert "making it again" in caplog.text
            assert [f.name for f in tmp_path.iterdir() if f.is_file()] == [file.name]
            assert len(file.read_bytes()) == len(good)
            # The seed decides, up to rounding.
            images = random_images(20, seed=5)
            np.testing.assert_allclose(
                again.extract(images)[0], expected.extract(images)[0], atol=1e-3
            )
        caplog.clear()
        self.train(tmp_path)
        assert "making it again" not in caplog.text

    @pytest.mark.usefixtures("two_steps")
    def test_one_trains_and_the_others_wait(self, tmp_path, caplog):
        barrier, extractors = threading.Barrier(2), []

        def train():
            barrier.wait(60)
            extractors.append(self.train(tmp_path))

        threads = [threading.Thread(target=train) for _ in range(2)]
        with caplog.at_level("INFO", "absl"):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert caplog.text.count("trained in") == 1
        first, second = extractors
        assert first.fingerprint == second.fingerprint

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

    @pytest.mark.parametrize("wrong", [-1, 1, 0.0])
    def test_labels_that_are_no_classes(self, wrong, tmp_path):
        train = random_images(6), np.arange(6) % 3 + wrong
        with pytest.raises(ValueError, match="Received: train_labels.shape"):
            self.train(tmp_path, train=train)

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
