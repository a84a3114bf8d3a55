"""Runs on a folder of images."""

import os
import pathlib
import sys

import image_folders
import numpy as np
import pytest
import tiny
from absl.testing import flagsaver

from ssgan_tf import config, datasets
from ssgan_tf.commands import train
from ssgan_tf.commands.main import run
from ssgan_tf.datasets import folders
from ssgan_tf.evaluation import dataset_classifier, module_scorer
from ssgan_tf.modules import reading
from ssgan_tf.training import loop

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def photos(tmp_path):
    """A flat folder."""
    image_folders.fill(tmp_path / "photos", 12)
    return tmp_path / "photos"


def _plan(*bindings, config_file="ssgan_cifar10.gin", image_folder=None):
    config.parse([config_file], list(bindings))
    return config.plan(image_folder=image_folder)


@pytest.fixture
def animals(tmp_path):
    """Two classes."""
    for place, name in enumerate(("ant", "bee")):
        image_folders.fill(tmp_path / "animals" / name, 20, seed=100 * place)
    return tmp_path / "animals"


def test_a_folder_named_by_a_config(photos):
    plan = _plan(
        f"dataset.name = 'folder:{photos}'",
        "dataset.resolution = 64",
        "dataset.colors = 1",
        "options.architecture = 'resnet5'",
    )
    assert plan.dataset == f"folder:{photos}@64x64x1"
    assert plan.spec.image_shape == (64, 64, 1)
    assert plan.build_gan().generator.image_shape == (64, 64, 1)


def test_one_flag_takes_the_shape_of_the_config(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    plan = _plan(image_folder="photos")
    assert plan.dataset == f"folder:{photos}@32x32x3"
    # The operative config gives the same run, from any folder and without the flag.
    monkeypatch.chdir("/")
    operative = pathlib.Path(photos.parent, "operative.gin")
    operative.write_text(config.operative_config())
    assert _plan(config_file=str(operative)) == plan
    grey = _plan(config_file="quickstart.gin", image_folder=str(photos))
    assert grey.dataset == f"folder:{photos}@32x32x1"


def test_bindings_win_over_the_shape_of_the_config(photos, animals):
    bound = ("dataset.resolution = 64", "dataset.colors = 1")
    plan = _plan(*bound, image_folder=str(photos))
    assert plan.dataset == f"folder:{photos}@64x64x1"
    # The flag wins over the name of the config.
    named = (f"dataset.name = 'folder:{photos}'", *bound)
    plan = _plan(*named, image_folder=f"folder:{animals}")
    assert plan.dataset == f"folder:{animals}@64x64x1"


@pytest.mark.parametrize(
    "bindings, match",
    [
        (["dataset.resolution = (32, 48)"], r"resolution=\(32, 48\)"),
        (["dataset.colors = 4"], "colors=4"),
        (["dataset.resolution = 48"], "size=48"),
        (["ModularGAN.conditional = True"], "conditional"),
        (["dataset.label_file = 'labels.npy'"], "label_file='.*labels.npy'"),
        (["dataset.flip = 1"], "flip"),
    ],
)
def test_folders_that_cannot_be_trained_on(bindings, match, photos):
    with pytest.raises(ValueError, match=match):
        _plan(*bindings, image_folder=str(photos)).build_gan()


@pytest.mark.parametrize(
    "bindings, match",
    [
        (["dataset.resolution = 64"], "resolution=64"),
        (["dataset.colors = 3"], "colors=3"),
        (["dataset.name = 'folder:photos'"], "resolution=None"),
        (["dataset.label_file = 3"], "label_file=3"),
        (
            [
                "dataset.name = 'folder:/nowhere'",
                "dataset.resolution = 32",
                "dataset.colors = 3",
            ],
            "'/nowhere' does not exist",
        ),
    ],
)
def test_bindings_that_cannot_be(bindings, match):
    with pytest.raises(config.ConfigError, match=match):
        _plan(*bindings)


@pytest.mark.parametrize("folder", ["", "folder:"])
def test_an_unset_variable_is_no_folder(folder, photos, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(config.ConfigError, match="--image_folder"):
        _plan(image_folder=folder)


def test_a_folder_without_its_prefix_is_recognised(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    with pytest.raises(ValueError, match="Did you mean 'folder:photos'"):
        datasets.get_spec("photos")


def test_a_file_of_labels_is_the_same_from_anywhere(animals, monkeypatch):
    monkeypatch.chdir(animals.parent)
    plan = _plan(
        "dataset.resolution = 12",
        "dataset.label_file = 'labels.npy'",
        image_folder="animals",
    )
    assert plan.data.label_file == str(animals.parent / "labels.npy")
    (animals.parent / "operative.gin").write_text(config.operative_config())
    monkeypatch.chdir("/")
    assert _plan(config_file=str(animals.parent / "operative.gin")) == plan
    with pytest.raises(OSError, match="labels.npy.*No such file"):
        loop._open_data(plan, None)


def test_labels_that_nobody_reads(animals):
    bindings = ("dataset.label_file = 'labels.npy'", "dataset.resolution = 32")
    with pytest.raises(config.ConfigError, match="dataset.label_file"):
        _plan(*bindings, image_folder=str(animals)).build_gan()


def test_labels_of_a_file_are_trained_on(animals):
    name = datasets.folder_name(animals, 12, 3)
    _, labels = datasets.load_split(name, "train")
    others = np.where(np.arange(len(labels)) % 3 == 0, -1, 1 - labels)
    np.save(animals.parent / "labels.npy", others)
    bindings = (
        "dataset.resolution = 12",
        f"dataset.label_file = '{animals.parent / 'labels.npy'}'",
    )
    plan = _plan(*bindings, image_folder=str(animals))
    np.testing.assert_array_equal(loop._open_data(plan, None)[1], others)
    few = _plan(*bindings, "dataset.label_fraction = 0.3", image_folder=str(animals))
    fewer = loop._open_data(few, None)[1]
    kept = fewer >= 0
    np.testing.assert_array_equal(fewer[kept], others[kept])
    for label in (0, 1):
        assert (fewer == label).sum() == np.ceil(0.3 * (others == label).sum())
    np.save(animals.parent / "labels.npy", others[:-1])
    with pytest.raises(ValueError, match=f"{len(labels)} integers"):
        loop._open_data(plan, None)


@pytest.mark.parametrize("flip", [False, True])
def test_flips_reach_the_train_step(flip, photos):
    bindings = [
        f"dataset.flip = {flip}",
        "dataset.resolution = 32",
        "dataset.colors = 3",
        "options.batch_size = 12",
        "SSGAN.rotated_batch_size = 16",
        "G.width = 4",
        "D.width = 4",
    ]
    plan = _plan(*bindings, image_folder=str(photos))
    data = loop._open_data(plan, None)
    images, _ = next(iter(loop._stream(plan.build_gan(), plan, *data)))
    known = {image.tobytes() for image in data[0].numpy()}
    upright = [image.tobytes() in known for image in images.numpy()]
    mirrored = [image[:, ::-1].tobytes() in known for image in images.numpy()]
    assert all(a != b for a, b in zip(upright, mirrored))
    assert all(upright) != flip


def test_training_on_a_folder_with_one_flag(animals, monkeypatch, capfd):
    monkeypatch.chdir(animals.parent)
    flags = [*tiny.flags("options.training_steps = 2"), "--image_folder=animals"]
    monkeypatch.setattr(sys, "argv", ["ssgan", *flags, "--model_dir=run"])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as caught:
        run(train.main)
    assert not caught.value.code, capfd.readouterr()
    assert pathlib.Path("run/folder.txt").read_text().strip() == folders.state(
        f"folder:{animals}@32x32x1"
    )
    module = reading.load("run/tfhub/2")
    assert module.image_shape == (32, 32, 1)
    name = f"folder:{animals}@32x32x1"
    assert module.metadata["dataset"] == name
    module_scorer.check_shape(module, name)


def test_scores_against_a_folder(animals, monkeypatch):
    monkeypatch.setattr(dataset_classifier, "train_classifier", lambda *args: None)
    name = datasets.folder_name(animals, 12, 3)
    scorer = module_scorer.ModuleScorer(
        name, module_scorer.ScoringOptions(metrics=("fid",))
    )
    assert scorer.extractor.name == "animals_12x12x3_cnn"
    cache = pathlib.Path(os.environ["XDG_CACHE_HOME"], "ssgan_tf")
    assert list(cache.glob("animals_12x12x3_cnn-*.npz"))
    assert list(cache.glob("references/animals_12x12x3-test-*.npz"))
