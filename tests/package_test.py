"""`import ssgan_tf`: quick, and with everything that a short program needs."""

import inspect
import json
import re
import statistics
import subprocess
import sys

import numpy as np
import pytest
from paths import ROOT

import ssgan_tf

IMPORT = """
import json, sys, time
start = time.perf_counter()
import ssgan_tf
seconds = time.perf_counter() - start
heavy = [name for name in ("tensorflow", "keras", "numpy") if name in sys.modules]
json.dump([seconds, heavy, dir(ssgan_tf)], sys.stdout)
"""


def test_import_is_quick_and_loads_no_tensorflow():
    times = []
    for _ in range(5):
        result = subprocess.run(
            [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
        )
        seconds, heavy, names = json.loads(result.stdout)
        times.append(seconds)
        assert heavy == [] and set(ssgan_tf.__all__) <= set(names)
    assert statistics.median(times) < 0.2


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("Adam", "ssgan_tf.optimizers"),
        ("GAN", "ssgan_tf.gan"),
        ("Latents", "ssgan_tf.latents"),
        ("RotationTask", "ssgan_tf.rotation"),
        ("export", "ssgan_tf.modules.writing"),
        ("load", "ssgan_tf.modules.reading"),
    ],
)
def test_classes_and_functions(name, module):
    value = getattr(ssgan_tf, name)
    # A submodule of this name would shadow the object.
    assert callable(value) and not inspect.ismodule(value)
    assert (value.__module__, value.__name__) == (module, name)
    assert name in ssgan_tf.__all__


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("callbacks", "SampleGrid"),
        ("layers", "BatchNorm"),
        ("losses", "Hinge"),
        ("networks", "build_generator"),
        ("penalties", "Penalty"),
    ],
)
def test_modules(name, member):
    module = getattr(ssgan_tf, name)
    assert inspect.ismodule(module) and hasattr(module, member)
    assert name in ssgan_tf.__all__


def test_all_names_are_tested_and_no_others_exist():
    namespace = {}
    exec("from ssgan_tf import *", namespace)
    assert set(ssgan_tf.__all__) == set(namespace) - {"__builtins__"}
    assert len(ssgan_tf.__all__) == 11
    with pytest.raises(AttributeError, match="'Gan'"):
        getattr(ssgan_tf, "Gan")


def test_no_file_shadows_a_function():
    for name in ("export", "load"):
        for package in (ROOT / "ssgan_tf", ROOT / "ssgan_tf/modules"):
            assert not package.joinpath(name).exists()
            assert not package.joinpath(f"{name}.py").exists()


def test_the_table_names_files_that_exist():
    paths = re.findall(r"[\w/]+\.py\b", ssgan_tf.__doc__)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / "ssgan_tf" / path).is_file()] == []


def test_ten_lines_train_sample_export_and_load(tmp_path):
    images = np.random.default_rng(0).random((16, 32, 32, 3), "float32")
    common = dict(image_shape=(32, 32, 3), width=2)
    generator = ssgan_tf.networks.build_generator(
        "dcgan",
        ssgan_tf.networks.GeneratorSpec(
            latent_dim=3, norm=ssgan_tf.layers.BatchNorm, **common
        ),
    )
    discriminator = ssgan_tf.networks.build_discriminator(
        "dcgan",
        ssgan_tf.networks.DiscriminatorSpec(rotation_classes=4, **common),
    )
    gan = ssgan_tf.GAN(generator, discriminator, latents=ssgan_tf.Latents(3))
    gan.compile(
        g_optimizer=ssgan_tf.Adam(2e-4, beta_1=0.0, beta_2=0.9),
        d_optimizer=ssgan_tf.Adam(2e-4, beta_1=0.0, beta_2=0.9),
        adversarial_loss=ssgan_tf.losses.Hinge(),
        tasks=[ssgan_tf.RotationTask(rotated_batch_size=8)],
    )
    gan.fit(images, batch_size=8, epochs=1, verbose=0)
    assert gan.step == 2
    path = tmp_path / "module"
    ssgan_tf.export(gan.sampler, gan.discriminator, gan.latents, path, metadata={})
    samples = ssgan_tf.load(path).sample(4, seed=0)
    assert samples.shape == (4, 32, 32, 3)
    assert 0.0 <= samples.min() < samples.max() <= 1.0
