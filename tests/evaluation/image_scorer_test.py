"""Scores of images: what is dealt, extracted, checked and named.

The metrics themselves have their own tests.
"""

import gc
import hashlib
import re
import weakref

import numpy as np
import pytest
import tensorflow as tf

from ssgan_tf.evaluation import image_scorer, metrics, sliced_wasserstein
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
    """Scores two tables of features."""
    count = len(real_features)
    features = np.concatenate([real_features, fake_features]).astype(np.float32)
    logits = np.zeros((2 * count, 3), np.float32)
    if fake_logits is not None:
        logits[count:] = fake_logits
    scorer = image_scorer.ImageScorer(
        table_images(0, count, 8),
        table_extractor(features, logits),
        metrics=("fid", "is", "kid"),
        seed=seed,
    )
    return scorer.score([table_images(count, 2 * count, 8)])


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


class TestScores:
    def test_are_those_of_the_features(self):
        # Within one block the order does not matter.
        real, fake = normal(2, 100, 4) * [[[1]], [[2]]] + [[[0]], [[1]]]
        logits = 3 * normal(100, 3)
        expected = {}
        for key in ("fid", "is", "kid"):
            expected |= metrics.METRICS[key].compute(
                metrics.Observed(table_images(0, 2), features=real),
                metrics.Observed(table_images(0, 2), features=fake, logits=logits),
                0,
            )
        actual = feature_scores(real, fake[::-1], logits[::-1], seed=5)
        assert list(actual) == list(NAMES)
        assert list(actual.values()) == pytest.approx([*expected.values()], rel=1e-6)
        assert all(type(value) is float for value in actual.values())

    def test_sorted_data_sets_do_not_spoil_the_blocks(self):
        # Two classes, 2 x 1,100 images, three blocks: sorted on one side only.
        labels = np.arange(2200)[:, np.newaxis] % 2
        real, fake = normal(2, 2200, 4)
        # The distance between the classes is about 500.
        actual = feature_scores(real + 4 * np.sort(labels, axis=0), fake + 4 * labels)
        assert abs(actual[NAMES[2]]) < 10


class TestScorer:
    def test_names(self):
        features = normal(20, 4)
        extractor = table_extractor(features, features, name="inception")
        reals, fakes = table_images(0, 10), table_images(10, 20)
        actual = image_scorer.ImageScorer(reals, extractor).score([fakes])
        assert list(actual) == ["fid", "inception_score", "kid", "sliced_wasserstein"]
        bare = image_scorer.ImageScorer(reals, None, metrics=["swd"]).score([fakes])
        assert bare == {"sliced_wasserstein": actual["sliced_wasserstein"]}

    def test_extracts_the_reals_once_and_keeps_no_graphs(self):
        features = normal(40, 4)
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

    @pytest.mark.parametrize(("count", "warns"), [(9999, True), (10_000, False)])
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

    @pytest.mark.parametrize("sizes", [(3,), (2, 1), (2, 3), ()])
    def test_rejects_another_number_in_batches(self, sizes):
        scorer = image_scorer.ImageScorer(table_images(0, 4), None, metrics=["swd"])
        shape = f"({sum(sizes)}, 16, 16, 3)"
        with pytest.raises(ValueError, match=re.escape(f"fake_images.shape={shape}")):
            scorer.score(table_images(0, size) for size in sizes)

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
        features = normal(80, 4)
        extractor = table_extractor(features, features[:, ::-1])
        scorer = image_scorer.ImageScorer(table_images(0, 40), extractor)
        fakes, labels = table_images(40, 80), np.arange(40)
        whole = scorer.observe([fakes], labels)
        order = np.random.default_rng(0).permutation(40)
        np.testing.assert_array_equal(whole.labels, order)
        np.testing.assert_array_equal(whole.subset, fakes[order])
        rows = features[40:].astype(np.float32)
        np.testing.assert_array_equal(whole.features, rows[order])
        np.testing.assert_array_equal(whole.logits, rows[order, ::-1])
        for sections in ([1], [7, 20, 21], range(1, 40)):
            parts = scorer.observe(np.split(fakes, sections), labels)
            for name in ("labels", "subset", "features", "logits"):
                np.testing.assert_array_equal(
                    getattr(parts, name), getattr(whole, name)
                )

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

    def test_rejects_non_finite_scores(self, monkeypatch):
        monkeypatch.setattr(sliced_wasserstein, "distance", lambda *args: np.nan)
        images = table_images(0, 4)
        with pytest.raises(ValueError, match="sliced_wasserstein"):
            image_scorer.ImageScorer(images, None, metrics=["swd"]).score([images])
