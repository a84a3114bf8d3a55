"""Adversarial losses against their formulas in NumPy, float64."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import finite_differences
from scipy import special

from ssgan_tf import losses

FORMULAS = {
    losses.Hinge: (
        lambda r, f: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(),
        lambda f: -f.mean(),
    ),
    losses.NonSaturating: (
        lambda r, f: -special.log_expit(r).mean() - special.log_expit(-f).mean(),
        lambda f: -special.log_expit(f).mean(),
    ),
    losses.Wasserstein: (lambda r, f: f.mean() - r.mean(), lambda f: -f.mean()),
    losses.LeastSquares: (
        lambda r, f: (
            (((special.expit(r) - 1) ** 2).mean() + (special.expit(f) ** 2).mean()) / 2
        ),
        lambda f: ((special.expit(f) - 1) ** 2).mean() / 2,
    ),
}
every_loss = pytest.mark.parametrize("loss", FORMULAS, ids=lambda c: c.__name__)


def random_logits():
    rng = np.random.default_rng(0)
    # Different means: swapped arguments give another loss.
    return 2 * rng.normal(size=(32, 1)) + 0.5, 2 * rng.normal(size=(32, 1)) - 0.8


def check(loss, real, fake, *, dtype, rtol):
    d_formula, g_formula = FORMULAS[loss]
    d_loss = loss().d_loss(tf.constant(real, dtype), tf.constant(fake, dtype))
    g_loss = loss().g_loss(tf.constant(fake, dtype))
    assert d_loss.shape == g_loss.shape == ()
    np.testing.assert_allclose(d_loss, d_formula(real, fake), rtol=rtol, atol=1e-30)
    np.testing.assert_allclose(g_loss, g_formula(fake), rtol=rtol, atol=1e-30)


@every_loss
def test_formula(loss):
    check(loss, *random_logits(), dtype=tf.float64, rtol=1e-12)


@every_loss
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_nothing_overflows(loss, sign):
    real = sign * np.array([[1e4], [300.0], [88.8]])
    fake = -sign * np.array([[2e4], [500.0], [88.8]])
    check(loss, real, fake, dtype=tf.float32, rtol=1e-6)
    sides = tf.constant(real, tf.float32), tf.constant(fake, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(sides)
        total = loss().d_loss(*sides) + loss().g_loss(sides[1])
    assert np.isfinite(tape.gradient(total, sides)).all()


@every_loss
def test_gradients(loss):
    real, fake = random_logits()
    assert np.abs(np.abs(np.concatenate([real, fake])) - 1).min() > 1e-4  # no kinks
    d_formula, g_formula = FORMULAS[loss]
    sides = tf.constant(real), tf.constant(fake)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(sides)
        d_loss, g_loss = loss().d_loss(*sides), loss().g_loss(sides[1])
    by_real, by_fake = tape.gradient(d_loss, sides)
    for gradient, formula, point in (
        (by_real, lambda logits: d_formula(logits, fake), real),
        (by_fake, lambda logits: d_formula(real, logits), fake),
        (tape.gradient(g_loss, sides[1]), g_formula, fake),
    ):
        expected = finite_differences(formula, point)
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(gradient, expected, atol=1e-9)
