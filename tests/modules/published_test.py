"""Modules of TensorFlow 1 against NumPy, and errors of unsuitable ones."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from paths import TESTS

from ssgan_tf.latents import Latents, draw_labels
from ssgan_tf.modules import published, reading
from ssgan_tf.randomness import SAMPLING_LABELS_STREAM, SAMPLING_STREAM

WRITER = TESTS / "tf1_modules.py"
LATENT_DIM = 5
CLASSES = 3
IMAGE_SHAPE = (4, 4, 3)
PIXELS = 48


def graph(model, batch, tagged=True, **options) -> dict:
    tags = [model, f"bs{batch}"] if tagged else []
    return {"tags": tags, "model": model, "batch": batch, **options}


BN = {"accumulated": 7.0}
ONE_HOT = {"labels": "one-hot"}
MODULES = {
    "resnet": [
        graph("gen", 4, tagged=False, **BN),
        *(graph("gen", batch, **BN) for batch in (2, 8, None)),
        *(graph("disc", batch) for batch in (4, None)),
    ],
    "fixed": [
        graph("gen", 4, tagged=False),
        *(graph("gen", batch) for batch in (2, 4)),
        graph("disc", 4),
    ],
    "unsorted": [graph("gen", batch) for batch in (4, 2, 8)],
    "conditional": [
        graph(model, batch, **ONE_HOT)
        for model in ("gen", "disc")
        for batch in (4, None)
    ],
    "embedded": [graph("gen", None, labels="gather")],
    "old": [graph("both", 4, tagged=False)],
    "empty": [graph("gen", None, accumulated=1e-12)],
    "truncated": [graph("truncated", None)],
    "judge": [graph("disc", 4)],
}


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)
    return {
        "g_kernel": rng.normal(size=(LATENT_DIM, PIXELS)),
        "g_bias": rng.normal(size=PIXELS),
        "g_labels": rng.normal(size=(CLASSES, PIXELS)),
        "accu_mean": 7 * rng.normal(size=PIXELS),
        "accu_variance": 7 * rng.uniform(0.5, 2, PIXELS),
        "d_kernel": rng.normal(size=(PIXELS, 1)),
        "d_labels": rng.normal(size=(CLASSES, 1)),
    }


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    file = folder / "weights.npz"
    np.savez(file, **{k: v.astype(np.float32) for k, v in weights.items()})
    subprocess.run(
        [sys.executable, WRITER, folder, file, json.dumps(MODULES)],
        check=True,
    )
    return folder


def sigmoid(values):
    return 1.0 / (1.0 + np.exp(-values))


def images_of(weights, z, labels=None, batch_norm=False) -> np.ndarray:
    pixels = np.asarray(z, np.float64) @ weights["g_kernel"] + weights["g_bias"]
    if batch_norm:
        pixels -= weights["accu_mean"] / 7
        pixels /= np.sqrt(weights["accu_variance"] / 7 + 1e-3)
    if labels is not None:
        pixels += weights["g_labels"][labels]
    return sigmoid(pixels).reshape(-1, *IMAGE_SHAPE)


def latents_of(num, seed=0, distribution="uniform"):
    return Latents(LATENT_DIM, distribution).sample(num, [seed, SAMPLING_STREAM])


class TestChoice:
    @pytest.mark.parametrize(
        "name, tags, chosen, batches",
        [
            ("resnet", None, ["bsNone", "gen"], [11]),
            ("resnet", [], [], [4, 4, 3]),
            ("resnet", ["gen", "bs8"], ["bs8", "gen"], [8, 3]),
            ("resnet", {"bs2", "gen"}, ["bs2", "gen"], [2, 2, 2, 2, 2, 1]),
            ("fixed", None, [], [4, 4, 3]),
            ("fixed", ("gen", "bs4"), ["bs4", "gen"], [4, 4, 3]),
            ("old", None, [], [4, 4, 3]),
            # Batches of 4, 2 and 8, in this order.
            ("unsorted", None, ["bs8", "gen"], [8, 3]),
        ],
    )
    def test_every_graph_equals_numpy(
        self, folder, weights, name, tags, chosen, batches
    ):
        module = reading.load(folder / name, tags=tags)
        assert module.metadata["tags"] == chosen
        assert module.image_shape == IMAGE_SHAPE and module.num_classes == 0
        assert module.latent_dim == LATENT_DIM
        actual = [*module.sample_batches(11, seed=3)]
        assert [len(batch) for batch in actual] == batches
        expected = images_of(weights, latents_of(11, 3), batch_norm=name == "resnet")
        actual = np.concatenate(actual)
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, atol=1e-6)

    def test_filled_up_batches(self, folder, weights):
        module = reading.load(folder / "fixed")
        for num in (1, 3, 4, 5):
            expected = images_of(weights, latents_of(num))
            np.testing.assert_allclose(module.sample(num), expected, atol=1e-6)

    @pytest.mark.parametrize("tags", [["gen", "bs64"], ["gen"], ["disc", "bs4"], "gen"])
    def test_other_tags(self, folder, tags):
        with pytest.raises(ValueError) as caught:
            reading.load(folder / "fixed", tags=tags)
        message = str(caught.value)
        assert f"Received: tags={tags!r}, module={folder / 'fixed'}" in message
        assert ": [], ['bs2', 'gen'], ['bs4', 'gen']." in message

    @pytest.mark.parametrize("name", ["judge", "truncated"])
    def test_no_generator(self, folder, name):
        with pytest.raises(ValueError, match=f"module={folder / name}.*none"):
            reading.load(folder / name)


class TestLatents:
    @pytest.mark.parametrize("distribution", ["uniform", "normal", None])
    def test_given_or_assumed_with_a_warning(
        self, folder, weights, distribution, caplog
    ):
        module = reading.load(folder / "resnet", z_distribution=distribution)
        expected = distribution or "uniform"
        assert module.latents == Latents(LATENT_DIM, expected)
        assert ("is assumed" in caplog.text) == (distribution is None)
        assert module.metadata["z"] == ("given" if distribution else "assumed")
        z = latents_of(6, distribution=expected)
        images = images_of(weights, z, batch_norm=True)
        np.testing.assert_allclose(module.sample(6), images, atol=1e-6)

    def test_unknown(self, folder):
        with pytest.raises(ValueError, match="Received: distribution='gaussian'"):
            reading.load(folder / "resnet", z_distribution="gaussian")


class TestLabels:
    @pytest.mark.parametrize("tags", [None, ["gen", "bs4"]])
    def test_equals_numpy(self, folder, weights, tags):
        module = reading.load(folder / "conditional", tags=tags)
        assert module.num_classes == CLASSES
        z = latents_of(6)
        for given, labels in (([2, 0, 1, 1, 0, 2], [2, 0, 1, 1, 0, 2]), (1, [1] * 6)):
            expected = images_of(weights, z, labels)
            np.testing.assert_allclose(
                module.sample(6, labels=given), expected, atol=1e-6
            )
        drawn = draw_labels(6, CLASSES, [0, SAMPLING_LABELS_STREAM])
        np.testing.assert_allclose(
            module.sample(6), images_of(weights, z, drawn), atol=1e-6
        )

    def test_out_of_range(self, folder):
        module = reading.load(folder / "conditional")
        with pytest.raises(ValueError, match=r"in \[0, 3\)"):
            module.sample(2, labels=3)
        with pytest.raises(ValueError, match="labels=0"):
            reading.load(folder / "fixed").sample(2, labels=0)

    def test_number_of_classes_that_must_be_given(self, folder, weights):
        path = folder / "embedded"
        for wrong in (None, 0, -1):
            received = f"num_classes={wrong}, module={path}"
            with pytest.raises(ValueError, match=received):
                reading.load(path, num_classes=wrong)
        module = reading.load(path, num_classes=CLASSES)
        assert module.num_classes == module.metadata["num_classes"] == CLASSES
        expected = images_of(weights, latents_of(3), [2, 0, 1])
        actual = module.sample(3, labels=[2, 0, 1])
        np.testing.assert_allclose(actual, expected, atol=1e-6)

    def test_number_of_classes_of_the_graph(self, folder):
        reading.load(folder / "conditional", num_classes=CLASSES)
        for name, classes in (("conditional", 3), ("fixed", 0)):
            with pytest.raises(ValueError, match=f"num_classes=5, .* has {classes}"):
                reading.load(folder / name, num_classes=5)

    @pytest.mark.parametrize("name, classes", [("conditional", 3), ("embedded", 10)])
    def test_other_vectors_and_signatures(self, folder, monkeypatch, name, classes):
        graphs = published._read(folder / name)
        with tf.Graph().as_default() as other, tf.name_scope("other"):
            tf.one_hot([0], 4)
        for graph in graphs:
            graph.graph_def.node.extend(other.as_graph_def().node)
            graph.signature_def["a"].CopyFrom(graph.signature_def["default"])
        monkeypatch.setattr(published, "_read", lambda path: graphs)
        facts = reading.load(folder / name, num_classes=classes).metadata
        assert (facts["num_classes"], facts["signature"]) == (classes, "default")


class TestDiscriminator:
    @pytest.fixture
    def images(self):
        return np.random.default_rng(1).uniform(size=(9, *IMAGE_SHAPE))

    @pytest.mark.parametrize("name", ["resnet", "fixed", "old"])
    def test_equals_numpy(self, folder, weights, images, name):
        module = reading.load(folder / name)
        assert not module.has_rotation_head
        for num in (1, 4, 9):
            actual = module.discriminate(images[:num])
            assert set(actual) == {"prediction"}
            logits = images[:num].reshape(num, -1) @ weights["d_kernel"]
            np.testing.assert_allclose(actual["prediction"], sigmoid(logits), atol=1e-6)

    def test_labels(self, folder, weights, images):
        module = reading.load(folder / "conditional")
        labels = [0, -1, 2, 1, 1, 0, -1, 2, 2]
        # The unknown label -1 adds no class vector.
        rows = np.append(weights["d_labels"], [[0.0]], axis=0)
        logits = images.reshape(9, -1) @ weights["d_kernel"] + rows[labels]
        actual = module.discriminate(images, labels)["prediction"]
        np.testing.assert_allclose(actual, sigmoid(logits), atol=1e-6)
        with pytest.raises(ValueError, match="labels=None"):
            module.discriminate(images)

    def test_is_loaded_at_its_first_use(self, folder, images, monkeypatch):
        load, loaded = tf.saved_model.load, []

        def record(path, tags):
            loaded.append(tags)
            return load(path, tags=tags)

        monkeypatch.setattr(tf.saved_model, "load", record)
        module = reading.load(folder / "resnet")
        module.sample(2)
        assert not module.has_rotation_head
        assert loaded == [["bsNone", "gen"]]
        module.discriminate(images)
        module.discriminate(images)
        assert loaded == [["bsNone", "gen"], ["bsNone", "disc"]]

    def test_may_be_missing(self, folder, images):
        module = reading.load(folder / "embedded", num_classes=CLASSES)
        assert not module.has_rotation_head
        with pytest.raises(ValueError, match="no discriminator.*embedded"):
            module.discriminate(images, 0)


@pytest.mark.parametrize("tags", [None, ["gen", "bs4"]])
def test_replicas_equal_one_device(folder, two_replicas, tags):
    path = folder / "conditional"
    one = reading.load(path, tags=tags)
    two = reading.load(path, two_replicas, tags=tags)
    other = reading.load(path, tf.distribute.OneDeviceStrategy("CPU:1"), tags=tags)
    for num in (1, 11):
        images = one.sample(num)
        judged = one.discriminate(images, 1)["prediction"]
        for module in (two, other):
            np.testing.assert_allclose(module.sample(num), images, atol=1e-6)
            actual = module.discriminate(images, 1)["prediction"]
            np.testing.assert_allclose(actual, judged, atol=1e-6)
    # A call makes a batch on each replica.
    if tags:
        assert [len(batch) for batch in two.sample_batches(11)] == [8, 3]


def test_metadata_that_scores_need(folder):
    module = reading.load(folder / "resnet")
    facts = module.metadata
    assert json.loads(json.dumps(facts)) == facts
    assert facts["weights"] == facts["batch_norm"] == "unknown"
    assert facts["image_shape"] == list(IMAGE_SHAPE) and facts["num_classes"] == 0
    assert facts["latents"] == {"dim": LATENT_DIM, "distribution": "uniform"}
    assert facts["config"] == "" and module.path == str(folder / "resnet")


def test_hash_is_that_of_the_variables(folder, tmp_path):
    facts = reading.load(folder / "resnet").metadata
    copy = shutil.copytree(folder / "resnet", tmp_path / "other name")
    (copy / "README.md").write_text("Mine.")
    again = reading.load(copy, tags=["gen", "bs8"]).metadata
    assert again["weights_sha256"] == facts["weights_sha256"]
    hashes = {facts["weights_sha256"]}
    # Names and contents of all files in the folder of the variables count.
    for name, content in (("more", b""), ("more", b"1"), ("less", b"1")):
        (copy / "variables" / name).write_bytes(content)
        hashes.add(reading.load(copy).metadata["weights_sha256"])
    assert len(hashes) == 4


def test_empty_accumulators(folder):
    with pytest.raises(ValueError, match=f"module={folder / 'empty'}.*accu_counter"):
        reading.load(folder / "empty")


class TestDamage:
    @pytest.fixture
    def copy(self, folder, tmp_path):
        return pathlib.Path(shutil.copytree(folder / "fixed", tmp_path / "module"))

    def cases(self, copy):
        """Yields after damaging a file, and repairs it."""
        (data,) = (copy / "variables").glob("*.data*")
        for file in (copy / "saved_model.pb", copy / "variables/variables.index", data):
            content = file.read_bytes()
            for changed in (b"", content[: len(content) // 2], b"no protocol buffer"):
                file.write_bytes(changed)
                yield
            file.unlink()
            yield
            file.write_bytes(content)

    def test_is_named(self, copy):
        for _ in self.cases(copy):
            # Without its graphs a folder is no module at all.
            is_module = (copy / "saved_model.pb").exists()
            with pytest.raises(ValueError, match=str(copy) if is_module else "saved_m"):
                reading.load(copy)
        reading.load(copy)

    def test_no_variables(self, copy):
        shutil.rmtree(copy / "variables")
        with pytest.raises(ValueError, match=f"module={copy}"):
            reading.load(copy)
