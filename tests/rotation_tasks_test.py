"""Every rotation task against its equation in NumPy, float64."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import finite_differences
from scipy import special

from ssgan_tf.rotation import LabelAugmentedTask, MinimaxRotationTask, RotationTask
from ssgan_tf.tasks import DiscriminatorOutputs

BATCH, NUM_ROTATED = 9, 2
BETA, ALPHA = 0.7, 0.3
TURNS = np.repeat([0, 1, 2, 3], NUM_ROTATED)
STEP = tf.constant(3, tf.int64)


def entropy(logits, classes):
    """E[-log Q(class)]."""
    return -special.log_softmax(logits, axis=1)[np.arange(len(classes)), classes].mean()


def rotation_d(real, fake):
    return BETA * entropy(real, TURNS)


def rotation_g(fake):
    return ALPHA * entropy(fake, TURNS)


def minimax_d(real, fake):
    return BETA * (entropy(real, TURNS) + entropy(fake, np.full_like(TURNS, 4)))


def minimax_g(fake):
    return ALPHA * (entropy(fake, TURNS) - entropy(fake, np.full_like(TURNS, 4)))


def augmented_d(real, fake):
    return BETA * (entropy(real, TURNS) + entropy(fake, 4 + TURNS))


def augmented_g(fake):
    return ALPHA * (entropy(fake, TURNS) - entropy(fake, 4 + TURNS))


# Columns of the head, L_D of real and fake logits, L_G of fake ones.
FORMULAS = {
    RotationTask: (4, rotation_d, rotation_g),
    MinimaxRotationTask: (5, minimax_d, minimax_g),
    LabelAugmentedTask: (8, augmented_d, augmented_g),
}
every_task = pytest.mark.parametrize("task", FORMULAS, ids=lambda c: c.__name__)
both_modes = pytest.mark.parametrize("each_in_one", [False, True])


def random_logits(columns, seed):
    """Of a batch and of the images behind it."""
    rng = np.random.default_rng(seed)
    sizes = BATCH, 3 * NUM_ROTATED
    return [2 * rng.normal(size=(size, columns)) for size in sizes]


def seen(upright, extra):
    return DiscriminatorOutputs(
        {"rotation_logits": upright}, {"rotation_logits": extra}, None
    )


def turned(upright, extra, each_in_one):
    """Logits of the images that the loss is about, in the order of `TURNS`."""
    first = upright[:NUM_ROTATED] if each_in_one else upright[-NUM_ROTATED:]
    return np.concatenate([first, extra])


def check(loss, pieces, gradients, formula, position, logits, each_in_one):
    """Compares a loss and its gradient by two pieces of logits with a formula's."""

    def value(side):
        sides = [turned(*pair, each_in_one) for pair in logits]
        sides[position] = turned(*side, each_in_one)
        return formula(*sides)

    np.testing.assert_allclose(loss, value(pieces), rtol=1e-12)
    for i, gradient in enumerate(gradients):
        expected = finite_differences(
            lambda x: value([x if j == i else p for j, p in enumerate(pieces)]),
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
        of_real, of_fake = (seen(*side) for side in points)
        d_loss, d_logs = ours.d_loss(
            of_real, of_fake if task.d_sees_fakes else None, STEP
        )
        g_loss, g_logs = ours.g_loss(of_fake, STEP)
    assert set(d_logs) == set(task.d_log_names)
    assert set(g_logs) == set(task.g_log_names)
    options = (real, fake), each_in_one
    check(d_loss, real, tape.gradient(d_loss, points[0]), d_formula, 0, *options)
    if task.d_sees_fakes:
        gradient = tape.gradient(d_loss, points[1])
        check(d_loss, fake, gradient, d_formula, 1, *options)
    gradient = tape.gradient(g_loss, points[1])
    check(g_loss, fake, gradient, g_formula, 0, (fake,), each_in_one)
    assert tape.gradient(g_loss, points[0]) == [None, None]


@every_task
@both_modes
def test_reports_are_without_weights(task, each_in_one):
    columns, d_formula, g_formula = FORMULAS[task]
    real, fake = random_logits(columns, 2), random_logits(columns, 3)
    sides = [turned(*side, each_in_one) for side in (real, fake)]
    ours = task(4 * NUM_ROTATED, BETA, ALPHA, each_in_one=each_in_one)
    _, d_logs = ours.d_loss(seen(*real), seen(*fake), STEP)
    _, g_logs = ours.g_loss(seen(*fake), STEP)
    logs = d_logs | g_logs
    of_real, of_fake = logs["loss/rotation_real"], logs["loss/rotation_fake"]
    np.testing.assert_allclose(of_real, entropy(sides[0], TURNS), rtol=1e-12)
    np.testing.assert_allclose(of_fake, g_formula(sides[1]) / ALPHA, rtol=1e-12)
    d_terms = [of_real, logs.get("loss/rotation_d_fake", 0.0)]
    np.testing.assert_allclose(sum(d_terms), d_formula(*sides) / BETA, rtol=1e-12)
    for name, logits in zip(("real", "fake"), sides, strict=True):
        odds = np.exp(logits)
        likely = odds[:, :4] + (odds[:, 4:] if columns == 8 else 0.0)
        expected = np.mean(likely.argmax(axis=1) == TURNS)
        np.testing.assert_allclose(logs[f"accuracy/rotation_{name}"], expected)


@every_task
def test_alpha_falls_linearly_to_zero(task):
    columns, _, g_formula = FORMULAS[task]
    fake = [piece.astype("float32") for piece in random_logits(columns, 4)]
    whole = g_formula(turned(*fake, False))
    ours = task(4 * NUM_ROTATED, BETA, ALPHA, g_anneal_steps=8)
    for step, share in (
        (0, 1.0),
        (1, 0.875),
        (4, 0.5),
        (7, 0.125),
        (8, 0.0),
        (20, 0.0),
    ):
        loss, _ = ours.g_loss(seen(*fake), tf.constant(step, tf.int64))
        np.testing.assert_allclose(loss, share * whole, rtol=1e-6, atol=1e-6)


def test_beta_does_not_fall():
    real = [piece.astype("float32") for piece in random_logits(4, 5)]
    ours = RotationTask(4 * NUM_ROTATED, BETA, ALPHA, g_anneal_steps=8)
    losses = [
        ours.d_loss(seen(*real), None, tf.constant(step, tf.int64))[0]
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
        d_loss, _ = ours.d_loss(seen(*real), seen(*fake), STEP)
        g_loss, _ = ours.g_loss(seen(*fake), STEP)
        sides = [turned(*side, False) for side in (real, fake)]
        np.testing.assert_allclose(d_loss, d_formula(*sides) / BETA, rtol=1e-6)
        left = 1.0 if anneal_steps is None else 0.5
        expected = 2 * left * g_formula(sides[1]) / ALPHA
        np.testing.assert_allclose(g_loss, expected, rtol=1e-5)


def test_a_collapsed_g_gains_nothing_from_turning_well():
    # Its images are known to be fakes and their turns are plain to see.
    certain = 20.0 * np.eye(4)[TURNS]
    fooled = np.pad(certain, [(0, 0), (0, 1)])
    caught = np.pad(certain, [(0, 0), (0, 1)], constant_values=40.0)
    upright = np.zeros((BATCH, 5))

    def loss(task, logits):
        upright[-NUM_ROTATED:] = logits[:NUM_ROTATED]
        return float(task(8).g_loss(seen(upright, logits[NUM_ROTATED:]), STEP)[0])

    assert loss(MinimaxRotationTask, caught) > 0 > loss(MinimaxRotationTask, fooled)
