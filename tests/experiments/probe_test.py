"""The linear probe: against scikit-learn and closed forms; every D; whole runs."""

import os
import subprocess
import sys
import types

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
import threadpoolctl
import tiny
from paths import ROOT
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ssgan_tf import config, datasets, networks
from ssgan_tf.evaluation import linear_probe
from ssgan_tf.experiments import probe
from ssgan_tf.training.run_dir import RunDir


def classes(num_rows, num_features=7, num_classes=3, spread=1.5, seed=0):
    """Overlapping clouds; correlated features of very different means and scales."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=num_rows).astype(np.int32)
    centres = np.random.default_rng(99).normal(size=(num_classes, num_features))
    features = centres[labels] + spread * rng.normal(size=(num_rows, num_features))
    # The offset common to all features is independent of the class.
    features += 3 * rng.normal(size=(num_rows, 1))
    features = features * 10.0 ** np.linspace(-3, 3, num_features) + 5
    return features.astype(np.float32), labels


def scikit_learn(features, labels, l2):
    """scikit-learn's scaler and classifier for our objective."""
    scaler = StandardScaler().fit(features.astype(np.float64))
    # For two classes it penalizes the difference of the weights, which is half of our
    # penalty for the same decision.
    penalty = l2 / 2 if labels.max() == 1 else l2
    classifier = LogisticRegression(
        C=1 / (penalty * len(labels)), tol=1e-8, max_iter=10_000
    )
    return scaler, classifier.fit(scaler.transform(features), labels)


# ------------------------------------------------------------------ the classifier


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_scikit_learn_finds_the_same_classifier(num_classes, l2):
    features, labels = classes(500, num_classes=num_classes)
    test_features, test_labels = classes(301, num_classes=num_classes, seed=1)
    ours = linear_probe.fit(features, labels, num_classes, l2)
    scaler, theirs = scikit_learn(features, labels, l2)
    standardized = scaler.transform(test_features.astype(np.float64))
    probabilities = tf.nn.softmax(ours.logits(test_features)).numpy()
    np.testing.assert_allclose(
        probabilities, theirs.predict_proba(standardized), atol=1e-3
    )
    accuracy = theirs.score(standardized, test_labels)
    assert 0.6 < accuracy < 0.95
    assert ours.accuracy(test_features, test_labels) == pytest.approx(accuracy)


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_the_loss_over_all_chunks_is_at_its_minimum(l2):
    # The second chunk is smaller. The minimum is unique: its derivative is zero.
    features, labels = classes(30_000, num_features=40, spread=6)
    ours = linear_probe.fit(features, labels, 3, l2)
    exact = features.astype(np.float64)
    np.testing.assert_allclose(ours.mean, exact.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(1 / ours.scale, exact.std(axis=0), rtol=1e-6)
    inputs = (exact - ours.mean) * ours.scale
    errors = tf.nn.softmax(inputs @ ours.weights + ours.bias) - np.eye(3)[labels]
    slope = inputs.T @ errors / len(labels) + l2 * ours.weights
    assert np.abs(slope).max() < 1e-4 < l2 * np.abs(ours.weights).max()
    assert np.abs(np.mean(errors, axis=0)).max() < 1e-4


def test_the_accuracies_are_those_of_both_splits():
    features, labels = classes(500, spread=4)
    test_features, test_labels = classes(2000, spread=4, seed=1)
    accuracies = linear_probe.accuracies(
        features, labels, test_features, test_labels, num_classes=3
    )
    scaler, theirs = scikit_learn(features, labels, linear_probe.L2)
    train, test = (
        theirs.score(scaler.transform(inputs), targets)
        for inputs, targets in ((features, labels), (test_features, test_labels))
    )
    np.testing.assert_allclose(accuracies, (train, test), atol=3e-3)
    assert test + 0.01 < train < 0.9


def test_constant_features_count_for_nothing():
    features, labels = classes(200)
    # 300 plus rounding noise.
    constant = 300 + 1e-4 * np.random.default_rng(0).normal(size=(200, 2))
    with_constants = np.concatenate([features, constant], axis=1).astype(np.float32)
    ours = linear_probe.fit(with_constants, labels, 3)
    np.testing.assert_array_equal(ours.scale[-2:], 0)
    np.testing.assert_array_equal(ours.weights[-2:], 0)
    np.testing.assert_allclose(
        ours.weights[:-2], linear_probe.fit(features, labels, 3).weights, atol=1e-6
    )


def test_a_fit_that_stops_early_says_so(monkeypatch, caplog):
    minimize = optimize.minimize

    def stopped(*arguments, options, **others):
        return minimize(*arguments, options=options | {"maxiter": 2}, **others)

    monkeypatch.setattr(optimize, "minimize", stopped)
    with caplog.at_level("WARNING"):
        linear_probe.fit(*classes(200), 3)
    assert "has not converged" in caplog.text


@pytest.mark.parametrize(
    "change, words",
    [
        ({"train_features": np.zeros((0, 2), np.float32)}, "shape=(0, 2)"),
        ({"test_features": np.zeros((4, 2))}, "dtype=float64"),
        ({"test_labels": np.zeros(3, int)}, "test_labels.shape=(3,)"),
        ({"train_labels": np.array([0, 1, 2, -1])}, "from -1 to 2"),
        ({"test_labels": np.array([0, 1, 2, 3])}, "test_labels from 0 to 3"),
        ({"num_classes": 1}, "num_classes=1"),
        (
            {"test_features": np.full((4, 2), np.nan, np.float32)},
            "infinity in test_features",
        ),
    ],
)
def test_errors(change, words):
    arguments = {
        f"{split}_{name}": value
        for split in ("train", "test")
        for name, value in {
            "features": np.eye(4, 2, dtype=np.float32),
            "labels": np.array([0, 1, 2, 0]),
        }.items()
    }
    with pytest.raises(ValueError) as caught:
        linear_probe.accuracies(**({**arguments, "num_classes": 3} | change))
    assert words in str(caught.value)


# --------------------------------------------------------------------- the pooling


@pytest.mark.parametrize("height, width", [(8, 8), (4, 16), (3, 6), (7, 5), (1, 9)])
def test_pooling_is_the_mean_of_each_cell(height, width):
    maps = np.random.default_rng(0).normal(size=(2, height, width, 3))

    def cells(size):
        count = min(size, 4)
        return [
            slice(int(np.floor(i * size / count)), int(np.ceil((i + 1) * size / count)))
            for i in range(count)
        ]

    expected = [
        maps[:, rows, columns].mean(axis=(1, 2))
        for rows in cells(height)
        for columns in cells(width)
    ]
    pooled = linear_probe.pool(tf.constant(maps, tf.float32))
    assert pooled.dtype == tf.float32
    np.testing.assert_allclose(pooled, np.concatenate(expected, axis=1), atol=1e-6)


def test_a_grid_of_one_is_the_global_mean():
    maps = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(
        linear_probe.pool(maps, grid=1), maps.mean(axis=(1, 2)), atol=1e-6
    )


# ------------------------------------------------------------------ the blocks of D

# Architecture: size, number of blocks, shapes of the first and last at width 1 or 8.
BLOCKS = {
    "resnet_cifar": (32, 4, (16, 16, 8), (8, 8, 8)),
    "resnet_stl": (48, 5, (24, 24, 8), (3, 3, 128)),
    "resnet5": (32, 6, (16, 16, 8), (1, 1, 64)),
    "resnet30": (128, 35, (128, 128, 8), (4, 4, 256)),
    "resnet": (20, 3, (10, 10, 8), (5, 5, 16)),
    "resnet_biggan": (64, 5, (32, 32, 16), (4, 4, 128)),
    "resnet_biggan_deep": (32, 7, (16, 16, 16), (2, 2, 16)),
    "sndcgan": (32, 7, (32, 32, 8), (4, 4, 64)),
    "dcgan": (32, 4, (16, 16, 8), (2, 2, 64)),
}


def discriminator(architecture, size, **spec):
    model = networks.build_discriminator(
        architecture,
        networks.DiscriminatorSpec(
            **{"image_shape": (size, size, 3), "width": 8, "spectral_norm": "left"}
            | spec
        ),
    )
    oracles.randomize(model, 0)
    return model


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "resnet30" else [])
        for name in BLOCKS
    ],
)
def test_blocks_of_every_architecture(architecture):
    assert set(BLOCKS) == set(networks.ARCHITECTURES)
    size, count, first, last = BLOCKS[architecture]
    model = discriminator(architecture, size)
    images = np.random.default_rng(0).uniform(size=(2, size, size, 3))
    images = images.astype(np.float32)
    before = oracles.values(model)
    blocks = model.block_features(images)
    for value, earlier in zip(oracles.values(model), before, strict=True):
        np.testing.assert_array_equal(value, earlier)
    assert len(model.block_names) == len(set(model.block_names)) == len(blocks) == count
    assert blocks[0].shape == (2, *first) and blocks[-1].shape == (2, *last)
    # The heads take the last one.
    features = model(images)["features"]
    np.testing.assert_array_equal(model.to_features(blocks[-1]), features)


def test_every_block_follows_from_the_one_before():
    """For a network of residual blocks only."""
    model = discriminator("resnet_cifar", 32)
    images = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    hidden = images
    for block, features in zip(model.trunk, model.block_features(images), strict=True):
        hidden = block(hidden)
        np.testing.assert_array_equal(features, hidden)


def test_attention_belongs_to_its_block():
    model = discriminator("resnet_biggan", 64, attention="B2")
    assert model.block_names == ["B1", "B2", "B3", "B4", "B5"]
    images = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype(np.float32)
    before, attention = model.trunk[1], model.trunk[2]
    assert attention.name == "non_local_block"
    hidden = before(model.trunk[0](images))
    features = model.block_features(images)[1]
    np.testing.assert_array_equal(features, attention(hidden))
    assert np.abs(features - hidden).max() > 0.01


def test_labels_are_not_asked_for():
    model = discriminator("resnet_cifar", 32, num_classes=3, class_predictor=True)
    assert len(model.block_features(np.zeros((2, 32, 32, 3), np.float32))) == 4


# ----------------------------------------------------------------------- whole runs

# The architecture that compiles fastest.
DCGAN = "options.architecture = 'dcgan'"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Checkpoints of the tiny run, untrained, at steps 0 and 2."""
    tiny.prepare()
    plan = tiny.plan(DCGAN)
    run = RunDir(tmp_path_factory.mktemp("probe") / "run")
    gan = plan.build_gan()
    run.write_config(config.operative_config(), 0)
    run.checkpoints.save(gan.step, gan.parts)
    oracles.randomize(gan.discriminator, 0)
    gan.g_optimizer.iterations.assign(2)
    run.checkpoints.save(gan.step, gan.parts)
    assert run.checkpoints.steps() == [0, 2]
    return run


@pytest.mark.slow
def test_a_run_is_probed(run, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ssgan_tf", "probe", f"--model_dir={run.path}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    rows = probe.ProbeTable(run.path / "probe.csv").rows()
    assert [row.step for row in rows] == 4 * [2]
    assert [row.block for row in rows] == [0, 1, 2, 3]
    assert [row.layer for row in rows] == [f"d_conv{i}" for i in range(1, 5)]
    for row in rows:
        assert f"{row.test_accuracy:.4f}" in done.stdout
        assert "data=digits32; train_images=1400; test_images=397" in row.protocol
        assert "pooling=mean_4x4" in row.protocol
    # TensorFlow leaves generated code there.
    assert [path for path in tmp_path.iterdir() if path.name[:2] != "__"] == []
    # The same without batches.
    gan = tiny.plan(DCGAN).build_gan()
    run.checkpoints.restore(2, gan.parts)
    features, labels = {}, {}
    for split in ("train", "test"):
        images, labels[split] = datasets.load_split("digits32", split)
        first, *_ = gan.discriminator.block_features(images.astype(np.float32) / 255)
        cells = first.numpy().reshape(len(images), 4, 4, 4, 4, 4).mean(axis=(2, 4))
        features[split] = cells.reshape(len(images), -1).astype(np.float64)
    with threadpoolctl.threadpool_limits(1):
        scaler, theirs = scikit_learn(
            features["train"], labels["train"], linear_probe.L2
        )
    for split, count in (("train", 1400), ("test", 397)):
        expected = theirs.score(scaler.transform(features[split]), labels[split])
        # Within an image or two of the optimum's.
        assert abs(getattr(rows[0], f"{split}_accuracy") - expected) < 2.5 / count
    assert rows[0].features == 64


@pytest.mark.parametrize(
    "step, dataset, words",
    [
        (7, None, "checkpoints of steps [0, 2]"),
        (2, "celeb_a_hq", "dataset='celeb_a_hq'"),
        (2, "cifar10", "dataset='cifar10' of shape (32, 32, 3)"),
    ],
)
def test_errors_of_the_probe(run, step, dataset, words):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        probe.probe_checkpoint(tiny.plan(DCGAN), run, step, dataset=dataset)
    assert words in str(caught.value)


def test_accuracies_are_those_of_their_splits(run, monkeypatch):
    """Brightness tells the class of the training images only."""
    bright = np.arange(80) % 2
    noise = np.random.default_rng(0).integers(0, 40, (80, 32, 32, 1))
    images = (200 * bright[:, None, None, None] + noise).astype(np.uint8)
    # Half of the bright test images and half of the dark ones are of class 1.
    labels = {"train": bright, "test": bright[::-1] ^ (np.arange(80) // 2 % 2)}

    def open_split(name, split, data_dir):
        return tf.constant(images), labels[split].astype(np.int32)

    monkeypatch.setattr(datasets, "open_split", open_split)
    for score_of_block in probe.probe_checkpoint(tiny.plan(DCGAN), run, 2):
        assert score_of_block.train_accuracy == 1.0
        assert score_of_block.test_accuracy == 0.5


def test_a_run_without_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"model_dir={tmp_path}"):
        RunDir(tmp_path).latest_step()


def test_a_discriminator_without_blocks():
    images = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="discriminator=Functional"):
        probe.block_names(keras.Model(images, images))


def test_features_are_those_of_each_block(tmp_path, monkeypatch):
    model = oracles.tiny_discriminator(stages=3 * ((6, "none"),))
    rng = np.random.default_rng(0)
    # More than one batch, the last one smaller.
    images = {
        split: rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
        for split, count in (("train", 100), ("test", 3))
    }
    tensors = {split: tf.constant(batch) for split, batch in images.items()}
    features = probe.extract_features(model, tensors, tmp_path)
    for split, batch in images.items():
        maps = model.block_features(batch.astype(np.float32) / 255)
        for rows, block in zip(features[split], maps, strict=True):
            cells = block.numpy().reshape(-1, 4, 2, 4, 2, 6).mean(axis=(2, 4))
            assert rows.dtype == np.float32
            np.testing.assert_allclose(
                rows, cells.reshape(len(batch), -1), rtol=1e-4, atol=1e-5
            )
    # They need 116 KiB.
    usage = types.SimpleNamespace(free=2**16)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="TMPDIR"):
        probe.extract_features(model, tensors, tmp_path)


def test_images_in_files_are_those_in_memory():
    tiny.prepare()
    stored, _ = datasets.index_split("digits32", "test")
    decoded, _ = datasets.load_split("digits32", "test")
    for images in (stored, tf.constant(decoded)):
        batches = list(probe.batches_of(images).as_numpy_iterator())
        assert {len(batch) for batch in batches[:-1]} == {64}
        np.testing.assert_array_equal(np.concatenate(batches), decoded)


def score(step, block, accuracy, protocol="a=1; b=2"):
    names = {"layer": f"B{block}", "features": 8, "protocol": protocol}
    return probe.BlockScore(
        step, block, train_accuracy=1.0, test_accuracy=accuracy, **names
    )


def test_rows_of_the_same_step_and_protocol_are_replaced(tmp_path):
    table = probe.ProbeTable(tmp_path / "folder" / "probe.csv")
    assert table.rows() == []
    table.add([score(1, 0, 0.1), score(1, 1, 0.2), score(1, 2, 0.25)])
    others = [score(2, 0, 0.3), score(1, 0, 0.4, "other")]
    for other in others:
        table.add([other])
    # Fewer blocks than before.
    fewer = [score(1, 0, 0.5), score(1, 1, 0.6)]
    table.add(fewer)
    assert table.rows() == [*others, *fewer]


def test_another_table_is_left_alone(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("step,protocol\n1,a\n")
    with pytest.raises(ValueError, match=f"{path}: missing columns block"):
        probe.ProbeTable(path).add([score(1, 0, 0.5)])
    assert path.read_text() == "step,protocol\n1,a\n"
