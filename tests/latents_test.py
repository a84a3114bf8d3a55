"""Latents and labels: their distribution, and that they depend on the seed alone."""

import numpy as np
import oracles
import pytest
import tensorflow as tf
from scipy import stats

from ssgan_tf.latents import Latents, draw_labels


def test_distribution():
    # The 0.1 % point for 65,536 draws is 0.004; a wrong scale or mean gives over 0.01.
    draws = Latents(16, "normal").sample(4096, (3, 0)).numpy().astype(np.float64)
    assert stats.kstest(draws.ravel(), stats.norm.cdf).statistic < 0.005
    assert np.abs(np.corrcoef(draws.T) - np.eye(16)).max() < 0.1


def test_without_truncation_values_are_the_formulas():
    uniform = Latents(4, "uniform").sample(6, (7, 1), truncation=None)
    np.testing.assert_array_equal(uniform, 2.0 * oracles.uniform((6, 4), (7, 1)) - 1.0)
    radius, turn = oracles.uniform((2, 6, 4), (7, 1)).astype(np.float64)
    normal = Latents(4, "normal").sample(6, (7, 1), truncation=None)
    expected = np.sqrt(-2.0 * np.log1p(-radius)) * np.cos(2.0 * np.pi * turn)
    np.testing.assert_allclose(normal, expected, atol=2e-6)


class TestTruncation:
    @pytest.mark.parametrize("threshold", [1e-6, 0.1, 1.0, 3.0, 6.0, np.inf])
    def test_normal_values_keep_their_quantiles(self, threshold):
        latents = Latents(16, "normal")
        free = latents.sample(4096, (3, 1)).numpy().astype(np.float64)
        assert np.abs(free).max() > 3.9
        # From the tails: SciPy's quantiles of the truncated normal are less exact.
        tail = 2.0 * stats.norm.sf(np.abs(free))
        tail += (1.0 - tail) * 2.0 * stats.norm.sf(threshold)
        if threshold < 1e-3:
            expected = threshold * (2.0 * stats.norm.cdf(free) - 1.0)
        else:
            expected = np.copysign(stats.norm.isf(tail / 2.0), free)
        truncated = latents.sample(4096, (3, 1), threshold)
        atol = 1e-7 * min(threshold, 1.0)
        np.testing.assert_allclose(truncated, expected, rtol=1e-6, atol=atol)

    def test_uniform_values_keep_their_quantiles(self):
        latents = Latents(16, "uniform")
        free = latents.sample(64, (3, 1)).numpy()
        np.testing.assert_array_equal(latents.sample(64, (3, 1), 1.0), free)
        truncated = latents.sample(64, (3, 1), np.float64(0.3))
        np.testing.assert_allclose(truncated, 0.3 * free.astype(np.float64), rtol=1e-6)

    @pytest.mark.parametrize(
        ("distribution", "threshold"),
        [
            (name, t)
            for name in ("uniform", "normal")
            for t in (0, -0.5, np.nan, -np.inf)
        ]
        + [("uniform", t) for t in (1.001, 2, np.inf)],
    )
    def test_refuses(self, distribution, threshold):
        received = f"truncation={threshold}, distribution={distribution!r}"
        with pytest.raises(ValueError, match=received):
            Latents(4, distribution).sample(2, (0, 0), threshold)


@pytest.mark.parametrize("truncation", [None, 0.5])
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_a_function_of_the_seed_alone(distribution, truncation):
    latents = Latents(4, distribution)
    first = latents.sample(6, (7, 1), truncation).numpy()
    tf.random.uniform([3])
    np.testing.assert_array_equal(latents.sample(6, (7, 1), truncation), first)
    traced = tf.function(lambda seed: latents.sample(6, seed, truncation))
    np.testing.assert_array_equal(traced(tf.constant([7, 1], tf.int64)), first)
    with tf.device("CPU:1"):
        np.testing.assert_array_equal(latents.sample(6, (7, 1), truncation), first)


@pytest.mark.parametrize(
    "settings", [{"distribution": "gaussian"}, {"dim": 0}, {"dim": -1}]
)
def test_refuses_settings(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        Latents(**settings)


@pytest.mark.parametrize("truncation", [None, 0.5])
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_compiled_draws_equal_eager_ones(distribution, truncation):
    latents = Latents(16, distribution)

    # The seed is an argument: TensorFlow would draw from a constant before XLA does.
    def draw(seed):
        return latents.sample(32, seed, truncation)

    seed = tf.constant([3, 1], tf.int64)
    compiled = tf.function(draw, jit_compile=True)
    np.testing.assert_allclose(compiled(seed), draw(seed), atol=1e-5)


def test_labels():
    labels = draw_labels(6000, 5, [2, 3])
    assert labels.dtype == tf.int32 and labels.shape == (6000,)
    counts = np.bincount(labels, minlength=5)
    # Expected 1,200 per class, with a standard deviation of 31.
    assert len(counts) == 5 and np.abs(counts - 1200).max() < 130
    repeats = np.mean(labels[1:] == labels[:-1])
    assert repeats == pytest.approx(0.2, abs=0.025)
    np.testing.assert_array_equal(draw_labels(1, 1, [0, 0]), [0])


def test_labels_are_a_function_of_the_seed_alone():
    first = draw_labels(64, 5, [7, 3]).numpy()
    compiled = tf.function(draw_labels, jit_compile=True)
    for draw in (draw_labels, tf.function(draw_labels), compiled):
        seed = tf.constant([7, 3], tf.int64)
        np.testing.assert_array_equal(draw(64, 5, seed), first)
    with tf.device("CPU:1"):
        np.testing.assert_array_equal(draw_labels(64, 5, [7, 3]), first)
    for other in ([8, 3], [7, 4]):
        assert np.mean(draw_labels(64, 5, other) == first) < 0.5
