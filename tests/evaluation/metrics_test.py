"""The table of metrics: inputs, parameters and names of every score.

The functions of the table have their own tests. Here the two sets differ in number and
spread, so that no score can be mistaken for another.
"""

import re

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.special
import scipy.stats
import sklearn.cluster
from absl import flags
from paths import ROOT
from scipy.spatial.distance import cdist

from ssgan_tf.evaluation import metrics, ms_ssim, sliced_wasserstein
from ssgan_tf.evaluation.frechet import interval

DOCUMENT = ROOT / "docs" / "scores.md"
BLANK = np.zeros((2, 16, 16, 1), np.uint8)


def compute(key, real, fake, seed=0):
    return metrics.METRICS[key].compute(real, fake, seed)


def features(count, seed, scale=1.0, shift=0.0, dim=4):
    rows = np.random.default_rng(seed).normal(size=(count, dim)) * scale + shift
    return rows.astype(np.float32)


def unlike_pair(num_reals=90, num_fakes=60):
    """Fakes are shifted and less spread; both are skewed, as features are."""
    pair = features(num_reals, 0), features(num_fakes, 1, scale=0.7, shift=1.2)
    return [np.exp(side / 2) for side in pair]


def observed_pair(pair):
    return [metrics.Observed(BLANK, features=side) for side in pair]


def documented():
    """The table of docs/scores.md: the names of the scores, by key."""
    rows = re.findall(r"^\| `(\w+)` \| (`.*?`) \|", DOCUMENT.read_text(), re.MULTILINE)
    return {key: re.findall(r"`(\w+)`", numbers) for key, numbers in rows}


def frechet(real, fake):
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    covariances = [np.cov(rows, rowvar=False) for rows in (real, fake)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    shift = real.mean(axis=0) - fake.mean(axis=0)
    return shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)


class TestFrechetDistance:
    # The second pair has more than one batch.
    @pytest.mark.parametrize("counts", [(90, 60), (1100, 2100)])
    def test_equals_scipy(self, counts):
        pair = unlike_pair(*counts)
        actual = compute("fid", *observed_pair(pair))
        assert actual == pytest.approx({"fid": frechet(*pair)}, rel=1e-9)

    def test_interval(self):
        pair = unlike_pair()
        expected = dict(zip(("fid_low", "fid_high"), interval(*pair)))
        assert compute("fid_interval", *observed_pair(pair)) == expected


def labelled_pair(classes=(1, 4, 7), num_fakes=(30, 15, 20)):
    """Classes of unequal sizes and distances, mixed."""
    sides = []
    for side, counts in enumerate(((40, 25, 35), num_fakes)):
        rows = [
            features(count, [side, i], scale=1 + side * i, shift=3 * i + side * 2 * i)
            for i, count in enumerate(counts)
        ]
        order = np.random.default_rng(side).permutation(sum(counts))
        labels = np.repeat(classes, counts)[order].astype(np.int32)
        sides.append((np.concatenate(rows)[order], labels))
    return sides


def observed_classes(sides):
    return [
        metrics.Observed(BLANK, features=rows, labels=labels) for rows, labels in sides
    ]


class TestIntraFrechetDistance:
    def test_is_the_mean_over_the_classes(self):
        real, fake = labelled_pair()
        distances = [
            frechet(*(rows[labels == label] for rows, labels in (real, fake)))
            for label in (1, 4, 7)
        ]
        # Different: classes left out, or weighted by their size, show.
        assert 2 * distances[0] < distances[1] < distances[2] / 2
        actual = compute("intra_fid", *observed_classes([real, fake]))
        assert actual == pytest.approx({"intra_fid": np.mean(distances)}, rel=1e-9)

    @pytest.mark.parametrize("lacking", [0, 1])
    @pytest.mark.parametrize("left", [0, 1])
    def test_needs_two_of_every_class_on_both_sides(self, lacking, left):
        sides = labelled_pair()
        rows, labels = sides[lacking]
        dropped = np.flatnonzero(labels == 4)[left:]
        sides[lacking] = [np.delete(array, dropped, axis=0) for array in (rows, labels)]
        with pytest.raises(ValueError, match=r"intra_fid.* Received: .*\b4\b"):
            compute("intra_fid", *observed_classes(sides))


class TestInceptionScore:
    def test_equals_scipy(self):
        # Sorted by class, as data sets are: splits would change the score.
        answers = np.sort(np.arange(60) % 5)
        fake = 3 * np.eye(6)[answers] + features(60, 0, dim=6)
        real = features(90, 1, dim=6)
        given = scipy.special.softmax(fake.astype(np.float64), axis=1)
        divergences = scipy.stats.entropy(given, given.mean(axis=0), axis=1)
        actual = compute(
            "is", *(metrics.Observed(BLANK, logits=side) for side in (real, fake))
        )
        expected = {"inception_score": np.exp(divergences.mean())}
        assert actual == pytest.approx(expected, rel=1e-9)


def squared_mmd(real, fake):
    """Unbiased estimate with the kernel (a . b / d + 1)^3."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    within = [
        ((side @ side.T / side.shape[1] + 1) ** 3)[~np.eye(len(side), dtype=bool)]
        for side in (real, fake)
    ]
    across = (real @ fake.T / real.shape[1] + 1) ** 3
    return within[0].mean() + within[1].mean() - 2 * across.mean()


class TestKernelDistance:
    # A block has 1,024 images, not 1,023 or 1,025.
    @pytest.mark.parametrize(
        ("counts", "num_blocks"),
        [((90, 60), 1), ((700, 1024), 1), ((2048, 1501), 2), ((1501, 2049), 3)],
    )
    def test_equals_numpy_block_by_block(self, counts, num_blocks):
        # A drift, so that all blocks differ.
        pair = [
            rows + np.linspace(0, 1, len(rows), dtype=np.float32)[:, np.newaxis]
            for rows in unlike_pair(*counts)
        ]
        # `array_split` makes the first blocks larger, TFGAN the last ones.
        blocks = [np.array_split(rows[::-1], num_blocks)[::-1] for rows in pair]
        estimates = [squared_mmd(*block) for block in zip(*blocks, strict=True)]
        expected = {"kid": np.mean(estimates)}
        if num_blocks > 1:
            expected["kid_block_std"] = np.std(estimates, ddof=1)
        actual = compute("kid", *observed_pair(pair))
        assert actual == pytest.approx(expected, rel=1e-9)


class TestSlicedWasserstein:
    @pytest.mark.parametrize("counts", [(9, 6), (6, 9), (5, 5)])
    def test_gets_equal_numbers_of_reals_and_fakes(self, counts, monkeypatch):
        calls = []

        def distance(real_images, fake_images, seed):
            calls.append((real_images, fake_images, seed))
            return 12.5

        monkeypatch.setattr(sliced_wasserstein, "distance", distance)
        real, fake = (pictures(n, seed, 0)[0] for seed, n in enumerate(counts))
        actual = compute("swd", *map(metrics.Observed, (real, fake)), seed=7)
        assert actual == {"sliced_wasserstein": 12.5}
        [(first, second, seed)] = calls
        count = min(counts)
        np.testing.assert_array_equal(first, real[:count])
        np.testing.assert_array_equal(second, fake[:count])
        assert seed == 7


def pictures(count, seed, noise):
    """One pattern for each of three classes, and noise: images and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=count).astype(np.int32)
    images = rng.uniform(40, 210, (3, 16, 16, 3))[labels]
    images = images + noise * rng.normal(size=images.shape)
    return images.clip(0, 255).round().astype(np.uint8), labels


def ssim(first, second):
    """Mean over the windows that fit into two images, and over channels."""

    def blur(images):
        # 3.5 deviations of 1.5 are a window of 11, which leaves six of 16 pixels.
        return scipy.ndimage.gaussian_filter(images, (1.5, 1.5, 0), truncate=3.5)[
            5:-5, 5:-5
        ]

    first, second = first.astype(np.float64), second.astype(np.float64)
    means = blur(first), blur(second)
    variances = blur(first**2) - means[0] ** 2 + blur(second**2) - means[1] ** 2
    covariance = blur(first * second) - means[0] * means[1]
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * means[0] * means[1] + c1) / (means[0] ** 2 + means[1] ** 2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    per_channel = (luminance * structure).mean(axis=(0, 1))
    return per_channel.clip(min=0).mean()


class TestMsSsim:
    @pytest.mark.parametrize(
        "labelled", [{"ms_ssim", "ms_ssim_real"}, {"ms_ssim"}, {"ms_ssim_real"}, set()]
    )
    def test_equals_scipy(self, labelled, monkeypatch):
        monkeypatch.setattr(metrics, "MS_SSIM_PAIRS", 50)
        expected, observed = {}, []
        for name, count, noise, kept in (
            ("ms_ssim_real", 90, 80, 41),
            ("ms_ssim", 60, 15, 30),
        ):
            images, labels = pictures(count, count, noise)
            # Labels are those of all images, the subset the first images.
            subset, used = images[:kept], labels[:kept] if len(labelled) == 2 else None
            pairs = ms_ssim.random_pairs(kept, 50, seed=7, labels=used)
            expected[name] = np.mean([ssim(subset[i], subset[j]) for i, j in pairs])
            given = labels if name in labelled else None
            observed.append(metrics.Observed(subset, given))
        # Both sets are compared within classes if both have labels.
        assert (expected["ms_ssim"] > 0.8) == (len(labelled) == 2)
        assert expected["ms_ssim"] > expected["ms_ssim_real"] + 0.05
        actual = compute("ms_ssim", *observed, seed=7)
        assert actual == pytest.approx(expected, abs=1e-5)


class TestPRD:
    def test_of_points_is_the_curve_of_their_shares(self):
        # As many different points as clusters: k-means finds all.
        points = 10 * features(20, 0)
        # Reals are at the last 16, more at each than at the one before; fakes at the
        # first twelve.
        places = np.repeat(np.arange(4, 20), np.arange(1, 17)), np.arange(60) % 12
        pair = [points[side] for side in places]
        shares = [np.bincount(side, minlength=20) / len(side) for side in places]
        precisions, recalls = [], []
        for angle in np.linspace(1e-10, np.pi / 2 - 1e-10, 1001):
            slope = np.sin(angle) / np.cos(angle)
            both = [min(slope * p, q) for p, q in zip(*shares, strict=True)]
            precisions.append(sum(both))
            recalls.append(sum(both) / slope)
        f_scores = [
            max(
                (1 + beta**2) * p * r / (beta**2 * p + r)
                for p, r in zip(precisions, recalls, strict=True)
            )
            for beta in (8, 1 / 8)
        ]
        assert abs(f_scores[0] - f_scores[1]) > 0.05
        actual = compute("prd", *observed_pair(pair))
        expected = {"prd_f8": f_scores[0], "prd_f1_8": f_scores[1]}
        assert actual == pytest.approx(expected, rel=1e-9)

    def test_clusters_ten_times_into_twenty(self, monkeypatch):
        calls = []

        class Spy(sklearn.cluster.MiniBatchKMeans):
            def fit(self, rows, *args, **kwargs):
                calls.append((self.n_clusters, self.random_state, len(rows)))
                return super().fit(rows, *args, **kwargs)

        monkeypatch.setattr(sklearn.cluster, "MiniBatchKMeans", Spy)
        observed = observed_pair(unlike_pair())
        for seed in (0, 0, 1):
            compute("prd", *observed, seed=seed)
        assert {(clusters, count) for clusters, _, count in calls} == {(20, 150)}
        first, again, other = np.reshape([state for _, state, _ in calls], (3, 10))
        np.testing.assert_array_equal(first, again)
        assert len({*first, *other}) == 20


def neighbours(real, fake, k):
    """(precision, recall, density, coverage) by sorting all distances."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    # The first distance of a row within a set is that to the point itself.
    radii = [np.sort(cdist(side, side), axis=1)[:, k] for side in (real, fake)]
    across = cdist(real, fake)
    in_reals, in_fakes = across <= radii[0][:, np.newaxis], across <= radii[1]
    return (
        in_reals.any(axis=0).mean(),
        in_fakes.any(axis=1).mean(),
        in_reals.sum(axis=0).mean() / k,
        in_reals.any(axis=1).mean(),
    )


class TestNeighbours:
    @pytest.mark.parametrize(
        ("key", "names", "part", "k"),
        [
            ("precision_recall", ("precision", "recall"), slice(0, 2), 3),
            ("density_coverage", ("density", "coverage"), slice(2, 4), 5),
        ],
    )
    def test_equals_scipy(self, key, names, part, k):
        pair = unlike_pair()
        # Another k, or exchanged sets, give other scores.
        others = [neighbours(*pair, other)[part] for other in range(1, 9) if other != k]
        others.append(neighbours(*pair[::-1], k)[part])
        expected = neighbours(*pair, k)[part]
        for place, value in enumerate(expected):
            assert value not in [
                *(scores[place] for scores in others),
                expected[1 - place],
            ]
        actual = compute(key, *observed_pair(pair))
        assert actual == pytest.approx(dict(zip(names, expected)), rel=1e-12)


class TestMemorisation:
    def observe(self, train, test, fake):
        return (
            metrics.Observed(BLANK, features=test, train_features=train),
            metrics.Observed(BLANK, features=fake),
        )

    def test_equals_scipy(self):
        # Two batches, with nearly copied rows in both.
        train, test, fake = (features(n, n) for n in (1500, 90, 60))
        fake[::3] = train[::75] + 1e-3
        fake_distances, test_distances = (
            cdist(side.astype(np.float64), train).min(axis=1) for side in (fake, test)
        )
        greater = scipy.stats.mannwhitneyu(fake_distances, test_distances).statistic
        expected = greater / (90 * 60)
        assert 0.2 < expected < 0.4
        actual = compute("memorisation", *self.observe(train, test, fake))
        assert actual == pytest.approx({"memorisation": expected}, rel=1e-12)


@pytest.mark.parametrize("count", [1, 1024, 1025, 2500])
def test_batches_are_all_rows_in_order(count):
    rows = features(count, 0)
    batches = list(metrics.batches_of(rows))
    assert max(map(len, batches)) <= 1024
    np.testing.assert_array_equal(np.concatenate(batches), rows)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "general"),
        [
            ("fid", "frechet"),
            ("fid_low", "frechet_low"),
            ("fid_high", "frechet_high"),
            ("intra_fid", "intra_frechet"),
            ("inception_score", "classifier_score"),
            ("kid", "kernel_distance"),
            ("kid_block_std", "kernel_distance_block_std"),
            ("precision", "precision"),
            ("prd_f1_8", "prd_f1_8"),
            ("memorisation", "memorisation"),
        ],
    )
    def test_under_an_extractor(self, name, general):
        assert metrics.name_under("inception", name) == name
        assert metrics.name_under("cifar10_cnn", name) == f"{general}_cifar10_cnn"
        # The user's name of a folder is kept.
        assert metrics.name_under("my_fid_kid", name) == f"{general}_my_fid_kid"

    def test_no_number_of_another_extractor_looks_like_inceptions(self):
        names = [name for numbers in documented().values() for name in numbers]
        renamed = [metrics.name_under("vgg", name) for name in names]
        assert len(set(renamed)) == len(set(names)) == len(names)
        assert not [name for name in renamed if re.search("fid|kid|inception", name)]


class TestCheckMetrics:
    @pytest.mark.parametrize("names", [(), ("fid", "fib"), ("FID",), ("",)])
    def test_rejects_unknown_and_missing_keys(self, names):
        received = re.escape(f"Received: --metrics={','.join(names)}.")
        with pytest.raises(ValueError, match=received) as caught:
            metrics.check_metrics(names)
        # The message lists the keys.
        for key in metrics.METRICS:
            assert re.search(rf"\b{key}\b", str(caught.value))


class TestDocuments:
    def test_flag_has_the_default_and_names_every_key(self):
        from ssgan_tf.commands import train  # noqa: F401

        flag = flags.FLAGS["metrics"]
        assert tuple(flag.default) == metrics.DEFAULT_METRICS
        # Between commas: "is" is a word, too.
        assert set(metrics.METRICS) <= set(re.split(r"[,:.]\s*", flag.help))

    def test_page_has_the_default_and_every_key(self):
        assert list(documented()) == list(metrics.METRICS)
        default = ",".join(metrics.DEFAULT_METRICS)
        assert f"default: `{default}`" in DOCUMENT.read_text()

    @pytest.mark.parametrize("key", metrics.METRICS)
    def test_page_has_every_number(self, key, monkeypatch):
        monkeypatch.setattr(metrics, "MS_SSIM_PAIRS", 5)
        observed = []
        # More than one block, so that `kid` has a deviation.
        for seed, rows in enumerate(unlike_pair(1025, 300)):
            images, _ = pictures(12, seed, 20)
            labels = np.arange(len(rows), dtype=np.int32) % 2
            train = features(50, 5) if seed == 0 else None
            observed.append(
                metrics.Observed(
                    images, labels, features=rows, logits=rows, train_features=train
                )
            )
        actual = compute(key, *observed)
        assert list(actual) == documented()[key]
        assert all(
            type(value) is float and np.isfinite(value) for value in actual.values()
        )
