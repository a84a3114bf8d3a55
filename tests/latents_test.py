"""The noise: its distribution, and what it is a function of."""

import numpy as np
import oracles
import pytest
import tensorflow as tf
from scipy import stats

from ssgan_tf import latents as latents_module
from ssgan_tf.latents import TRAINING_STREAM, Latents, draw_labels, random_uniform


@pytest.mark.parametrize(
    ("name", "distribution"),
    [("uniform", stats.uniform(-1, 2)), ("normal", stats.norm())],
)
def test_distribution(name, distribution):
    sample = Latents(16, name).sample(4096, (3, TRAINING_STREAM))
    assert sample.shape == (4096, 16) and sample.dtype == tf.float32
    draws = sample.numpy().astype(np.float64)
    # 65,536 draws: a distance of 0.01 from the distribution is 2.5 x the 0.1 % point
    # of the test, and any wrong scale or mean is further away.
    distance = stats.kstest(draws.ravel(), distribution.cdf).statistic
    assert distance < 0.01
    for power in (1, 2, 3, 4):
        np.testing.assert_allclose(
            np.mean(draws**power), distribution.moment(power), atol=0.15
        )
    # Neither images nor coordinates repeat one another.
    assert np.abs(np.corrcoef(draws.T) - np.eye(16)).max() < 0.1
    assert len(np.unique(draws[:, 0])) > 4000


def test_uniform_bounds():
    draws = Latents(8, "uniform").sample(8192, (0, 0)).numpy()
    assert -1.0 <= draws.min() < -0.999 and 0.999 < draws.max() < 1.0


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_a_function_of_the_seed_alone(distribution):
    latents = Latents(4, distribution)
    first = latents.sample(6, (7, 1)).numpy()
    tf.random.uniform([3])
    np.testing.assert_array_equal(latents.sample(6, (7, 1)), first)
    np.testing.assert_array_equal(
        tf.function(latents.sample)(6, tf.constant([7, 1], tf.int64)), first
    )
    with tf.device("CPU:1"):
        np.testing.assert_array_equal(latents.sample(6, (7, 1)), first)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_seeds_and_streams_never_meet(distribution):
    streams = [
        value
        for name, value in vars(latents_module).items()
        if name.endswith("_STREAM")
    ]
    # Those beyond belong to runs that have gone back.
    assert sorted(streams) == list(range(latents_module.NUM_STREAMS))
    latents = Latents(4, distribution)
    seeds = [(s, t) for s in range(3) for t in streams]
    draws = np.stack([latents.sample(6, seed) for seed in seeds])
    assert len(np.unique(draws)) == draws.size


def test_rejects_an_unknown_distribution():
    with pytest.raises(ValueError, match="distribution='gaussian'"):
        Latents(128, "gaussian")


@pytest.mark.parametrize("dim", [0, -1])
def test_rejects_an_empty_latent(dim):
    with pytest.raises(ValueError, match=f"z_dim={dim}"):
        Latents(dim)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_compiled_draws_equal_eager_ones(distribution):
    latents = Latents(16, distribution)
    # The seed is an argument: draws from a constant are made before XLA sees them.
    compiled = tf.function(lambda seed: latents.sample(32, seed), jit_compile=True)
    seed = tf.constant([3, 1], tf.int64)
    np.testing.assert_allclose(compiled(seed), latents.sample(32, seed), atol=1e-5)


def test_compiled_labels_equal_eager_ones():
    compiled = tf.function(lambda seed: draw_labels(64, 7, seed), jit_compile=True)
    seed = tf.constant([3, 1], tf.int64)
    np.testing.assert_array_equal(compiled(seed), draw_labels(64, 7, seed))


def test_uniform_numbers_are_the_upper_bits():
    numbers = random_uniform((64, 3), [7, 1])
    np.testing.assert_array_equal(numbers, oracles.uniform((64, 3), [7, 1]))


def test_labels():
    labels = draw_labels(6000, 5, [2, 3])
    assert labels.dtype == tf.int32 and labels.shape == (6000,)
    counts = np.bincount(labels, minlength=5)
    # 1,200 of each, deviation 31.
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
