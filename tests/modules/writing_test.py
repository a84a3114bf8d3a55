"""`modules.export`: the functions, variables and files of a module."""

import os
import pathlib
import subprocess
import sys

import exports
import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
from optional import OLD_PYTHONS, needs_old_pythons

from ssgan_tf.gan import GAN
from ssgan_tf.latents import Latents, draw_labels
from ssgan_tf.modules import reading, writing
from ssgan_tf.randomness import SAMPLING_STREAM, STANDING_STREAM
from ssgan_tf.utils import pictures

# Runs in a process with TensorFlow but without this package, which may be installed.
# TF-Hub is another way to load, if it is installed.
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

source, target, *paths = sys.argv[1:]
arrays = {name: tf.constant(value) for name, value in np.load(source).items()}
outputs = {"hub": hub is not None}


def ask(module, z, images, z_labels, images_labels):
    outputs[name + "call"] = module(z, *z_labels.values()).numpy()
    outputs[name + "keywords"] = module(z=z, **z_labels).numpy()
    for key in ("serving_default", "generator"):
        generate = module.signatures[key]
        outputs[name + key] = generate(z=z, **z_labels)["generated"].numpy()
    discriminate = module.signatures["discriminator"]
    for key, value in discriminate(images=images, **images_labels).items():
        outputs[name + key] = value.numpy()
    for key, value in module.discriminate(images, *images_labels.values()).items():
        outputs[name + "called " + key] = value.numpy()


def train(module, z, images, z_labels, images_labels):
    with tf.GradientTape() as tape:
        made = module(z, *z_labels.values(), training=True)
        judged = module.discriminate(images, *images_labels.values(), training=True)
        loss = tf.reduce_sum(made * arrays["upstream"])
        loss += sum(tf.reduce_sum(value**2) for value in judged.values())
    gradients = tape.gradient(loss, module.trainable_variables)
    for kind, values in (("gradient", gradients), ("variable", module.variables)):
        for i, value in enumerate(values):
            outputs[f"{name}{kind}{i}"] = value.numpy()


for path in paths:
    kind = os.path.basename(path)
    loaders = {"tf": tf.saved_model.load}
    if hub and kind == "plain":
        loaders["hub"] = hub.load
    for loader, load in loaders.items():
        module = load(path)
        name = f"{kind}/{loader}/"
        z_labels = images_labels = {}
        if kind != "plain":
            z_labels = {"labels": arrays["z_labels"]}
            images_labels = {"labels": arrays["images_labels"]}
        rows = arrays["z"], arrays["images"], z_labels, images_labels
        ask(module, *rows)
        outputs[name + "variables"] = len(module.variables)
        outputs[name + "trainable_variables"] = len(module.trainable_variables)
        if kind == "fine_tunable":
            train(module, *rows)
        else:
            try:
                module(*rows[:1], *z_labels.values(), training=True)
            except (TypeError, ValueError):
                outputs[name + "untrained"] = True
    os.chdir(path)
    scope = {}
    for code in re.findall("```python\\n(.*?)```", open("README.md").read(), re.S):
        exec(code, scope)
    shapes = scope["images"].shape, scope["outputs"]["logits"].shape
    outputs[kind + "/card"] = sum(map(list, shapes), [])
np.savez(target, **outputs)
"""


def test_a_process_without_this_package_reads_it(
    gan, conditional, module, conditional_module, fine_tunable, tmp_path
):
    gans = gan, conditional, conditional
    modules = module, conditional_module, fine_tunable
    assert check_reader(sys.executable, tmp_path, gans, modules)


@pytest.mark.slow
@needs_old_pythons
@pytest.mark.parametrize("python", OLD_PYTHONS)
def test_an_older_tensorflow_reads_it(
    python, gan, conditional, module, conditional_module, fine_tunable, tmp_path
):
    """Interpreters of environments with another TensorFlow."""
    gans = gan, conditional, conditional
    modules = module, conditional_module, fine_tunable
    check_reader(python, tmp_path, gans, modules)


def check_reader(python, folder, gans, modules) -> bool:
    """Compares the outputs of modules in another process with those of their networks.

    Returns:
        Whether the process has TF-Hub.
    """
    rng = np.random.default_rng(1)
    arrays = {
        "z": rng.uniform(-1, 1, (5, exports.LATENT_DIM)).astype(np.float32),
        "z_labels": rng.integers(0, exports.CLASSES, 5, dtype=np.int32),
        "images": rng.uniform(0, 1, (5, 8, 8, 3)).astype(np.float32),
        "images_labels": np.int32([2, -1, 0, 1, -1]),
        "upstream": rng.normal(size=(5, 8, 8, 3)).astype(np.float32),
    }
    np.savez(folder / "inputs.npz", **arrays)
    paths = [os.path.abspath(module.path) for module in modules]
    command = [python, "-I", "-c", READER]
    files = [str(folder / name) for name in ("inputs.npz", "outputs.npz")]
    subprocess.run([*command, *files, *paths], cwd=folder, check=True)
    actual = dict(np.load(folder / "outputs.npz"))
    has_hub = bool(actual.pop("hub"))
    for module, gan in zip(modules, gans, strict=True):
        kind = pathlib.Path(module.path).name
        np.testing.assert_array_equal(actual.pop(f"{kind}/card"), [16, 8, 8, 3, 16, 1])
        for loader in ["tf", "hub"] if has_hub and kind == "plain" else ["tf"]:
            prefix = f"{kind}/{loader}/"
            for name, value in expected_outputs(gan, arrays).items():
                result = actual.pop(prefix + name)
                assert result.dtype == np.float32 and result.shape == value.shape
                np.testing.assert_allclose(result, value, atol=1e-5, err_msg=name)
            nets = (gan.average, gan.discriminator)
            for name in ("variables", "trainable_variables"):
                count = sum(len(getattr(net, name)) for net in nets)
                assert actual.pop(prefix + name) == count
            if kind == "fine_tunable":
                for name, value in trained(arrays).items():
                    result = actual.pop(prefix + name)
                    scale = np.abs(value).max()
                    np.testing.assert_allclose(result, value, 0, 1e-5 * (1 + scale))
            else:
                assert actual.pop(prefix + "untrained")
    assert not actual
    return has_hub


def labels_of(gan, rows) -> tuple[list, list]:
    """Labels as arguments, for G and for D."""
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
    """Gradients of a call with `training=True`, and the variables afterwards."""
    gan = exports.conditional_gan()
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
    # Only moments and vectors change: there is no optimizer.
    moved = [not np.array_equal(*pair) for pair in zip(before, after, strict=True)]
    assert sum(moved) == len(before) - len(weights)
    return {
        f"{kind}{i}": np.array(value)
        for kind, values in (("gradient", gradients), ("variable", after))
        for i, value in enumerate(values)
    }


# A layer of tf_keras, which TF-Hub requires, in another process.
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
    module = exports.export(gan, tmp_path / "m", fine_tunable=True)
    done = subprocess.run(
        [sys.executable, "-I", "-c", KERAS_LAYER, os.path.abspath(module.path)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    moved = [word == "True" for word in done.stdout.split()]
    count = len(gan.average.trainable_variables)
    # Biases before a norm and the variables of D do not move.
    assert sum(moved[:count]) > count / 2 and not any(moved[count:])


def shown(module) -> np.ndarray:
    picture = (pathlib.Path(module.path) / "samples.png").read_bytes()
    return tf.io.decode_png(picture).numpy().astype(int)


def test_the_card_shows_the_first_samples(module, conditional_module):
    for loaded in (module, conditional_module):
        expected = pictures.grid(loaded.sample(16), columns=4)
        assert expected.std() > 1.0
        assert np.abs(shown(loaded) - expected).max() <= 1
        card = (pathlib.Path(loaded.path) / "README.md").read_text()
        assert "](samples.png)" in card
        labels = 0 if loaded.num_classes else None
        outputs = loaded.discriminate(np.zeros((1, 8, 8, 3)), labels)
        for name, value in outputs.items():
            assert f"`{name}` (b, {value.shape[1]})" in card
        assert loaded.metadata["weights_sha256"] in card and "| step | 5 |" in card


@pytest.mark.parametrize("rotation_classes", [0, 8])
def test_other_heads(rotation_classes, tmp_path):
    gan = exports.random_gan("normal", rotation_classes=rotation_classes)
    module = exports.export(gan, tmp_path / "m")
    # Normal noise depends on the number of images.
    expected = pictures.grid(module.sample(16), columns=4)
    assert np.abs(shown(module) - expected).max() <= 1
    assert module.has_rotation_head is (rotation_classes > 0)
    outputs = module.discriminate(module.sample(2))
    heads = {"rotation_logits"} if rotation_classes else set()
    assert set(outputs) == {"prediction", "logits", "features"} | heads
    for name in heads:
        assert outputs[name].shape == (2, rotation_classes)
    assert module.latents.distribution == "normal"


def test_only_modules_and_empty_folders_are_replaced(tmp_path):
    gan = exports.functional_gan()
    path = tmp_path / "module"
    path.mkdir()
    exports.export(gan, path)
    (path / "extra").write_text("of the old module")
    exports.export(gan, path)
    assert not (path / "extra").exists()

    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("papers", "file"):
        with pytest.raises(FileExistsError, match=f"path={tmp_path / name}"):
            exports.export(gan, tmp_path / name)
    with pytest.raises(OSError, match=str(tmp_path / "file" / "module")):
        exports.export(gan, tmp_path / "file" / "module")
    assert (tmp_path / "papers" / "thesis.tex").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "module", "papers"]


def test_an_export_that_fails_leaves_the_old_module(monkeypatch, tmp_path):
    gan = exports.functional_gan()
    path = tmp_path / "module"
    before = exports.export(gan, path).sample(2)

    def fail(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(writing, "write_png", fail)
    with pytest.raises(OSError, match="No space left"):
        exports.export(gan, path)
    np.testing.assert_array_equal(reading.load(path).sample(2), before)
    assert os.listdir(tmp_path) == ["module"]


def test_a_discriminator_that_takes_no_labels(gan, conditional, tmp_path):
    """Like a published S3GAN, whose module lacks the projection."""
    networks = conditional.generator, gan.discriminator
    writing.export(*networks, conditional.latents, tmp_path / "m", metadata={})
    loaded = reading.load(tmp_path / "m")
    assert (loaded.num_classes, loaded.metadata["discriminator_classes"]) == (
        exports.CLASSES,
        0,
    )
    images = loaded.sample(3, labels=[0, 1, 2])
    expected = gan.discriminator(images, training=False)
    for labels in (None, 1):
        actual = loaded.discriminate(images, labels)
        np.testing.assert_allclose(actual["logits"], expected["logits"], atol=1e-5)
    card = (tmp_path / "m" / "README.md").read_text()
    assert "`images` (b, 8, 8, 3) |" in card and "(images=images)" in card
    with pytest.raises(ValueError, match="discriminator.num_classes=3"):
        networks = gan.generator, conditional.discriminator
        writing.export(*networks, gan.latents, tmp_path / "n", metadata={})
    assert not (tmp_path / "n").exists()


class UsersGenerator(keras.Model):
    """A conditional generator, which needs no attribute but `num_classes`."""

    def __init__(self):
        super().__init__(name="generator")
        self.num_classes = exports.CLASSES
        self.dense = keras.layers.Dense(75)
        self(tf.zeros((1, exports.LATENT_DIM)), tf.zeros([1], tf.int32))

    def call(self, latents, labels, training=False):
        vectors = tf.one_hot(labels, self.num_classes)
        pixels = tf.sigmoid(self.dense(tf.concat([latents, vectors], axis=1)))
        return tf.reshape(pixels, (-1, 5, 5, 3))


class TestUsersNetworks:
    def test_functional(self, tmp_path):
        gan = exports.functional_gan()
        module = exports.export(gan, tmp_path / "m")
        assert module.image_shape == (5, 5, 3) and module.num_classes == 0
        images = module.sample(3)
        latents = gan.latents.sample(3, [0, SAMPLING_STREAM])
        np.testing.assert_allclose(images, gan.generator(latents), atol=1e-6)
        outputs = module.discriminate(images)
        for name, value in gan.discriminator(images).items():
            np.testing.assert_allclose(outputs[name], value, atol=1e-6)
        assert not module.has_rotation_head

    def test_images_of_five_channels_have_no_picture(self, tmp_path):
        gan = exports.functional_gan(channels=5)
        module = exports.export(gan, tmp_path / "m")
        assert module.sample(2).shape == (2, 5, 5, 5)
        card = (tmp_path / "m" / "README.md").read_text()
        assert "samples.png" not in card and "(b, 5, 5, 5)" in card

    def test_conditional(self, tmp_path):
        generator = UsersGenerator()
        discriminator = oracles.tiny_discriminator(
            image_shape=(5, 5, 3), num_classes=exports.CLASSES, stages=((6, "none"),)
        )
        gan = GAN(generator, discriminator, latents=Latents(exports.LATENT_DIM))
        module = exports.export(gan, tmp_path / "m")
        latents = gan.latents.sample(3, [0, SAMPLING_STREAM])
        expected = generator(latents, tf.constant([2, 0, 1]))
        actual = module.sample(3, labels=[2, 0, 1])
        np.testing.assert_allclose(actual, expected, atol=1e-6)

    def test_networks_that_do_not_fit_are_refused(self, tmp_path):
        generator, discriminator = exports.functional_pair()
        flat = keras.Model(generator.input, generator.layers[1].output)
        bare = keras.Model(discriminator.input, discriminator.outputs[0])
        wide = keras.Model(discriminator.input, {"logits": discriminator.outputs[0]})
        other = exports.functional_pair(7, size=6, logits="score")
        for g, d, words in (
            (other[0], discriminator, "latents of shape (None, 5)"),
            (flat, discriminator, "must make images"),
            (generator, bare, "dict with `logits`"),
            (generator, wide, "dict with `logits`"),
            (generator, exports.functional_pair(logits="score")[1], "`logits`"),
            (generator, other[1], "images of shape (None, 5, 5, 3)"),
        ):
            with pytest.raises(ValueError) as caught:
                latents = Latents(exports.LATENT_DIM)
                writing.export(g, d, latents, tmp_path / "m", metadata={})
            assert words in str(caught.value)
            assert os.listdir(tmp_path) == []


def standing_moments(generator, latents, seed, *, num_batches, num_classes):
    """Moments of every batch norm over batches of 64, from the moving moments.

    From zero, a training step moves them to 0.1 of the batch's moments.
    """
    moments = [v for v in generator.variables if "moving" in v.name]
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
    return [total / num_batches for total in sums]


def moments_of(network) -> list[np.ndarray]:
    return [np.array(v) for v in network.variables if "moving" in v.name]


class TestStandingMoments:
    @pytest.mark.parametrize("num_classes", [0, exports.CLASSES])
    def test_all_moments(self, num_classes):
        gan = exports.random_gan(num_classes=num_classes)
        generator = gan.generator
        before = {v.path: np.array(v) for v in generator.variables}
        moments = writing.use_standing_moments(generator, gan.latents, 65, seed=3)
        assert moments == "standing moments of 128 samples"
        actual = moments_of(generator)
        for v in generator.variables:
            if "moving" not in v.name:
                np.testing.assert_array_equal(v, before[v.path])
        expected = standing_moments(
            generator, gan.latents, 3, num_batches=2, num_classes=num_classes
        )
        assert len(actual) == len(expected) == 6
        for ours, theirs in zip(actual, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

    def test_first_norm_in_numpy(self):
        generator = exports.random_gan().generator
        latents = Latents(exports.LATENT_DIM, "normal")
        writing.use_standing_moments(generator, latents, 20_000, seed=0)
        weights = {v.path: np.array(v, np.float64) for v in generator.variables}
        (kernel,) = (v for k, v in weights.items() if "fc_noise/kernel" in k)
        (bias,) = (v for k, v in weights.items() if "fc_noise/bias" in k)
        # z has mean 0 and deviation 1; 16 pixels share a channel.
        pixels = bias.reshape(16, 6)
        variance = (kernel**2).sum(axis=0).reshape(16, 6).mean(axis=0)
        norm = generator.blocks[0].norm1
        np.testing.assert_allclose(norm.moving_mean, pixels.mean(axis=0), atol=0.02)
        np.testing.assert_allclose(
            norm.moving_variance, variance + pixels.var(axis=0), rtol=0.05
        )

    def test_a_function_of_the_seed(self):
        gan = exports.random_gan()
        results = []
        for seed in (1, 1, 2):
            writing.use_standing_moments(gan.generator, gan.latents, 64, seed)
            results.append(np.concatenate(moments_of(gan.generator)))
        np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
        assert np.abs(results[0] - results[2]).max() > 1e-3

    def test_zero_keeps_the_moving_moments(self):
        gan = exports.random_gan()
        before = oracles.values(gan.generator)
        moments = writing.use_standing_moments(gan.generator, gan.latents, 0, seed=1)
        assert moments == "moving moments"
        for ours, theirs in zip(oracles.values(gan.generator), before, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        with pytest.raises(ValueError, match="-64"):
            writing.use_standing_moments(gan.generator, gan.latents, -64, seed=1)
