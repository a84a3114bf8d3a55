"""Feature extractors: preprocessing, batching, checks at load, cache."""

import contextlib
import dataclasses
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

from ssgan_tf.evaluation import dataset_classifier, features
from ssgan_tf.utils import files


class FakeInception(tf.Module):
    """The signature of the 2015 Inception, with small random weights."""

    def __init__(self, pool_width=2048, logits_name="logits"):
        super().__init__()
        rng = np.random.default_rng(0)

        def variable(*shape):
            scale = 1 / np.sqrt(np.prod(shape[:-1]))
            return tf.Variable(rng.normal(scale=scale, size=shape).astype("float32"))

        self.kernel = variable(23, 23, 3, 4)
        self.dense = variable(13 * 13 * 4, pool_width)
        self.head = variable(pool_width, 1008)
        self.logits_name = logits_name

    @tf.function(input_signature=[tf.TensorSpec((None, 299, 299, 3))])
    def __call__(self, images):
        hidden = tf.nn.relu(tf.nn.conv2d(images, self.kernel, 23, "VALID"))
        pooled = tf.nn.relu(tf.reshape(hidden, [-1, 13 * 13 * 4]) @ self.dense)
        return {"pool_3": pooled, self.logits_name: pooled @ self.head}


class SeesPixels(tf.Module):
    """Shows, as "features", a grid of the pixels that reach the network."""

    @tf.function(input_signature=[tf.TensorSpec((None, 299, 299, 3))])
    def __call__(self, images):
        grid = tf.reshape(images[:, ::11, ::11, :], [-1, 28 * 28 * 3])
        # Four dimensions, as an average pooling leaves them.
        return {"pool_3": grid[:, None, None, :2048], "logits": grid[:, :1008]}


class SignatureOnly(tf.Module):
    """Has a default signature and no `__call__`."""

    @tf.function(input_signature=[tf.TensorSpec((None, 299, 299, 3), name="image")])
    def classify(self, image):
        mean = tf.reduce_mean(image, axis=[1, 2])[:, :1]
        return {"pool_3": tf.tile(mean, [1, 2048]), "logits": tf.tile(mean, [1, 1008])}


def save(model, folder, **kwargs):
    tf.saved_model.save(model, str(folder), **kwargs)
    return str(folder)


def random_images(count, size=32, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (count, size, size, channels)
    return rng.integers(0, 256, size=shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def inception_path(tmp_path_factory):
    return save(FakeInception(), tmp_path_factory.mktemp("inception"))


@pytest.fixture(scope="module")
def inception(inception_path):
    return features.load_inception(inception_path)


def digits():
    """Returns dataset_classifier's five data arguments: digits at 32 x 32."""
    data = load_digits()
    images = np.stack(
        [
            np.asarray(
                Image.fromarray((digit * (255 / 16)).astype(np.uint8)).resize((32, 32))
            )
            for digit in data.images
        ]
    )[..., np.newaxis]
    return images[:1400], data.target[:1400], images[1400:], data.target[1400:], 10


@pytest.fixture(scope="module")
def digits_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def digits_cnn(digits_cache):
    return dataset_classifier.dataset_classifier(
        "digits32", *digits(), str(digits_cache)
    )


class TestExtract:
    def test_shapes_and_names(self, inception):
        activations, logits = inception.extract(random_images(5))
        assert activations.shape == (5, inception.feature_dim) == (5, 2048)
        assert logits.shape == (5, inception.num_classes) == (5, 1008)
        assert activations.dtype == logits.dtype == np.float32
        assert inception.name == "inception"
        assert inception.test_accuracy is None

    @pytest.mark.parametrize("batch_size", [1, 3, 11, 64])
    def test_batch_size_moves_nothing(self, inception, batch_size):
        images = random_images(11)
        expected, expected_logits = inception.extract(images)
        assert expected.std(axis=0).max() > 0.01, "the network ignores its input"
        other = dataclasses.replace(inception, batch_size=batch_size)
        activations, logits = other.extract(images)
        np.testing.assert_allclose(activations, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(logits, expected_logits, rtol=1e-4, atol=1e-5)

    def test_order_is_kept(self, inception):
        images = random_images(9)
        order = np.random.default_rng(1).permutation(9)
        small = dataclasses.replace(inception, batch_size=4)
        expected = small.extract(images)[0][order]
        np.testing.assert_allclose(
            small.extract(images[order])[0], expected, rtol=1e-4, atol=1e-5
        )

    def test_traced_once(self, inception):
        for count in (1, 2, 63, 64, 65, 130):
            inception.extract(random_images(count, size=16))
        inception.extract(random_images(3, size=48))
        inception.extract(random_images(3, size=48, channels=1))
        assert inception.forward.experimental_get_tracing_count() == 1

    @pytest.mark.parametrize(
        "images",
        [
            random_images(2).astype(np.float32),
            random_images(2)[0],
            random_images(2)[:0],
            random_images(2, channels=4),
            random_images(2, channels=2),
        ],
    )
    def test_rejects_other_images(self, inception, images):
        with pytest.raises(ValueError, match="Received: images.shape="):
            inception.extract(images)

    def test_rejects_non_finite_features(self, inception):
        broken = dataclasses.replace(
            inception,
            forward=lambda images: (
                np.full((len(images), 2048), np.nan),
                np.zeros((len(images), 1008)),
            ),
        )
        with pytest.raises(ValueError, match="NaN or infinity"):
            broken.extract(random_images(2))


class TestOnTwoReplicas:
    """The same features, and both replicas make them."""

    def test_inception(self, inception, inception_path, two_replicas):
        shared = features.load_inception(inception_path, two_replicas)
        shared = dataclasses.replace(shared, batch_size=4)
        assert shared.fingerprint == inception.fingerprint
        # Of the last call with 11 images replica 0 has two and replica 1 has one.
        for images in (random_images(1), random_images(7), random_images(11)[..., :1]):
            for found, expected in zip(
                shared.extract(images), inception.extract(images), strict=True
            ):
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        # Once on each device.
        assert shared.forward.experimental_get_tracing_count() == 2

        images = random_images(7)
        before = shared.extract(images)[1]
        head = two_replicas.experimental_local_results(shared.forward.model.head)
        head[1].assign(tf.zeros_like(head[1]))
        changed = np.any(shared.extract(images)[1] != before, axis=1)
        np.testing.assert_array_equal(changed, [False] * 4 + [True] * 3)

    def test_classifier(self, tmp_path, two_replicas, monkeypatch):
        monkeypatch.setattr(dataset_classifier, "_train_classifier", lambda *args: None)
        images, labels = random_images(15, size=8), np.arange(15) % 3
        arguments = ["x", images, labels, images[:7], labels[:7], 3, str(tmp_path)]
        one = dataset_classifier.dataset_classifier(*arguments)
        two = dataset_classifier.dataset_classifier(*arguments, strategy=two_replicas)
        assert two.fingerprint == one.fingerprint
        assert two.test_accuracy == one.test_accuracy
        for num in (1, 15):
            for found, expected in zip(
                two.extract(images[:num]), one.extract(images[:num]), strict=True
            ):
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert two.forward.experimental_get_tracing_count() == 2

        # Each reads weights of its own.
        def devices():
            variables = two.forward.get_concrete_function().variables
            return ", ".join({variable.device[-5:] for variable in variables})

        found = two_replicas.experimental_local_results(two_replicas.run(devices))
        assert found == ("CPU:0", "CPU:1")

    def test_a_call_takes_a_batch_on_each_replica(self, two_replicas):
        shapes = []

        def forward(images):
            shapes.append(images.shape[0])
            columns = tf.cast(images[:, 0, 0], tf.float32)
            return columns[:, :2], columns

        extractor = features.FeatureExtractor(
            name="x",
            feature_dim=2,
            num_classes=3,
            image_shape=(None, None, 3),
            resize="none",
            fingerprint="0",
            forward=forward,
            batch_size=4,
            strategy=two_replicas,
        )
        images = random_images(17)
        activations, logits = extractor.extract(images)
        np.testing.assert_array_equal(logits, images[:, 0, 0])
        np.testing.assert_array_equal(activations, images[:, 0, 0, :2])
        # Seen while it is traced, on either replica: 17 = 2 (4 + 4) + 1.
        assert shapes == [4, 4, 1, 1]


class TestInception:
    @pytest.mark.parametrize("size", [32, 128, 299, 512])
    def test_preprocessing_of_compare_gan(self, tmp_path, size):
        """TensorFlow 1's bilinear grid and (x - 128) / 128, written in NumPy."""
        extractor = features.load_inception(save(SeesPixels(), tmp_path))
        images = random_images(2, size=size)
        source = np.arange(299) * (size / 299)
        low = np.floor(source).astype(int)
        high = np.minimum(low + 1, size - 1)
        weight = (source - low)[:, np.newaxis, np.newaxis]
        rows = images[:, low] * (1 - weight) + images[:, high] * weight
        weight = weight[:, :, 0][:, :, np.newaxis].reshape(299, 1)
        resized = rows[:, :, low] * (1 - weight) + rows[:, :, high] * weight
        expected = ((resized - 128) / 128)[:, ::11, ::11].reshape(2, -1)
        activations, logits = extractor.extract(images)
        np.testing.assert_allclose(activations, expected[:, :2048], atol=1e-4)
        np.testing.assert_allclose(logits, expected[:, :1008], atol=1e-4)

    def test_grey_images_are_tiled(self, inception):
        grey = random_images(3, channels=1)
        np.testing.assert_array_equal(
            inception.extract(grey)[0], inception.extract(np.tile(grey, 3))[0]
        )

    def test_default_signature(self, tmp_path):
        model = SignatureOnly()
        path = save(model, tmp_path, signatures=model.classify)
        activations, _ = features.load_inception(path).extract(
            np.full((2, 8, 8, 3), 192, np.uint8)
        )
        np.testing.assert_allclose(activations, 0.5, atol=1e-6)

    def test_missing_path(self, tmp_path):
        for path in (tmp_path / "absent", tmp_path):
            with pytest.raises(FileNotFoundError, match="saved_model.pb"):
                features.load_inception(str(path))

    @pytest.mark.parametrize(
        ("model", "found"),
        [
            (FakeInception(pool_width=1024), r"'pool_3': \(2, 1024\)"),
            (FakeInception(logits_name="scores"), r"'scores': \(2, 1008\)"),
        ],
    )
    def test_wrong_outputs(self, tmp_path, model, found):
        with pytest.raises(ValueError, match=found) as error:
            features.load_inception(save(model, tmp_path))
        assert "'pool_3': (2, 2048), 'logits': (2, 1008)" in str(error.value)

    def test_wrong_input(self, tmp_path):
        class Small(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3))])
            def __call__(self, images):
                return {"pool_3": images, "logits": images}

        with pytest.raises(ValueError, match=r"must take .*\(2, 299, 299, 3\)"):
            features.load_inception(save(Small(), tmp_path))

    def test_no_way_to_call_it(self, tmp_path):
        module = tf.Module()
        module.variable = tf.Variable(1.0)
        with pytest.raises(ValueError, match="default signature"):
            features.load_inception(save(module, tmp_path))

    def test_tensorflow_hub_address(self, tmp_path, monkeypatch):
        import tensorflow_hub

        path = save(FakeInception(), tmp_path)
        monkeypatch.setattr(tensorflow_hub, "resolve", lambda handle: path)
        handle = "https://example.org/inception/1"
        assert features.load_inception(handle).fingerprint == (
            features.load_inception(path).fingerprint
        )

        def fail(handle):
            raise OSError("403")

        monkeypatch.setattr(tensorflow_hub, "resolve", fail)
        with pytest.raises(ConnectionError, match="Download the module by hand"):
            features.load_inception(handle)

    def test_fingerprint_follows_the_weights(self, tmp_path, inception):
        model = FakeInception()
        model.head.assign_add(tf.ones_like(model.head))
        other = features.load_inception(save(model, tmp_path))
        assert other.fingerprint != inception.fingerprint


class TestDatasetClassifier:
    def test_accuracy_on_digits(self, digits_cnn):
        _, _, images, labels, _ = digits()
        activations, logits = digits_cnn.extract(images)
        accuracy = np.mean(logits.argmax(axis=1) == labels)
        assert accuracy == digits_cnn.test_accuracy
        assert 0.95 < accuracy < 1
        assert digits_cnn.name == "digits32_cnn"
        assert activations.shape == (397, 64) and logits.shape == (397, 10)

    def test_features_are_what_the_logits_are_made_of(self, digits_cnn):
        activations, logits = digits_cnn.extract(digits()[2])
        design = np.column_stack([activations, np.ones(len(activations))])
        weights = np.linalg.lstsq(design, logits, rcond=None)[0]
        np.testing.assert_allclose(design @ weights, logits, atol=1e-3)
        assert logits.std() > 1

    def test_traced_once_and_batch_size_moves_nothing(self, digits_cnn):
        images = digits()[2]
        expected, _ = digits_cnn.extract(images)
        for batch_size in (7, 50, 397):
            other = dataclasses.replace(digits_cnn, batch_size=batch_size)
            np.testing.assert_allclose(
                other.extract(images)[0], expected, rtol=1e-4, atol=1e-5
            )
        assert digits_cnn.forward.experimental_get_tracing_count() == 1

    def test_cache_hit_is_bit_identical(self, digits_cnn, digits_cache, monkeypatch):
        def fail(*args):
            raise AssertionError("trained again")

        monkeypatch.setattr(dataset_classifier, "_train_classifier", fail)
        arguments = digits()
        cached = dataset_classifier.dataset_classifier(
            "digits32", *arguments, str(digits_cache)
        )
        for ours, theirs in zip(
            cached.extract(arguments[2]), digits_cnn.extract(arguments[2]), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
        assert cached.test_accuracy == digits_cnn.test_accuracy
        assert cached.fingerprint == digits_cnn.fingerprint
        # The accuracy belongs to the test images given, not to those at training.
        train_images, train_labels, test_images, test_labels, _ = arguments
        wrong = dataset_classifier.dataset_classifier(
            "digits32",
            train_images,
            train_labels,
            test_images,
            (test_labels + 1) % 10,
            10,
            str(digits_cache),
        )
        assert wrong.test_accuracy < 0.05

    def test_rejects_another_size(self, digits_cnn):
        with pytest.raises(ValueError, match="32, 32, 1"):
            digits_cnn.extract(random_images(2, size=28, channels=1))


class TestCache:
    """With two training steps: the weights do not matter here."""

    @pytest.fixture(autouse=True)
    def short_training(self, monkeypatch):
        monkeypatch.setattr(dataset_classifier, "_MAX_STEPS", 2)
        monkeypatch.setattr(dataset_classifier, "_MIN_STEPS", 2)

    def arguments(self):
        images, labels = random_images(150, size=8), np.arange(150) % 3
        return [images, labels, images[:9], labels[:9], 3]

    def train(self, cache_dir, name="noise", seed=0, **changes):
        arguments = self.arguments()
        for index, value in changes.items():
            arguments[int(index[-1])] = value
        return dataset_classifier.dataset_classifier(
            name, *arguments, str(cache_dir), seed
        )

    @pytest.mark.slow
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
            images = random_images(20, size=8, seed=5)
            np.testing.assert_allclose(
                again.extract(images)[0], expected.extract(images)[0], atol=1e-3
            )
        caplog.clear()
        self.train(tmp_path)
        assert "training it again" not in caplog.text

    def other_weights(self):
        import io

        stream = io.BytesIO()
        np.savez(stream, np.zeros(3), np.zeros(4))
        return stream.getvalue()

    def test_one_trains_and_the_others_wait(self, tmp_path, monkeypatch):
        both_ask = threading.Event()
        trained = []

        def train(model, *_):
            trained.append(threading.current_thread())
            # A second training would start within this time, with other weights.
            both_ask.wait(60)
            time.sleep(0.5)
            model.set_weights([w + len(trained) for w in model.get_weights()])

        monkeypatch.setattr(dataset_classifier, "_train_classifier", train)
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(self.train(tmp_path)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        both_ask.set()
        for thread in threads:
            thread.join(60)
        assert len(trained) == 1
        first, second = found
        assert first.fingerprint == second.fingerprint

    def test_two_machines_write_at_once(self, tmp_path, monkeypatch, caplog):
        # Of a shared folder whose file system has no locks.
        monkeypatch.setattr(files, "lock", lambda _: contextlib.nullcontext())
        monkeypatch.setattr(dataset_classifier, "_train_classifier", lambda *args: None)
        savez = np.savez

        def meet(stream, *weights):
            monkeypatch.setattr(np, "savez", savez)
            self.train(tmp_path)
            savez(stream, *weights)

        monkeypatch.setattr(np, "savez", meet)
        self.train(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
        self.train(tmp_path)
        assert "training it again" not in caplog.text

    def test_everything_that_matters_is_in_the_name(self, tmp_path, monkeypatch):
        monkeypatch.setattr(dataset_classifier, "_train_classifier", lambda *args: None)
        images, labels, *_ = self.arguments()
        one_pixel = images.copy()
        one_pixel[7, 3, 3, 1] ^= 1
        one_label = labels.copy()
        one_label[5] = (one_label[5] + 1) % 3
        for changes in (
            {},
            {"name": "noise2"},
            {"seed": 1},
            {"arg0": one_pixel},
            {"arg1": one_label},
            {"arg4": 4},
        ):
            self.train(tmp_path, **changes)
        assert len(list(tmp_path.glob("*.npz"))) == 6
        self.train(tmp_path, arg2=images[3:8], arg3=labels[3:8])
        assert len(list(tmp_path.glob("*.npz"))) == 6

    def test_seed_decides_the_features(self, tmp_path):
        images = random_images(20, size=8, seed=5)
        first = self.train(tmp_path / "a").extract(images)[0]
        second = self.train(tmp_path / "b").extract(images)[0]
        other = self.train(tmp_path / "a", seed=1).extract(images)[0]
        np.testing.assert_allclose(first, second, atol=1e-3)
        assert np.abs(first - other).max() > 0.1

    def test_global_random_state_is_left_alone(self, tmp_path):
        import keras

        keras.utils.set_random_seed(3)
        expected = keras.random.uniform((4,)), np.random.rand(4)
        keras.utils.set_random_seed(3)
        self.train(tmp_path)
        found = keras.random.uniform((4,)), np.random.rand(4)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"name": "lsun/bedroom"}, "name='lsun/bedroom'"),
            ({"arg0": np.zeros((150, 8, 8, 3), np.float32)}, "train_images.dtype"),
            ({"arg2": np.zeros((9, 4, 4, 3), np.uint8)}, "test_images.shape"),
            ({"arg1": np.arange(150)}, "values=0 to 149"),
            ({"arg1": np.zeros(149, np.int64)}, r"train_labels.shape=\(149,\)"),
            ({"arg3": -np.ones(9, np.int64)}, "values=-1 to -1"),
            ({"arg1": np.zeros(150)}, "dtype=float64"),
        ],
    )
    def test_rejects(self, tmp_path, changes, message):
        with pytest.raises(ValueError, match=message):
            self.train(tmp_path, **changes)


def test_shifts_are_shifts():
    """Every image of a batch is a window of its own padded image, label attached."""
    images, labels = random_images(20, size=8), np.arange(20)
    seen = set()
    for batch, batch_labels in dataset_classifier._shifted_batches(
        images, labels, 3, seed=0
    ):
        for image, label in zip(batch, batch_labels, strict=True):
            padded = np.pad(images[label], ((4, 4), (4, 4), (0, 0)), mode="edge")
            windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8, 3))
            match = np.all(windows[:, :, 0] == image, axis=(2, 3, 4))
            assert match.sum() == 1
            seen.add(tuple(np.argwhere(match)[0]))
        assert np.bincount(batch_labels, minlength=20).max() <= 8
    assert len(seen) > 75 and {s[0] for s in seen} == set(range(9))


class Classifier(tf.Module):
    """Means of quarters of 8x8 images, and their double as logits."""

    def __init__(self, shape=(None, 8, 8, 3), names=("features", "logits")):
        super().__init__()
        self.scale = tf.Variable(2.0)

        def classify(images):
            pooled = tf.nn.avg_pool2d(images, 4, 4, "VALID")
            return {names[0]: pooled, names[1]: self.scale * pooled}

        self.classify = tf.function(
            classify, input_signature=[tf.TensorSpec(shape, tf.float32)]
        )


def save_classifier(folder, **options):
    model = Classifier(**options)
    return save(model, folder, signatures={"serving_default": model.classify})


class TestLoadClassifier:
    def test_features_are_those_of_the_network(self, tmp_path):
        path = save_classifier(tmp_path / "my net")
        extractor = features.load_classifier(path)
        assert extractor.name == "my_net"
        assert (extractor.feature_dim, extractor.num_classes) == (12, 12)
        assert extractor.resize == "antialiased_bilinear_8x8"
        images = random_images(5, size=8)
        found, logits = extractor.extract(images)
        expected = images.reshape(5, 2, 4, 2, 4, 3).mean(axis=(2, 4)) / 255
        np.testing.assert_allclose(found, expected.reshape(5, 12), rtol=1e-5)
        np.testing.assert_allclose(logits, 2 * found, rtol=1e-6)

    def test_other_sizes_are_resized_with_antialiasing(self, tmp_path):
        extractor = features.load_classifier(save_classifier(tmp_path / "net"))
        images = random_images(4, size=32)
        pillow = np.stack(
            [
                np.stack(
                    [
                        Image.fromarray(image[..., c].astype(np.float32)).resize(
                            (8, 8), Image.Resampling.BILINEAR
                        )
                        for c in range(3)
                    ],
                    axis=-1,
                )
                for image in images
            ]
        )
        expected = pillow.reshape(4, 2, 4, 2, 4, 3).mean(axis=(2, 4)) / 255
        found, _ = extractor.extract(images)
        np.testing.assert_allclose(found, expected.reshape(4, 12), atol=1e-4)

    def test_any_size_is_left_as_it_is(self, tmp_path):
        path = save_classifier(tmp_path / "net", shape=(None, None, None, 3))
        extractor = features.load_classifier(path)
        assert extractor.resize == "none"

    def test_another_network_than_expected_is_refused(self, tmp_path):
        path = save_classifier(tmp_path / "net")
        fingerprint = features.load_classifier(path).fingerprint
        features.load_classifier(path, expected_hash=fingerprint)
        with pytest.raises(ValueError, match=f"=0123, .* with {fingerprint}"):
            features.load_classifier(path, expected_hash="0123")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"shape": (None, 8, 8, 4)}, "must take images"),
            ({"shape": (None, 8, 3)}, "must take images|fails with"),
            ({"names": ("pool", "logits")}, "must return a dict with `features`"),
        ],
    )
    def test_rejects(self, options, words, tmp_path):
        if options.get("shape") == (None, 8, 3):
            model = tf.Module()
            model.classify = tf.function(
                lambda images: {"features": images, "logits": images},
                input_signature=[tf.TensorSpec((None, 8, 3), tf.float32)],
            )
            path = save(
                model, tmp_path / "net", signatures={"serving_default": model.classify}
            )
        else:
            path = save_classifier(tmp_path / "net", **options)
        with pytest.raises(ValueError, match=words):
            features.load_classifier(path)

    @pytest.mark.parametrize("name", ["inception", "digits32_cnn"])
    def test_a_name_that_is_taken(self, name, tmp_path):
        path = save_classifier(tmp_path / name)
        with pytest.raises(ValueError, match="taken for another.*Rename the folder"):
            features.load_classifier(path)

    def test_what_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="The classifier must be"):
            features.load_classifier(str(tmp_path))


def test_inception_that_is_not_the_expected_one(inception_path, inception):
    features.load_inception(inception_path, expected_hash=inception.fingerprint)
    with pytest.raises(ValueError, match="--extractor_hash=0123"):
        features.load_inception(inception_path, expected_hash="0123")
