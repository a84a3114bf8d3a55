"""Scores of exported modules."""

import types

import numpy as np
import oracles
import pytest

from ssgan_tf import datasets, layers
from ssgan_tf.evaluation import (
    frechet,
    image_scorer,
    module_scorer,
    protocols,
)
from ssgan_tf.evaluation.score_table import ModuleScores, ScoreTable
from ssgan_tf.latents import Latents
from ssgan_tf.modules import reading, writing
from ssgan_tf.modules.module import LoadedModule
from ssgan_tf.training import summary
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import pictures

VALUES = {"frechet_x": [4.0, 6.0], "rotation_accuracy_real": [0.5]}


def add(table, step, values, protocol):
    table.add(
        ModuleScores(values, {}),
        step=step,
        checkpoint="c",
        weights_sha256="w",
        protocol=protocol,
        config="",
        metrics=("fid",),
    )


def test_a_set_without_labels_needs_a_network():
    with pytest.raises(ValueError, match="dataset='celeb_a_hq'"):
        module_scorer.ModuleScorer("celeb_a_hq")


def test_summary_shows_one_protocol(tmp_path):
    run = RunDir(tmp_path)
    with pytest.raises(FileNotFoundError, match="eval_after_train"):
        summary.summary(run)
    table = ScoreTable(tmp_path / "scores.csv")
    add(table, 0, {"frechet_y": [100.0]}, "old")
    add(table, 10, {"frechet_x": [2.0], **VALUES}, "new")
    add(table, 0, {"frechet_x": [20.0], "rotation_accuracy_real": [0.2]}, "new")
    run.module(10).mkdir(parents=True)
    (tmp_path / "mine.png").touch()
    text = summary.summary(run)
    lines = text.splitlines()
    # Scores that only one row has.
    add(table, 10, {"kernel_x": [3.0], "frechet_low_x": [1.0]}, "new")
    more = summary.summary(run).splitlines()
    assert more[:3] == lines[:3]
    assert ["kernel_x", "-", "3"] in [line.split() for line in more]
    assert ["frechet_low_x", "-", "1"] in [line.split() for line in more]
    assert lines[0].split() == ["step", "0", "10"]
    assert lines[1].split() == ["frechet_x", "20", "5", "last", "/", "first", "0.250"]
    assert lines[2].split()[:3] == ["rotation_accuracy_real", "0.2", "0.5"]
    assert "chance 0.25" in lines[2]
    assert "protocol: new" in text and "old" not in text and "frechet_y" not in text
    assert str(run.module(10)) in text and str(tmp_path / "mine.png") in text
    assert "samples" not in text  # Only what exists.


def export(path, num_classes=0, **facts) -> LoadedModule:
    """Tiny networks for digits32, with an eight-way rotation head where possible."""
    options = {"image_shape": (32, 32, 1), "num_classes": num_classes}
    writing.export(
        oracles.tiny_generator(
            layers.ConditionalBatchNorm if num_classes else layers.BatchNorm,
            widths=(6, 4, 4, 4),
            **options,
        ),
        oracles.tiny_discriminator(
            stages=((4, "down"), (4, "down")),
            rotation_classes=5 if num_classes else 8,
            **options,
        ),
        Latents(5),
        path,
        metadata={"step": 5, "weights": "ema", "config": "", **facts},
    )
    return reading.load(path)


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return export(tmp_path_factory.mktemp("module") / "5")


def accuracy_of(module, images, labels=None) -> float:
    """Accuracy of the rotation head, one turn at a time."""
    right = 0
    for turns in range(4):
        shown = np.rot90(images, turns, axes=(1, 2)) / 255
        logits = module.discriminate(shown, labels)["rotation_logits"]
        if logits.shape[1] == 8:
            exponentials = np.exp(logits.astype(np.float64))
            logits = exponentials[:, :4] + exponentials[:, 4:]
        right += np.sum(logits[:, :4].argmax(axis=1) == turns)
    return right / (4 * len(images))


def test_scores_are_those_of_the_module(module):
    keys = ("fid", "is", "precision_recall")
    options = module_scorer.ScoringOptions(metrics=keys, num_runs=2, num_fakes=100)
    scorer = module_scorer.ModuleScorer("digits32", options)
    values, confusions = scorer.score(module)
    test_images, _ = datasets.load_split("digits32", "test")
    reference = image_scorer.ImageScorer(
        test_images, scorer.extractor, metrics=keys, num_fakes=100
    )
    for seed in range(2):
        fakes = pictures.to_uint8(module.sample(100, seed))
        expected = reference.score([fakes])
        for name, value in expected.items():
            np.testing.assert_allclose(
                values[f"{name}_100_test"][seed], value, rtol=1e-5
            )
    sides = {
        f"{name}_{side}"
        for name in ("rotation_accuracy", "logit_spread")
        for side in ("real", "fake")
    }
    assert set(values) == {f"{name}_100_test" for name in expected} | sides
    fakes = pictures.to_uint8(module.sample(100, 0))
    for side, images in (("real", test_images), ("fake", fakes)):
        (accuracy,) = values[f"rotation_accuracy_{side}"]
        assert accuracy == accuracy_of(module, images)
        confusion = np.array(confusions[side])
        assert confusion.sum(axis=1).tolist() == [len(images)] * 4
        assert np.trace(confusion) == accuracy * 4 * len(images)
        logits = module.discriminate(images / 255)["logits"].astype(np.float64)
        deviation = np.sqrt(np.mean(logits**2) - np.mean(logits) ** 2)
        assert values[f"logit_spread_{side}"] == pytest.approx([deviation], rel=1e-4)
    assert not any("fid" in name for name in values)

    protocol = protocols.facts_of(scorer.protocol(module.metadata))
    assert protocol["data"] == "digits32" and protocol["split"] == "test"
    assert protocol["weights"] == "ema" and protocol["fake_seeds"] == "0-1"
    assert protocol["z"] == "uniform" and "labels" not in protocol
    assert protocol["batch_norm"] == "moving moments"
    assert protocol["real_count"] == "397" and protocol["fake_count"] == "100"


def test_replicas_move_no_score(module, two_replicas):
    options = module_scorer.ScoringOptions(
        metrics=("fid", "is", "kid"), num_runs=1, num_fakes=37
    )
    scores = []
    for strategy in (None, two_replicas):
        scorer = module_scorer.ModuleScorer("digits32", options, strategy=strategy)
        replicas = scorer.extractor.strategy.num_replicas_in_sync
        assert replicas == (1 if strategy is None else 2)
        loaded = reading.load(module.path, scorer.strategy)
        scores.append((scorer.score(loaded).values, scorer.protocol(loaded.metadata)))
    (one, protocol), (two, same_protocol) = scores
    assert same_protocol == protocol
    assert len(one) == 7 and set(two) == set(one)
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-3, err_msg=name)


def test_conditional_module(tmp_path):
    module = export(
        tmp_path / "m", num_classes=10, batch_norm="standing moments of 64 samples"
    )
    options = module_scorer.ScoringOptions(metrics=("intra_fid",), num_runs=1)
    scorer = module_scorer.ModuleScorer("digits32", options)
    values, _ = scorer.score(module)
    test_images, test_labels = datasets.load_split("digits32", "test")
    fakes = pictures.to_uint8(module.sample(len(test_images), 0))
    # The labels that the module draws by default.
    labels = module.draw_labels(len(fakes), 0)
    sets = (test_images, test_labels), (fakes, labels)
    pairs = [
        [
            scorer.extractor.extract(images[its == label])[0].astype(np.float64)
            for images, its in sets
        ]
        for label in range(10)
    ]
    distances = [
        frechet.distance(*(frechet.moments([rows]) for rows in pair)) for pair in pairs
    ]
    (score,) = values["intra_frechet_digits32_cnn_397_test"]
    np.testing.assert_allclose(score, np.mean(distances), rtol=1e-4)
    (accuracy,) = values["rotation_accuracy_real"]
    any_labels = np.arange(len(test_images)) % 10
    assert accuracy == accuracy_of(module, test_images, any_labels)
    protocol = scorer.protocol(module.metadata)
    assert "; batch_norm=standing moments of 64 samples; " in protocol
    assert "; labels=uniform" in protocol


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_runs": 0}, "num_runs=0"),
        ({"metrics": ("fid", "lpips")}, "--metrics=fid,lpips"),
        ({"metrics": ()}, "--metrics="),
        (
            {"inception_path": "a", "classifier_path": "b"},
            "--inception_path=a and --classifier_path=b",
        ),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        module_scorer.ScoringOptions(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": ("memorisation",), "split": "train"}, "--split=train"),
        ({"extractor_hash": "0"}, "--extractor_hash=0, and a network with"),
        ({"inception_path": "/nowhere"}, "saved_model.pb.*'/nowhere'"),
    ],
)
def test_scorers_that_cannot_be_made(options, words):
    with pytest.raises((ValueError, OSError), match=words):
        module_scorer.ModuleScorer("digits32", module_scorer.ScoringOptions(**options))


def test_protocol_of_metadata(module):
    options = module_scorer.ScoringOptions(metrics=("ms_ssim",))
    scorer = module_scorer.ModuleScorer("digits32", options)
    assert scorer.extractor is None

    def facts(**changes):
        metadata = module.metadata | changes
        metadata = {key: value for key, value in metadata.items() if value is not None}
        return protocols.facts_of(scorer.protocol(metadata))

    assert facts()["extractor"] == "none" and "extractor_hash" not in facts()
    assert facts(z="assumed")["z"] == "uniform (assumed)"
    earlier = facts(batch_norm=None, num_classes=None)
    assert earlier["batch_norm"] == "moving moments" and "labels" not in earlier
    standing = "standing moments of 64 samples"
    later = facts(batch_norm=standing, num_classes=10)
    assert later["batch_norm"] == standing and later["labels"] == "uniform"


def test_intra_fid_needs_classes(module):
    options = module_scorer.ScoringOptions(metrics=("intra_fid",), num_runs=1)
    scorer = module_scorer.ModuleScorer("digits32", options)
    for refuse in (lambda: scorer.check_labels(0), lambda: scorer.score(module)):
        with pytest.raises(
            ValueError, match=r"\['intra_fid'\] and an unconditional GAN"
        ):
            refuse()
    scorer.check_labels(10)


def test_images_of_another_range_are_refused(module, monkeypatch):
    batches = LoadedModule.sample_batches
    monkeypatch.setattr(
        LoadedModule,
        "sample_batches",
        lambda *args: (2 * batch - 1 for batch in batches(*args)),
    )
    scorer = module_scorer.ModuleScorer(
        "digits32", module_scorer.ScoringOptions(metrics=("swd",))
    )
    with pytest.raises(ValueError, match="min=-"):
        scorer.score(module)


def test_copies_show(module, monkeypatch):
    options = module_scorer.ScoringOptions(metrics=("memorisation",), num_runs=1)
    scorer = module_scorer.ModuleScorer("digits32", options)
    name = "memorisation_digits32_cnn_397_test"
    # Noise is far from everything.
    assert scorer.score(module).values[name][0] > 0.9
    train_images, _ = datasets.load_split("digits32", "train")

    def copies(*args):
        yield train_images[:397] / np.float32(255)

    monkeypatch.setattr(LoadedModule, "sample_batches", copies)
    assert scorer.score(module).values[name][0] < 0.01


def test_a_module_of_another_data_set(module):
    module_scorer.check_shape(module, "digits32")
    words = r"image_shape=\(32, 32, 1\), dataset='cifar10' with \(32, 32, 3\)"
    with pytest.raises(ValueError, match=words):
        module_scorer.check_shape(module, "cifar10")
    facts = {"path": "m", "image_shape": (32, 32, 1)}
    ten, seven = (types.SimpleNamespace(num_classes=n, **facts) for n in (10, 7))
    module_scorer.check_shape(ten, "digits32")
    with pytest.raises(ValueError, match="7 classes, dataset='digits32' with 10"):
        module_scorer.check_shape(seven, "digits32")
