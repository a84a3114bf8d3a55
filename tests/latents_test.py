"""The noise: its distribution, and what it is a function of."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ssgan_tf.latents import SAMPLING_STREAM, TRAINING_STREAM, Latents


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
    assert TRAINING_STREAM != SAMPLING_STREAM
    latents = Latents(4, distribution)
    seeds = [(s, t) for s in range(3) for t in (TRAINING_STREAM, SAMPLING_STREAM)]
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
    compiled = tf.function(lambda: latents.sample(32, [3, 1]), jit_compile=True)
    np.testing.assert_allclose(compiled(), latents.sample(32, [3, 1]), rtol=1e-5)
