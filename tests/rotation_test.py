"""Rotations, rotation loss and rotation tasks against NumPy, float64."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import finite_differences
from scipy import special

from ssgan_tf import rotation
from ssgan_tf.rotation import LabelAugmentedTask, MinimaxRotationTask, RotationTask
from ssgan_tf.tasks import DiscriminatorOutputs

BATCH, NUM_ROTATED = 9, 2
BETA, ALPHA = 0.7, 0.3
ROTATIONS = np.repeat([0, 1, 2, 3], NUM_ROTATED)
STEP = tf.constant(3, tf.int64)


def noise(*shape, seed=0):
    # Noise has no symmetry, so a wrong rotation cannot look right.
    return np.random.default_rng(seed).normal(size=shape)


def cross_entropy(logits, classes):
    """E[-log Q(class)]."""
    return -special.log_softmax(logits, axis=1)[np.arange(len(classes)), classes].mean()


# ---------------------------------------------------------------- the pure functions


@pytest.mark.parametrize("turns", range(-1, 6))
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_rotate_is_rot90(turns, dtype):
    images = (100 + 40 * noise(3, 5, 5, 2)).astype(dtype)
    rotated = rotation.rotate(tf.constant(images), turns).numpy()
    assert rotated.dtype == images.dtype
    np.testing.assert_array_equal(rotated, np.rot90(images, turns, axes=(1, 2)))


# Batch, images per orientation, whether every image has one orientation.
VIEWS = [(5, 2, False), (4, 4, False), (3, 1, False), (9, 2, True), (8, 2, True)]
every_view = pytest.mark.parametrize(("batch", "num_rotated", "each_in_one"), VIEWS)


def rows_shown(batch, num_rotated, each_in_one):
    """Indices of the images in each orientation: `(4, num_rotated)`."""
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
def test_views_are_the_chosen_images_rotated_by_their_labels(
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


def test_loss_at_chance_level_is_log_4():
    labels = rotation.rotation_labels(3)
    loss = rotation.rotation_loss(tf.zeros((12, 4)), labels).numpy()
    np.testing.assert_allclose(loss, np.log(4), rtol=1e-6)


def test_gradient_does_not_vanish_where_the_head_is_most_wrong():
    # That of log(softmax + epsilon) is 0 here.
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
def test_scores_are_logits_of_the_rotation_alone(columns):
    logits = 3 * noise(64, columns, seed=2)
    scores = rotation.rotation_scores(tf.constant(logits)).numpy()
    assert scores.shape == (64, 4)
    # Probabilities up to a factor per image. Reals and fakes are added; the class
    # "fake" of a five-way head has no rotation.
    odds = np.exp(logits)
    expected = odds[:, :4] + odds[:, 4:] if columns == 8 else odds[:, :4]
    np.testing.assert_allclose(np.exp(scores), expected, rtol=1e-12)


@pytest.mark.parametrize("columns", [4, 5, 8])
def test_accuracy_is_the_share_of_right_predictions(columns):
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


# --------------------------------------------------------------------- the tasks


class TestRotationTask:
    @pytest.mark.parametrize("size", [0, -4, 3, 6])
    def test_rejects_what_is_not_whole_images(self, size):
        with pytest.raises(ValueError, match=f"rotated_batch_size={size}"):
            RotationTask(rotated_batch_size=size)

    @pytest.mark.parametrize("steps", [0, -1])
    def test_rejects_annealing_without_steps(self, steps):
        with pytest.raises(ValueError, match=f"g_anneal_steps={steps}"):
            RotationTask(4, g_anneal_steps=steps)

    def test_a_replicas_share(self):
        task = RotationTask(rotated_batch_size=64)
        for replicas, expected in ((1, 16), (2, 8), (4, 4)):
            task.check(64 // replicas, replicas)
            assert task.num_rotated(replicas) == expected

    def test_rejects_shares_that_are_not_whole(self):
        with pytest.raises(ValueError, match="rotated_batch_size=12, shares=2"):
            RotationTask(rotated_batch_size=12).check(64, 2)

    @pytest.mark.parametrize(("each_in_one", "most"), [(False, 32), (True, 8)])
    def test_rejects_more_than_the_batch(self, each_in_one, most):
        for batch, replicas in ((8, 1), (4, 2)):
            RotationTask(most, each_in_one=each_in_one).check(batch, replicas)
            task = RotationTask(most + 8, each_in_one=each_in_one)
            message = f"rotated_batch_size={most + 8}, batch_size=8"
            with pytest.raises(ValueError, match=message):
                task.check(batch, replicas)

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


def rotation_d(real, fake):
    return BETA * cross_entropy(real, ROTATIONS)


def rotation_g(fake):
    return ALPHA * cross_entropy(fake, ROTATIONS)


def minimax_d(real, fake):
    return BETA * (
        cross_entropy(real, ROTATIONS) + cross_entropy(fake, np.full_like(ROTATIONS, 4))
    )


def minimax_g(fake):
    return ALPHA * (
        cross_entropy(fake, ROTATIONS) - cross_entropy(fake, np.full_like(ROTATIONS, 4))
    )


def augmented_d(real, fake):
    return BETA * (cross_entropy(real, ROTATIONS) + cross_entropy(fake, 4 + ROTATIONS))


def augmented_g(fake):
    return ALPHA * (cross_entropy(fake, ROTATIONS) - cross_entropy(fake, 4 + ROTATIONS))


# Columns of the head, L_D of real and fake logits, L_G of fake ones.
FORMULAS = {
    RotationTask: (4, rotation_d, rotation_g),
    MinimaxRotationTask: (5, minimax_d, minimax_g),
    LabelAugmentedTask: (8, augmented_d, augmented_g),
}
every_task = pytest.mark.parametrize("task", FORMULAS, ids=lambda c: c.__name__)
both_modes = pytest.mark.parametrize("each_in_one", [False, True])


def random_logits(columns, seed):
    """Logits of a batch and of its extra images."""
    rng = np.random.default_rng(seed)
    sizes = BATCH, 3 * NUM_ROTATED
    return [2 * rng.normal(size=(size, columns)) for size in sizes]


def outputs(upright, extra):
    return DiscriminatorOutputs(
        {"rotation_logits": upright}, {"rotation_logits": extra}, None
    )


def chosen_logits(upright, extra, each_in_one):
    """Logits of the images in the rotation loss, in the order of `ROTATIONS`."""
    first = upright[:NUM_ROTATED] if each_in_one else upright[-NUM_ROTATED:]
    return np.concatenate([first, extra])


def check_gradients(gradients, pieces, formula):
    """Compares gradients by the two pieces of one player's logits with a formula's."""
    for i, gradient in enumerate(gradients):
        expected = finite_differences(
            lambda x: formula([x if j == i else p for j, p in enumerate(pieces)]),
            pieces[i],
        )
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(gradient, expected, atol=1e-9)


@every_task
@both_modes
def test_losses_and_gradients(task, each_in_one):
    columns, d_formula, g_formula = FORMULAS[task]
    ours = task(4 * NUM_ROTATED, BETA, ALPHA, each_in_one=each_in_one)
    real, fake = random_logits(columns, 0), random_logits(columns, 1)
    points = [[tf.constant(piece) for piece in side] for side in (real, fake)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(points)
        on_real, on_fake = (outputs(*side) for side in points)
        d_loss, d_logs = ours.d_loss(
            on_real, on_fake if task.d_sees_fakes else None, STEP
        )
        g_loss, g_logs = ours.g_loss(on_fake, STEP)
    assert set(d_logs) == set(task.d_log_names)
    assert set(g_logs) == set(task.g_log_names)

    def d_value(real_pieces, fake_pieces):
        sides = real_pieces, fake_pieces
        return d_formula(*(chosen_logits(*side, each_in_one) for side in sides))

    def g_value(fake_pieces):
        return g_formula(chosen_logits(*fake_pieces, each_in_one))

    np.testing.assert_allclose(d_loss, d_value(real, fake), rtol=1e-12)
    np.testing.assert_allclose(g_loss, g_value(fake), rtol=1e-12)
    by_real, by_fake = (tape.gradient(d_loss, side) for side in points)
    check_gradients(by_real, real, lambda pieces: d_value(pieces, fake))
    if task.d_sees_fakes:
        check_gradients(by_fake, fake, lambda pieces: d_value(real, pieces))
    assert tape.gradient(g_loss, points[0]) == [None, None]
    check_gradients(tape.gradient(g_loss, points[1]), fake, g_value)


@every_task
@both_modes
def test_logs_are_without_weights(task, each_in_one):
    columns, d_formula, g_formula = FORMULAS[task]
    real, fake = random_logits(columns, 2), random_logits(columns, 3)
    sides = [chosen_logits(*side, each_in_one) for side in (real, fake)]
    ours = task(4 * NUM_ROTATED, BETA, ALPHA, each_in_one=each_in_one)
    _, d_logs = ours.d_loss(outputs(*real), outputs(*fake), STEP)
    _, g_logs = ours.g_loss(outputs(*fake), STEP)
    logs = d_logs | g_logs
    on_real, on_fake = logs["loss/rotation_real"], logs["loss/rotation_fake"]
    np.testing.assert_allclose(on_real, cross_entropy(sides[0], ROTATIONS), rtol=1e-12)
    np.testing.assert_allclose(on_fake, g_formula(sides[1]) / ALPHA, rtol=1e-12)
    d_terms = [on_real, logs.get("loss/rotation_d_fake", 0.0)]
    np.testing.assert_allclose(sum(d_terms), d_formula(*sides) / BETA, rtol=1e-12)
    for name, logits in zip(("real", "fake"), sides, strict=True):
        odds = np.exp(logits)
        likely = odds[:, :4] + (odds[:, 4:] if columns == 8 else 0.0)
        expected = np.mean(likely.argmax(axis=1) == ROTATIONS)
        np.testing.assert_allclose(logs[f"accuracy/rotation_{name}"], expected)


@every_task
def test_alpha_falls_linearly_to_zero(task):
    columns, _, g_formula = FORMULAS[task]
    fake = [piece.astype("float32") for piece in random_logits(columns, 4)]
    whole = g_formula(chosen_logits(*fake, False))
    ours = task(4 * NUM_ROTATED, BETA, ALPHA, g_anneal_steps=8)
    for step, share in (
        (0, 1.0),
        (1, 0.875),
        (4, 0.5),
        (7, 0.125),
        (8, 0.0),
        (20, 0.0),
    ):
        loss, _ = ours.g_loss(outputs(*fake), tf.constant(step, tf.int64))
        np.testing.assert_allclose(loss, share * whole, rtol=1e-6, atol=1e-6)


def test_beta_does_not_fall():
    real = [piece.astype("float32") for piece in random_logits(4, 5)]
    ours = RotationTask(4 * NUM_ROTATED, BETA, ALPHA, g_anneal_steps=8)
    losses = [
        ours.d_loss(outputs(*real), None, tf.constant(step, tf.int64))[0]
        for step in (0, 4, 20)
    ]
    assert losses[0] == losses[1] == losses[2] > 0.0


@every_task
def test_weights_may_be_integers(task):
    columns, d_formula, g_formula = FORMULAS[task]
    real, fake = (
        [piece.astype("float32") for piece in random_logits(columns, seed)]
        for seed in (6, 7)
    )
    for anneal_steps in (None, 6):
        ours = task(4 * NUM_ROTATED, 1, 2, g_anneal_steps=anneal_steps)
        d_loss, _ = ours.d_loss(outputs(*real), outputs(*fake), STEP)
        g_loss, _ = ours.g_loss(outputs(*fake), STEP)
        sides = [chosen_logits(*side, False) for side in (real, fake)]
        np.testing.assert_allclose(d_loss, d_formula(*sides) / BETA, rtol=1e-6)
        left = 1.0 if anneal_steps is None else 0.5
        expected = 2 * left * g_formula(sides[1]) / ALPHA
        np.testing.assert_allclose(g_loss, expected, rtol=1e-5)


def test_minimax_does_not_reward_a_collapsed_g():
    # D recognizes its images as fakes, and predicts their rotations with certainty.
    certain = 20.0 * np.eye(4)[ROTATIONS]
    fooled = np.pad(certain, [(0, 0), (0, 1)])
    caught = np.pad(certain, [(0, 0), (0, 1)], constant_values=40.0)
    upright = np.zeros((BATCH, 5))

    def loss(task, logits):
        upright[-NUM_ROTATED:] = logits[:NUM_ROTATED]
        return float(task(8).g_loss(outputs(upright, logits[NUM_ROTATED:]), STEP)[0])

    assert loss(MinimaxRotationTask, caught) > 0 > loss(MinimaxRotationTask, fooled)
