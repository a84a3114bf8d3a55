"""The rotation task against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import finite_differences

from ssgan_tf import rotation
from ssgan_tf.rotation import RotationTask


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


# Batch, images per orientation, whether every image is shown in one only.
VIEWS = [(5, 2, False), (4, 4, False), (3, 1, False), (9, 2, True), (8, 2, True)]
every_view = pytest.mark.parametrize(("batch", "num_rotated", "each_in_one"), VIEWS)


def rows_shown(batch, num_rotated, each_in_one):
    """Indices of the images shown in each orientation: `(4, num_rotated)`."""
    if each_in_one:
        return np.arange(4 * num_rotated).reshape(4, num_rotated)
    return np.tile(np.arange(batch)[batch - num_rotated :], (4, 1))


@every_view
def test_chosen(batch, num_rotated, each_in_one):
    rows = np.arange(3 * batch).reshape(batch, 3)
    for turns, indices in enumerate(rows_shown(batch, num_rotated, each_in_one)):
        ours = rotation.chosen(tf.constant(rows), num_rotated, turns, each_in_one)
        np.testing.assert_array_equal(ours, rows[indices])


@every_view
def test_views_are_the_chosen_images_turned_by_their_labels(
    batch, num_rotated, each_in_one
):
    images = noise(batch, 6, 6, 3).astype("float32")
    upright = rotation.chosen(tf.constant(images), num_rotated, 0, each_in_one)
    views = rotation.rotated_views(tf.constant(images), num_rotated, each_in_one)
    labels = rotation.rotation_labels(num_rotated).numpy()
    assert views.shape == (3 * num_rotated, 6, 6, 3)
    np.testing.assert_array_equal(labels, np.arange(4).repeat(num_rotated))
    shown = np.concatenate([upright, views])
    indices = rows_shown(batch, num_rotated, each_in_one).ravel()
    for image, label, index in zip(shown, labels, indices, strict=True):
        np.testing.assert_array_equal(image, np.rot90(images[index], label))


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


@pytest.mark.parametrize("columns", [4, 5, 8])
def test_scores_are_what_the_head_says_of_the_turn_alone(columns):
    logits = 3 * noise(64, columns, seed=2)
    scores = rotation.rotation_scores(tf.constant(logits)).numpy()
    assert scores.shape == (64, 4)
    odds = np.exp(logits)  # of every class, up to a factor per image
    # A turn is as likely as its images, real and fake ones; the class "fake" of a
    # five-way head has no turn.
    likely = odds[:, :4] + odds[:, 4:] if columns == 8 else odds[:, :4]
    np.testing.assert_allclose(np.exp(scores), likely, rtol=1e-12)


@pytest.mark.parametrize("columns", [4, 5, 8])
def test_accuracy_counts_the_images_whose_turn_is_named(columns):
    logits = noise(64, columns, seed=2).astype("float32")
    turns = np.random.default_rng(3).integers(0, 4, 64).astype("int32")
    accuracy = rotation.rotation_accuracy(tf.constant(logits), tf.constant(turns))
    likely = np.exp(logits[:, :4])
    if columns == 8:
        likely += np.exp(logits[:, 4:])
    expected = np.mean(
        [row.argmax() == k for row, k in zip(likely, turns, strict=True)]
    )
    assert 0.1 < expected < 0.6
    assert expected != np.mean(logits.argmax(axis=1) == turns) or columns == 4
    np.testing.assert_allclose(accuracy.numpy(), expected, rtol=1e-6)


class TestRotationTask:
    @pytest.mark.parametrize("size", [0, -4, 3, 6])
    def test_rejects_what_is_not_whole_images(self, size):
        with pytest.raises(ValueError, match=f"rotated_batch_size={size}"):
            RotationTask(rotated_batch_size=size)

    @pytest.mark.parametrize("steps", [0, -1])
    def test_rejects_an_end_of_alpha_before_the_first_step(self, steps):
        with pytest.raises(ValueError, match=f"g_anneal_steps={steps}"):
            RotationTask(4, g_anneal_steps=steps)

    def test_a_replicas_share(self):
        task = RotationTask(rotated_batch_size=64)
        for replicas, expected in ((1, 16), (2, 8), (4, 4)):
            task.check(64 // replicas, replicas)
            assert task.num_rotated(replicas) == expected

    def test_rejects_shares_that_are_not_whole(self):
        with pytest.raises(ValueError, match="shares=2.*multiple of 8"):
            RotationTask(rotated_batch_size=12).check(64, 2)

    @pytest.mark.parametrize(("each_in_one", "most"), [(False, 32), (True, 8)])
    def test_rejects_more_than_the_batch(self, each_in_one, most):
        for batch, replicas in ((8, 1), (4, 2)):
            RotationTask(most, each_in_one=each_in_one).check(batch, replicas)
            task = RotationTask(most + 8, each_in_one=each_in_one)
            bound = "not exceed the batch" if each_in_one else "4 x the batch"
            message = f"{bound}.*rotated_batch_size={most + 8}.*batch_size=8"
            with pytest.raises(ValueError, match=message):
                task.check(batch, replicas)
            with pytest.raises(ValueError, match=message):
                task.extra_images(tf.zeros((batch, 6, 6, 3)), replicas)

    @every_view
    def test_extra_images_keep_their_labels(self, batch, num_rotated, each_in_one):
        images = noise(batch, 6, 6, 3).astype("float32")
        labels = np.arange(batch, dtype="int32")
        indices = rows_shown(batch, num_rotated, each_in_one)
        # The same for a global batch of twice the size on two replicas.
        for replicas in (1, 2):
            task = RotationTask(4 * num_rotated * replicas, each_in_one=each_in_one)
            extra = task.extra_images(tf.constant(images), replicas)
            extra_labels = task.extra_labels(tf.constant(labels), replicas)
            np.testing.assert_array_equal(extra_labels, indices[1:].ravel())
            for row, index in enumerate(indices[1:].ravel()):
                turned = np.rot90(images[index], 1 + row // num_rotated)
                np.testing.assert_array_equal(extra[row], turned)
