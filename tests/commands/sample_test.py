"""Samples: given latents, truncation, interpolation, and `ssgan sample`."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import oracles
import pytest
from paths import ROOT, TESTS
from PIL import Image
from scipy import stats

from ssgan_tf import layers
from ssgan_tf.latents import Latents, draw_labels
from ssgan_tf.modules import interpolation, reading, writing
from ssgan_tf.modules.module import LoadedModule
from ssgan_tf.randomness import SAMPLING_LABELS_STREAM, SAMPLING_STREAM
from ssgan_tf.utils.pictures import grid

LATENT_DIM = 5
CLASSES = 3
PIXELS = 48
# Modules in TensorFlow 1's format: a batch of four, and any batch.
PUBLISHED = {
    "fixed": [{"tags": [], "model": "gen", "batch": 4}],
    "published": [{"tags": [], "model": "gen", "batch": None, "labels": "one-hot"}],
}

# Runs the script many times in one process, as TensorFlow takes seconds to import.
# It is a process of its own, as the flags of two commands exclude each other.
CALLS = """
import contextlib
import io
import json
import pathlib
import runpy
import sys
from absl import app, flags
from absl.testing import flagsaver


def tree():
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in pathlib.Path().rglob("*")
    }


script, calls = sys.argv[1:]
# Defines the flags, which flagsaver restores after each call.
runpy.run_path(script)
app.define_help_flags()
results = []
for line in json.load(open(calls)):
    before = tree()
    sys.argv = [script, *line]
    with (
        flagsaver.flagsaver(),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    results.append([code, out.getvalue() + errors.getvalue(), tree() == before])
    flags.FLAGS.unparse_flags()
json.dump(results, sys.stdout)
"""


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
def weights():
    rng = np.random.default_rng(0)
    return {
        "g_kernel": rng.normal(size=(LATENT_DIM, PIXELS)),
        "g_bias": rng.normal(size=PIXELS),
        "g_labels": rng.normal(size=(CLASSES, PIXELS)),
    }


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    """The folder in which all calls run, with modules and files of the user."""
    folder = tmp_path_factory.mktemp("sampling")
    export(folder / "normal", "normal")
    export(folder / "grey", "uniform", channels=1)
    export(folder / "conditional", "normal", num_classes=CLASSES)
    export(folder / "nan", "normal", scale=np.nan)
    np.savez(
        folder / "weights.npz", **{k: v.astype(np.float32) for k, v in weights.items()}
    )
    writer = TESTS / "tf1_modules.py"
    subprocess.run(
        [sys.executable, writer, folder, folder / "weights.npz", json.dumps(PUBLISHED)],
        check=True,
    )
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.tex").write_text("mine")
    (folder / "empty").mkdir()
    return folder


def load(folder, name, **choices) -> LoadedModule:
    return reading.load(folder / name, **choices)


@pytest.fixture(scope="module")
def module(folder):
    return load(folder, "normal")


@pytest.fixture(scope="module")
def conditional(folder):
    return load(folder, "conditional")


def drawn(num, seed=0) -> np.ndarray:
    return draw_labels(num, CLASSES, [seed, SAMPLING_LABELS_STREAM]).numpy()


class TestTruncation:
    def test_reaches_the_generator(self, module):
        z = Latents(LATENT_DIM, "normal").sample(70, [3, SAMPLING_STREAM])
        z = z.numpy().astype(np.float64)
        # The distribution of Brock et al., who draw values beyond the threshold again.
        inside = stats.norm.cdf(-0.5) + stats.norm.cdf(z) * (1 - 2 * stats.norm.sf(0.5))
        z = stats.norm.ppf(inside)
        np.testing.assert_allclose(module.draw_latents(70, 3, 0.5), z, atol=1e-6)
        images = module.sample(70, 3, truncation=0.5)
        np.testing.assert_allclose(images, module.generate(z), atol=1e-5)
        batches = [*module.sample_batches(70, 3, None, 0.5, batch_size=32)]
        assert [len(batch) for batch in batches] == [32, 32, 6]
        np.testing.assert_allclose(np.concatenate(batches), images, atol=1e-6)
        free = module.sample(70, 3)
        assert np.abs(free - images).max() > 0.1
        # Images near that of z = 0 resemble one another.
        assert 0.05 < images.std(axis=0).mean() / free.std(axis=0).mean() < 0.6

    def test_no_truncation_changes_nothing(self, module):
        z = Latents(LATENT_DIM, "normal").sample(9, [3, SAMPLING_STREAM])
        np.testing.assert_array_equal(module.draw_latents(9, 3), z)
        images = module.sample(9, 3, truncation=None)
        np.testing.assert_array_equal(images, module.sample(9, 3))
        np.testing.assert_allclose(images, module.generate(z), atol=1e-6)

    def test_keeps_the_labels(self, conditional):
        images = conditional.sample(6, 4, truncation=0.3)
        z = conditional.draw_latents(6, 4, 0.3)
        expected = conditional.generate(z, drawn(6, 4))
        np.testing.assert_allclose(images, expected, atol=1e-6)
        images = conditional.sample(6, 4, 1, 0.3)
        np.testing.assert_allclose(images, conditional.generate(z, [1] * 6), atol=1e-6)

    @pytest.mark.parametrize(("name", "truncation"), [("normal", 0), ("grey", 1.5)])
    def test_rejects(self, folder, name, truncation):
        with pytest.raises(ValueError, match=f"truncation={truncation}, distribution="):
            load(folder, name).sample_batches(4, truncation=truncation)

    @pytest.mark.parametrize(
        ("name", "distribution", "threshold", "labels"),
        [
            ("fixed", "uniform", 0.25, None),
            ("fixed", "normal", 1.5, None),
            ("published", "normal", 0.5, [2, 0, 1, 1, 0, 2]),
            ("published", "uniform", 1.0, None),
        ],
    )
    def test_of_published_modules(
        self, folder, weights, name, distribution, threshold, labels
    ):
        module = load(folder, name, z_distribution=distribution)
        z = Latents(LATENT_DIM, distribution).sample(6, [2, SAMPLING_STREAM])
        z = z.numpy().astype(np.float64)
        if distribution == "uniform":
            z *= threshold
        else:
            z = stats.truncnorm(-threshold, threshold).ppf(stats.norm.cdf(z))
        pixels = z @ weights["g_kernel"] + weights["g_bias"]
        if module.num_classes:
            pixels += weights["g_labels"][drawn(6, 2) if labels is None else labels]
        expected = 1 / (1 + np.exp(-pixels)).reshape(6, 4, 4, 3)
        images = module.sample(6, seed=2, labels=labels, truncation=threshold)
        assert images.shape == (6, 4, 4, 3) and images.dtype == np.float32
        np.testing.assert_allclose(images, expected, atol=1e-6)


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
        batches = conditional.generate_batches(z, labels, batch_size=3)
        assert iter(batches) is batches  # It is lazy.
        batches = [*batches]
        assert [len(batch) for batch in batches] == [3, 3, 1]
        np.testing.assert_allclose(np.concatenate(batches), images, atol=1e-6)
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
    "jpg": ([MISSING, "--out=x.jpg"], "Received: --out=x.jpg"),
    "still": ([MISSING, "--out=x.gif"], "--out=x.gif without --interpolate"),
    "alone": ([*LOOP, "--num=1"], "Received: --out=a.gif, --num=1"),
    "classes": ([*LOOP, "--labels=1,2"], "Received: --labels=1,2, --out=a.gif"),
    "both": ([MISSING, "--class_rows", "--interpolate=3"], "--interpolate=3"),
    "zero": ([MISSING, "--num=0"], "--num=0"),
    "step": ([MISSING, "--interpolate=1"], "--interpolate=1"),
    "seed": ([NORMAL, f"--seed={2**63}"], f"seed={2**63}"),
    "truncation": ([MISSING, "--truncation=0"], "Received: --truncation=0.0"),
    "truncation_nan": ([MISSING, "--truncation=nan"], "Received: --truncation=nan"),
    "text": ([MISSING, "--labels=2,b"], "Received: --labels=2,b"),
    "no_labels": ([MISSING, "--labels="], "Received: --labels="),
    "count": ([MISSING, "--num=4", "--labels=2,0"], "--labels=2,0, --num=4"),
    "count_rows": ([MISSING, "--interpolate=3", "--labels=2,0"], "=2,0, --num=8"),
    "mine": ([MISSING, "--images_dir=mine"], "Received: --images_dir=mine."),
    "file": ([MISSING, "--images_dir=mine/thesis.tex"], "=mine/thesis.tex"),
    "inside": ([MISSING, "--images_dir=a", "--out=a/x.png"], "--out=a/x.png"),
    "same": ([MISSING, "--images_dir=x.png", "--out=x.png"], "--images_dir=x.png"),
    "around": ([MISSING, "--images_dir=x.png/a", "--out=x.png"], "=x.png/a"),
    # Refused after the module is read.
    "missing": ([MISSING], "Received: module=nosuch"),
    "unconditional": ([NORMAL, "--class_rows"], "--module=normal"),
    "labels": ([NORMAL, "--num=2", "--labels=0"], "labels="),
    "range": ([CONDITIONAL, "--labels=3"], "in [0, 3)"),
    "rows_range": ([CONDITIONAL, "--class_rows", "--labels=3,-1"], "in [0, 3)"),
    "uniform": ([GREY, "--truncation=1.5"], "at most 1 for uniform z"),
    "nan": (["--module=nan", "--images_dir=nans"], "Images must be finite"),
}


@pytest.fixture(scope="module")
def results(folder):
    """Call -> its exit code, its output and whether it changed no file."""
    refused = (arguments for arguments, _ in REFUSED.values())
    lines = [*WRITTEN.values(), *refused, ["--help"]]
    calls = folder.with_name(folder.name + ".json")
    calls.write_text(json.dumps(lines))
    done = subprocess.run(
        [sys.executable, "-c", CALLS, ROOT / "export/load_generator.py", calls],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names = [*WRITTEN, *REFUSED, "help"]
    return dict(zip(names, json.loads(done.stdout), strict=True))


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
            code, output, _ = results[name]
            assert code == 0, output
            with Image.open(folder / (path or f"{name}.png")) as image:
                pixels = np.asarray(image)
            return pixels.reshape(*pixels.shape[:2], -1)

        return read

    def test_one_image(self, folder, picture):
        samples = load(folder, "grey").sample(1)
        assert_equal_pictures(picture("one", "new/folder/one.png"), samples, 1)

    def test_by_default(self, folder, picture, results):
        samples = load(folder, "grey").sample(64)
        assert_equal_pictures(picture("default", "samples.png"), samples, 8)
        assert results["default"][1].endswith(
            "64 images of grey, seed 0: samples.png\n"
        )

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
        grey = load(folder, "grey")
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
        assert results["loop"][0] == 0, results["loop"][1]
        grey = load(folder, "grey")
        samples = grey.generate(
            interpolation.loop(grey.latents, latents_of(grey, 3), 4)
        )
        frames = self.frames(folder / "loop.gif")[..., :1]
        assert_equal_pictures(grid(frames, 4), samples, 4)
        for i in range(12):
            image = picture("loop", f"empty/{i:05d}.png")
            np.testing.assert_array_equal(image, frames[i])

    def test_loop_of_one_class(self, folder, results, conditional):
        assert results["colours"][0] == 0, results["colours"][1]
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
        module = load(folder, "fixed", z_distribution="normal")
        samples = module.sample(6, truncation=1.5)
        assert_equal_pictures(picture("published"), samples, 3)

    @pytest.mark.parametrize("name", REFUSED)
    def test_refuses(self, results, name):
        code, output, unchanged = results[name]
        is_usage_error = output.rstrip().endswith("See `ssgan sample --help`.")
        assert code == 1 + is_usage_error and unchanged
        assert REFUSED[name][1] in output
        assert "Traceback" not in output

    def test_help(self, results):
        for name in ("module", "z_distribution", "num", "interpolate", "truncation"):
            assert f"\n  --{name}: " in results["help"][1]
        assert "--[no]class_rows: " in results["help"][1]

    def test_leaves_nothing_else(self, results, folder):
        paths = {str(path.relative_to(folder)) for path in folder.rglob("*")}
        assert not [path for path in paths if path.endswith((".partial", ".former"))]
        pictures = {path for path in paths if "/" not in path and "." in path}
        names = set(WRITTEN) - {"default", "one", "loop", "colours"}
        assert pictures - {"weights.npz"} == {"samples.png", "loop.gif"} | {
            "colours.gif"
        } | {f"{name}.png" for name in names}
