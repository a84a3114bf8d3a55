"""Feature extractors: preprocessing, batches, and checks of what is loaded."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssgan_tf.evaluation import features


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
    """Returns, as "features", a grid of the pixels of its input."""

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


class TestExtract:
    def test_shapes_and_names(self, inception):
        activations, logits = inception.extract(random_images(5))
        assert activations.shape == (5, inception.feature_dim) == (5, 2048)
        assert logits.shape == (5, inception.num_classes) == (5, 1008)
        assert activations.dtype == logits.dtype == np.float32
        assert inception.name == "inception"
        assert inception.test_accuracy is None

    @pytest.mark.parametrize("batch_size", [1, 3, 11, 64])
    def test_batch_size_does_not_matter(self, inception, batch_size):
        images = random_images(11)
        expected, expected_logits = inception.extract(images)
        assert expected.std(axis=0).max() > 0.01, "the network ignores its input"
        other = dataclasses.replace(inception, batch_size=batch_size)
        activations, logits = other.extract(images)
        np.testing.assert_allclose(activations, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(logits, expected_logits, rtol=1e-4, atol=1e-5)

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
    """Equal features, computed by both replicas."""

    def test_inception(self, inception, inception_path, two_replicas):
        shared = features.load_inception(inception_path, two_replicas)
        shared = dataclasses.replace(shared, batch_size=4)
        assert shared.fingerprint == inception.fingerprint
        # In the last call with 11 images replica 0 has two images, replica 1 has one.
        for images in (random_images(1), random_images(7), random_images(11)[..., :1]):
            for actual, expected in zip(
                shared.extract(images), inception.extract(images), strict=True
            ):
                np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
        # Once per device.
        assert shared.forward.experimental_get_tracing_count() == 2

        images = random_images(7)
        before = shared.extract(images)[1]
        head = two_replicas.experimental_local_results(shared.forward.model.head)
        head[1].assign(tf.zeros_like(head[1]))
        changed = np.any(shared.extract(images)[1] != before, axis=1)
        np.testing.assert_array_equal(changed, [False] * 4 + [True] * 3)

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
        # Recorded while both replicas are traced: 17 = 2 (4 + 4) + 1.
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
        ("model", "shapes"),
        [
            (FakeInception(pool_width=1024), "'pool_3': 1024"),
            (FakeInception(logits_name="scores"), "fails with: 'logits'"),
        ],
    )
    def test_wrong_outputs(self, tmp_path, model, shapes):
        with pytest.raises(ValueError, match=shapes):
            features.load_inception(save(model, tmp_path))

    def test_wrong_input(self, tmp_path):
        class Small(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3))])
            def __call__(self, images):
                return {"pool_3": images, "logits": images}

        with pytest.raises(ValueError, match=r"\(batch, 299, 299, 3\)"):
            features.load_inception(save(Small(), tmp_path))

    def test_no_way_to_call_it(self, tmp_path):
        module = tf.Module()
        module.variable = tf.Variable(1.0)
        with pytest.raises(ValueError, match=f"path='{tmp_path}' with signatures"):
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
        with pytest.raises(ConnectionError, match="example.org/inception/1"):
            features.load_inception(handle)

    def test_fingerprint_follows_the_weights(self, tmp_path, inception):
        model = FakeInception()
        model.head.assign_add(tf.ones_like(model.head))
        other = features.load_inception(save(model, tmp_path))
        assert other.fingerprint != inception.fingerprint


class Classifier(tf.Module):
    """Means of quarters of 8x8 images, and their double as logits."""

    def __init__(self, shape=(None, 8, 8, 3), names=("features", "logits")):
        super().__init__()
        self.scale = tf.Variable(2.0)

        def classify(images):
            pooled = tf.nn.avg_pool(images, 4, 4, "VALID")
            return {names[0]: pooled, names[1]: self.scale * pooled}

        self.classify = tf.function(
            classify, input_signature=[tf.TensorSpec(shape, tf.float32)]
        )


def save_classifier(folder, **options):
    model = Classifier(**options)
    return save(model, folder, signatures={"serving_default": model.classify})


def quarters(images):
    """Means of the quarters of 8x8 images, `(N, 12)`."""
    tiles = images.reshape((len(images), 2, 4, 2, 4, 3))
    return tiles.mean(axis=(2, 4)).reshape(len(images), 12)


class TestLoadClassifier:
    def test_features_are_those_of_the_network(self, tmp_path):
        path = save_classifier(tmp_path / "my net")
        extractor = features.load_classifier(path)
        assert extractor.name == "my_net"
        assert (extractor.feature_dim, extractor.num_classes) == (12, 12)
        assert extractor.resize == "antialiased_bilinear_8x8"
        images = random_images(5, size=8)
        activations, logits = extractor.extract(images)
        expected = quarters(images) / 255
        np.testing.assert_allclose(activations, expected, rtol=1e-5)
        np.testing.assert_allclose(logits, 2 * activations, rtol=1e-6)

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
        activations, _ = extractor.extract(images)
        np.testing.assert_allclose(activations, quarters(pillow) / 255, atol=1e-4)

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
            ({"shape": (None, 8, 8, 4)}, r"shape=\(None, 8, 8, 4\)"),
            ({"shape": (None, 8, 3)}, r"shape=\(None, 8, 3\)"),
            (
                {"names": ("pool", "logits")},
                "path='.*net', which fails with: 'features'",
            ),
        ],
    )
    def test_rejects(self, options, words, tmp_path):
        path = save_classifier(tmp_path / "net", **options)
        with pytest.raises(ValueError, match=words):
            features.load_classifier(path)

    @pytest.mark.parametrize("name", ["inception", "digits32_cnn"])
    def test_a_name_that_is_taken(self, name, tmp_path):
        path = save_classifier(tmp_path / name)
        with pytest.raises(ValueError, match=f"path='.*{name}'"):
            features.load_classifier(path)

    def test_a_folder_without_a_model(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"path='{tmp_path}'"):
            features.load_classifier(str(tmp_path))


def test_inception_that_is_not_the_expected_one(inception_path, inception):
    features.load_inception(inception_path, expected_hash=inception.fingerprint)
    with pytest.raises(ValueError, match="--extractor_hash=0123"):
        features.load_inception(inception_path, expected_hash="0123")
