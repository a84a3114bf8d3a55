"""The exported module: what it computes, what it needs, what it never overwrites."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny

from ssgan_tf import exporting
from ssgan_tf.latents import SAMPLING_STREAM

# Runs in a process that has TensorFlow and TF-Hub but not this package, even where
# that is installed in the same environment.
READER = """
import sys
sys.modules["ssgan_tf"] = None
import numpy as np
import tensorflow as tf
import tensorflow_hub as hub

try:
    import ssgan_tf
except ImportError:
    pass
else:
    sys.exit("ssgan_tf can be imported here")

path, inputs, outputs = sys.argv[1:]
arrays = dict(np.load(inputs))
z, images = tf.constant(arrays["z"]), tf.constant(arrays["images"])
found = {}
for name, load in (("hub", hub.load), ("tf", tf.saved_model.load)):
    module = load(path)
    found[f"{name}/call"] = module(z).numpy()
    for key in ("serving_default", "generator"):
        found[f"{name}/{key}"] = module.signatures[key](z=z)["generated"].numpy()
    for key, value in module.signatures["discriminator"](images=images).items():
        found[f"{name}/{key}"] = value.numpy()
    found[f"{name}/variables"] = len(module.variables)
    found[f"{name}/trainable_variables"] = len(module.trainable_variables)
np.savez(outputs, **found)
"""


def random_gan(*bindings: str):
    """A GAN whose every weight and moment matters."""
    gan = tiny.plan(*bindings).build_gan()
    rng = np.random.default_rng(0)
    for net in (gan.generator, gan.discriminator, gan.average):
        for variable in getattr(net, "variables", []):
            if variable.name == "moving_variance":
                variable.assign(rng.uniform(0.5, 2.0, variable.shape))
            elif variable.name != "kernel":
                variable.assign(rng.normal(0, 0.5, variable.shape))
    return gan


def export(gan, path) -> exporting.LoadedModule:
    facts = {"step": 5, "weights": "ema"}
    exporting.export(gan.sampler, gan.discriminator, gan.latents, path, facts)
    return exporting.load(path)


@pytest.fixture(scope="module")
def gan():
    return random_gan()


@pytest.fixture(scope="module")
def module(gan, tmp_path_factory):
    return export(gan, tmp_path_factory.mktemp("export") / "tfhub" / "5")


def test_a_process_without_this_package_reads_it(gan, module, tmp_path):
    rng = np.random.default_rng(1)
    z = rng.uniform(-1, 1, (7, 8)).astype(np.float32)
    images = rng.uniform(0, 1, (3, 32, 32, 1)).astype(np.float32)
    np.savez(tmp_path / "inputs.npz", z=z, images=images)
    subprocess.run(
        [sys.executable, "-I", "-c", READER]
        + [os.path.abspath(module.path), "inputs.npz", "outputs.npz"],
        cwd=tmp_path,
        check=True,
    )
    found = dict(np.load(tmp_path / "outputs.npz"))
    expected = gan.discriminator(images, training=False)
    expected = {name: value.numpy() for name, value in expected.items()}
    assert set(expected) == {"logits", "rotation_logits", "features"}
    expected["prediction"] = 1 / (1 + np.exp(-expected["logits"]))
    for name in ("call", "serving_default", "generator"):
        expected[name] = gan.average(z, training=False).numpy()
    for loader in ("hub", "tf"):
        for name, value in expected.items():
            result = found[f"{loader}/{name}"]
            assert result.dtype == np.float32 and result.shape == value.shape
            np.testing.assert_allclose(result, value, atol=1e-5, err_msg=name)
        nets = (gan.average, gan.discriminator)
        assert found[f"{loader}/variables"] == sum(len(n.variables) for n in nets)
        assert found[f"{loader}/trainable_variables"] == sum(
            len(n.trainable_variables) for n in nets
        )


def test_shapes_and_range(module):
    for num in (1, 3):
        images = module.sample(num)
        assert images.shape == (num, 32, 32, 1) and images.dtype == np.float32
        assert 0.0 <= images.min() < images.max() <= 1.0
        outputs = module.discriminate(images)
        shapes = {name: value.shape for name, value in outputs.items()}
        assert shapes == {
            "prediction": (num, 1),
            "logits": (num, 1),
            "rotation_logits": (num, 4),
            "features": (num, 4),
        }
    assert module.has_rotation_head


def test_samples_depend_on_the_seed_and_not_on_the_batch(gan, module):
    images = module.sample(10, seed=3)
    np.testing.assert_allclose(
        images, module.sample(10, seed=3, batch_size=4), atol=1e-6
    )
    assert np.abs(images - module.sample(10, seed=4)).max() > 0.01
    latents = gan.latents.sample(10, [3, SAMPLING_STREAM])
    np.testing.assert_allclose(images, gan.sampler(latents, training=False), atol=1e-6)


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
    assert facts["latents"] == {"dim": 8, "distribution": "uniform"}
    assert facts["image_shape"] == [32, 32, 1]
    assert facts["versions"]["tensorflow"] == tf.__version__


def test_a_gan_without_rotation_head(tmp_path):
    gan = random_gan("options.gan_class = @ModularGAN", "z.distribution_fn = @normal")
    module = export(gan, tmp_path / "m")
    assert not module.has_rotation_head
    assert set(module.discriminate(module.sample(2))) == {
        "prediction",
        "logits",
        "features",
    }
    assert module.latents.distribution == "normal"


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
    np.testing.assert_array_equal(exporting.load(path).sample(2), before)
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
    yield folder / "foreign2", "generator"
    for name, text in (("cut", facts[:50]), ("list", "[]"), ("other", '{"a": 1}')):
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
            exporting.load(path)
        assert f"Received: module={path}" in str(caught.value)
        assert words in str(caught.value), path
