"""Samples: given latents, truncation, interpolation, and `ssgan sample`."""

import json
import subprocess
import sys

import calls
import keras
import numpy as np
import oracles
import pytest
from paths import TESTS
from PIL import Image

from ssgan_tf import layers
from ssgan_tf.latents import Latents, draw_labels
from ssgan_tf.modules import interpolation, reading, writing
from ssgan_tf.randomness import SAMPLING_LABELS_STREAM, SAMPLING_STREAM
from ssgan_tf.utils.pictures import grid

LATENT_DIM = 5
CLASSES = 3
# A module in TensorFlow 1's format, with batches of four.
PUBLISHED = {"fixed": [{"tags": [], "model": "gen", "batch": 4}]}


def export(folder, distribution, channels=3, num_classes=0, scale=1.0):
    norm = layers.ConditionalBatchNorm if num_classes else layers.BatchNorm
    shape = (8, 8, channels)
    generator = oracles.tiny_generator(
        norm=norm, num_classes=num_classes, image_shape=shape
    )
    for variable in generator.trainable_variables:
        variable.assign(variable * scale)
    if num_classes:
        discriminator = oracles.tiny_discriminator(num_classes=num_classes)
    else:
        inputs = keras.Input(shape)
        pixels = keras.layers.Flatten()(inputs)
        logits = keras.layers.Dense(1)(pixels)
        discriminator = keras.Model(inputs, {"logits": logits})
    latents = Latents(LATENT_DIM, distribution)
    writing.export(generator, discriminator, latents, folder, metadata={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which all calls run, with modules and files of the user."""
    folder = tmp_path_factory.mktemp("sampling")
    export(folder / "normal", "normal")
    export(folder / "grey", "uniform", channels=1)
    export(folder / "conditional", "normal", num_classes=CLASSES)
    export(folder / "nan", "normal", scale=np.nan)
    rng = np.random.default_rng(0)
    shapes = {"g_kernel": (LATENT_DIM, 48), "g_bias": 48, "g_labels": (CLASSES, 48)}
    weights = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    np.savez(folder / "weights.npz", **weights)
    writer = TESTS / "tf1_modules.py"
    subprocess.run(
        [sys.executable, writer, folder, folder / "weights.npz", json.dumps(PUBLISHED)],
        check=True,
    )
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.tex").write_text("mine")
    (folder / "empty").mkdir()
    (folder / "some.png").symlink_to("some.dat")
    return folder


@pytest.fixture(scope="module")
def module(folder):
    return reading.load(folder / "normal")


@pytest.fixture(scope="module")
def conditional(folder):
    return reading.load(folder / "conditional")


def drawn(num, seed=0) -> np.ndarray:
    return draw_labels(num, CLASSES, [seed, SAMPLING_LABELS_STREAM]).numpy()


def test_truncation_reaches_the_generator(conditional):
    z = Latents(LATENT_DIM, "normal").sample(70, [3, SAMPLING_STREAM], 0.3)
    np.testing.assert_array_equal(conditional.draw_latents(70, 3, 0.3), z)
    images = conditional.sample(70, 3, truncation=0.3)
    expected = conditional.generate(z, drawn(70, 3))
    np.testing.assert_allclose(images, expected, atol=1e-6)
    batches = [*conditional.sample_batches(70, 3, None, 0.3, batch_size=32)]
    assert [len(batch) for batch in batches] == [32, 32, 6]
    np.testing.assert_allclose(np.concatenate(batches), images, atol=1e-6)
    images = conditional.sample(6, 3, 1, 0.3)
    np.testing.assert_allclose(
        images, conditional.generate(conditional.draw_latents(6, 3, 0.3), 1), atol=1e-6
    )
    assert np.abs(conditional.sample(6, 3, 1) - images).max() > 0.1


class TestGivenLatents:
    def test_row_by_row(self, conditional):
        z = np.random.default_rng(0).normal(size=(7, LATENT_DIM))
        labels = [0, 2, 1, 1, 0, 2, 2]
        images = conditional.generate(z, labels)
        assert images.shape == (7, 8, 8, 3) and images.dtype == np.float32
        assert 0.0 <= images.min() < images.max() <= 1.0
        for i in range(7):
            alone = conditional.generate(z[i : i + 1].tolist(), labels[i])
            np.testing.assert_allclose(alone[0], images[i], atol=1e-6)
        changed = conditional.generate(z[::-1], labels)
        assert np.abs(changed - images).max() > 0.1

    def test_no_latents(self, module):
        assert module.generate(np.zeros((0, LATENT_DIM))).shape == (0, 8, 8, 3)

    @pytest.mark.parametrize("shape", [(3, 4), (5,), (), (2, 3, 5)])
    def test_rejects_other_shapes(self, module, shape):
        with pytest.raises(ValueError, match=r"of shape \(num, 5\)") as caught:
            module.generate_batches(np.zeros(shape))
        assert f"z.shape={shape}" in str(caught.value)

    def test_labels_go_with_conditional_gans(self, module, conditional):
        z = np.zeros((2, LATENT_DIM))
        with pytest.raises(ValueError, match="must be integers.*labels=None"):
            conditional.generate_batches(z)
        with pytest.raises(ValueError, match="labels=0"):
            module.generate_batches(z, 0)


NORMAL, GREY, CONDITIONAL = (
    f"--module={name}" for name in ("normal", "grey", "conditional")
)
WRITTEN = {
    "default": [GREY],
    "one": [GREY, "--num=1", "--out=new/folder/one.png"],
    "grid": [NORMAL, "--num=5", "--seed=3", "--truncation=0.3", "--out=grid.png"]
    + ["--images_dir=new/each"],
    "drawn": [CONDITIONAL, "--num=4", "--seed=3", "--out=drawn.png"],
    "each": [CONDITIONAL, "--num=4", "--labels=2,0,1,2", "--out=each.png"],
    "all": [CONDITIONAL, "--num=4", "--labels=1", "--out=all.png"],
    "strips": [NORMAL, "--num=3", "--interpolate=4", "--truncation=2"]
    + ["--out=strips.png"],
    "eight": [GREY, "--interpolate=2", "--out=eight.png"],
    "labelled": [CONDITIONAL, "--num=3", "--interpolate=2", "--labels=2,0,1"]
    + ["--out=labelled.png", "--seed=5"],
    "loop": [GREY, "--num=3", "--interpolate=4", "--out=loop.gif"]
    + ["--images_dir=empty"],
    "colours": [CONDITIONAL, "--num=2", "--interpolate=3", "--out=colours.gif"]
    + ["--seed=1"],
    "rows": [CONDITIONAL, "--class_rows", "--out=rows.png", "--truncation=1"],
    "some": [CONDITIONAL, "--class_rows", "--num=4", "--labels=2,0", "--out=some.png"],
    "published": ["--module=fixed", "--num=6", "--z_distribution=normal"]
    + ["--truncation=1.5", "--out=published.png"],
}
# Refused before the module is read.
MISSING = "--module=nosuch"
LOOP = [MISSING, "--interpolate=3", "--out=a.gif"]
REFUSED = {
    "argument": ([MISSING, "a"], "Received: a."),
    "jpg": ([MISSING, "--out=x.jpg"], "--out=x.jpg"),
    "still": ([MISSING, "--out=x.gif"], "--interpolate"),
    "alone": ([*LOOP, "--num=1"], "--out=a.gif --num=1"),
    "classes": ([*LOOP, "--labels=1,2"], "--labels=1,2"),
    "both": ([MISSING, "--class_rows", "--interpolate=3"], "--interpolate=3"),
    "zero": ([MISSING, "--num=0"], "--num=0"),
    "step": ([MISSING, "--interpolate=1"], "--interpolate=1"),
    "text": ([MISSING, "--labels=2,b"], "--labels=2,b"),
    "no_labels": ([MISSING, "--labels="], "--labels="),
    "count": ([MISSING, "--num=4", "--labels=2,0"], "--num=4"),
    "count_rows": ([MISSING, "--interpolate=3", "--labels=2,0"], "--num=8"),
    "mine": ([MISSING, "--images_dir=mine"], "--images_dir=mine"),
    "file": ([MISSING, "--images_dir=mine/thesis.tex"], "be a new or"),
    "inside": ([MISSING, "--images_dir=a", "--out=a/x.png"], "--out=a/x.png"),
    "same": ([MISSING, "--images_dir=x.png", "--out=x.png"], "--images_dir=x.png"),
    "around": ([MISSING, "--images_dir=x.png/a", "--out=x.png"], "=x.png/a"),
    # Refused after the module is read.
    "missing": ([MISSING], "Received: module=nosuch"),
    "seed": ([NORMAL, f"--seed={2**63}"], f"seed={2**63}"),
    "truncation": ([NORMAL, "--truncation=0"], "truncation=0.0"),
    "truncation_nan": ([NORMAL, "--truncation=nan"], "truncation=nan"),
    "unconditional": ([NORMAL, "--class_rows"], "--module=normal"),
    "labels": ([NORMAL, "--num=2", "--labels=0"], "labels="),
    "range": ([CONDITIONAL, "--labels=3"], "in [0, 3)"),
    "rows_range": ([CONDITIONAL, "--class_rows", "--labels=3,-1"], "in [0, 3)"),
    "uniform": ([GREY, "--truncation=1.5"], "at most 1"),
    "nan": (["--module=nan", "--images_dir=nans"], "Images must be finite"),
}


@pytest.fixture(scope="module")
def results(folder):
    refused = {name: arguments for name, (arguments, _) in REFUSED.items()}
    return calls.run("sample", {**refused, **WRITTEN}, folder)


def latents_of(module, num, seed=0, truncation=None) -> np.ndarray:
    return module.latents.sample(num, [seed, SAMPLING_STREAM], truncation).numpy()


def assert_equal_pictures(picture, samples, columns) -> None:
    """Asserts that a uint8 picture is the grid of the samples, up to rounding."""
    expected = grid(samples, columns).astype(int)
    assert picture.shape == expected.shape
    assert picture.dtype == np.uint8 and expected.std() > 10
    assert np.abs(picture - expected).max() <= 1


class TestCommand:
    @pytest.fixture
    def picture(self, results, folder):
        """Reads the picture of a call: uint8, `(height, width, channels)`."""

        def read(name, path=None):
            assert results[name].code == 0, results[name].errors
            with Image.open(folder / (path or f"{name}.png")) as image:
                pixels = np.asarray(image)
            return pixels.reshape(*pixels.shape[:2], -1)

        return read

    def test_one_image(self, folder, picture):
        samples = reading.load(folder / "grey").sample(1)
        assert_equal_pictures(picture("one", "new/folder/one.png"), samples, 1)

    def test_by_default(self, folder, picture, results):
        samples = reading.load(folder / "grey").sample(64)
        assert_equal_pictures(picture("default", "samples.png"), samples, 8)
        output = results["default"].output
        assert output == "64 images of grey, seed 0: samples.png\n"

    def test_grid_of_samples(self, folder, module, picture):
        samples = module.sample(5, 3, truncation=0.3)
        assert_equal_pictures(picture("grid"), samples, 3)
        names = sorted(path.name for path in (folder / "new/each").iterdir())
        assert names == [f"0000{i}.png" for i in range(5)]
        for name, sample in zip(names, samples, strict=True):
            image = picture("grid", f"new/each/{name}")
            assert_equal_pictures(image, sample[None], 1)

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("drawn", {"seed": 3}),
            ("each", {"labels": [2, 0, 1, 2]}),
            ("all", {"labels": 1}),
        ],
    )
    def test_labels(self, conditional, picture, name, arguments):
        samples = conditional.sample(4, **arguments)
        assert_equal_pictures(picture(name), samples, 2)

    def test_strips(self, folder, module, picture):
        ends = latents_of(module, 6, truncation=2.0)
        shares = np.arange(4) / 3
        rows = [
            interpolation.interpolate(module.latents, ends[[i]], ends[[3 + i]], shares)[
                0
            ]
            for i in range(3)
        ]
        samples = module.generate(np.concatenate(rows))
        assert_equal_pictures(picture("strips"), samples, 4)
        grey = reading.load(folder / "grey")
        ends = latents_of(grey, 16)
        samples = grey.generate(np.stack([ends[:8], ends[8:]], axis=1).reshape(16, 5))
        assert_equal_pictures(picture("eight"), samples, 2)

    def test_a_row_has_one_label(self, conditional, picture):
        ends = latents_of(conditional, 6, seed=5)
        z = np.stack([ends[:3], ends[3:]], axis=1).reshape(6, 5)
        samples = conditional.generate(z, [2, 2, 0, 0, 1, 1])
        assert_equal_pictures(picture("labelled"), samples, 2)

    def frames(self, path):
        with Image.open(path) as gif:
            assert gif.info["loop"] == 0
            frames = []
            for i in range(gif.n_frames):
                gif.seek(i)
                frames.append(np.asarray(gif.convert("RGB")))
        return np.stack(frames)

    def test_loop(self, folder, results, picture):
        assert results["loop"].changed[-1] == "loop.gif", results["loop"].errors
        grey = reading.load(folder / "grey")
        samples = grey.generate(
            interpolation.loop(grey.latents, latents_of(grey, 3), 4)
        )
        frames = self.frames(folder / "loop.gif")[..., :1]
        assert_equal_pictures(grid(frames, 4), samples, 4)
        for i in range(12):
            image = picture("loop", f"empty/{i:05d}.png")
            np.testing.assert_array_equal(image, frames[i])

    def test_loop_of_one_class(self, folder, results, conditional):
        assert results["colours"].changed == ["colours.gif"], results["colours"].errors
        z = interpolation.loop(
            conditional.latents, latents_of(conditional, 2, seed=1), 3
        )
        samples = conditional.generate(z, int(drawn(1, 1)[0]))
        # Every frame has at most 64 colours.
        image = grid(self.frames(folder / "colours.gif"), 3)
        assert_equal_pictures(image, samples, 3)

    def test_class_rows(self, conditional, picture):
        z = latents_of(conditional, 8, truncation=1.0)
        rows = [conditional.generate(z, label) for label in range(CLASSES)]
        assert_equal_pictures(picture("rows"), np.concatenate(rows), 8)
        z = latents_of(conditional, 4)
        rows = [conditional.generate(z, label) for label in (2, 0)]
        assert_equal_pictures(picture("some"), np.concatenate(rows), 4)

    def test_published(self, folder, picture):
        module = reading.load(folder / "fixed", z_distribution="normal")
        samples = module.sample(6, truncation=1.5)
        assert_equal_pictures(picture("published"), samples, 3)

    @pytest.mark.parametrize("name", REFUSED)
    def test_refuses(self, results, name):
        code, output, errors, changed = results[name]
        is_usage_error = errors.rstrip().endswith("See `ssgan sample --help`.")
        assert code == 1 + is_usage_error and output == "" and changed == []
        assert REFUSED[name][1] in errors and "Traceback" not in errors

    def test_leaves_nothing_else(self, results):
        made = {path for name in WRITTEN for path in results[name].changed}
        files = {path for path in made if "/" not in path and "." in path}
        assert len(files) == len(WRITTEN) - 1  # One is in a new folder.
        assert not [path for path in made if path.endswith((".partial", ".former"))]
