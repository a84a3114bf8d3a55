"""The rotation task against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import finite_differences

from ssgan_tf import rotation
from ssgan_tf.ssgan import RotationTask


def noise(*shape, seed=0):
    # Noise has no symmetry, so a wrong turn cannot look right.
    return np.random.default_rng(seed).normal(size=shape)


def cross_entropy(logits, labels):
    logits = np.asarray(logits, np.float64)
    top = logits.max(axis=1, keepdims=True)
    log_norms = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    return float(np.mean(log_norms - logits[np.arange(len(labels)), labels]))


@pytest.mark.parametrize("turns", range(-1, 6))
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_rotate_is_rot90(turns, dtype):
    images = (100 + 40 * noise(3, 5, 5, 2)).astype(dtype)
    rotated = rotation.rotate(tf.constant(images), turns).numpy()
    assert rotated.dtype == images.dtype
    np.testing.assert_array_equal(rotated, np.rot90(images, turns, axes=(1, 2)))


@pytest.mark.parametrize(("batch", "num_rotated"), [(5, 2), (4, 4), (3, 1)])
def test_last_rows_are_the_last_images_turned_by_their_labels(batch, num_rotated):
    images = noise(batch, 6, 6, 3).astype("float32")
    shown = rotation.append_rotated(tf.constant(images), num_rotated).numpy()
    labels = rotation.rotation_labels(num_rotated).numpy()
    assert shown.shape == (batch + 3 * num_rotated, 6, 6, 3)
    np.testing.assert_array_equal(shown[:batch], images)
    assert labels.shape == (4 * num_rotated,)
    np.testing.assert_array_equal(labels, np.arange(4).repeat(num_rotated))
    chosen = images[batch - num_rotated :]
    for row, (image, label) in enumerate(
        zip(shown[-4 * num_rotated :], labels, strict=True)
    ):
        np.testing.assert_array_equal(image, np.rot90(chosen[row % num_rotated], label))


def test_loss_is_the_cross_entropy():
    logits = 3 * noise(32, 4)
    labels = np.random.default_rng(1).integers(0, 4, 32)
    loss = rotation.rotation_loss(tf.constant(logits), tf.constant(labels)).numpy()
    np.testing.assert_allclose(loss, cross_entropy(logits, labels), rtol=1e-12)


def test_loss_of_a_head_that_knows_nothing_is_log_4():
    labels = rotation.rotation_labels(3)
    loss = rotation.rotation_loss(tf.zeros((12, 4)), labels).numpy()
    np.testing.assert_allclose(loss, np.log(4), rtol=1e-6)


def test_gradient_lives_where_the_head_is_most_wrong():
    # log(softmax + epsilon) has no gradient here; the logits' cross-entropy has one
    # of size 1.
    logits = tf.constant([[-60.0, 60.0, 0.0, 0.0]])
    labels = tf.constant([0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = rotation.rotation_loss(logits, labels)
    np.testing.assert_allclose(loss.numpy(), 120.0, rtol=1e-6)
    gradient = tape.gradient(loss, logits).numpy()
    np.testing.assert_allclose(gradient, [[-1.0, 1.0, 0.0, 0.0]], atol=1e-6)


def test_gradient_matches_finite_differences():
    logits, labels = noise(6, 4), np.array([0, 1, 2, 3, 3, 1])
    point = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(point)
        loss = rotation.rotation_loss(point, tf.constant(labels))
    expected = finite_differences(lambda x: cross_entropy(x, labels), logits)
    np.testing.assert_allclose(tape.gradient(loss, point), expected, atol=1e-8)


def test_accuracy_counts_the_images_whose_turn_is_named():
    logits = noise(64, 4, seed=2).astype("float32")
    labels = np.random.default_rng(3).integers(0, 4, 64).astype("int32")
    accuracy = rotation.rotation_accuracy(tf.constant(logits), tf.constant(labels))
    expected = np.mean(
        [row.argmax() == k for row, k in zip(logits, labels, strict=True)]
    )
    assert 0.0 < expected < 1.0
    np.testing.assert_allclose(accuracy.numpy(), expected, rtol=1e-6)


class TestRotationTask:
    def test_looks_at_the_last_rows_only(self):
        task = RotationTask(rotated_batch_size=8)
        logits = noise(11, 4, seed=4).astype("float32")
        loss, accuracy = task.loss_and_accuracy(tf.constant(logits), 2)
        labels = np.array([0, 0, 1, 1, 2, 2, 3, 3])
        rows = logits[3:]
        np.testing.assert_allclose(loss, cross_entropy(rows, labels), rtol=1e-6)
        np.testing.assert_allclose(accuracy, np.mean(rows.argmax(axis=1) == labels))

    def test_a_replicas_share(self):
        task = RotationTask(rotated_batch_size=64)
        assert task.num_rotated(64, 1) == 16
        assert task.num_rotated(32, 2) == 8
        assert task.num_rotated(4, 4) == 4

    @pytest.mark.parametrize("size", [0, -4, 3, 6])
    def test_rejects_what_is_not_whole_images(self, size):
        with pytest.raises(ValueError, match=f"rotated_batch_size={size}"):
            RotationTask(rotated_batch_size=size)

    def test_rejects_shares_that_are_not_whole(self):
        with pytest.raises(ValueError, match="replicas=2.*multiple of 8"):
            RotationTask(rotated_batch_size=12).num_rotated(64, 2)

    def test_rejects_more_than_the_batch(self):
        with pytest.raises(ValueError, match="rotated_batch_size=64.*batch_size=8"):
            RotationTask(rotated_batch_size=64).num_rotated(4, 2)
