"""The exported module: what it computes, what it needs, what it never overwrites."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf

from ssgan_tf import config, layers, losses
from ssgan_tf.evaluation import protocols, score_table
from ssgan_tf.gan import GAN
from ssgan_tf.latents import Latents, draw_labels
from ssgan_tf.modules import hub, reading, writing
from ssgan_tf.modules.metadata import check_files, read_metadata
from ssgan_tf.modules.module import LoadedModule
from ssgan_tf.randomness import SAMPLING_LABELS_STREAM, SAMPLING_STREAM, STANDING_STREAM
from ssgan_tf.training import checkpoint_export, run_dir
from ssgan_tf.utils import pictures

LATENT_DIM = 5
CLASSES = 3

# Runs in a process that has TensorFlow but not this package, even where that is
# installed in the same environment. TF-Hub is another way to load, where it is there.
READER = """
import os
import re
import sys
sys.modules["ssgan_tf"] = None
import numpy as np
import tensorflow as tf

try:
    import ssgan_tf
except ImportError:
    pass
else:
    sys.exit("ssgan_tf can be imported here")
try:
    import tensorflow_hub as hub
except ImportError:
    hub = None

inputs, outputs, *paths = sys.argv[1:]
arrays = {name: tf.constant(value) for name, value in np.load(inputs).items()}
found = {"hub": hub is not None}


def ask(module, z, images, z_labels, images_labels):
    found[name + "call"] = module(z, *z_labels.values()).numpy()
    found[name + "keywords"] = module(z=z, **z_labels).numpy()
    for key in ("serving_default", "generator"):
        generate = module.signatures[key]
        found[name + key] = generate(z=z, **z_labels)["generated"].numpy()
    discriminate = module.signatures["discriminator"]
    for key, value in discriminate(images=images, **images_labels).items():
        found[name + key] = value.numpy()
    for key, value in module.discriminate(images, *images_labels.values()).items():
        found[name + "called " + key] = value.numpy()


def train(module, z, images, z_labels, images_labels):
    with tf.GradientTape() as tape:
        made = module(z, *z_labels.values(), training=True)
        judged = module.discriminate(images, *images_labels.values(), training=True)
        loss = tf.reduce_sum(made * arrays["upstream"])
        loss += sum(tf.reduce_sum(value**2) for value in judged.values())
    gradients = tape.gradient(loss, module.trainable_variables)
    for kind, values in (("gradient", gradients), ("variable", module.variables)):
        for i, value in enumerate(values):
            found[f"{name}{kind}{i}"] = value.numpy()


for path in paths:
    kind = os.path.basename(path)
    loaders = {"tf": tf.saved_model.load}
    if hub and kind == "plain":
        loaders["hub"] = hub.load
    for loader, load in loaders.items():
        module = load(path)
        for batch in (1, 5):
            name = f"{kind}/{loader}/{batch}/"
            z, images = arrays["z"][:batch], arrays["images"][:batch]
            z_labels = images_labels = {}
            if kind != "plain":
                z_labels = {"labels": arrays["z_labels"][:batch]}
                images_labels = {"labels": arrays["images_labels"][:batch]}
            rows = z, images, z_labels, images_labels
            ask(module, *rows)
        name = f"{kind}/{loader}/"
        found[name + "variables"] = len(module.variables)
        found[name + "trainable_variables"] = len(module.trainable_variables)
        if kind == "fine_tunable":
            train(module, *rows)
        else:
            try:
                module(*rows[:1], *z_labels.values(), training=True)
            except (TypeError, ValueError):
                found[name + "untrained"] = True
    os.chdir(path)
    scope = {}
    for code in re.findall("```python\\n(.*?)```", open("README.md").read(), re.S):
        exec(code, scope)
    found[kind + "/card"] = [*scope["images"].shape, *scope["outputs"]["logits"].shape]
np.savez(outputs, **found)
"""


def random_gan(distribution="uniform", num_classes=0, **heads) -> GAN:
    """A GAN whose every weight and moment matters, with an average."""
    norm = layers.ConditionalBatchNorm if num_classes else layers.BatchNorm
    options = {"norm": norm, "num_classes": num_classes}
    gan = GAN(
        oracles.tiny_generator(**options),
        oracles.tiny_discriminator(**heads, num_classes=num_classes),
        latents=Latents(LATENT_DIM, distribution),
        average=oracles.tiny_generator(**options),
    )
    oracles.randomize(gan.average, 7)
    return gan


def conditional_gan() -> GAN:
    return random_gan(num_classes=CLASSES, class_predictor=True, seed=7)


def export(gan, path, **options) -> LoadedModule:
    facts = {"step": 5, "weights": "ema"}
    networks = gan.sampler, gan.discriminator
    writing.export(*networks, gan.latents, path, facts, **options)
    return reading.load(path)


@pytest.fixture(scope="module")
def gan():
    return random_gan()


@pytest.fixture(scope="module")
def module(gan, tmp_path_factory):
    return export(gan, tmp_path_factory.mktemp("export") / "plain")


@pytest.fixture(scope="module")
def conditional():
    return conditional_gan()


@pytest.fixture(scope="module")
def conditional_module(conditional, tmp_path_factory):
    return export(conditional, tmp_path_factory.mktemp("export") / "conditional")


@pytest.fixture(scope="module")
def fine_tunable(conditional, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "fine_tunable"
    return export(conditional, path, fine_tunable=True)


def test_a_process_without_this_package_reads_it(
    gan, conditional, module, conditional_module, fine_tunable, tmp_path
):
    modules = [module, conditional_module, fine_tunable]
    assert check_reader(sys.executable, gan, conditional, modules, tmp_path)


OLD_PYTHONS = os.environ.get("SSGAN_OLD_PYTHONS", "")


@pytest.mark.slow
@pytest.mark.skipif(not OLD_PYTHONS, reason="SSGAN_OLD_PYTHONS names none")
@pytest.mark.parametrize("python", OLD_PYTHONS.split(os.pathsep))
def test_an_older_tensorflow_reads_it(
    python, gan, conditional, module, conditional_module, fine_tunable, tmp_path
):
    """Interpreters of environments with another TensorFlow."""
    modules = [module, conditional_module, fine_tunable]
    check_reader(python, gan, conditional, modules, tmp_path)


def check_reader(python, gan, conditional, modules, folder) -> bool:
    """Compares what another process reads with the networks.

    Returns:
        Whether it has TF-Hub.
    """
    rng = np.random.default_rng(1)
    arrays = {
        "z": rng.uniform(-1, 1, (5, LATENT_DIM)).astype(np.float32),
        "z_labels": rng.integers(0, CLASSES, 5, dtype=np.int32),
        "images": rng.uniform(0, 1, (5, 8, 8, 3)).astype(np.float32),
        "images_labels": np.int32([2, -1, 0, 1, -1]),
        "upstream": rng.normal(size=(5, 8, 8, 3)).astype(np.float32),
    }
    np.savez(folder / "inputs.npz", **arrays)
    paths = [os.path.abspath(module.path) for module in modules]
    command = [python, "-I", "-c", READER]
    files = [str(folder / name) for name in ("inputs.npz", "outputs.npz")]
    subprocess.run([*command, *files, *paths], cwd=folder, check=True)
    found = dict(np.load(folder / "outputs.npz"))
    has_hub = bool(found.pop("hub"))
    for kind, each in (
        ("plain", gan),
        ("conditional", conditional),
        ("fine_tunable", conditional),
    ):
        np.testing.assert_array_equal(found.pop(f"{kind}/card"), [16, 8, 8, 3, 16, 1])
        for loader in ["tf", "hub"] if has_hub and kind == "plain" else ["tf"]:
            prefix = f"{kind}/{loader}/"
            for batch in (1, 5):
                rows = {name: value[:batch] for name, value in arrays.items()}
                for name, value in expected_outputs(each, rows).items():
                    result = found.pop(f"{prefix}{batch}/{name}")
                    assert result.dtype == np.float32 and result.shape == value.shape
                    np.testing.assert_allclose(result, value, atol=1e-5, err_msg=name)
            nets = (each.average, each.discriminator)
            for name in ("variables", "trainable_variables"):
                count = sum(len(getattr(net, name)) for net in nets)
                assert found.pop(prefix + name) == count
            if kind == "fine_tunable":
                for name, value in trained(arrays).items():
                    result = found.pop(prefix + name)
                    scale = np.abs(value).max()
                    np.testing.assert_allclose(result, value, 0, 1e-5 * (1 + scale))
            else:
                assert found.pop(prefix + "untrained")
    assert not found
    return has_hub


def labels_of(gan, rows) -> tuple[list, list]:
    """Labels as arguments, of z and of images."""
    names = ("z_labels", "images_labels")
    return tuple([tf.constant(rows[n])] if gan.num_classes else [] for n in names)


def expected_outputs(gan, rows) -> dict[str, np.ndarray]:
    z_labels, images_labels = labels_of(gan, rows)
    outputs = gan.discriminator(rows["images"], *images_labels, training=False)
    outputs = {name: value.numpy() for name, value in outputs.items()}
    heads = {"class_logits"} if gan.num_classes else set()
    assert set(outputs) == {"logits", "rotation_logits", "features"} | heads
    outputs["prediction"] = 1 / (1 + np.exp(-outputs["logits"]))
    expected = {f"called {name}": value for name, value in outputs.items()} | outputs
    images = gan.average(rows["z"], *z_labels, training=False).numpy()
    for name in ("call", "keywords", "serving_default", "generator"):
        expected[name] = images
    return expected


def trained(arrays) -> dict[str, np.ndarray]:
    """Gradients, and the variables after it, of a training call of Keras's networks."""
    gan = conditional_gan()
    networks = gan.average, gan.discriminator
    z_labels, images_labels = labels_of(gan, arrays)
    before = [value for net in networks for value in oracles.values(net)]
    with tf.GradientTape() as tape:
        made = gan.average(arrays["z"], *z_labels, training=True)
        judged = gan.discriminator(arrays["images"], *images_labels, training=True)
        loss = tf.reduce_sum(made * arrays["upstream"])
        loss += tf.reduce_sum(tf.sigmoid(judged["logits"]) ** 2)
        loss += sum(tf.reduce_sum(value**2) for value in judged.values())
    weights = [v.value for net in networks for v in net.trainable_variables]
    gradients = tape.gradient(loss, weights)
    after = [value for net in networks for value in oracles.values(net)]
    # Moments and vectors: what trains is moved by gradients alone.
    moved = [not np.array_equal(*pair) for pair in zip(before, after, strict=True)]
    assert sum(moved) == len(before) - len(weights)
    return {
        f"{kind}{i}": np.array(value)
        for kind, values in (("gradient", gradients), ("variable", after))
        for i, value in enumerate(values)
    }


# A layer of tf_keras, in a process of its own: TF-Hub brings that along.
KERAS_LAYER = """
import sys
sys.modules["ssgan_tf"] = None
import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

path = sys.argv[1]
z = tf.random.stateless_uniform((8, 5), [1, 2], -1.0, 1.0)
layer = hub.KerasLayer(path, trainable=True)
model = tf_keras.Sequential([layer])
for training in (False, True):
    expected = tf.saved_model.load(path)(z, training=training)
    np.testing.assert_allclose(model(z, training=training), expected, atol=1e-6)
before = [weight.numpy() for weight in layer.trainable_weights]
model.compile(optimizer="sgd", loss="mse")
losses = model.fit(z, tf.zeros((8, 8, 8, 3)), epochs=3, verbose=0).history["loss"]
assert losses[2] < losses[0]
pairs = zip(before, layer.trainable_weights)
print(*(np.any(old != new.numpy()) for old, new in pairs))
"""


@pytest.mark.slow
def test_a_keras_layer_of_tf_hub(gan, tmp_path):
    module = export(gan, tmp_path / "m", fine_tunable=True)
    done = subprocess.run(
        [sys.executable, "-I", "-c", KERAS_LAYER, os.path.abspath(module.path)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    moved = [word == "True" for word in done.stdout.split()]
    count = len(gan.average.trainable_variables)
    # Not a bias before a norm, and nothing of D.
    assert sum(moved[:count]) > count / 2 and not any(moved[count:])


def test_shapes_and_range(module):
    for num in (1, 3):
        images = module.sample(num)
        assert images.shape == (num, 8, 8, 3) and images.dtype == np.float32
        assert 0.0 <= images.min() < images.max() <= 1.0
        outputs = module.discriminate(images)
        shapes = {name: value.shape for name, value in outputs.items()}
        assert shapes == {
            "prediction": (num, 1),
            "logits": (num, 1),
            "rotation_logits": (num, 4),
            "features": (num, 8),
        }
    assert module.has_rotation_head and module.num_classes == 0
    assert module.latent_dim == LATENT_DIM


def shown(module) -> np.ndarray:
    picture = (pathlib.Path(module.path) / "samples.png").read_bytes()
    return tf.io.decode_png(picture).numpy().astype(int)


def test_the_card_shows_the_first_samples(module, conditional_module):
    for each in (module, conditional_module):
        expected = pictures.grid(each.sample(16), columns=4)
        assert expected.std() > 1.0
        assert np.abs(shown(each) - expected).max() <= 1
        card = (pathlib.Path(each.path) / "README.md").read_text()
        assert "](samples.png)" in card
        labels = 0 if each.num_classes else None
        outputs = each.discriminate(np.zeros((1, 8, 8, 3)), labels)
        for name, value in outputs.items():
            assert f"`{name}` (b, {value.shape[1]})" in card
        assert each.metadata["weights_sha256"] in card and "| step | 5 |" in card


@pytest.mark.parametrize("rotation_classes", [0, 5, 8])
def test_other_heads(rotation_classes, tmp_path):
    gan = random_gan("normal", rotation_classes=rotation_classes)
    module = export(gan, tmp_path / "m")
    # Normal noise of image i depends on how many there are.
    expected = pictures.grid(module.sample(16), columns=4)
    assert np.abs(shown(module) - expected).max() <= 1
    assert module.has_rotation_head is (rotation_classes > 0)
    outputs = module.discriminate(module.sample(2))
    heads = {"rotation_logits"} if rotation_classes else set()
    assert set(outputs) == {"prediction", "logits", "features"} | heads
    for name in heads:
        assert outputs[name].shape == (2, rotation_classes)
    assert module.latents.distribution == "normal"


def test_samples_depend_on_the_seed_and_not_on_the_batch(gan, module):
    images = module.sample(10, seed=3)
    np.testing.assert_allclose(
        images, module.sample(10, seed=3, batch_size=4), atol=1e-6
    )
    batches = module.sample_batches(10, seed=3, batch_size=4)
    assert iter(batches) is batches  # Nothing is made before it is asked for.
    batches = [*batches]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    np.testing.assert_allclose(np.concatenate(batches), images, atol=1e-6)
    assert np.abs(images - module.sample(10, seed=4)).max() > 0.01
    latents = gan.latents.sample(10, [3, SAMPLING_STREAM])
    np.testing.assert_allclose(images, gan.sampler(latents, training=False), atol=1e-6)


class TestLabels:
    """A conditional module."""

    def expected(self, gan, num, seed, labels):
        latents = gan.latents.sample(num, [seed, SAMPLING_STREAM])
        return gan.sampler(latents, tf.constant(labels, tf.int32), training=False)

    def test_given_labels(self, conditional, conditional_module):
        assert conditional_module.num_classes == CLASSES
        labels = np.random.default_rng(0).integers(0, CLASSES, 70)
        expected = self.expected(conditional, 70, 4, labels)
        # The last batch has six images; a list and any kind of integer will do.
        for given in (labels, labels.tolist(), labels.astype(np.uint8)):
            found = conditional_module.sample(70, 4, given)
            np.testing.assert_allclose(found, expected, atol=1e-6)
        found = conditional_module.sample(70, 4, labels, batch_size=7)
        np.testing.assert_allclose(found, expected, atol=1e-6)

    @pytest.mark.parametrize("label", [0, 2, np.int64(1)])
    def test_one_label_for_all(self, conditional, conditional_module, label):
        expected = self.expected(conditional, 5, 0, [int(label)] * 5)
        found = conditional_module.sample(5, labels=label)
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_drawn_labels(self, conditional, conditional_module):
        for seed in (0, 6):
            labels = draw_labels(70, CLASSES, [seed, SAMPLING_LABELS_STREAM]).numpy()
            assert set(labels) == set(range(CLASSES))
            expected = self.expected(conditional, 70, seed, labels)
            found = conditional_module.sample(70, seed)
            np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_an_image_depends_on_its_own_label_alone(self, conditional_module):
        labels = np.zeros(10, int)
        before = conditional_module.sample(10, labels=labels)
        labels[3] = 1
        after = conditional_module.sample(10, labels=labels)
        changed = np.abs(after - before).max(axis=(1, 2, 3))
        assert changed[3] > 0.01
        assert np.delete(changed, 3).max() < 1e-6

    def test_discriminate(self, conditional, conditional_module):
        images = conditional_module.sample(4)
        chosen = [0, -1, 2, 1]
        # -1 must not pass for the last class.
        guessed = conditional_module.discriminate(images, -1)["class_logits"]
        assert CLASSES - 1 not in guessed.argmax(axis=1)
        for given, labels in ((chosen, chosen), (-1, [-1] * 4)):
            found = conditional_module.discriminate(images, given)
            expected = conditional.discriminator(
                images, tf.constant(labels), training=False
            )
            assert set(found) == {"prediction", *expected}
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, atol=1e-5)
        other = conditional_module.discriminate(images, [0, -1, 2, 2])
        first = conditional_module.discriminate(images, [0, -1, 2, 1])
        changed = np.abs(other["logits"] - first["logits"])[:, 0] > 1e-3
        np.testing.assert_array_equal(changed, [False, False, False, True])

    @pytest.mark.parametrize(
        "labels, words",
        [
            ([0, 1], "one for each image"),
            ([[0, 1, 2, 0]], "one for each image"),
            ([0.0, 1.0, 2.0, 0.0], "must be integers"),
            ([True, False, True, True], "must be integers"),
            ([], "must be integers"),
            ("1", "must be integers"),
            ([0, 1, 2, 3], r"in \[0, 3\)"),
            ([0, -1, 2, 0], r"in \[0, 3\)"),
            (3, r"in \[0, 3\)"),
            (-1, r"in \[0, 3\)"),
            (2**32, r"in \[0, 3\)"),
        ],
    )
    def test_rejects(self, conditional_module, labels, words):
        with pytest.raises(ValueError, match=words) as caught:
            conditional_module.sample_batches(4, labels=labels)
        assert f"Received: labels={labels!r}" in str(caught.value)

    @pytest.mark.parametrize("labels", [None, [0, 1], [0, 0, 0, -2], 3, [0.0] * 4])
    def test_discriminate_rejects(self, conditional_module, labels):
        with pytest.raises(ValueError, match="Received: labels="):
            conditional_module.discriminate(np.zeros((4, 8, 8, 3)), labels)

    @pytest.mark.parametrize("labels", [0, [0, 0], -1])
    def test_an_unconditional_module_takes_none(self, module, labels):
        for ask in (
            lambda: module.sample(2, labels=labels),
            lambda: module.discriminate(np.zeros((2, 8, 8, 3)), labels),
        ):
            with pytest.raises(ValueError, match="must be left out"):
                ask()


def test_moments_and_average_are_inside(gan, module):
    latents = gan.latents.sample(8, [0, SAMPLING_STREAM])
    images = module.sample(8)
    raw = gan.generator(latents, training=False)
    assert np.abs(images - raw).max() > 0.01  # The average is another network.
    moments = [v for v in gan.average.variables if "moving" in v.name]
    kept = [moment.numpy() for moment in moments]
    for moment in moments:
        moment.assign(np.full(moment.shape, float("variance" in moment.name)))
    fresh = gan.average(latents, training=False)
    for moment, value in zip(moments, kept, strict=True):
        moment.assign(value)
    assert np.abs(images - fresh).max() > 0.01


def test_metadata(module):
    facts = json.loads((pathlib.Path(module.path) / "saved_model.json").read_text())
    assert facts == module.metadata
    assert facts["step"] == 5
    assert facts["latents"] == {"dim": LATENT_DIM, "distribution": "uniform"}
    assert facts["image_shape"] == [8, 8, 3]
    assert facts["num_classes"] == 0
    assert facts["scores"] == [] and facts["fine_tunable"] is False
    assert facts["versions"]["tensorflow"] == tf.__version__
    # Of the weights, and of nothing else.
    variables = tf.saved_model.load(module.path).variables
    content = b"".join(variable.numpy().tobytes() for variable in variables)
    assert facts["weights_sha256"] == hashlib.sha256(content).hexdigest()


def test_only_modules_and_empty_folders_are_replaced(gan, tmp_path):
    path = tmp_path / "module"
    path.mkdir()
    export(gan, path)
    (path / "extra").write_text("of the old module")
    export(gan, path)
    assert not (path / "extra").exists()

    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("papers", "file"):
        with pytest.raises(FileExistsError, match=f"Received: path={tmp_path / name}"):
            export(gan, tmp_path / name)
    with pytest.raises(OSError, match="writable"):
        export(gan, tmp_path / "file" / "module")
    assert (tmp_path / "papers" / "thesis.tex").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "module", "papers"]


def test_an_export_that_fails_leaves_the_old_module(gan, module, monkeypatch, tmp_path):
    path = tmp_path / "module"
    before = export(gan, path).sample(2)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        export(gan, path)
    np.testing.assert_array_equal(reading.load(path).sample(2), before)
    assert os.listdir(tmp_path) == ["module"]


def broken_modules(folder, module):
    """Yields `(path, what the error says)`."""
    yield folder / "missing", "is none"
    (folder / "file").write_text("mine")
    yield folder / "file", "is none"
    (folder / "empty").mkdir()
    yield folder / "empty", "saved_model.json"
    foreign = tf.Module()
    foreign.run = tf.function(lambda x: x, input_signature=[tf.TensorSpec([])])
    tf.saved_model.save(foreign, str(folder / "foreign"))
    yield folder / "foreign", "saved_model.json"
    facts = (pathlib.Path(module.path) / "saved_model.json").read_text()
    (folder / "foreign2").mkdir()
    tf.saved_model.save(foreign, str(folder / "foreign2"))
    (folder / "foreign2" / "saved_model.json").write_text(facts)
    yield folder / "foreign2", "fingerprint.pb has"
    for name, text in (
        ("cut", facts[:50]),
        ("list", "[]"),
        ("other", '{"a": 1}'),
        ("text", "what is this"),
        ("classes", facts.replace('"num_classes": 0', '"num_classes": 3')),
        ("moved", facts.replace('"variables/', '"../variables/')),
        ("unsealed", facts.replace('"sha256"', '"md5"')),
    ):
        (folder / name).mkdir()
        (folder / name / "saved_model.json").write_text(text)
        (folder / name / "saved_model.pb").touch()
        yield folder / name, "Export it again"
    (folder / "damaged").mkdir()
    (folder / "damaged" / "saved_model.json").write_text(facts)
    (folder / "damaged" / "saved_model.pb").write_bytes(b"no protocol buffer")
    yield folder / "damaged", "Export it again"


def test_what_is_no_module_is_named(module, tmp_path):
    for path, words in broken_modules(tmp_path, module):
        with pytest.raises((ValueError, OSError)) as caught:
            reading.load(path)
        assert f"Received: module={path}" in str(caught.value)
        assert words in str(caught.value), path


@pytest.mark.parametrize(
    "choice", [{"tags": []}, {"z_distribution": "normal"}, {"num_classes": 3}]
)
def test_what_a_module_says_itself(module, choice):
    with pytest.raises(ValueError, match="says itself") as caught:
        reading.load(module.path, **choice)
    ((name, value),) = choice.items()
    assert f"module={module.path}, {name}={value!r}." in str(caught.value)


def test_an_archive_of_a_module(module, tmp_path):
    archive = tmp_path / "m.tar.gz"
    hub.pack(module.path, archive)
    loaded = reading.load(archive)
    assert loaded.metadata == module.metadata
    np.testing.assert_array_equal(loaded.sample(2), module.sample(2))


def damaged(content: bytes, rng: np.random.Generator) -> list[bytes]:
    """The bytes of a file cut short, gone on with, and with one flipped bit each."""
    flipped = []
    places = [0, len(content) - 1, *rng.integers(0, len(content), 30)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        flipped.append(bytes(changed))
    cut = [content[:size] for size in (0, len(content) // 2, len(content) - 1)]
    return [*flipped, *cut, content + b"\0"]


class TestDamage:
    @pytest.fixture
    def copy(self, module, tmp_path):
        return pathlib.Path(shutil.copytree(module.path, tmp_path / "module"))

    def files(self, copy):
        files = [path for path in sorted(copy.rglob("*")) if path.is_file()]
        names = {"saved_model.pb", "README.md", "samples.png"}
        assert len(files) == 7 and {file.name for file in files} > names
        return [file for file in files if file.name != "README.md"]

    def test_of_any_file_is_refused(self, module, copy):
        rng = np.random.default_rng(0)
        for file in self.files(copy):
            content = file.read_bytes()
            for changed in damaged(content, rng):
                file.write_bytes(changed)
                try:
                    # A bit of white space may be another kind of white space.
                    assert check_files(copy) == module.metadata
                    assert file.name == "saved_model.json"
                except ValueError as error:
                    assert f"Received: module={copy}, which" in str(error)
                    assert file.relative_to(copy).as_posix() in str(error)
                    assert "Export it again" in str(error)
            file.unlink()
            with pytest.raises(ValueError, match=f"{file.name}.* missing|{file.name} "):
                check_files(copy)
            file.write_bytes(content)
        assert check_files(copy) == module.metadata

    def test_is_seen_before_tensorflow_reads_it(self, copy, monkeypatch):
        def fail(*args):
            raise AssertionError("TensorFlow was asked")

        monkeypatch.setattr(tf.saved_model, "load", fail)
        for file in self.files(copy):
            content = file.read_bytes()
            file.write_bytes(content[:9] + bytes([content[9] ^ 4]) + content[10:])
            with pytest.raises(ValueError, match="Export it again"):
                reading.load(copy)
            file.write_bytes(content)

    def test_facts_are_sealed(self, copy):
        file = copy / "saved_model.json"
        facts = json.loads(file.read_text())
        # How they are laid out says nothing.
        file.write_text(json.dumps(dict(reversed(facts.items()))))
        assert read_metadata(copy) == facts
        for name in facts:
            for changed in (facts | {name: "5"}, facts | {name: None}):
                file.write_text(json.dumps(changed))
                with pytest.raises(ValueError, match="saved_model.json is not as it"):
                    read_metadata(copy)
        file.write_text(json.dumps(facts | {"more": 1}))
        with pytest.raises(ValueError, match="saved_model.json is not as it"):
            read_metadata(copy)

    def test_further_files_are_the_users(self, module, copy):
        (copy / "NOTES.md").write_text("Digits.")
        (copy / "README.md").write_text("Digits too.")
        (copy / "assets" / "samples").mkdir(parents=True)
        (copy / "assets" / "samples" / "digits.png").write_bytes(b"\0")
        loaded = reading.load(copy)
        np.testing.assert_array_equal(loaded.sample(2), module.sample(2))


def test_a_discriminator_that_takes_no_labels(tmp_path):
    """As that of an S3GAN of compare_gan, whose projection is not in its module."""
    conditional, plain = conditional_gan(), random_gan()
    networks = (conditional.generator, plain.discriminator)
    writing.export(*networks, conditional.latents, tmp_path / "m", {})
    loaded = reading.load(tmp_path / "m")
    assert (loaded.num_classes, loaded.metadata["discriminator_classes"]) == (
        CLASSES,
        0,
    )
    images = loaded.sample(3, labels=[0, 1, 2])
    expected = plain.discriminator(images, training=False)
    for labels in (None, 1):
        found = loaded.discriminate(images, labels)
        np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-5)
    card = (tmp_path / "m" / "README.md").read_text()
    assert "`images` (b, 8, 8, 3) |" in card and "(images=images)" in card
    with pytest.raises(ValueError, match="discriminator.num_classes=3"):
        other = (plain.generator, conditional.discriminator)
        writing.export(*other, plain.latents, tmp_path / "n", {})
    assert not (tmp_path / "n").exists()


def functional_pair(
    latent_dim=LATENT_DIM, size=5, logits="logits", channels=3
) -> tuple:
    """Networks as a user makes them: no attributes of ours."""
    latents = keras.Input((latent_dim,))
    pixels = keras.layers.Dense(channels * size**2, "sigmoid")(latents)
    images = keras.layers.Reshape((size, size, channels))(pixels)
    seen = keras.Input((size, size, channels))
    features = keras.layers.Dense(6)(keras.layers.Flatten()(seen))
    outputs = {logits: keras.layers.Dense(1)(features), "features": features}
    return keras.Model(latents, images), keras.Model(seen, outputs)


class UsersGenerator(keras.Model):
    """A conditional one: `num_classes` is the one attribute that it needs."""

    def __init__(self):
        super().__init__(name="generator")
        self.num_classes = CLASSES
        self.dense = keras.layers.Dense(75)
        self(tf.zeros((1, LATENT_DIM)), tf.zeros([1], tf.int32))

    def call(self, latents, labels, training=False):
        vectors = tf.one_hot(labels, self.num_classes)
        pixels = tf.sigmoid(self.dense(tf.concat([latents, vectors], axis=1)))
        return tf.reshape(pixels, (-1, 5, 5, 3))


class TestUsersNetworks:
    def test_functional(self, tmp_path):
        gan = GAN(*functional_pair(), latents=Latents(LATENT_DIM))
        module = export(gan, tmp_path / "m")
        assert module.image_shape == (5, 5, 3) and module.num_classes == 0
        images = module.sample(3)
        latents = gan.latents.sample(3, [0, SAMPLING_STREAM])
        np.testing.assert_allclose(images, gan.generator(latents), atol=1e-6)
        outputs = module.discriminate(images)
        for name, value in gan.discriminator(images).items():
            np.testing.assert_allclose(outputs[name], value, atol=1e-6)
        assert not module.has_rotation_head

    def test_what_no_picture_can_show(self, tmp_path):
        gan = GAN(*functional_pair(channels=5), latents=Latents(LATENT_DIM))
        module = export(gan, tmp_path / "m")
        assert module.sample(2).shape == (2, 5, 5, 5)
        card = (tmp_path / "m" / "README.md").read_text()
        assert "samples.png" not in card and "(b, 5, 5, 5)" in card

    def test_conditional(self, tmp_path):
        generator = UsersGenerator()
        discriminator = oracles.tiny_discriminator(
            image_shape=(5, 5, 3), num_classes=CLASSES, stages=((6, "none"),)
        )
        gan = GAN(generator, discriminator, latents=Latents(LATENT_DIM))
        module = export(gan, tmp_path / "m")
        latents = gan.latents.sample(3, [0, SAMPLING_STREAM])
        expected = generator(latents, tf.constant([2, 0, 1]))
        found = module.sample(3, labels=[2, 0, 1])
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def bad_pairs(self):
        generator, discriminator = functional_pair()
        yield functional_pair(7)[0], discriminator, "latents of shape (None, 5)"
        yield generator, functional_pair(logits="score")[1], "dict with `logits`"
        flat = keras.Model(generator.input, generator.layers[1].output)
        yield flat, discriminator, "must make images"
        bare = keras.Model(discriminator.input, discriminator.outputs[0])
        yield generator, bare, "dict with `logits`"
        wide = keras.Model(discriminator.input, {"logits": discriminator.outputs[0]})
        yield generator, wide, "dict with `logits`"
        yield generator, functional_pair(size=6)[1], "images of shape (None, 5, 5, 3)"

    def test_what_does_not_fit_is_refused(self, tmp_path):
        for generator, discriminator, words in self.bad_pairs():
            with pytest.raises(ValueError) as caught:
                writing.export(
                    generator, discriminator, Latents(LATENT_DIM), tmp_path / "m", {}
                )
            assert words in str(caught.value) and "Received: " in str(caught.value)
            assert os.listdir(tmp_path) == []


def standing_moments(generator, latents, seed, num_batches, num_classes):
    """Moments of every batch norm over batches of 64, by arithmetic on the moving ones.

    With the moving moments at zero a training step leaves 0.1 of the batch's.
    """
    moments = [v for v in generator.variables if "moving" in v.name]
    others = [v for v in generator.variables if "moving" not in v.name]
    kept = [np.array(v) for v in others]
    sums = [np.zeros(m.shape) for m in moments]
    for batch in range(num_batches):
        seeds = [
            tf.random.experimental.stateless_fold_in(
                tf.constant([seed, STANDING_STREAM], tf.int64), draw, alg="philox"
            )
            for draw in (tf.constant(2 * batch + j, tf.int64) for j in range(2))
        ]
        inputs = [latents.sample(64, seeds[0])]
        if num_classes:
            inputs.append(draw_labels(64, num_classes, seeds[1]))
        for moment in moments:
            moment.assign(np.zeros(moment.shape))
        generator(*inputs, training=True)
        for total, moment in zip(sums, moments, strict=True):
            total += 10.0 * np.array(moment, np.float64)
    for variable, value in zip(others, kept, strict=True):
        np.testing.assert_array_equal(variable, value)
    return [total / num_batches for total in sums]


def moments_of(network) -> list[np.ndarray]:
    return [np.array(v) for v in network.variables if "moving" in v.name]


class TestStandingMoments:
    @pytest.mark.parametrize("num_classes", [0, CLASSES])
    @pytest.mark.parametrize("examples, batches", [(1, 1), (129, 3)])
    def test_all_moments(self, num_classes, examples, batches):
        gan = random_gan(num_classes=num_classes)
        generator = gan.generator
        others = [np.array(v) for v in generator.variables if "moving" not in v.name]
        said = writing.use_standing_moments(generator, gan.latents, examples, seed=3)
        assert said == f"standing moments of {64 * batches} samples"
        found = moments_of(generator)
        after = [np.array(v) for v in generator.variables if "moving" not in v.name]
        for before, now in zip(others, after, strict=True):
            np.testing.assert_array_equal(before, now)
        expected = standing_moments(generator, gan.latents, 3, batches, num_classes)
        assert len(found) == len(expected) == 10
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

    def test_first_norm_in_numpy(self):
        generator = random_gan().generator
        latents = Latents(LATENT_DIM, "normal")
        writing.use_standing_moments(generator, latents, 20_000, seed=0)
        weights = {v.path: np.array(v, np.float64) for v in generator.variables}
        (kernel,) = (v for k, v in weights.items() if "fc_noise/kernel" in k)
        (bias,) = (v for k, v in weights.items() if "fc_noise/bias" in k)
        # z has mean 0 and deviation 1; four pixels share a channel.
        pixels = bias.reshape(4, 6)
        variance = (kernel**2).sum(axis=0).reshape(4, 6).mean(axis=0)
        norm = generator.blocks[0].norm1
        np.testing.assert_allclose(norm.moving_mean, pixels.mean(axis=0), atol=0.02)
        np.testing.assert_allclose(
            norm.moving_variance, variance + pixels.var(axis=0), rtol=0.05
        )

    def test_a_function_of_the_seed(self):
        found = []
        for seed in (1, 1, 2):
            gan = random_gan()
            writing.use_standing_moments(gan.generator, gan.latents, 64, seed)
            found.append(np.concatenate(moments_of(gan.generator)))
        np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
        assert np.abs(found[0] - found[2]).max() > 1e-3

    def test_zero_keeps_the_moving_moments(self):
        gan = random_gan()
        before = oracles.values(gan.generator)
        said = writing.use_standing_moments(gan.generator, gan.latents, 0, seed=1)
        assert said == "moving moments"
        for ours, theirs in zip(oracles.values(gan.generator), before, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        with pytest.raises(ValueError, match="at least 1"):
            writing.use_standing_moments(gan.generator, gan.latents, -64, seed=1)


class TestCheckpoint:
    """What `checkpoint_export.export_checkpoint` makes of a run."""

    @pytest.fixture(autouse=True)
    def no_config(self, monkeypatch):
        monkeypatch.setattr(config, "operative_config", lambda: "")

    def build_gan(self, precision="float32", average=True):
        gan = random_gan()
        gan.average = gan.average if average else None
        optimizers = {f"{side}_optimizer": keras.optimizers.SGD(0.1) for side in "gd"}
        gan.compile(**optimizers, adversarial_loss=losses.Hinge())
        return gan

    @pytest.fixture
    def trained(self):
        gan = self.build_gan()
        for seed, net in enumerate((gan.average, gan.generator)):
            oracles.randomize(net, 20 + seed)
        gan.g_optimizer.iterations.assign(5)
        return gan

    @pytest.fixture
    def run(self, trained, tmp_path):
        run = run_dir.RunDir(tmp_path / "run")
        run.checkpoints.save(trained)
        return run

    def plan(self, standing_examples=0, build_gan=None):
        return types.SimpleNamespace(
            build_gan=build_gan or self.build_gan,
            dataset="digits32",
            standing_examples=standing_examples,
            run=types.SimpleNamespace(seed=4),
        )

    @pytest.mark.parametrize(
        "examples, weights", [(0, None), (100, None), (100, "raw")]
    )
    def test_which_weights_and_moments(self, trained, run, tmp_path, examples, weights):
        files = {path: path.read_bytes() for path in run.checkpoints.folder.iterdir()}
        path = tmp_path / "module"
        plan = self.plan(examples)
        checkpoint_export.export_checkpoint(plan, run, 5, path, weights=weights)
        facts = read_metadata(path)
        batch_norm = "standing moments of 128 samples" if examples else "moving moments"
        assert facts["batch_norm"] == batch_norm
        assert facts["weights"] == weights or "ema"
        assert facts["step"] == 5 and facts["scores"] == []
        for file, content in files.items():
            assert file.read_bytes() == content
        # What training would go on with is what was saved.
        again = self.build_gan()
        run.checkpoints.restore(again, 5)
        for net in ("average", "generator", "discriminator"):
            ours, theirs = (oracles.values(getattr(g, net)) for g in (again, trained))
            for our, their in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(our, their)
        generator = trained.generator if weights == "raw" else trained.average
        moving = samples_of(generator)
        writing.use_standing_moments(generator, trained.latents, examples, 4)
        np.testing.assert_allclose(
            reading.load(path).sample(8), samples_of(generator), atol=1e-5
        )
        if examples:
            assert np.abs(samples_of(generator) - moving).max() > 0.01

    def test_its_scores(self, trained, run, tmp_path):
        table = score_table.ScoreTable(run.path / "scores.csv")
        weights = writing.hash_weights(trained.average, trained.discriminator)
        for step, value, protocol, digest in (
            (5, 1.5, "a=1", weights),
            (5, 2.5, "a=2", weights),
            (5, 3.5, "a=3", "other"),
            (4, 4.5, "a=1", weights),
        ):
            found = score_table.ModuleScores({"fid": [value, 7.0]}, {})
            table.add(step, "ckpt", found, protocol, "", digest, ("fid",))
        path = tmp_path / "m"
        options = {"weights": "ema", "fine_tunable": True, "table": table}
        checkpoint_export.export_checkpoint(self.plan(), run, 5, path, **options)
        facts = check_files(path)
        assert facts["weights"] == "ema" and facts["fine_tunable"] is True
        assert facts["weights_sha256"] == weights
        scores = [(score["protocol"], score["values"]) for score in facts["scores"]]
        assert scores == [("a=1", {"fid": [1.5, 7.0]}), ("a=2", {"fid": [2.5, 7.0]})]
        for score in facts["scores"]:
            assert score["versions"] == protocols.versions()
        card = (path / "README.md").read_text()
        assert "| `fid` | 4.25 | 2.8 | 2 |" in card and "a=3" not in card

    def test_the_module_of_the_run_itself(self, run, monkeypatch):
        plan, module = self.plan(), run.module(5)
        for options in ({"weights": "raw"}, {"weights": "ema"}, {"fine_tunable": True}):
            with pytest.raises(ValueError, match="a folder of its own. Received: "):
                checkpoint_export.export_checkpoint(plan, run, 5, **options)
        assert not module.exists()
        table = score_table.ScoreTable(run.path / "scores.csv")
        assert checkpoint_export.export_checkpoint(plan, run, 5, table=table) == module
        facts = read_metadata(module)
        # Scores that come later are not a reason to write it again.
        found = score_table.ModuleScores({"fid": [1.0]}, {})
        digest = facts["weights_sha256"]
        table.add(5, "ckpt", found, "a=1", "", digest, ("fid",))
        monkeypatch.setattr(writing, "export", pytest.fail)
        checkpoint_export.export_checkpoint(plan, run, 5, table=table)
        assert read_metadata(module) == facts

    def test_an_average_that_was_not_kept(self, run, tmp_path):
        plan = self.plan(build_gan=lambda precision: self.build_gan(average=False))
        with pytest.raises(ValueError, match="Received: weights=ema and .*/run"):
            checkpoint_export.export_checkpoint(
                plan, run, 5, tmp_path / "m", weights="ema"
            )
        assert not (tmp_path / "m").exists()


def samples_of(generator) -> np.ndarray:
    latents = Latents(LATENT_DIM).sample(8, [0, SAMPLING_STREAM])
    return generator(latents, training=False).numpy()
