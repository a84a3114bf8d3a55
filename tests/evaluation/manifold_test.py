"""Precision, recall and copies against SciPy, scikit-learn, loops and fractions."""

from fractions import Fraction
from itertools import cycle as endless

import numpy as np
import pytest
import scipy.stats
import threadpoolctl
from scipy.spatial.distance import cdist
from sklearn.cluster import MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors

from ssgan_tf.evaluation import frechet, manifold


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Splits the sets below into several blocks, the last one smaller."""
    monkeypatch.setattr(manifold, "WORKING_MEMORY", mebibytes(16))


def mebibytes(rows, columns=70):
    """Working memory for so many rows of distances to `columns` points."""
    return (rows + 0.5) * columns * 8 / 2**20


def features(count, dim=6, seed=0, scale=1.0, shift=0.0):
    return shift + scale * np.random.default_rng(seed).normal(size=(count, dim))


def unlike_pair(num_reals=70, num_fakes=45):
    """Fakes are shifted and less spread than reals: no two scores are equal."""
    return features(num_reals), features(num_fakes, seed=1, scale=0.7, shift=0.4)


def grid_pair(num_reals=70, num_fakes=45):
    """On a grid far from the origin: many ties and duplicates, within and across."""
    rng = np.random.default_rng(0)
    return (rng.integers(90, 94, size=(n, 3)) for n in (num_reals, num_fakes))


def radii_oracle(rows, k):
    """scikit-learn counts a point as its own first neighbour."""
    neighbours = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(rows)
    return neighbours.kneighbors(rows)[0][:, k]


def exact_scores(real, fake, k):
    """By loops, in integers: (precision, recall, density, coverage)."""

    def squared(a, b):
        return sum(int(i - j) ** 2 for i, j in zip(a, b, strict=True))

    def ball(rows, place):
        others = [i for i in range(len(rows)) if i != place]
        return sorted(squared(rows[place], rows[i]) for i in others)[k - 1]

    def inside(points, centres):
        radii = [ball(centres, i) for i in range(len(centres))]
        return [
            [squared(p, c) <= r for c, r in zip(centres, radii, strict=True)]
            for p in points
        ]

    fakes_in, reals_in = inside(fake, real), inside(real, fake)
    return (
        Fraction(sum(map(any, fakes_in)), len(fake)),
        Fraction(sum(map(any, reals_in)), len(real)),
        Fraction(sum(map(sum, fakes_in)), k * len(fake)),
        Fraction(sum(map(any, zip(*fakes_in, strict=True))), len(real)),
    )


def precision_recall(real, fake, k):
    numbers = manifold.precision_recall(real, fake, k)
    return numbers["precision"], numbers["recall"]


def density_coverage(real, fake, k):
    numbers = manifold.density_coverage(real, fake, k)
    return numbers["density"], numbers["coverage"]


def scores(real, fake, k):
    return precision_recall(real, fake, k) + density_coverage(real, fake, k)


class TestNeighbours:
    @pytest.mark.parametrize("k", [1, 2, 3, 5])
    @pytest.mark.parametrize("sizes", [(70, 45), (32, 64), (45, 70), (7, 6)])
    def test_equal_scipy_and_sklearn(self, k, sizes):
        real, fake = unlike_pair(*sizes)
        distances = cdist(fake, real)
        inside = distances <= radii_oracle(real, k)
        recalled = (distances <= radii_oracle(fake, k)[:, np.newaxis]).any(axis=0)
        expected = (
            inside.any(axis=1).mean(),
            recalled.mean(),
            inside.sum() / k / len(fake),
            inside.any(axis=0).mean(),
        )
        if sizes == (70, 45):
            # These inputs separate the scores.
            assert len(set(expected)) == 4 and 0 < min(expected)
        assert scores(real, fake, k) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("k", [1, 3, 5])
    @pytest.mark.parametrize("sizes", [(70, 45), (45, 70), (200, 20)])
    def test_equal_exact_arithmetic_on_a_grid(self, k, sizes):
        real, fake = grid_pair(*sizes)
        expected = exact_scores(real, fake, k)
        assert scores(real, fake, k) == pytest.approx([*map(float, expected)])

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_ties_do_not_depend_on_rounding(self, dtype):
        """A set with itself: balls hold their centre and its k neighbours."""
        rows = features(90, dim=300, shift=1000).astype(dtype)
        for k in (1, 4):
            expected = (1, 1, (k + 1) / k, 1)
            # A copy in another order: other blocks, other rounding.
            assert scores(rows, rows[::-1], k) == pytest.approx(expected)

    def test_ties_are_no_wider_than_rounding(self):
        # 0, 2, 4, ...: balls of radius 2, and fakes outside the outermost.
        real = np.arange(0.0, 40, 2)[:, np.newaxis]
        fake = np.array([[-2.0], [-2 - 1e-9], [40 + 1e-9], [40 - 1e-9]])
        assert precision_recall(real, fake, k=1)[0] == 0.5
        assert density_coverage(real, fake, k=1) == (0.5, 0.1)

    def test_duplicates_are_in_balls_of_no_radius(self):
        # Three of each real: 2nd neighbours at 0, 3rd at 1 or more.
        places = np.repeat(features(20, dim=50, shift=7), 3, axis=0)
        fake = places[np.arange(0, 60, 2)]
        # A copy of a triple is in three balls, and every triple has a copy.
        assert density_coverage(places, fake, k=2) == (1.5, 1)
        assert precision_recall(places, fake + 1e-3, k=2)[0] == 0
        assert precision_recall(places, fake, k=2)[0] == 1

    def test_of_points_on_a_line(self):
        """By hand: radii of reals 1, 1, 3 and of fakes 2, 2, 30; k = 1."""
        real = np.array([[0.0], [1], [4]])
        fake = np.array([[6.5], [8.5], [38.5]])
        # 6.5 is in the ball of 4 alone, 8.5 and 38.5 in none; of the fakes' balls,
        # 38.5's reaches down to 8.5 and 6.5's to 4.5: no real is in any.
        assert precision_recall(real, fake, k=1) == (1 / 3, 0)
        assert density_coverage(real, fake, k=1) == (1 / 3, 1 / 3)
        # Exchanged sets exchange precision and recall.
        assert precision_recall(fake, real, k=1) == (0, 1 / 3)
        # 2nd neighbours: reals 4, 3, 4 and fakes 32, 30, 32.
        assert precision_recall(real, fake, k=2) == (1 / 3, 1)
        assert density_coverage(real, fake, k=2) == (1 / 6, 1 / 3)

    @pytest.mark.parametrize("pair", [unlike_pair, grid_pair])
    def test_do_not_depend_on_order_blocks_or_unit(self, pair, monkeypatch):
        real, fake = pair()
        expected = scores(real, fake, 3)
        rng = np.random.default_rng(2)
        assert scores(rng.permutation(real), rng.permutation(fake), 3) == expected
        assert scores(real * 2.0**-30, fake * 2.0**-30, 3) == expected
        for size in (1, 7, 45, 1000):
            monkeypatch.setattr(manifold, "WORKING_MEMORY", mebibytes(size))
            assert scores(real, fake, 3) == expected

    def test_a_large_mean_costs_no_digits(self):
        # Rounded to 2^-20, so that adding the offset rounds nothing.
        real, fake = (np.round(side * 2**20) / 2**20 for side in unlike_pair())
        expected = scores(real, fake, 3)
        assert scores(real + 2**22, fake + 2**22, 3) == expected

    def test_leave_the_features_alone(self):
        pair = unlike_pair()
        kept = [side.copy() for side in pair]
        scores(*pair, 3)
        np.testing.assert_array_equal(pair[0], kept[0])
        np.testing.assert_array_equal(pair[1], kept[1])


def f_beta(precision, recall, beta):
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


class TestPRD:
    def test_curve_of_two_bins_by_hand(self):
        """P = (3/4, 1/4), Q = (1/2, 1/2): at slope 1, 3/4 and 3/4."""
        precision, recall = manifold.prd_curve([0.75, 0.25], [0.5, 0.5])
        assert len(precision) == len(recall) == 1001
        slopes = [np.tan(1e-10), np.tan(np.pi / 8), 1, np.tan(3 * np.pi / 8), 1e10]
        # l (3/4 + 1/4); the same; 1/2 + 1/4; 1/2 + min(0.6, 1/2); all of Q.
        expected = [slopes[0], slopes[1], 0.75, 1, 1]
        np.testing.assert_allclose(precision[::250], expected, rtol=1e-6)
        expected = [1, 1, 0.75, 1 / slopes[3], 1e-10]
        np.testing.assert_allclose(recall[::250], expected, rtol=1e-6)

    def test_curve_equals_loops(self):
        rng = np.random.default_rng(0)
        real, fake = rng.dirichlet(np.ones(20) / 2, size=2)
        precision, recall = manifold.prd_curve(real, fake)
        angles = [1e-10 + i * (np.pi / 2 - 2e-10) / 1000 for i in range(1001)]
        for angle, actual in zip(angles, zip(precision, recall), strict=True):
            slope = np.sin(angle) / np.cos(angle)
            alpha = sum(min(slope * p, q) for p, q in zip(real, fake))
            beta = sum(min(p, q / slope) for p, q in zip(real, fake))
            assert actual == pytest.approx((alpha, beta), rel=1e-6)
        # The two differ, so that an exchange shows.
        assert np.abs(precision - recall[::-1]).max() > 0.01

    def test_curve_of_equal_and_of_disjoint_histograms(self):
        histogram = np.full(7, 1 / 7)
        precision, recall = manifold.prd_curve(histogram, histogram)
        for beta in (8, 1 / 8):
            actual = manifold.max_f_beta(precision, recall, beta)
            assert actual == pytest.approx(1, abs=1e-9)
        precision, recall = manifold.prd_curve([1, 0], [0, 1])
        assert not precision.any() and not recall.any()
        assert manifold.max_f_beta(precision, recall, 8) == 0

    def test_curve_is_never_above_one(self):
        histograms = [np.full(bins, 1 / bins) for bins in range(1, 100)]
        # Some of these sums round above 1.
        assert max(shares.sum() for shares in histograms) > 1
        for shares in histograms:
            assert np.max(manifold.prd_curve(shares, shares)) <= 1

    def test_of_a_collapsed_generator(self):
        # Fewer different points than clusters.
        real = features(5)
        fake = np.repeat(real[:1], 100, axis=0)
        options = {"num_clusters": 20, "num_runs": 1, "seed": 0}
        precision, recall = manifold.prd(real, fake, **options)
        assert recall.max() == pytest.approx(0.2)
        assert precision.max() == pytest.approx(1)

    def test_of_separate_clusters_is_the_curve_of_their_shares(self):
        """Clusters that k-means cannot miss; 120 reals and 40 fakes."""
        real_counts, fake_counts = [60, 30, 30, 0], [10, 0, 20, 10]
        real, fake = (
            np.concatenate(
                [features(n, seed=i, shift=100 * i) for i, n in enumerate(counts)]
            )
            for counts in (real_counts, fake_counts)
        )
        curve = manifold.prd(real, fake, num_clusters=4, num_runs=2, seed=0)
        expected = manifold.prd_curve(
            np.divide(real_counts, 120), np.divide(fake_counts, 40)
        )
        np.testing.assert_allclose(curve, expected, rtol=1e-12)
        # A quarter of the fakes resembles no real; a quarter of the reals is missing.
        assert np.max(curve, axis=1) == pytest.approx([0.75, 0.75])
        for beta in (8, 1 / 8):
            actual = manifold.max_f_beta(*curve, beta)
            assert actual == pytest.approx(f_beta(*expected, beta).max(), rel=1e-12)

    def test_is_a_mean_over_the_runs(self):
        real, fake = unlike_pair(150, 100)
        actual = manifold.prd(real, fake, num_clusters=8, num_runs=3, seed=4)
        rows = np.concatenate([real, fake])
        rows = rows - (real.mean(axis=0) + fake.mean(axis=0)) / 2
        curves = []
        for seed in np.random.default_rng(4).integers(2**31, size=3):
            with threadpoolctl.threadpool_limits(1):
                kmeans = MiniBatchKMeans(8, n_init=10, random_state=int(seed)).fit(rows)
                labels = kmeans.predict(rows)
            shares = [
                [np.mean(own == i) for i in range(8)]
                for own in (labels[:150], labels[150:])
            ]
            curves.append(manifold.prd_curve(*shares))
        assert np.ptp(curves, axis=0).max() > 1e-3
        np.testing.assert_allclose(actual, np.mean(curves, axis=0), rtol=1e-9)


class TestNearestDistances:
    @pytest.mark.parametrize("sizes", [[100], [1] * 8 + [92], [33, 1, 66]])
    @pytest.mark.parametrize("shift", [0, 1e4])
    def test_equal_scipy(self, sizes, shift):
        rows = features(100, shift=shift)
        queries = features(37, seed=1, shift=shift)
        expected = cdist(queries, rows)
        distances, places = manifold.nearest_distances(
            queries, iter(np.split(rows, np.cumsum(sizes)[:-1]))
        )
        np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-9)
        np.testing.assert_array_equal(places, expected.argmin(axis=1))
        assert distances.dtype == np.float64 and places.dtype == np.int64

    def test_of_copies_is_zero(self):
        rows = features(60, dim=40, shift=100).astype(np.float32)
        distances, places = manifold.nearest_distances(
            rows[::-1], [rows[:32], rows[32:]]
        )
        np.testing.assert_array_equal(distances, np.zeros(60))
        np.testing.assert_array_equal(places, np.arange(60)[::-1])

    def test_the_first_of_equal_batches_wins(self):
        rows, queries = features(60, dim=40, shift=3), features(50, dim=40, seed=1)
        # Also near copies, closer than the squares resolve.
        queries[::2] = rows[:25] + 2.0**-30
        once, twice = (
            manifold.nearest_distances(queries, [rows] * repeats) for repeats in (1, 2)
        )
        np.testing.assert_array_equal(once[0], twice[0])
        np.testing.assert_array_equal(once[1], twice[1])

    def test_of_near_copies(self):
        # Far below what the squares of norms could resolve.
        rows = features(60, dim=40, shift=100)
        queries = rows.copy()
        queries[:, 3] += 2.0**-30
        distances, _ = manifold.nearest_distances(queries, [rows])
        np.testing.assert_allclose(distances, 2.0**-30, rtol=1e-3)


class TestMemorisation:
    def test_equals_scipy(self):
        rng = np.random.default_rng(0)
        # Rounded: many ties.
        fake = rng.gamma(3, size=80).round(1)
        test = rng.gamma(4, size=50).round(1)
        expected = scipy.stats.mannwhitneyu(fake, test).statistic / (80 * 50)
        assert manifold.memorisation(fake, test) == pytest.approx(expected, rel=1e-12)
        assert expected < 0.45

    def test_by_hand(self):
        assert manifold.memorisation([1, 3], [2]) == 0.5
        assert manifold.memorisation([0, 2, 3, 3], [2]) == 2.5 / 4
        assert manifold.memorisation([0, 0], [1, 2, 3]) == 0
        assert manifold.memorisation([4], [1, 2, 3]) == 1
        # Test images that are in the training set hide copies.
        assert manifold.memorisation([0, 0], [0, 0, 0]) == 0.5


@pytest.mark.parametrize(
    "bad",
    [np.zeros(shape) for shape in ((30, 5), (0, 6), (30, 0))]
    + [np.full((30, 6), value) for value in (np.nan, -np.inf)],
)
@pytest.mark.parametrize(
    "score",
    [
        lambda real, fake: manifold.precision_recall(real, fake, k=3),
        lambda real, fake: manifold.density_coverage(real, fake, k=3),
        lambda *sides: manifold.prd(*sides, num_clusters=4, num_runs=1, seed=0),
        lambda *pair: manifold.nearest_distances(features(5), endless(pair)),
        lambda *pair: frechet.moments(endless(pair)),
        frechet.interval,
    ],
)
def test_rejects_bad_features(score, bad):
    for pair in ((bad, features(30)), (features(30), bad)):
        with pytest.raises(ValueError, match="Received: (real|fake|batch)"):
            score(*pair)


def test_rejects_nothing():
    rows = features(9)
    for score in (
        lambda: manifold.nearest_distances(rows, []),
        lambda: manifold.memorisation([1.0], []),
        lambda: manifold.prd(rows, rows, num_clusters=1, num_runs=0, seed=0),
        lambda: frechet.moments([rows[:1]]),
        lambda: frechet.moments([]),
    ):
        with pytest.raises(ValueError, match="Received: "):
            score()


@pytest.mark.parametrize("k", [1, 4])
def test_needs_more_features_than_k(k):
    enough, few = features(k + 1), features(k, seed=1)
    for score in (manifold.precision_recall, manifold.density_coverage):
        score(enough, enough, k=k)
        for wrong in ((few, enough, k), (enough, enough, 0)):
            with pytest.raises(ValueError, match="Received: "):
                score(*wrong)
    with pytest.raises(ValueError):
        manifold.precision_recall(enough, few, k=k)
    # Fakes have no balls here.
    manifold.density_coverage(enough, few[:1], k=k)
