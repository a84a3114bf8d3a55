"""Latents and labels: their distribution, and that they depend on the seed alone."""

import numpy as np
import oracles
import pytest
import tensorflow as tf
from scipy import stats

from ssgan_tf.latents import Latents, draw_labels
from ssgan_tf.randomness import TRAINING_STREAM


@pytest.mark.parametrize(
    ("name", "distribution"),
    [("uniform", stats.uniform(-1, 2)), ("normal", stats.norm())],
)
def test_distribution(name, distribution):
    sample = Latents(16, name).sample(4096, (3, TRAINING_STREAM))
    assert sample.shape == (4096, 16) and sample.dtype == tf.float32
    draws = sample.numpy().astype(np.float64)
    # With 65,536 draws the 0.1 % point of the test is 0.004. A wrong scale or mean
    # gives more than 0.01.
    distance = stats.kstest(draws.ravel(), distribution.cdf).statistic
    assert distance < 0.01
    for power in (1, 2, 3, 4):
        np.testing.assert_allclose(
            np.mean(draws**power), distribution.moment(power), atol=0.15
        )
    # Neither rows nor coordinates repeat.
    assert np.abs(np.corrcoef(draws.T) - np.eye(16)).max() < 0.1
    assert len(np.unique(draws[:, 0])) > 4000


def test_uniform_bounds():
    draws = Latents(8, "uniform").sample(8192, (0, 0)).numpy()
    assert -1.0 <= draws.min() < -0.999 and 0.999 < draws.max() < 1.0


def test_without_truncation_values_are_the_formulas():
    uniform = Latents(4, "uniform").sample(6, (7, 1), truncation=None)
    np.testing.assert_array_equal(uniform, 2.0 * oracles.uniform((6, 4), (7, 1)) - 1.0)
    radius, turn = oracles.uniform((2, 6, 4), (7, 1)).astype(np.float64)
    normal = Latents(4, "normal").sample(6, (7, 1), truncation=None)
    expected = np.sqrt(-2.0 * np.log1p(-radius)) * np.cos(2.0 * np.pi * turn)
    np.testing.assert_allclose(normal, expected, atol=2e-6)


class TestTruncation:
    @pytest.mark.parametrize(
        ("name", "threshold", "distribution"),
        [
            *(("uniform", t, stats.uniform(-t, 2 * t)) for t in (1e-3, 0.5, 1.0)),
            *(
                ("normal", t, stats.truncnorm(-t, t))
                for t in (0.04, 0.5, 1.0, 2.0, 4.0)
            ),
            # Near zero the density is flat, where SciPy's moments are inexact.
            ("normal", 1e-6, stats.uniform(-1e-6, 2e-6)),
        ],
    )
    def test_distribution(self, name, threshold, distribution):
        sample = Latents(16, name).sample(4096, (3, TRAINING_STREAM), threshold)
        assert sample.shape == (4096, 16) and sample.dtype == tf.float32
        draws = sample.numpy().astype(np.float64)
        # As above.
        assert stats.kstest(draws.ravel(), distribution.cdf).statistic < 0.01
        assert np.abs(draws).max() <= np.float32(threshold)
        for power in (1, 2, 3, 4):
            # Five deviations of the mean of 65,536.
            error = 5 * np.std(draws**power) / 256
            expected = pytest.approx(distribution.moment(power), rel=0, abs=error)
            assert np.mean(draws**power) == expected
        assert np.abs(np.corrcoef(draws.T) - np.eye(16)).max() < 0.1
        # A small threshold does not reduce the number of distinct values.
        assert len(np.unique(draws[:, 0])) > 4000

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

    @pytest.mark.parametrize("threshold", [0, 0.0, -0.5, np.nan, -np.inf])
    @pytest.mark.parametrize("distribution", ["uniform", "normal"])
    def test_rejects(self, distribution, threshold):
        received = f"truncation={threshold}, distribution={distribution!r}"
        with pytest.raises(ValueError, match=received):
            Latents(4, distribution).sample(2, (0, 0), threshold)

    @pytest.mark.parametrize("threshold", [1.001, 2, np.inf])
    def test_uniform_values_are_at_most_1(self, threshold):
        with pytest.raises(ValueError, match=f"truncation={threshold}"):
            Latents(4, "uniform").sample(2, (0, 0), threshold)


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


def test_rejects_an_unknown_distribution():
    with pytest.raises(ValueError, match="distribution='gaussian'"):
        Latents(128, "gaussian")


@pytest.mark.parametrize("dim", [0, -1])
def test_rejects_an_empty_latent(dim):
    with pytest.raises(ValueError, match=f"z_dim={dim}"):
        Latents(dim)


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


def test_compiled_labels_equal_eager_ones():
    compiled = tf.function(lambda seed: draw_labels(64, 7, seed), jit_compile=True)
    seed = tf.constant([3, 1], tf.int64)
    np.testing.assert_array_equal(compiled(seed), draw_labels(64, 7, seed))


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
    tf.random.uniform([3])
    for draw in (draw_labels, tf.function(draw_labels)):
        seed = tf.constant([7, 3], tf.int64)
        np.testing.assert_array_equal(draw(64, 5, seed), first)
    with tf.device("CPU:1"):
        np.testing.assert_array_equal(draw_labels(64, 5, [7, 3]), first)
    for other in ([8, 3], [7, 4]):
        assert np.mean(draw_labels(64, 5, other) == first) < 0.5
