"""The Frechet distance against TFGAN, SciPy and closed forms; moments against NumPy."""

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from ssgan_tf.evaluation import frechet, tfgan


def features(count, dim, seed):
    """Correlated features with deviations from 100 to 1.

    Large ones, as TFGAN sets roots of eigenvalues below 1e-10 to zero.
    """
    rng = np.random.default_rng([seed, 0])
    mixing = np.random.default_rng([seed, 1]).normal(size=(dim, dim)) / np.sqrt(dim)
    scales = np.geomspace(100, 1, dim)
    mean = np.random.default_rng([seed, 2]).normal(scale=30, size=dim)
    return rng.normal(size=(count, dim)) @ (scales[:, np.newaxis] * mixing) + mean


def distance(real, fake):
    return frechet.distance(frechet.moments([real]), frechet.moments([fake]))


def tfgan_distance(real, fake):
    evaluation = tfgan.import_eval()
    return float(
        evaluation.frechet_classifier_distance_from_activations(
            tf.constant(real, tf.float64), tf.constant(fake, tf.float64)
        )
    )


@pytest.mark.parametrize(
    ("count", "dim"),
    [
        (100, 16),
        (2000, 64),
        (700, 256),
        # Singular covariances, of rank N - 1.
        (257, 256),
        (256, 256),
        (100, 256),
        (16, 64),
        (2, 16),
        (2, 256),
    ],
)
def test_equals_tfgan(count, dim):
    real, fake = (features(count, dim, seed) for seed in (0, 1))
    expected = tfgan_distance(real, fake)
    # With equal means only the trace is left.
    assert distance(real, fake) == pytest.approx(expected, rel=1e-6, abs=0)
    real, fake = (side - side.mean(axis=0) for side in (real, fake))
    expected = tfgan_distance(real, fake)
    assert distance(real, fake) == pytest.approx(expected, rel=1e-6, abs=0)


def test_equals_tfgan_where_features_are_dead():
    """One set has five dimensions, the other has features that are always zero."""
    real, fake = (features(400, 64, seed) for seed in (0, 1))
    real[:, ::3] = 0
    fake[:, 5:] = 0.25
    for pair in ((real, fake), (fake, real), (real, real * 2), (fake, 3 * fake)):
        expected = tfgan_distance(*pair)
        assert distance(*pair) == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.parametrize("dim", [1, 2, 16, 100])
def test_equals_scipy(dim):
    real, fake = (features(4 * dim + 2, dim, seed) for seed in (0, 1))
    covariances = [
        np.cov(side, rowvar=False).reshape(dim, dim) for side in (real, fake)
    ]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    assert np.abs(np.imag(root)).max() < 1e-9
    shift = real.mean(axis=0) - fake.mean(axis=0)
    expected = shift @ shift + np.trace(sum(covariances) - 2 * np.real(root))
    assert distance(real, fake) == pytest.approx(expected, rel=1e-9, abs=0)


def test_of_independent_features():
    """|m - m'|^2 + sum (s - s')^2, deviations over twelve orders of magnitude."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(2, 50))
    deviations = 10 ** rng.uniform(-6, 6, size=(2, 50))
    actual = frechet.distance(
        *(
            frechet.Moments(mean, np.diag(deviation**2))
            for mean, deviation in zip(means, deviations, strict=True)
        )
    )
    expected = sum(np.sum((a - b) ** 2) for a, b in (means, deviations))
    assert actual == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize(("count", "dim"), [(300, 32), (20, 32), (2, 32)])
def test_of_a_set_with_itself_is_zero(count, dim):
    moments = frechet.moments([features(count, dim, 0)])
    scale = np.trace(moments.covariance)
    assert abs(frechet.distance(moments, moments)) < 1e-13 * scale


def test_is_symmetric():
    # The whole spectrum matters, whichever covariance is factored first.
    for counts in ((300, 300), (20, 300), (20, 10)):
        real, fake = (features(n, 32, seed) for seed, n in enumerate(counts))
        assert distance(real, fake) == pytest.approx(distance(fake, real), rel=1e-12)


def test_constant_features():
    # No covariance at all: the squared shift, and the trace of the other.
    constant = np.full((9, 4), 2.0)
    assert distance(constant, constant + 3) == 4 * 9.0
    other = features(50, 4, 0)
    moments = frechet.moments([other])
    expected = np.sum((moments.mean - 2) ** 2) + np.trace(moments.covariance)
    assert distance(constant, other) == pytest.approx(expected, rel=1e-12)


class TestMoments:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
    def test_are_those_of_numpy(self, dtype):
        rows = (features(99, 7, 0) + 120).clip(0, 255).astype(dtype)
        actual = frechet.moments([rows])
        assert actual.mean.dtype == actual.covariance.dtype == np.float64
        expected = rows.astype(np.float64)
        np.testing.assert_allclose(actual.mean, expected.mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(
            actual.covariance, np.cov(expected, rowvar=False), rtol=1e-12, atol=1e-12
        )
        np.testing.assert_array_equal(actual.covariance, actual.covariance.T)

    @pytest.mark.parametrize("sizes", [[1] * 60, [59, 1], [1, 59], [7, 20, 3, 30]])
    def test_do_not_depend_on_the_batches(self, sizes):
        # Sorted, so that batches have different means.
        rows = np.sort(features(60, 5, 0), axis=0)
        expected = frechet.moments([rows])
        actual = frechet.moments(np.split(rows, np.cumsum(sizes)[:-1]))
        np.testing.assert_allclose(actual.mean, expected.mean, rtol=1e-13)
        np.testing.assert_allclose(
            actual.covariance, expected.covariance, rtol=1e-12, atol=1e-14
        )

    @pytest.mark.parametrize("size", [1, 8, 64])
    def test_a_large_mean_costs_no_digits(self, size):
        rows = features(64, 5, 0)
        # Multiples of 2^-20: adding the offset rounds nothing.
        rows = np.round(rows * 2**20) / 2**20
        expected = np.cov(rows, rowvar=False)
        batches = np.split(rows + 1e6, range(size, 64, size))
        actual = frechet.moments(batches)
        np.testing.assert_allclose(actual.covariance, expected, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(actual.mean - 1e6, rows.mean(axis=0), atol=1e-9)

    def test_leave_the_batches_alone(self):
        rows = features(10, 3, 0)
        kept = rows.copy()
        frechet.moments([rows[:4], rows[4:]])
        np.testing.assert_array_equal(rows, kept)


def gaussians(seed, real_count=300, fake_count=200, dim=4):
    """Two Gaussians, the fakes shifted and wider."""
    rng = np.random.default_rng([9, seed])
    real = rng.normal(size=(real_count, dim))
    return real, 1.5 * rng.normal(size=(fake_count, dim)) + 0.5


def test_the_interval_covers_the_scatter_of_distances():
    drawn = [distance(*gaussians(seed)) for seed in range(200)]
    halves = []
    for seed in range(10):
        low, high = frechet.interval(*gaussians(seed))
        # Around the distance itself, with its bias.
        assert (low + high) / 2 == pytest.approx(distance(*gaussians(seed)))
        halves.append((high - low) / 2)
    # 200 distances give their deviation to 5 %; the rest is of second order.
    assert np.mean(halves) == pytest.approx(1.96 * np.std(drawn), rel=0.15)


@pytest.mark.parametrize(("count", "dim"), [(60, 40), (30, 40)])
def test_the_interval_equals_numerical_derivatives(count, dim):
    rng = np.random.default_rng(1)
    sides = [rng.normal(size=(count, dim)), 2 * rng.normal(size=(count, dim)) + 1]
    if count < dim:
        # A singular covariance has a derivative within its range only.
        flat = rng.normal(size=(10, dim))
        sides = [rng.normal(size=(count, 10)) @ flat, rng.normal(size=(25, 10)) @ flat]

    def weighted(rows, weights):
        mean = weights @ rows / weights.sum()
        scatter = (rows - mean).T @ ((rows - mean) * weights[:, np.newaxis])
        # The divisor is constant in the number of rows.
        total = len(rows) / (len(rows) - 1) / weights.sum()
        return frechet.Moments(mean, scatter * total)

    variance = 0
    for side, rows in enumerate(sides):
        influences = []
        for i in range(len(rows)):
            ends = []
            for sign in (1, -1):
                weights = [np.ones(len(side_rows)) for side_rows in sides]
                weights[side][i] += sign * 1e-4
                pair = map(weighted, sides, weights)
                ends.append(frechet.distance(*pair))
            influences.append((ends[0] - ends[1]) / 2e-4 * len(rows))
        variance += np.var(influences, ddof=1) / len(rows)
    low, high = frechet.interval(*sides)
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=1e-3)
