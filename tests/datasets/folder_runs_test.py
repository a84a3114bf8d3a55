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
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils.startup import StartUp

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def photos(tmp_path):
    """A flat folder."""
    image_folders.fill(tmp_path / "photos", 12)
    return tmp_path / "photos"


def _plan(*bindings, config_file="ssgan_cifar10.gin", image_folder=None):
    config.parse([config_file], list(bindings))
    return config.plan(image_folder=image_folder)


class _Fed(Exception):
    """Ends a run where its training stream begins."""


@pytest.fixture
def fed(tmp_path, monkeypatch):
    """Function that returns the labels and options of the stream of a plan."""

    def stop(images, labels, **kwargs):
        raise _Fed(labels, kwargs)

    monkeypatch.setattr(datasets, "training_dataset", stop)
    gan = tiny.plan().build_gan()

    def start(plan):
        with pytest.raises(_Fed) as caught:
            loop.train(gan, plan, RunDir(tmp_path / "run"), start_up=StartUp())
        return caught.value.args

    return start


@pytest.fixture
def animals(tmp_path):
    """Two classes."""
    for place, name in enumerate(("ant", "bee")):
        image_folders.fill(tmp_path / "animals" / name, 20, seed=100 * place)
    return tmp_path / "animals"


BOUND = ["dataset.resolution = 64", "dataset.colors = 1"]


@pytest.mark.parametrize(
    ("named", "bindings", "flag", "shape"),
    [
        # A binding or a flag; the flag takes the shape of the config.
        ("{photos}", BOUND, None, "64x64x1"),
        (None, [], "{photos}", "32x32x3"),
        # Bindings win over that shape, and the flag over the name.
        (None, BOUND, "{photos}", "64x64x1"),
        ("/nowhere", BOUND, "folder:{photos}", "64x64x1"),
    ],
)
def test_names_of_folders(named, bindings, flag, shape, photos):
    names = [f"dataset.name = 'folder:{named.format(photos=photos)}'"] if named else []
    folder = flag and flag.format(photos=photos)
    plan = _plan(*names, *bindings, image_folder=folder)
    assert plan.dataset == f"folder:{photos}@{shape}"


def test_a_run_is_the_same_from_any_folder(photos, animals, monkeypatch):
    monkeypatch.chdir(photos.parent)
    plan = _plan("dataset.label_file = 'labels.npy'", image_folder="animals")
    assert plan.data.label_file == str(photos.parent / "labels.npy")
    operative = photos.parent / "operative.gin"
    operative.write_text(config.operative_config())
    monkeypatch.chdir("/")
    assert _plan(config_file=str(operative)) == plan
    grey = _plan(config_file="quickstart.gin", image_folder=str(photos))
    assert grey.dataset == f"folder:{photos}@32x32x1"


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
        (["dataset.name = 'folder:/nowhere'", *BOUND], "'/nowhere' does not exist"),
    ],
)
def test_bindings_that_cannot_be(bindings, match):
    with pytest.raises(config.ConfigError, match=match):
        _plan(*bindings)


@pytest.mark.parametrize("folder", ["", "folder:"])
def test_an_unset_variable_is_no_folder(folder):
    with pytest.raises(config.ConfigError, match="--image_folder"):
        _plan(image_folder=folder)


def test_a_folder_without_its_prefix_is_recognised(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    with pytest.raises(ValueError, match="Did you mean 'folder:photos'"):
        datasets.get_spec("photos")


def test_labels_that_nobody_reads(animals):
    bindings = ("dataset.label_file = 'labels.npy'", "dataset.resolution = 32")
    with pytest.raises(config.ConfigError, match="dataset.label_file"):
        _plan(*bindings, image_folder=str(animals)).build_gan()


def test_labels_and_flips_of_a_run(animals, fed):
    name = datasets.folder_name(animals, 12, 3)
    _, labels = datasets.load_split(name, "train")
    others = np.where(np.arange(len(labels)) % 3 == 0, -1, 1 - labels)
    file = animals.parent / "labels.npy"
    bindings = ("dataset.resolution = 12", f"dataset.label_file = '{file}'")
    plan = _plan(*bindings, image_folder=str(animals))
    with pytest.raises(OSError, match=f"{file}.*No such file"):
        fed(plan)
    np.save(file, others)
    used, kwargs = fed(plan)
    np.testing.assert_array_equal(used, others)
    assert kwargs["flip"] is False
    bindings += ("dataset.label_fraction = 0.3", "dataset.flip = True")
    fewer, kwargs = fed(_plan(*bindings, image_folder=str(animals)))
    kept = fewer >= 0
    np.testing.assert_array_equal(fewer[kept], others[kept])
    for label in (0, 1):
        assert (fewer == label).sum() == np.ceil(0.3 * (others == label).sum())
    assert kwargs["flip"] is True
    np.save(file, others[:-1])
    with pytest.raises(ValueError, match=f"{len(labels)} integers"):
        fed(plan)


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
