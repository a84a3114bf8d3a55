"""A loaded module: samples, labels, outputs of the discriminator."""

import re

import numpy as np
import pytest
import tensorflow as tf
from exports import CLASSES, LATENT_DIM

from ssgan_tf.latents import draw_labels
from ssgan_tf.randomness import SAMPLING_LABELS_STREAM, SAMPLING_STREAM


def test_shapes_and_range(module):
    for num in (1, 3):
        images = module.sample(num)
        assert images.shape == (num, 8, 8, 3) and images.dtype == np.float32
        assert 0.0 <= images.min() < images.max() <= 1.0
        outputs = module.discriminate(images)
        shapes = {name: value.shape for name, value in outputs.items()}
        assert shapes == {
            "prediction": (num, 1),
            "logits": (num, 1),
            "rotation_logits": (num, 4),
            "features": (num, 8),
        }
    assert module.has_rotation_head and module.num_classes == 0
    assert module.latent_dim == LATENT_DIM


def test_samples_depend_on_the_seed_and_not_on_the_batch(gan, module):
    images = module.sample(10, seed=3)
    np.testing.assert_allclose(
        images, module.sample(10, seed=3, batch_size=4), atol=1e-6
    )
    batches = module.sample_batches(10, seed=3, batch_size=4)
    assert iter(batches) is batches  # Images are made on request.
    batches = [*batches]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    np.testing.assert_allclose(np.concatenate(batches), images, atol=1e-6)
    assert np.abs(images - module.sample(10, seed=4)).max() > 0.01
    latents = gan.latents.sample(10, [3, SAMPLING_STREAM])
    np.testing.assert_allclose(images, gan.sampler(latents, training=False), atol=1e-6)


def test_moments_and_average_are_inside(gan, module):
    latents = gan.latents.sample(8, [0, SAMPLING_STREAM])
    images = module.sample(8)
    raw = gan.generator(latents, training=False)
    assert np.abs(images - raw).max() > 0.01  # The average differs from G.
    moments = [v for v in gan.average.variables if "moving" in v.name]
    kept = [moment.numpy() for moment in moments]
    for moment in moments:
        moment.assign(np.full(moment.shape, float("variance" in moment.name)))
    fresh = gan.average(latents, training=False)
    for moment, value in zip(moments, kept, strict=True):
        moment.assign(value)
    assert np.abs(images - fresh).max() > 0.01


class TestLabels:
    def expected(self, gan, num, seed, labels):
        latents = gan.latents.sample(num, [seed, SAMPLING_STREAM])
        return gan.sampler(latents, tf.constant(labels, tf.int32), training=False)

    def test_given_labels(self, conditional, conditional_module):
        assert conditional_module.num_classes == CLASSES
        labels = np.random.default_rng(0).integers(0, CLASSES, 70)
        expected = self.expected(conditional, 70, 4, labels)
        # The last batch has six images. Lists and all integer types work.
        for given in (labels, labels.tolist(), labels.astype(np.uint8)):
            actual = conditional_module.sample(70, 4, given)
            np.testing.assert_allclose(actual, expected, atol=1e-6)
        for label in (0, np.int64(1)):
            expected = self.expected(conditional, 5, 0, [int(label)] * 5)
            actual = conditional_module.sample(5, labels=label)
            np.testing.assert_allclose(actual, expected, atol=1e-6)

    def test_drawn_labels(self, conditional, conditional_module):
        for seed in (0, 6):
            labels = draw_labels(70, CLASSES, [seed, SAMPLING_LABELS_STREAM]).numpy()
            assert set(labels) == set(range(CLASSES))
            expected = self.expected(conditional, 70, seed, labels)
            actual = conditional_module.sample(70, seed)
            np.testing.assert_allclose(actual, expected, atol=1e-6)

    def test_discriminate(self, conditional, conditional_module):
        images = conditional_module.sample(4)
        chosen = [0, -1, 2, 1]
        # -1 is not the last class.
        guessed = conditional_module.discriminate(images, -1)["class_logits"]
        assert CLASSES - 1 not in guessed.argmax(axis=1)
        for given, labels in ((chosen, chosen), (-1, [-1] * 4)):
            actual = conditional_module.discriminate(images, given)
            expected = conditional.discriminator(
                images, tf.constant(labels), training=False
            )
            assert set(actual) == {"prediction", *expected}
            for name, value in expected.items():
                np.testing.assert_allclose(actual[name], value, atol=1e-5)
        other = conditional_module.discriminate(images, [0, -1, 2, 2])
        first = conditional_module.discriminate(images, [0, -1, 2, 1])
        changed = np.abs(other["logits"] - first["logits"])[:, 0] > 1e-3
        np.testing.assert_array_equal(changed, [False, False, False, True])

    @pytest.mark.parametrize(
        "labels, words",
        [
            ([0, 1], "4 images"),
            ([[0, 1, 2, 0]], "4 images"),
            ([0.0, 1.0, 2.0, 0.0], "integers"),
            ([True, False, True, True], "integers"),
            ([], "integers"),
            ("1", "integers"),
            ([0, 1, 2, 3], r"in \[0, 3\)"),
            ([0, -1, 2, 0], r"in \[0, 3\)"),
            (3, r"in \[0, 3\)"),
            (-1, r"in \[0, 3\)"),
            (2**32, r"in \[0, 3\)"),
        ],
    )
    def test_rejects(self, conditional_module, labels, words):
        with pytest.raises(ValueError, match=words) as caught:
            conditional_module.sample_batches(4, labels=labels)
        assert f"Received: labels={labels!r}" in str(caught.value)

    @pytest.mark.parametrize("labels", [None, [0, 1], [0, 0, 0, -2], 3, [0.0] * 4])
    def test_discriminate_rejects(self, conditional_module, labels):
        with pytest.raises(ValueError, match="Received: labels="):
            conditional_module.discriminate(np.zeros((4, 8, 8, 3)), labels)

    @pytest.mark.parametrize("labels", [0, [0, 0], -1])
    def test_an_unconditional_module_takes_none(self, module, labels):
        for ask in (
            lambda: module.sample(2, labels=labels),
            lambda: module.discriminate(np.zeros((2, 8, 8, 3)), labels),
        ):
            with pytest.raises(ValueError, match=re.escape(f"labels={labels}")):
                ask()
