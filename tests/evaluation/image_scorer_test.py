"""Scores against formulas written a second time, in NumPy and SciPy."""

import dataclasses
import gc
import hashlib
import itertools
import re
import weakref

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from scipy import ndimage
from sklearn.datasets import load_sample_images

from ssgan_tf.evaluation import image_scorer, rotation_head, sliced_wasserstein, tfgan
from ssgan_tf.evaluation.features import FeatureExtractor
from ssgan_tf.utils import pictures

NAMES = ("frechet_table_cnn", "classifier_score_table_cnn", "kernel_distance_table_cnn")


def table_extractor(features, logits, name="table_cnn"):
    """An extractor that looks up row i for the image that has i written in it."""

    def forward(images):
        index = images[:, 0, 0, 0] * 256 + images[:, 0, 0, 1]
        return features[index], logits[index]

    return FeatureExtractor(
        name=name,
        feature_dim=features.shape[1],
        num_classes=logits.shape[1],
        image_shape=(None, None, 3),
        resize="none",
        fingerprint="0",
        forward=lambda images: forward(images.astype(np.int64)),
    )


def table_images(start, stop, size=16):
    rng = np.random.default_rng(start)
    shape = (stop - start, size, size, 3)
    images = rng.integers(0, 256, size=shape, dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(start, stop), 256)
    return images


def feature_scores(real_features, fake_features, fake_logits=None, seed=0):
    """Scores two tables of features; sliced Wasserstein is that of noise."""
    count = len(real_features)
    features = np.concatenate([real_features, fake_features]).astype(np.float32)
    logits = np.zeros((2 * count, 3), np.float32)
    if fake_logits is not None:
        filler = np.full_like(fake_logits, 7)
        logits = np.concatenate([filler, fake_logits]).astype(np.float32)
    extractor = table_extractor(features, logits)
    scorer = image_scorer.ImageScorer(table_images(0, count), extractor, seed=seed)
    return scorer.score([table_images(count, 2 * count)])


@pytest.fixture
def no_sliced_wasserstein(monkeypatch):
    """Leaves out the slowest metric where it is not what is tested."""
    monkeypatch.setattr(sliced_wasserstein, "distance", lambda *args: 0.0)


def gaussians(count=700, dim=12):
    rng = np.random.default_rng(0)
    real = rng.normal(size=(count, dim)) @ rng.normal(size=(dim, dim)) + 3
    fake = rng.normal(size=(count, dim)) @ rng.normal(size=(dim, dim)) - 1
    return real.astype(np.float32), fake.astype(np.float32)


def frechet(real, fake, ddof):
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    real_cov, fake_cov = (np.cov(f, rowvar=False, ddof=ddof) for f in (real, fake))
    root = scipy.linalg.sqrtm(real_cov @ fake_cov).real
    shift = real.mean(axis=0) - fake.mean(axis=0)
    return shift @ shift + np.trace(real_cov + fake_cov - 2 * root)


def squared_mmd(real, fake):
    """The unbiased estimate with kernel (a . b / d + 1)^3, pair by pair."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)

    def mean_kernel(first, second, same):
        total, pairs = 0.0, 0
        for i, a in enumerate(first):
            keep = np.arange(len(second)) != i if same else slice(None)
            values = (second[keep] @ a / len(a) + 1) ** 3
            total, pairs = total + values.sum(), pairs + values.size
        return total / pairs

    return (
        mean_kernel(real, real, True)
        + mean_kernel(fake, fake, True)
        - 2 * mean_kernel(real, fake, False)
    )


class TestToUint8:
    def test_rounds_to_nearest(self):
        images = np.array([0, 0.4 / 255, 0.6 / 255, 127.4 / 255, 127.6 / 255, 1])
        expected = [0, 0, 1, 127, 128, 255]
        np.testing.assert_array_equal(pictures.to_uint8(images), expected)

    def test_every_level_survives(self):
        levels = np.arange(256, dtype=np.uint8)
        found = pictures.to_uint8(levels.astype(np.float32) / 255)
        np.testing.assert_array_equal(found, levels)
        assert found.dtype == np.uint8

    def test_clips_rounding_errors(self):
        found = pictures.to_uint8(np.array([-9e-4, 1 + 9e-4]))
        np.testing.assert_array_equal(found, [0, 255])

    @pytest.mark.parametrize("value", [-0.002, 1.002, 255, np.nan, np.inf, -np.inf])
    def test_rejects(self, value):
        with pytest.raises(ValueError, match=r"in \[0, 1\]. Received"):
            pictures.to_uint8(np.array([0.5, value, 0.5]))


@pytest.mark.usefixtures("no_sliced_wasserstein")
class TestFrechetDistance:
    def test_matches_scipy(self):
        real, fake = gaussians()
        found = feature_scores(real, fake)[NAMES[0]]
        assert found == pytest.approx(frechet(real, fake, ddof=1), rel=1e-6)
        # The protocol says N - 1; the other convention is visibly different.
        assert found != pytest.approx(frechet(real, fake, ddof=0), rel=1e-5)

    def test_of_a_set_with_itself_is_zero(self):
        real, _ = gaussians()
        assert abs(feature_scores(real, real)[NAMES[0]]) < 1e-6

    def test_of_a_shifted_copy_is_the_squared_shift(self):
        real, _ = gaussians()
        shift = np.linspace(-2, 3, real.shape[1], dtype=np.float32)
        found = feature_scores(real, real + shift)[NAMES[0]]
        assert found == pytest.approx(shift @ shift, rel=1e-5)

    def test_of_a_scaled_copy(self):
        # Equal means; standard deviations s and 3 s: Tr C (1 - 3)^2.
        real, _ = gaussians()
        real -= real.mean(axis=0)
        found = feature_scores(real, 3 * real)[NAMES[0]]
        trace = np.trace(np.cov(real, rowvar=False))
        assert found == pytest.approx(4 * trace, rel=1e-5)

    def test_with_fewer_samples_than_features(self):
        rng = np.random.default_rng(0)
        real, fake = rng.normal(size=(2, 20, 50))
        # Trace of the root as a nuclear norm: sqrtm of a singular matrix is useless.
        real_centred, fake_centred = (f - f.mean(axis=0) for f in (real, fake))
        cross = np.linalg.svd(real_centred @ fake_centred.T, compute_uv=False).sum()
        spread = (real_centred**2).sum() + (fake_centred**2).sum()
        shift = real.mean(axis=0) - fake.mean(axis=0)
        expected = shift @ shift + (spread - 2 * cross) / 19
        found = feature_scores(real, fake)[NAMES[0]]
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("no_sliced_wasserstein")
class TestClassifierScore:
    @pytest.mark.parametrize("classes", [1, 2, 5])
    def test_of_certain_and_equally_frequent_classes(self, classes):
        features = np.random.default_rng(0).normal(size=(30, 4))
        logits = 100 * np.eye(8)[np.arange(30) % classes]
        found = feature_scores(features, features, logits)[NAMES[1]]
        assert found == pytest.approx(classes, rel=1e-9)

    def test_of_one_answer_to_everything_is_one(self):
        features = np.random.default_rng(0).normal(size=(30, 4))
        logits = np.tile([0.3, -1, 2, 0.1], (30, 1))
        found = feature_scores(features, features, logits)[NAMES[1]]
        assert found == pytest.approx(1, rel=1e-9)

    def test_matches_numpy(self):
        rng = np.random.default_rng(0)
        features = rng.normal(size=(50, 4))
        logits = rng.normal(size=(50, 6)).astype(np.float32) * 3
        p = np.exp(logits.astype(np.float64))
        p /= p.sum(axis=1, keepdims=True)
        divergence = (p * np.log(p / p.mean(axis=0))).sum(axis=1)
        found = feature_scores(features, features, logits)[NAMES[1]]
        assert found == pytest.approx(np.exp(divergence.mean()), rel=1e-9)


@pytest.mark.usefixtures("no_sliced_wasserstein")
class TestKernelDistance:
    def test_matches_numpy(self):
        real, fake = gaussians(count=300)
        found = feature_scores(real, fake)[NAMES[2]]
        assert found == pytest.approx(squared_mmd(real, fake), rel=1e-9)

    def test_is_unbiased(self):
        # Around zero, on both sides, for two samples of one distribution.
        rng = np.random.default_rng(0)
        values = [
            feature_scores(*rng.normal(size=(2, 40, 3)))[NAMES[2]] for _ in range(40)
        ]
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values)) < 3 * error
        assert min(values) < 0 < max(values)

    def test_sorted_data_sets_do_not_spoil_the_blocks(self):
        # Two classes, 2 x 1,100 images, three blocks: sorted on one side only.
        rng = np.random.default_rng(0)
        labels = np.arange(2200) % 2
        means = np.array([[0.0] * 4, [4.0] * 4])
        real = rng.normal(size=(2200, 4)) + means[np.sort(labels)]
        fake = rng.normal(size=(2200, 4)) + means[labels]
        apart = squared_mmd(real[:700], fake[:700])
        found = feature_scores(real, fake)[NAMES[2]]
        assert abs(found) < 0.03 * apart


def crops(photo, count, seed):
    rng = np.random.default_rng(seed)
    top = rng.integers(0, photo.shape[0] - 32, count)
    left = rng.integers(0, photo.shape[1] - 32, count)
    return np.stack(
        [photo[t : t + 32, c : c + 32] for t, c in zip(top, left, strict=True)]
    )


@pytest.fixture(scope="module")
def photos():
    return load_sample_images().images


class TestSlicedWasserstein:
    def test_orders_what_is_plainly_ordered(self, photos):
        # The lower half of the picture: the upper one is a flat sky.
        real, more = (crops(photos[0][200:], 200, seed) for seed in (0, 1))
        blurred = {
            sigma: np.stack(
                [ndimage.gaussian_filter(i, (sigma, sigma, 0)) for i in more]
            )
            for sigma in (1, 3)
        }
        same = sliced_wasserstein.distance(real, real, 0)
        alike = sliced_wasserstein.distance(real, more, 0)
        blurry = sliced_wasserstein.distance(real, blurred[1], 0)
        blurrier = sliced_wasserstein.distance(real, blurred[3], 0)
        noise = sliced_wasserstein.distance(real, table_images(0, 200, 32), 0)
        assert 0 < same < alike < blurry < blurrier < noise
        assert same < 0.1 * noise

    def test_matches_numpy(self, photos):
        """Statistically: another pyramid, other patches, other projections."""
        real, fake = crops(photos[0], 150, 0), crops(photos[1], 150, 1)
        rng = np.random.default_rng(0)
        taps = np.array([1, 4, 6, 4, 1]) / 16

        def smooth(images, gain=1.0):
            for axis in (1, 2):
                images = ndimage.correlate1d(images, taps, axis, mode="mirror")
            return images * gain

        def pyramid(images):
            images = images.astype(np.float64)
            small = smooth(images)[:, ::2, ::2]
            upsampled = np.zeros_like(images)
            upsampled[:, ::2, ::2] = small
            return images - smooth(upsampled, 4.0), small

        def patches(level):
            windows = np.lib.stride_tricks.sliding_window_view(level, (7, 7), (1, 2))
            # TFGAN's upper end is exclusive: the last row and column are not drawn.
            rows = rng.integers(0, windows.shape[1] - 1, len(level) * 64)
            columns = rng.integers(0, windows.shape[2] - 1, len(level) * 64)
            drawn = windows[np.repeat(np.arange(len(level)), 64), rows, columns]
            drawn = drawn.reshape(len(drawn), -1)
            drawn = drawn - drawn.mean(axis=1, keepdims=True)
            deviation = drawn.std(axis=1, keepdims=True)
            return drawn / np.maximum(deviation, 1e-9)

        expected = []
        for real_level, fake_level in zip(pyramid(real), pyramid(fake), strict=True):
            directions = rng.normal(size=(147, 147))
            directions /= np.linalg.norm(directions, axis=0)
            sides = [
                np.sort(patches(s) @ directions, 0) for s in (real_level, fake_level)
            ]
            expected.append(np.abs(sides[0] - sides[1]).mean())
        found = sliced_wasserstein.distance(real, fake, 0)
        assert found == pytest.approx(1000 * np.mean(expected), rel=0.05)

    def test_is_a_function_of_the_seed(self, photos):
        real, fake = (crops(photo, 32, 0) for photo in photos)
        values = [sliced_wasserstein.distance(real, fake, seed) for seed in (0, 0, 1)]
        assert values[0] == values[1] != values[2]
        assert values[2] == pytest.approx(values[0], rel=0.1)

    def test_leaves_global_random_states_alone(self, photos):
        images = crops(photos[0], 8, 0)
        draws = []
        for disturb in (False, True):
            np.random.seed(3)
            tf.random.set_seed(3)
            drawn = [tf.random.normal((2,)).numpy(), np.random.rand(2)]
            if disturb:
                sliced_wasserstein.distance(images, images, 0)
            draws.append([*drawn, tf.random.normal((2,)).numpy(), np.random.rand(2)])
        np.testing.assert_array_equal(draws[0], draws[1])

    def test_flat_patches_are_finite(self):
        # White squares on black: most 7 x 7 patches have no contrast at all.
        squares = np.zeros((64, 32, 32, 1), np.uint8)
        squares[:, 8:24, 8:24] = 255
        same = sliced_wasserstein.distance(squares, squares, 0)
        black = sliced_wasserstein.distance(squares, np.zeros_like(squares), 0)
        assert 0 < 3 * same < black < 1000

    def test_grey_is_tiled(self, photos):
        grey = crops(photos[0], 16, 0)[..., :1]
        other = crops(photos[1], 16, 0)[..., :1]
        found = sliced_wasserstein.distance(grey, other, 0)
        tiled = sliced_wasserstein.distance(np.tile(grey, 3), np.tile(other, 3), 0)
        assert found == pytest.approx(tiled, rel=0.02)

    @pytest.mark.parametrize("size", [8, 28, 48])
    def test_other_sizes(self, size):
        images = table_images(0, 8, size)
        assert 0 < sliced_wasserstein.distance(images, images[::-1], 0) < 1000


class TestScorer:
    def test_names_with_inception(self):
        features = np.random.default_rng(0).normal(size=(20, 4))
        extractor = table_extractor(features, features, name="inception")
        scorer = image_scorer.ImageScorer(table_images(0, 10), extractor)
        found = scorer.score([table_images(10, 20)])
        assert list(found) == ["fid", "inception_score", "kid", "sliced_wasserstein"]
        assert all(type(value) is float for value in found.values())

    def test_names_with_another_extractor_and_none(self):
        features = np.random.default_rng(0).normal(size=(10, 4))
        assert list(feature_scores(features, features)) == [
            *NAMES,
            "sliced_wasserstein",
        ]
        images = table_images(0, 10)
        found = image_scorer.ImageScorer(images, None, metrics=["swd"]).score([images])
        assert list(found) == ["sliced_wasserstein"]

    def test_extracts_the_reals_once_and_keeps_no_graphs(self):
        features = np.random.default_rng(0).normal(size=(40, 4))
        extractor = table_extractor(features, features)
        calls = []
        forward = extractor.forward
        object.__setattr__(
            extractor, "forward", lambda b: (calls.append(len(b)), forward(b))[1]
        )
        scorer = image_scorer.ImageScorer(table_images(0, 20), extractor)
        results = [scorer.score([table_images(20, 40)]) for _ in range(2)]
        assert results[0] == results[1]
        assert calls == [20] * 3
        graphs = self.count_graphs()
        scorer.score([table_images(20, 40)])
        assert self.count_graphs() == graphs

    def count_graphs(self):
        gc.collect()
        # Looking at `__class__` would wake the lazy modules among the objects.
        return sum(issubclass(type(o), tf.Graph) for o in gc.get_objects())

    def test_pairs_no_real_with_a_fake(self, no_sliced_wasserstein):
        # The order of either set is of no consequence within one block.
        real, fake = gaussians(count=100)
        expected = feature_scores(real, fake)
        found = feature_scores(real, fake[::-1], seed=5)
        assert found == pytest.approx(expected, rel=1e-6)

    def test_protocol(self):
        features = np.zeros((20, 4))
        scorer = image_scorer.ImageScorer(
            table_images(0, 20), table_extractor(features, features), seed=3
        )
        assert scorer.protocol() == {
            "data_hash": hashlib.sha256(table_images(0, 20)).hexdigest()[:16],
            "real_count": 20,
            "fake_count": 20,
            "resolution": "16x16x3",
            "extractor": "table_cnn",
            "extractor_hash": "0",
            "resize": "none",
            "rounding": "8 bit",
            "seed": 3,
            "covariance_divisor": "N-1",
            "classifier_score_splits": 1,
            "kernel_block_size": 1024,
            "swd_count": 20,
            "ms_ssim": "10000 pairs, 1 scales",
            "prd": "20 clusters, 10 runs",
            "neighbours": "3 and 5",
        }
        bare = image_scorer.ImageScorer(
            table_images(0, 20), None, metrics=["swd"]
        ).protocol()
        assert bare["extractor"] == "none" and bare["extractor_hash"] is None
        small = image_scorer.ImageScorer(table_images(0, 20, 8), None, metrics=["swd"])
        assert small.protocol()["ms_ssim"] is None

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"metrics": ["lpips"]}, "must name one or more"),
            ({"real_labels": np.zeros(19, int)}, "20, 16, 16, 3.*19 labels"),
            ({"metrics": ["intra_fid"]}, "need labels of the real images"),
            ({"metrics": ["memorisation"]}, "need the training images"),
            ({"train_images": table_images(0, 5, 8)}, "as large as the others"),
            ({"metrics": ["kid"], "num_fakes": 11_000}, "20 reals and 11000 fakes"),
            ({"metrics": ["precision_recall"], "num_fakes": 3}, "need more images"),
            ({"metrics": ["prd", "fid"], "num_fakes": 1}, "two images or more"),
        ],
    )
    def test_rejects_what_metrics_cannot_use(self, options, words):
        features = np.zeros((20, 4))
        extractor = table_extractor(features, features)
        with pytest.raises(ValueError, match=words):
            image_scorer.ImageScorer(table_images(0, 20), extractor, **options)

    def test_needs_a_network(self):
        with pytest.raises(
            ValueError, match=r"need a feature network.*\['fid', 'kid'\]"
        ):
            image_scorer.ImageScorer(
                table_images(0, 20), None, metrics=["fid", "swd", "kid"]
            )

    @pytest.mark.parametrize(("count", "warns"), [(2047, True), (2048, False)])
    def test_warns_of_few_images(self, count, warns, caplog):
        image_scorer.ImageScorer(table_images(0, count, 8), None, metrics=["swd"])
        assert ("biased" in caplog.text) is warns

    @pytest.mark.parametrize(
        "images",
        [
            table_images(0, 4).astype(np.float32),
            table_images(0, 1),
            table_images(0, 4)[:, 1:],
            table_images(0, 4, size=6),
            table_images(0, 4)[..., :2],
            table_images(0, 4)[0],
        ],
    )
    def test_rejects_images(self, images):
        with pytest.raises(ValueError, match="Received: real_images.shape="):
            image_scorer.ImageScorer(images, None, metrics=["swd"])

    @pytest.mark.parametrize(
        "fake_images",
        [table_images(0, 5), table_images(0, 4, size=8), table_images(0, 4)[..., :1]],
    )
    def test_rejects_another_shape(self, fake_images):
        scorer = image_scorer.ImageScorer(table_images(0, 4), None, metrics=["swd"])
        with pytest.raises(ValueError, match="must agree in size"):
            scorer.score([fake_images])

    @pytest.mark.parametrize("sizes", [(3,), (2, 1), (2, 3), (4, 1), ()])
    def test_rejects_another_number_in_batches(self, sizes):
        scorer = image_scorer.ImageScorer(table_images(0, 4), None, metrics=["swd"])
        shape = f"({sum(sizes)}, 16, 16, 3)"
        with pytest.raises(ValueError, match=re.escape(f"fake_images.shape={shape}")):
            scorer.score(table_images(0, size) for size in sizes)

    def test_stops_asking_for_fakes_that_are_too_many(self):
        scorer = image_scorer.ImageScorer(table_images(0, 4), None, metrics=["swd"])
        with pytest.raises(ValueError, match="must agree in size"):
            scorer.score(itertools.repeat(table_images(0, 3)))

    @pytest.mark.parametrize(
        "batch",
        [
            table_images(0, 2).astype(np.float32),
            table_images(0, 2)[:0],
            # The images of an array, one by one.
            table_images(0, 1)[0],
        ],
    )
    def test_rejects_batches(self, batch):
        scorer = image_scorer.ImageScorer(table_images(0, 4), None, metrics=["swd"])
        with pytest.raises(ValueError, match="Received: fake_images.shape="):
            scorer.score([table_images(0, 2), batch])

    def test_batches_move_nothing(self):
        features = np.random.default_rng(0).normal(size=(80, 4))
        extractor = table_extractor(features, features[:, ::-1])
        scorer = image_scorer.ImageScorer(table_images(0, 40), extractor)
        fakes = table_images(40, 80)
        whole = scorer.score([fakes])
        for sections in ([1], [7, 20, 21], range(1, 40)):
            # Images are looked up by what is written in them: rows must stay rows.
            assert scorer.score(np.split(fakes, sections)) == whole

    def test_sliced_wasserstein_is_that_of_the_images_dealt_first(self, monkeypatch):
        monkeypatch.setattr(sliced_wasserstein, "MAX_IMAGES", 16)
        real, fake = table_images(0, 40), table_images(40, 80)
        dealt = np.random.default_rng(5).permutation(40)[:16]
        expected = sliced_wasserstein.distance(real[dealt], fake[dealt], 5)
        found = image_scorer.ImageScorer(real, None, metrics=["swd"], seed=5).score(
            np.split(fake, [3, 30])
        )
        assert found["sliced_wasserstein"] == expected

    def test_images_are_not_kept(self, monkeypatch):
        monkeypatch.setattr(sliced_wasserstein, "MAX_IMAGES", 16)
        features = np.zeros((200, 4)) + np.arange(200)[:, np.newaxis]
        extractor = table_extractor(features, features)
        scorer = image_scorer.ImageScorer(table_images(0, 100), extractor)
        batches, most = weakref.WeakSet(), 0

        class Batch(np.ndarray):
            """Arrays have no weak references and no hash; these have."""

            __hash__ = object.__hash__

        def draw():
            nonlocal most
            for start in range(100, 200, 4):
                batch = table_images(start, start + 4).view(Batch)
                batches.add(batch)
                most = max(most, len(batches))
                yield batch
                del batch

        scorer.score(draw())
        # The next one is drawn while the last one still has its name.
        assert 1 <= most <= 2

    def test_traces_nothing_after_the_first_call(self, no_sliced_wasserstein):
        features = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
        table = table_extractor(features, features)
        lookup = table.forward
        traced = tf.function(
            lambda images: tf.numpy_function(lookup, [images], [tf.float32] * 2),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
        )
        extractor = dataclasses.replace(table, forward=traced)
        scorer = image_scorer.ImageScorer(table_images(0, 20), extractor)
        for sections in ([], [5], [1, 2, 19], []):
            scorer.score(np.split(table_images(20, 40), sections))
        assert traced.experimental_get_tracing_count() == 1

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_rejects_non_finite_features(self, value):
        features = np.zeros((20, 4))
        features[15, 2] = value
        with pytest.raises(ValueError, match="NaN or infinity"):
            feature_scores(features[:10], features[10:])

    def test_rejects_non_finite_scores(self, monkeypatch):
        monkeypatch.setattr(sliced_wasserstein, "distance", lambda *args: np.nan)
        images = table_images(0, 4)
        with pytest.raises(ValueError, match="sliced_wasserstein"):
            image_scorer.ImageScorer(images, None, metrics=["swd"]).score([images])

    def test_all_but_the_frechet_distance_is_left_to_tfgan(self, monkeypatch):
        called = []

        class Spy:
            def __getattr__(self, name):
                called.append(name)
                return getattr(evaluation, name)

        evaluation = tfgan.import_eval()
        monkeypatch.setattr(tfgan, "import_eval", Spy)
        features = np.random.default_rng(0).normal(size=(10, 4))
        feature_scores(features, features)
        assert called == [
            "classifier_score_from_logits",
            "kernel_classifier_distance_and_std_from_activations",
            "sliced_wasserstein_distance",
        ]


class TestRotationAccuracy:
    """Images with a bright top left corner; oracles that look where it went."""

    # Counter-clockwise, the top left corner goes down, then right, then up.
    COUNTER_CLOCKWISE = ((0, 0), (-1, 0), (-1, -1), (0, -1))
    CLOCKWISE = ((0, 0), (0, -1), (-1, -1), (-1, 0))

    def images(self, count):
        images = np.random.default_rng(0).uniform(0, 0.9, size=(count, 8, 8, 3))
        images[:, 0, 0] = 1
        return images.astype(np.float32)

    def oracle(self, corners, calls=None):
        def predict(images):
            if calls is not None:
                calls.append((images.shape, images.dtype))
            return np.stack([images[:, r, c].mean(axis=-1) for r, c in corners], 1)

        return predict

    @pytest.mark.parametrize("count", [1, 5, 64, 150])
    def test_perfect_oracle(self, count):
        calls = []
        accuracy, confusion = rotation_head.head_accuracy(
            self.oracle(self.COUNTER_CLOCKWISE, calls), self.images(count)
        )
        assert accuracy == 1
        np.testing.assert_array_equal(confusion, count * np.eye(4))
        assert confusion.dtype == np.int64
        assert set(calls) == {((min(count, 64), 8, 8, 3), np.dtype(np.float32))}

    def test_the_wrong_direction_is_half_right(self):
        accuracy, confusion = rotation_head.head_accuracy(
            self.oracle(self.CLOCKWISE), self.images(70)
        )
        assert accuracy == 0.5
        expected = 70 * np.eye(4)[[0, 3, 2, 1]]
        np.testing.assert_array_equal(confusion, expected)

    def test_rows_are_true_orientations(self):
        # Upside down is taken for upright, the rest is right.
        corners = self.COUNTER_CLOCKWISE

        def predict(images):
            logits = self.oracle(corners)(images)
            logits[:, 0] = np.maximum(logits[:, 0], logits[:, 2] + 1e-3)
            logits[:, 2] -= 1
            return logits

        accuracy, confusion = rotation_head.head_accuracy(predict, self.images(6))
        expected = 6 * np.eye(4)
        expected[2] = [6, 0, 0, 0]
        assert accuracy == 0.75
        np.testing.assert_array_equal(confusion, expected)

    def test_a_constant_answer_is_chance(self):
        accuracy, confusion = rotation_head.head_accuracy(
            lambda images: np.tile([0.0, 1, 0, 0], (len(images), 1)), self.images(9)
        )
        assert accuracy == 0.25
        np.testing.assert_array_equal(confusion[:, 1], [9] * 4)

    def test_five_classes_leave_the_fakes_out(self):
        def predict(images):
            logits = self.oracle(self.COUNTER_CLOCKWISE)(images)
            return tf.constant(np.pad(logits, ((0, 0), (0, 1)), constant_values=9))

        accuracy, _ = rotation_head.head_accuracy(predict, self.images(9))
        assert accuracy == 1

    def test_eight_classes_add_up_as_probabilities(self):
        # In either half a wrong turn is likelier than the right one, 0.4 against 0.3,
        # but not the same: of the sums the right one wins, 0.6 against 0.5.
        def predict(images):
            turns = self.oracle(self.COUNTER_CLOCKWISE)(images).argmax(axis=1)
            rows = np.arange(len(turns))
            halves = np.full((2, len(turns), 4), 0.1)
            for half, wrong in zip(halves, (1, 2), strict=True):
                half[rows, turns] = 0.3
                half[rows, (turns + wrong) % 4] = 0.4
            return np.log(np.hstack(halves))

        accuracy, _ = rotation_head.head_accuracy(predict, self.images(9))
        assert accuracy == 1

    @pytest.mark.parametrize(
        "images", [np.zeros((2, 8, 9, 3)), np.zeros((0, 8, 8, 3)), np.zeros((8, 8, 3))]
    )
    def test_rejects_images(self, images):
        with pytest.raises(ValueError, match="square images"):
            rotation_head.head_accuracy(lambda images: images, images)

    @pytest.mark.parametrize(
        "logits",
        [
            np.zeros((3, 3)),
            np.zeros((3, 6)),
            np.zeros((3, 9)),
            np.zeros((4, 4)),
            np.zeros(3),
            np.full((3, 4), np.nan),
            np.full((3, 8), np.inf),
        ],
    )
    def test_rejects_logits(self, logits):
        with pytest.raises(ValueError, match="Rotation logits must be finite"):
            rotation_head.head_accuracy(lambda images: logits, self.images(3))
