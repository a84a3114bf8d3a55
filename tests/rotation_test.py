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


def rows_shown(batch, num_rotated, each_in_one):
    """Indices of the images in each orientation: `(4, num_rotated)`."""
    if each_in_one:
        return np.arange(4 * num_rotated).reshape(4, num_rotated)
    return np.tile(np.arange(batch)[batch - num_rotated :], (4, 1))


def test_loss_is_the_cross_entropy():
    logits = 3 * noise(32, 4)
    labels = np.random.default_rng(1).integers(0, 4, 32)
    loss = rotation.rotation_loss(tf.constant(logits), tf.constant(labels)).numpy()
    np.testing.assert_allclose(loss, cross_entropy(logits, labels), rtol=1e-12)


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


# --------------------------------------------------------------------- the tasks


@pytest.mark.parametrize(
    "settings",
    [
        *({"rotated_batch_size": size} for size in (0, -4, 3, 6)),
        *({"g_anneal_steps": steps} for steps in (0, -1)),
    ],
)
def test_refuses_settings(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        RotationTask(**{"rotated_batch_size": 4} | settings)


def test_refuses_shares_that_are_not_whole():
    task = RotationTask(rotated_batch_size=12)
    task.check(64, 3)
    with pytest.raises(ValueError, match="rotated_batch_size=12, shares=2"):
        task.check(64, 2)


@pytest.mark.parametrize(("each_in_one", "most"), [(False, 32), (True, 8)])
def test_refuses_more_than_the_batch(each_in_one, most):
    for batch, replicas in ((8, 1), (4, 2)):
        RotationTask(most, each_in_one=each_in_one).check(batch, replicas)
        task = RotationTask(most + 8, each_in_one=each_in_one)
        message = f"rotated_batch_size={most + 8}, batch_size=8"
        with pytest.raises(ValueError, match=message):
            task.check(batch, replicas)


@pytest.mark.parametrize(("batch", "num_rotated", "each_in_one"), VIEWS)
def test_extra_images_are_rotated_and_keep_their_labels(
    batch, num_rotated, each_in_one
):
    images = noise(batch, 6, 6, 3).astype("float32")
    labels = np.arange(batch, dtype="int32")
    indices = rows_shown(batch, num_rotated, each_in_one)
    # The same for a global batch of twice the size on two replicas.
    for replicas in (1, 2):
        task = RotationTask(4 * num_rotated * replicas, each_in_one=each_in_one)
        extra = task.extra_images(tf.constant(images), replicas)
        extra_labels = task.extra_labels(tf.constant(labels), replicas)
        assert extra.shape == (3 * num_rotated, 6, 6, 3)
        np.testing.assert_array_equal(extra_labels, indices[1:].ravel())
        for row, index in enumerate(indices[1:].ravel()):
            turned = np.rot90(images[index], 1 + row // num_rotated)
            np.testing.assert_array_equal(extra[row], turned)


def in_opposition(fake_classes):
    """L_D and L_G of a head with classes for rotated fakes."""

    def d_loss(real, fake):
        terms = cross_entropy(real, ROTATIONS), cross_entropy(fake, fake_classes)
        return BETA * sum(terms)

    def g_loss(fake):
        difference = cross_entropy(fake, ROTATIONS) - cross_entropy(fake, fake_classes)
        return ALPHA * difference

    return d_loss, g_loss


# Columns of the head, L_D of real and fake logits, L_G of fake ones.
FORMULAS = {
    RotationTask: (
        4,
        lambda real, fake: BETA * cross_entropy(real, ROTATIONS),
        lambda fake: ALPHA * cross_entropy(fake, ROTATIONS),
    ),
    MinimaxRotationTask: (5, *in_opposition(np.full_like(ROTATIONS, 4))),
    LabelAugmentedTask: (8, *in_opposition(4 + ROTATIONS)),
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


def check_logs(logs, d_loss, g_loss, real, fake, each_in_one):
    """The losses are without their weights; the accuracies are shares of hits."""
    sides = {
        name: chosen_logits(*side, each_in_one)
        for name, side in (("real", real), ("fake", fake))
    }
    on_real = cross_entropy(sides["real"], ROTATIONS)
    np.testing.assert_allclose(logs["loss/rotation_real"], on_real, rtol=1e-12)
    np.testing.assert_allclose(logs["loss/rotation_fake"], g_loss, rtol=1e-12)
    d_terms = on_real + logs.get("loss/rotation_d_fake", 0.0)
    np.testing.assert_allclose(d_terms, d_loss, rtol=1e-12)
    for name, logits in sides.items():
        odds = np.exp(logits)
        likely = odds[:, :4] + (odds[:, 4:] if odds.shape[1] == 8 else 0.0)
        expected = np.mean(likely.argmax(axis=1) == ROTATIONS)
        np.testing.assert_allclose(logs[f"accuracy/rotation_{name}"], expected)


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
    check_logs(d_logs | g_logs, d_loss / BETA, g_loss / ALPHA, real, fake, each_in_one)

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
def test_alpha_falls_linearly_to_zero_and_beta_does_not(task):
    columns, d_formula, g_formula = FORMULAS[task]
    real, fake = (
        [piece.astype("float32") for piece in random_logits(columns, seed)]
        for seed in (4, 5)
    )
    sides = [chosen_logits(*side, False) for side in (real, fake)]
    # Weights may be integers.
    ours = task(4 * NUM_ROTATED, 1, 2, g_anneal_steps=8)
    for step, share in ((0, 1.0), (1, 0.875), (4, 0.5), (7, 0.125), (8, 0), (20, 0)):
        step = tf.constant(step, tf.int64)
        g_loss, _ = ours.g_loss(outputs(*fake), step)
        d_loss, _ = ours.d_loss(outputs(*real), outputs(*fake), step)
        whole = 2 * g_formula(sides[1]) / ALPHA
        np.testing.assert_allclose(g_loss, share * whole, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(d_loss, d_formula(*sides) / BETA, rtol=1e-6)
