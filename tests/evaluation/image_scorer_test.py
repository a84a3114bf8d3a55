"""Scores of images against formulas in NumPy and SciPy."""

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

from ssgan_tf.evaluation import image_scorer, sliced_wasserstein, tfgan
from ssgan_tf.evaluation.features import FeatureExtractor

NAMES = ("frechet_table_cnn", "classifier_score_table_cnn", "kernel_distance_table_cnn")


def table_extractor(features, logits, name="table_cnn"):
    """An extractor that returns row i for the image with i in its first pixel."""

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
    """Leaves out the slowest metric."""
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


@pytest.mark.usefixtures("no_sliced_wasserstein")
class TestFrechetDistance:
    def test_matches_scipy(self):
        real, fake = gaussians()
        actual = feature_scores(real, fake)[NAMES[0]]
        assert actual == pytest.approx(frechet(real, fake, ddof=1), rel=1e-6)
        # The other convention, N, differs visibly.
        assert actual != pytest.approx(frechet(real, fake, ddof=0), rel=1e-5)

    def test_of_a_set_with_itself_is_zero(self):
        real, _ = gaussians()
        assert abs(feature_scores(real, real)[NAMES[0]]) < 1e-6

    def test_of_a_shifted_copy_is_the_squared_shift(self):
        real, _ = gaussians()
        shift = np.linspace(-2, 3, real.shape[1], dtype=np.float32)
        actual = feature_scores(real, real + shift)[NAMES[0]]
        assert actual == pytest.approx(shift @ shift, rel=1e-5)

    def test_of_a_scaled_copy(self):
        # Equal means; standard deviations s and 3 s: Tr C (1 - 3)^2.
        real, _ = gaussians()
        real -= real.mean(axis=0)
        actual = feature_scores(real, 3 * real)[NAMES[0]]
        trace = np.trace(np.cov(real, rowvar=False))
        assert actual == pytest.approx(4 * trace, rel=1e-5)

    def test_with_fewer_samples_than_features(self):
        rng = np.random.default_rng(0)
        real, fake = rng.normal(size=(2, 20, 50))
        # The trace of the root as a nuclear norm: sqrtm of a singular matrix fails.
        real_centred, fake_centred = (f - f.mean(axis=0) for f in (real, fake))
        cross = np.linalg.svd(real_centred @ fake_centred.T, compute_uv=False).sum()
        spread = (real_centred**2).sum() + (fake_centred**2).sum()
        shift = real.mean(axis=0) - fake.mean(axis=0)
        expected = shift @ shift + (spread - 2 * cross) / 19
        actual = feature_scores(real, fake)[NAMES[0]]
        assert actual == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("no_sliced_wasserstein")
class TestClassifierScore:
    @pytest.mark.parametrize("classes", [1, 2, 5])
    def test_of_certain_and_equally_frequent_classes(self, classes):
        features = np.random.default_rng(0).normal(size=(30, 4))
        logits = 100 * np.eye(8)[np.arange(30) % classes]
        actual = feature_scores(features, features, logits)[NAMES[1]]
        assert actual == pytest.approx(classes, rel=1e-9)

    def test_of_one_answer_to_everything_is_one(self):
        features = np.random.default_rng(0).normal(size=(30, 4))
        logits = np.tile([0.3, -1, 2, 0.1], (30, 1))
        actual = feature_scores(features, features, logits)[NAMES[1]]
        assert actual == pytest.approx(1, rel=1e-9)

    def test_matches_numpy(self):
        rng = np.random.default_rng(0)
        features = rng.normal(size=(50, 4))
        logits = rng.normal(size=(50, 6)).astype(np.float32) * 3
        p = np.exp(logits.astype(np.float64))
        p /= p.sum(axis=1, keepdims=True)
        divergence = (p * np.log(p / p.mean(axis=0))).sum(axis=1)
        actual = feature_scores(features, features, logits)[NAMES[1]]
        assert actual == pytest.approx(np.exp(divergence.mean()), rel=1e-9)


@pytest.mark.usefixtures("no_sliced_wasserstein")
class TestKernelDistance:
    def test_matches_numpy(self):
        real, fake = gaussians(count=300)
        actual = feature_scores(real, fake)[NAMES[2]]
        assert actual == pytest.approx(squared_mmd(real, fake), rel=1e-9)

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
        actual = feature_scores(real, fake)[NAMES[2]]
        assert abs(actual) < 0.03 * apart


class TestScorer:
    def test_names_with_inception(self):
        features = np.random.default_rng(0).normal(size=(20, 4))
        extractor = table_extractor(features, features, name="inception")
        scorer = image_scorer.ImageScorer(table_images(0, 10), extractor)
        actual = scorer.score([table_images(10, 20)])
        assert list(actual) == ["fid", "inception_score", "kid", "sliced_wasserstein"]
        assert all(type(value) is float for value in actual.values())

    def test_names_with_another_extractor_and_none(self):
        features = np.random.default_rng(0).normal(size=(10, 4))
        assert list(feature_scores(features, features)) == [
            *NAMES,
            "sliced_wasserstein",
        ]
        images = table_images(0, 10)
        actual = image_scorer.ImageScorer(images, None, metrics=["swd"]).score([images])
        assert list(actual) == ["sliced_wasserstein"]

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
        # `__class__` would import the lazy modules among the objects.
        return sum(issubclass(type(o), tf.Graph) for o in gc.get_objects())

    def test_pairs_no_real_with_a_fake(self, no_sliced_wasserstein):
        # Within one block the order does not matter.
        real, fake = gaussians(count=100)
        expected = feature_scores(real, fake)
        actual = feature_scores(real, fake[::-1], seed=5)
        assert actual == pytest.approx(expected, rel=1e-6)

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
            ({"metrics": ["lpips"]}, "lpips"),
            ({"real_labels": np.zeros(19, int)}, "20, 16, 16, 3.*19 labels"),
            ({"metrics": ["intra_fid"]}, "labels of the real images.*intra_fid"),
            ({"metrics": ["memorisation"]}, "training images.*memorisation"),
            ({"train_images": table_images(0, 5, 8)}, r"shape=\(5, 8, 8, 3\)"),
            ({"metrics": ["kid"], "num_fakes": 11_000}, "20 reals and 11000 fakes"),
            (
                {"metrics": ["precision_recall"], "num_fakes": 3},
                "precision_recall.* 3 fakes",
            ),
            ({"metrics": ["prd", "fid"], "num_fakes": 1}, "num_fakes=1"),
        ],
    )
    def test_rejects_unsuitable_arguments(self, options, words):
        features = np.zeros((20, 4))
        extractor = table_extractor(features, features)
        with pytest.raises(ValueError, match=words):
            image_scorer.ImageScorer(table_images(0, 20), extractor, **options)

    def test_needs_a_network(self):
        with pytest.raises(ValueError, match=r"feature network.*\['fid', 'kid'\]"):
            image_scorer.ImageScorer(
                table_images(0, 20), None, metrics=["fid", "swd", "kid"]
            )

    @pytest.mark.parametrize(("count", "warns"), [(2047, True), (2048, False)])
    def test_warns_of_few_images(self, count, warns, caplog):
        image_scorer.ImageScorer(table_images(0, count, 8), None, metrics=["swd"])
        assert ("only comparable" in caplog.text) is warns

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
        shape = re.escape(f"fake_images.shape={fake_images.shape}")
        with pytest.raises(ValueError, match=shape):
            scorer.score([fake_images])

    @pytest.mark.parametrize("sizes", [(3,), (2, 1), (2, 3), (4, 1), ()])
    def test_rejects_another_number_in_batches(self, sizes):
        scorer = image_scorer.ImageScorer(table_images(0, 4), None, metrics=["swd"])
        shape = f"({sum(sizes)}, 16, 16, 3)"
        with pytest.raises(ValueError, match=re.escape(f"fake_images.shape={shape}")):
            scorer.score(table_images(0, size) for size in sizes)

    def test_stops_reading_when_fakes_are_too_many(self):
        scorer = image_scorer.ImageScorer(table_images(0, 4), None, metrics=["swd"])
        with pytest.raises(ValueError, match=r"fake_images.shape=\(6, "):
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

    def test_batches_do_not_matter(self):
        features = np.random.default_rng(0).normal(size=(80, 4))
        extractor = table_extractor(features, features[:, ::-1])
        scorer = image_scorer.ImageScorer(table_images(0, 40), extractor)
        fakes = table_images(40, 80)
        whole = scorer.score([fakes])
        for sections in ([1], [7, 20, 21], range(1, 40)):
            assert scorer.score(np.split(fakes, sections)) == whole

    def test_sliced_wasserstein_uses_the_images_dealt_first(self, monkeypatch):
        monkeypatch.setattr(sliced_wasserstein, "MAX_IMAGES", 16)
        real, fake = table_images(0, 40), table_images(40, 80)
        dealt = np.random.default_rng(5).permutation(40)[:16]
        expected = sliced_wasserstein.distance(real[dealt], fake[dealt], 5)
        actual = image_scorer.ImageScorer(real, None, metrics=["swd"], seed=5).score(
            np.split(fake, [3, 30])
        )
        assert actual["sliced_wasserstein"] == expected

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
        # The next batch is drawn while the last one still has a name.
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

    def test_tfgan_computes_all_but_the_frechet_distance(self, monkeypatch):
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
