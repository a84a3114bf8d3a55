"""Dumps hold the scored images, are atomic and overwrite nothing but dumps."""

import json
import os
import pathlib

import calls
import numpy as np
import oracles
import pytest
from PIL import Image

from ssgan_tf import datasets, layers
from ssgan_tf.latents import Latents, draw_labels
from ssgan_tf.modules import reading, writing
from ssgan_tf.modules.module import LoadedModule
from ssgan_tf.randomness import SAMPLING_LABELS_STREAM

CLASSES = 3
# More than a batch of 64.
NUM = 70


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
        metadata={"step": 5, "weights": "ema"},
    )
    return reading.load(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The working directory of all calls: modules, and files of other programs."""
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
    "many": ([*REALS, "--num=398"], "num=398, dataset='digits32', split="),
    "missing": (["--module=nosuch", "--num=5"], "nosuch"),
    "no_module": (["--module=theirs", "--num=5"], "module=theirs"),
    "nan": (["--module=nan", "--num=5"], "Images must be finite"),
    "nan_file": (["--module=nan", "--num=5", "--out=nan.npz"], "must be finite"),
    "folder": ([*FAKES, "--out=theirs"], "theirs exists"),
    "file": ([*FAKES, "--out=theirs.npz"], "theirs.npz exists"),
    "text_file": ([*FAKES, "--out=text.npz"], "text.npz exists"),
    "text": ([*FAKES, "--out=text"], "text exists"),
    "below_text": ([*FAKES, "--out=text/a"], "text/a"),
    "module": ([*FAKES, "--out=module"], "module exists"),
    "both": ([*FAKES, "--dataset=digits32"], "one of (module, dataset)"),
    "neither": (["--num=5"], "one of (module, dataset)"),
    "no_num": (["--module=module"], "--num"),
    "seed": ([*REALS, "--seed=0"], "--seed=0"),
    "split": ([*FAKES, "--split=test"], "--split=test"),
    "data_dir": ([*FAKES, "--tfds_data_dir=a"], "--tfds_data_dir=a"),
    "dataset": (["--dataset=nosuch"], "nosuch"),
    "split_name": (["--dataset=digits32", "--split=all"], "train|test"),
    "argument": ([*FAKES, "a"], "Only flags are taken. Received: a."),
}


@pytest.fixture(scope="module")
def results(folder, module, conditional):
    """Call -> its end."""
    refused = {
        f"refused {name}": ["--out=out", *arguments]
        for name, (arguments, _) in REFUSED.items()
    }
    return calls.run("dump", {**WRITTEN, **refused}, folder)


def pngs(folder: pathlib.Path) -> np.ndarray:
    """The images of a folder; it must have no other file but dump.json."""
    names = sorted(path.name for path in folder.iterdir())
    assert names.pop() == "dump.json"
    assert names == [f"{i:05d}.png" for i in range(len(names))]
    images = np.stack([np.asarray(Image.open(folder / name)) for name in names])
    # Grey PNGs have no channel axis.
    return images.reshape(*images.shape[:3], -1)


def assert_equals_samples(images: np.ndarray, samples: np.ndarray) -> None:
    assert images.dtype == np.uint8
    expected = np.floor(samples * 255.0 + 0.5)
    assert images.shape == expected.shape and expected.std() > 10
    difference = np.abs(images - expected)
    # The order of additions differs between processes: a value may round differently.
    assert difference.max() <= 1 and difference.mean() < 1e-3


@pytest.mark.parametrize("name", WRITTEN)
def test_the_output_names_the_images(results, name):
    code, output, errors, changed = results[name]
    assert code == 0 and changed, errors
    assert "images of" in output and errors == ""


def test_images_are_the_scored_ones(results, folder, module):
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


def test_a_dump_replaces_a_dump(results, folder, module):
    assert_equals_samples(pngs(folder / "again"), module.sample(2))
    with np.load(folder / "again.npz") as archive:
        assert_equals_samples(archive["images"], module.sample(2))
    # No temporary files are left.
    assert not list(folder.rglob(".*"))


def test_labels_belong_to_the_images(results, folder, conditional):
    with np.load(folder / "classes.npz") as archive:
        assert set(archive.files) == {"images", "labels", "facts"}
        images, labels = archive["images"], archive["labels"]
    drawn = draw_labels(NUM, CLASSES, [0, SAMPLING_LABELS_STREAM])
    assert labels.dtype == np.int32 and set(labels) == {0, 1, 2}
    np.testing.assert_array_equal(labels, drawn)
    # Without labels the module draws them, as for the scorer.
    assert_equals_samples(images, conditional.sample(NUM, 0))
    facts = json.loads((folder / "classes/dump.json").read_text())
    assert_equals_samples(
        pngs(folder / "classes"), conditional.sample(5, 0, facts["labels"])
    )


def test_real_images(results, folder):
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
def test_wrong_calls_write_nothing(results, name):
    code, output, errors, changed = results[f"refused {name}"]
    assert code in (1, 2) and output == "" and changed == []
    assert "Traceback" not in errors and REFUSED[name][1] in errors
