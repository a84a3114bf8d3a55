"""The table of scores, the summary, and the scores of an exported module."""

import json

import numpy as np
import oracles
import pytest

from ssgan_tf import datasets, exporting, layers, scoring
from ssgan_tf.evaluation import features, scores
from ssgan_tf.latents import Latents
from ssgan_tf.run_dir import RunDir

VALUES = {"frechet_x": [4.0, 6.0], "rotation_accuracy_test": [0.5]}


def test_a_set_without_labels_needs_inception_and_says_so_at_once():
    with pytest.raises(ValueError, match="need --inception_path.*'celeb_a_hq'"):
        scoring.ModuleScorer("celeb_a_hq", num_runs=1)


def test_table_keeps_mean_deviation_and_list(tmp_path):
    table = scoring.ScoreTable(tmp_path / "new" / "scores.csv")
    assert table.rows() == [] and not table.has(5, "p", "w")
    table.add(5, "run/ckpt-5", VALUES, "p, with; 'signs'", "a = 1\nb = '2'\n", "w")
    assert table.rows() == [
        {
            "checkpoint": "run/ckpt-5",
            "step": "5",
            "weights_sha256": "w",
            "frechet_x_mean": "5.0",
            "frechet_x_std": "1.0",
            "frechet_x_list": "[4.0, 6.0]",
            "rotation_accuracy_test_mean": "0.5",
            "rotation_accuracy_test_std": "0.0",
            "rotation_accuracy_test_list": "[0.5]",
            "protocol": "p, with; 'signs'",
            "config": "a = 1\nb = '2'\n",
        }
    ]


def test_one_row_per_step_and_protocol(tmp_path):
    table = scoring.ScoreTable(tmp_path / "scores.csv")
    table.add(5, "c", {"frechet_x": [9.0]}, "p", "", "of a run that is no more")
    assert not table.has(5, "p", "w")
    table.add(5, "c", VALUES, "p", "", "w")
    assert (
        table.has(5, "p", "w")
        and not table.has(5, "q", "w")
        and not table.has(6, "p", "w")
    )
    table.add(5, "c", {"other": [1.0]}, "q", "", "w")
    table.add(6, "c", VALUES, "p", "", "w")
    rows = table.rows()
    assert [(row["step"], row["protocol"]) for row in rows] == [
        ("5", "p"),
        ("5", "q"),
        ("6", "p"),
    ]
    assert rows[0]["frechet_x_mean"] == "5.0"
    assert rows[1]["frechet_x_mean"] == "" and rows[1]["other_mean"] == "1.0"
    assert list(rows[0])[-2:] == ["protocol", "config"]


def test_a_file_that_is_no_table_is_refused_and_kept(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("name,phone\nA,1\n")
    table = scoring.ScoreTable(path)
    for call in (table.rows, lambda: table.add(1, "c", VALUES, "p", "", "w")):
        with pytest.raises(ValueError, match="--score_filename"):
            call()
    assert path.read_text() == "name,phone\nA,1\n"


def test_summary_shows_one_protocol(tmp_path):
    run = RunDir(tmp_path)
    with pytest.raises(FileNotFoundError, match="eval_after_train"):
        scoring.summary(run)
    table = scoring.ScoreTable(tmp_path / "scores.csv")
    table.add(0, "c", {"frechet_y": [100.0]}, "old", "", "w")
    table.add(10, "c", {"frechet_x": [2.0], **VALUES}, "new", "", "w")
    table.add(
        0, "c", {"frechet_x": [20.0], "rotation_accuracy_test": [0.2]}, "new", "", "w"
    )
    run.module(10).mkdir(parents=True)
    (tmp_path / "mine.png").touch()
    text = scoring.summary(run)
    lines = text.splitlines()
    assert lines[0].split() == ["step", "0", "10"]
    assert lines[1].split() == ["frechet_x", "20", "5", "last", "/", "first", "0.250"]
    assert lines[2].split()[:3] == ["rotation_accuracy_test", "0.2", "0.5"]
    assert "chance 0.25" in lines[2]
    assert "protocol: new" in text and "old" not in text and "frechet_y" not in text
    assert str(run.module(10)) in text and str(tmp_path / "mine.png") in text
    assert "samples" not in text  # Only what exists.


def export(path, num_classes=0, **facts) -> exporting.LoadedModule:
    """Tiny networks for digits32, with an eight-way rotation head where possible."""
    options = {"image_shape": (32, 32, 1), "num_classes": num_classes}
    exporting.export(
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
        {"step": 5, "weights": "ema", "config": "", **facts},
    )
    return exporting.load(path)


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return export(tmp_path_factory.mktemp("module") / "5")


def accuracy_of(module, images, labels=None) -> float:
    """By names of the turns, one turn at a time."""
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
    scorer = scoring.ModuleScorer("digits32", num_runs=2)
    values = scorer.score(module)
    test_images, _ = datasets.load_split("digits32", "test")
    reference = scores.Scorer(test_images, scorer.extractor)
    for seed in range(2):
        fakes = scores.to_uint8(module.sample(len(test_images), seed))
        expected = reference.score([fakes])
        assert set(values) == {*expected, "rotation_accuracy_test"}
        for name, value in expected.items():
            np.testing.assert_allclose(values[name][seed], value, rtol=1e-5)
    (accuracy,) = values["rotation_accuracy_test"]
    assert accuracy == accuracy_of(module, test_images)
    assert not any("fid" in name for name in values)

    protocol = dict(
        fact.split("=") for fact in scorer.protocol(module.metadata).split("; ")
    )
    assert protocol["data"] == "digits32" and protocol["split"] == "test"
    assert protocol["weights"] == "ema" and protocol["fake_seeds"] == "0-1"
    assert protocol["z"] == "uniform" and "labels" not in protocol
    assert protocol["batch_norm"] == "moving moments"
    assert json.loads(protocol["real_count"]) == 397


def test_replicas_move_no_score(module, tmp_path, monkeypatch, two_replicas):
    load_split = datasets.load_split
    monkeypatch.setattr(
        datasets, "load_split", lambda *args: [part[:37] for part in load_split(*args)]
    )
    # What the classifier has learnt does not matter, and it must not stay.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(features, "_train_classifier", lambda *args: None)
    # The slowest metric; of it the images matter here.
    monkeypatch.setattr(scores, "sliced_wasserstein", lambda _, fakes, __: fakes.mean())
    found = []
    for strategy in (None, two_replicas):
        scorer = scoring.ModuleScorer("digits32", num_runs=1, strategy=strategy)
        replicas = scorer.extractor.strategy.num_replicas_in_sync
        assert replicas == (1 if strategy is None else 2)
        loaded = exporting.load(module.path, scorer.strategy)
        found.append((scorer.score(loaded), scorer.protocol(loaded.metadata)))
    (one, protocol), (two, same_protocol) = found
    assert same_protocol == protocol
    assert len(one) == 5 and set(two) == set(one)
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-3, err_msg=name)


def test_conditional_module(tmp_path, monkeypatch):
    module = export(
        tmp_path / "m", num_classes=10, batch_norm="standing moments of 64 samples"
    )
    # The metrics have tests of their own, and time.
    seen = []
    monkeypatch.setattr(
        scores.Scorer,
        "score",
        lambda self, fakes: seen.append(np.concatenate([*fakes])) or {"m": 0.0},
    )
    scorer = scoring.ModuleScorer("digits32", num_runs=2)
    values = scorer.score(module)
    test_images, _ = datasets.load_split("digits32", "test")
    for seed, fakes in enumerate(seen):
        expected = scores.to_uint8(module.sample(len(test_images), seed))
        np.testing.assert_array_equal(fakes, expected)
    labels = np.arange(len(test_images)) % 10
    assert values == {
        "m": [0.0, 0.0],
        "rotation_accuracy_test": [accuracy_of(module, test_images, labels)],
    }
    protocol = scorer.protocol(module.metadata)
    assert "; batch_norm=standing moments of 64 samples; " in protocol
    assert "; labels=uniform" in protocol


def test_number_of_runs():
    with pytest.raises(ValueError, match="--num_eval_averaging_runs=0"):
        scoring.ModuleScorer("digits32", num_runs=0)
