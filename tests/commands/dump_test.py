"""Dumped images: those that are scored, whole or not at all, over nothing of others."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import oracles
import pytest
from paths import ROOT
from PIL import Image

from ssgan_tf import datasets, layers
from ssgan_tf.latents import Latents, draw_labels
from ssgan_tf.modules import reading, writing
from ssgan_tf.modules.module import LoadedModule
from ssgan_tf.randomness import SAMPLING_LABELS_STREAM

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
CLASSES = 3
# More than the 64 of a batch.
NUM = 70

# The binary, again and again in one process: TensorFlow takes seconds to import. And
# in a process of its own: two binaries' flags cannot be defined at once.
CALLS = """
import contextlib
import io
import json
import pathlib
import sys
from absl import flags
from absl.testing import flagsaver
from ssgan_tf.commands import dump
from ssgan_tf.commands import main as cli


def tree():
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in pathlib.Path().rglob("*")
    }


said = []
for line in json.load(open(sys.argv[1])):
    before = tree()
    sys.argv = ["ssgan dump", *line]
    with (
        flagsaver.flagsaver(),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        try:
            cli.run(dump.main)
        except SystemExit as end:
            code = end.code or 0
    said.append([code, out.getvalue() + errors.getvalue(), tree() == before])
    flags.FLAGS.unparse_flags()
json.dump(said, sys.stdout)
"""


def export(folder: pathlib.Path, num_classes=0, scale=1.0) -> LoadedModule:
    norm = layers.ConditionalBatchNorm if num_classes else layers.BatchNorm
    generator = oracles.tiny_generator(norm=norm, num_classes=num_classes)
    for variable in generator.trainable_variables:
        variable.assign(variable * scale)
    writing.export(
        generator,
        oracles.tiny_discriminator(num_classes=num_classes),
        Latents(5),
        folder,
        {"step": 5, "weights": "ema"},
    )
    return reading.load(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all calls run: modules, and things of other people."""
    folder = tmp_path_factory.mktemp("dump")
    export(folder / "nan", scale=np.nan)
    (folder / "theirs").mkdir()
    (folder / "theirs/00000.png").write_bytes(b"mine")
    np.savez(folder / "theirs.npz", images=np.zeros(3))
    (folder / "text.npz").write_text("mine")
    (folder / "text").write_text("mine")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def module(folder):
    return export(folder / "module")


@pytest.fixture(scope="module")
def conditional(folder):
    return export(folder / "conditional", num_classes=CLASSES)


FAKES = ["--module=module", "--num=5"]
REALS = ["--dataset=digits32", f"--tfds_data_dir={os.environ['TFDS_DATA_DIR']}"]
WRITTEN = {
    "file": ["--module=module", f"--num={NUM}", "--seed=3", "--out=new/file.npz"],
    "folder": [*FAKES, "--out=empty"],
    "first": [*FAKES, "--seed=1", "--out=again"],
    "again": ["--module=module", "--num=2", "--out=again"],
    "first_file": [*FAKES, "--out=again.npz"],
    "again_file": ["--module=module", "--num=2", "--out=again.npz"],
    "classes": ["--module=conditional", f"--num={NUM}", "--out=classes.npz"],
    "classes_folder": ["--module=conditional", "--num=5", "--out=classes"],
    "reals": [*REALS, "--out=reals.npz"],
    "first_reals": [*REALS, "--split=train", "--num=1030", "--out=reals"],
}
REFUSED = {
    "none": (["--num=0"], "--num=0"),
    "negative": (["--num=-2"], "--num=-2"),
    "many": ([*REALS, "--num=398"], "Received: num=398, dataset='digits32', split="),
    "missing": (["--module=nosuch", "--num=5"], "Received: module=nosuch"),
    "no_module": (["--module=theirs", "--num=5"], "module=theirs"),
    "nan": (["--module=nan", "--num=5"], "Images must be finite"),
    "nan_file": (["--module=nan", "--num=5", "--out=nan.npz"], "must be finite"),
    "folder": ([*FAKES, "--out=theirs"], "theirs, which is something else"),
    "file": ([*FAKES, "--out=theirs.npz"], "theirs.npz, which is something else"),
    "text_file": ([*FAKES, "--out=text.npz"], "text.npz, which is something else"),
    "text": ([*FAKES, "--out=text"], "text, which is something else"),
    "below_text": ([*FAKES, "--out=text/a"], "text/a"),
    "module": ([*FAKES, "--out=module"], "module, which is something else"),
    "both": ([*FAKES, "--dataset=digits32"], "one of (module, dataset)"),
    "neither": (["--num=5"], "one of (module, dataset)"),
    "no_num": (["--module=module"], "--module=module without --num"),
    "seed": ([*REALS, "--seed=0"], "--seed=0 without --module"),
    "split": ([*FAKES, "--split=test"], "--split=test without --dataset"),
    "data_dir": ([*FAKES, "--tfds_data_dir=a"], "=a without --dataset"),
    "dataset": (["--dataset=nosuch"], "nosuch"),
    "split_name": (["--dataset=digits32", "--split=all"], "train|test"),
    "argument": ([*FAKES, "a"], "Only flags are taken. Received: a."),
}


@pytest.fixture(scope="module")
def said(folder, module, conditional):
    """Exit code, output and whether nothing was changed, of every call."""
    lines = list(WRITTEN.values())
    for arguments, _ in REFUSED.values():
        out = any(each.startswith("--out") for each in arguments)
        lines.append(arguments if out else [*arguments, "--out=out"])
    calls = folder.with_name(folder.name + ".json")
    calls.write_text(json.dumps(lines))
    done = subprocess.run(
        [sys.executable, "-c", CALLS, calls],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names = [*(("written", n) for n in WRITTEN), *(("refused", n) for n in REFUSED)]
    return dict(zip(names, json.loads(done.stdout), strict=True))


def pngs(folder: pathlib.Path) -> np.ndarray:
    """The images of a folder, which has nothing else but its facts."""
    names = sorted(path.name for path in folder.iterdir())
    assert names.pop() == "dump.json"
    assert names == [f"{i:05d}.png" for i in range(len(names))]
    images = np.stack([np.asarray(Image.open(folder / name)) for name in names])
    # Grey ones have no axis of channels.
    return images.reshape(*images.shape[:3], -1)


def assert_equals_samples(images: np.ndarray, samples: np.ndarray) -> None:
    assert images.dtype == np.uint8
    expected = np.floor(samples * 255.0 + 0.5)
    assert images.shape == expected.shape and expected.std() > 10
    difference = np.abs(images - expected)
    # Another process may add in another order: a value at the edge may round apart.
    assert difference.max() <= 1 and difference.mean() < 1e-3


@pytest.mark.parametrize("name", WRITTEN)
def test_it_says_what_it_wrote(said, name):
    code, output, unchanged = said["written", name]
    assert code == 0 and not unchanged, output
    assert "images of" in output and "error" not in output


def test_images_are_those_that_are_scored(said, folder, module):
    with np.load(folder / "new/file.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {"images", "facts"}
        facts = json.loads(str(archive["facts"]))
        assert_equals_samples(archive["images"], module.sample(NUM, seed=3))
    assert facts == {
        "module": "module",
        "weights_sha256": module.metadata["weights_sha256"],
        "seed": 3,
        "num": NUM,
    }
    assert_equals_samples(pngs(folder / "empty"), module.sample(5))


def test_a_dump_takes_the_place_of_a_dump(said, folder, module):
    assert_equals_samples(pngs(folder / "again"), module.sample(2))
    with np.load(folder / "again.npz") as archive:
        assert_equals_samples(archive["images"], module.sample(2))
    # Neither half-written nor former ones.
    assert not list(folder.rglob(".*"))


def test_labels_are_those_of_the_images(said, folder, conditional):
    with np.load(folder / "classes.npz") as archive:
        assert set(archive.files) == {"images", "labels", "facts"}
        images, labels = archive["images"], archive["labels"]
    drawn = draw_labels(NUM, CLASSES, [0, SAMPLING_LABELS_STREAM])
    assert labels.dtype == np.int32 and set(labels) == {0, 1, 2}
    np.testing.assert_array_equal(labels, drawn)
    # Without labels: those that the scorer lets the module draw.
    assert_equals_samples(images, conditional.sample(NUM, 0))
    facts = json.loads((folder / "classes/dump.json").read_text())
    assert_equals_samples(
        pngs(folder / "classes"), conditional.sample(5, 0, facts["labels"])
    )


def test_real_images(said, folder):
    images, labels = datasets.load_split("digits32", "test")
    with np.load(folder / "reals.npz") as archive:
        np.testing.assert_array_equal(archive["images"], images)
        np.testing.assert_array_equal(archive["labels"], labels)
    images, labels = datasets.load_split("digits32", "train")
    np.testing.assert_array_equal(pngs(folder / "reals"), images[:1030])
    facts = json.loads((folder / "reals/dump.json").read_text())
    assert facts == {
        "dataset": "digits32",
        "split": "train",
        "num": 1030,
        "labels": labels[:1030].tolist(),
    }


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_calls_write_nothing(said, name):
    code, output, unchanged = said["refused", name]
    assert code in (1, 2) and unchanged
    assert "Traceback" not in output and REFUSED[name][1] in output


def test_the_binary(folder, module):
    line = [
        sys.executable,
        "-m",
        "ssgan_tf",
        "dump",
        "--module=module",
        f"--num={NUM}",
    ]
    done = subprocess.run(
        [*line, "--out=binary/fakes"],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{NUM} images of module, seed 0: binary/fakes\n"
    assert_equals_samples(pngs(folder / "binary/fakes"), module.sample(NUM))
    # Without TensorFlow.
    done = subprocess.run(
        [*line, "--out=text"], cwd=folder, env=ENVIRONMENT, capture_output=True
    )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: A dump must be written to")
