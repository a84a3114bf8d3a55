"""Figure 3: tasks and batches against counts, losses against NumPy, whole runs."""

import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from paths import ROOT

from ssgan_tf import config, datasets, networks
from ssgan_tf.experiments import forgetting
from ssgan_tf.training import events
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils.step_model import Diverged

BINDINGS = (
    "dataset.name = 'digits32'",
    "forgetting.training_steps = 12",
    "forgetting.steps_per_task = 4",
    "forgetting.eval_every_steps = 2",
    "forgetting.batch_size = 8",
    "forgetting.rotated_batch_size = 8",
    # The architecture that compiles fastest.
    "forgetting.architecture = 'dcgan'",
    "forgetting.lr = 0.01",
    "D.width = 4",
)


def plan(*bindings: str) -> config.Forgetting:
    config.parse(["forgetting_cifar10.gin"], [*BINDINGS, *bindings])
    return config.forgetting()


# ---------------------------------------------------------------- tasks and batches


def test_classes_go_in_turn():
    tasks = [forgetting.task_of(step, 1000, 10) for step in range(20_000)]
    assert tasks == sum(([task] * 1000 for task in range(10)), []) * 2


def test_batches_are_balanced_and_follow_from_seed_and_step():
    labels = np.random.default_rng(0).permutation(np.repeat(range(10), 30))
    counts = np.zeros(len(labels), int)
    firsts = []
    for step in range(2000):
        places, targets = forgetting.draw_batch(labels, 3, 16, seed=5, step=step)
        np.testing.assert_array_equal(labels[places] == 3, targets == 1)
        assert targets.sum() == 8 and targets.dtype == np.float32
        firsts.append(targets[0])
        np.add.at(counts, places, 1)
    # Each of the 30 images of the class 16,000 / 30 times, of the 270 others 59 times.
    for side, share in ((labels == 3, 16_000 / 30), (labels != 3, 16_000 / 270)):
        deviations = (counts[side] - share) / np.sqrt(share)
        assert 0.7 < np.sqrt(np.mean(deviations**2)) < 1.3
    # The order is mixed: the last images, which are rotated, are of both sides.
    assert 0.45 < np.mean(firsts) < 0.55
    drawn = [
        forgetting.draw_batch(labels, 3, 16, seed=seed, step=step)[0].tolist()
        for seed, step in ((5, 7), (5, 7), (6, 7), (5, 8))
    ]
    assert drawn[0] == drawn[1] and drawn[0] not in drawn[2:]


def test_test_images_are_half_of_the_class():
    labels = np.random.default_rng(0).permutation(np.repeat(range(10), 20))
    places, targets = forgetting.select_test_images(labels, 4)
    assert len(set(places)) == 40
    np.testing.assert_array_equal(labels[places] == 4, targets == 1)
    assert targets.sum() == 20
    assert len(np.unique(labels[places[targets == 0]])) > 5
    np.testing.assert_array_equal(forgetting.select_test_images(labels, 4)[0], places)
    # The class may be most of the images.
    places, targets = forgetting.select_test_images(np.array([1, 1, 1, 0]), 1)
    assert sorted(places) == [0, 1, 2, 3] and targets.sum() == 3


# ---------------------------------------------------------------------------- losses


@pytest.mark.parametrize("num_rotated", [0, 3])
def test_losses(num_rotated):
    keras.utils.set_random_seed(1)
    spec = networks.DiscriminatorSpec(
        image_shape=(8, 8, 1),
        width=4,
        rotation_classes=4 if num_rotated else 0,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.5),
    )
    network = networks.build_discriminator("dcgan", spec)
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(6, 8, 8, 1)).astype(np.float32)
    targets = np.array([1, 0, 0, 1, 1, 0], np.float32)
    loss, rotation_loss, rotation_accuracy = forgetting.losses(
        network, tf.constant(images), targets, num_rotated
    )

    logits = network(images)["logits"].numpy()[:, 0].astype(np.float64)
    odds = np.where(targets == 1, logits, -logits)
    assert np.abs(logits).max() > 0.3
    np.testing.assert_allclose(loss, np.mean(np.log1p(np.exp(-odds))), rtol=1e-5)
    if not num_rotated:
        assert rotation_loss == 0 and np.isnan(rotation_accuracy)
        return
    losses, right = [], []
    for image in images[3:]:
        for turns in range(4):
            (logits,) = network(np.rot90(image, turns)[None])["rotation_logits"].numpy()
            probabilities = np.exp(logits.astype(np.float64))
            losses.append(-np.log(probabilities[turns] / probabilities.sum()))
            right.append(logits.argmax() == turns)
    np.testing.assert_allclose(rotation_loss, np.mean(losses), rtol=1e-5)
    assert float(rotation_accuracy) == pytest.approx(np.mean(right))


def test_the_weighted_sum_is_minimized():
    """An update of plain descent against the gradients of both losses, added up."""
    images, labels = datasets.load_split("digits32", "train")
    started = plan("forgetting.weight_rotation_loss = 0.25")
    network, _ = started.build()
    before = [v.numpy() for v in network.trainable_variables]
    state = [v.numpy() for v in network.variables]
    update = forgetting.update_function(network, keras.optimizers.SGD(1.0), started)
    places, targets = forgetting.draw_batch(labels, 0, 8, seed=0, step=0)
    update(images[places], targets)
    moved = [b - v.numpy() for b, v in zip(before, network.trainable_variables)]

    for variable, value in zip(network.variables, state):
        variable.assign(value)
    with tf.GradientTape(persistent=True) as tape:
        loss, rotation_loss, _ = forgetting.losses(
            network, tf.constant(images[places] / 255, tf.float32), targets, 2
        )
    sources = [v.value for v in network.trainable_variables]
    gradients = [
        tape.gradient(term, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        for term in (loss, rotation_loss)
    ]
    for step, first, second in zip(moved, *gradients, strict=True):
        np.testing.assert_allclose(step, first + 0.25 * second, atol=1e-6)
    assert max(np.abs(gradient).max() for gradient in gradients[1]) > 1e-2


# ------------------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run without a break, and its rows."""
    run = RunDir(tmp_path_factory.mktemp("forgetting") / "alone")
    return run, forgetting.train(plan(), run)


@pytest.fixture
def copy(alone, tmp_path) -> RunDir:
    shutil.copytree(alone[0].path, tmp_path / "copy")
    return RunDir(tmp_path / "copy")


def numbers(rows) -> np.ndarray:
    columns = ("step", "task", "accuracy", "loss", "rotation_accuracy")
    return np.array([[getattr(row, name) for name in columns] for row in rows])


def test_rows_and_curves_of_a_run(alone):
    run, rows = alone
    assert [row.step for row in rows] == list(range(0, 13, 2))
    assert [row.task for row in rows] == [0, 0, 1, 1, 2, 2, 2]
    assert np.isnan(numbers(rows)[0, 3:]).all()
    assert np.isfinite(numbers(rows)[1:]).all()
    read = forgetting.read(run.path / "forgetting.csv")
    np.testing.assert_array_equal(numbers(read), numbers(rows))
    curves = events.read(run.path)
    for tag, column in (
        ("accuracy/class", 2),
        ("loss/class", 3),
        ("accuracy/rotation_real", 4),
    ):
        expected = numbers(rows)[column > 2 :, [0, column]]
        np.testing.assert_allclose(np.transpose(curves[tag]), expected, rtol=1e-6)


def test_the_accuracy_is_the_mean_of_both_sides(alone):
    run, rows = alone
    network, optimizer = plan().build()
    run.checkpoints.restore(12, {"network": network, "optimizer": optimizer})
    images, labels = datasets.load_split("digits32", "test")
    places, targets = forgetting.select_test_images(labels, 2)
    logits = network((images[places] / 255).astype(np.float32))["logits"].numpy()[:, 0]
    sides = [np.mean((logits > 0)[targets == side] == side) for side in (0, 1)]
    assert rows[-1].accuracy == pytest.approx(np.mean(sides), abs=1e-9)
    assert rows[-1].accuracy not in (0.0, 0.5, 1.0)


def test_a_run_that_continues_equals_one_without_a_break(alone, tmp_path, monkeypatch):
    draw, drawn = forgetting.draw_batch, []

    def killed(*args, **kwargs):
        drawn.append(kwargs["step"])
        if kwargs["step"] == 7 and drawn.count(7) == 1:
            raise KeyboardInterrupt
        return draw(*args, **kwargs)

    monkeypatch.setattr(forgetting, "draw_batch", killed)
    settings, run = plan(), RunDir(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        forgetting.train(settings, run)
    assert not run.train_done.exists()
    again = forgetting.train(settings, run)
    assert drawn == [*range(8), *range(4, 12)]
    assert run.train_done.exists()
    np.testing.assert_allclose(numbers(again), numbers(alone[1]), atol=1e-5)
    # Done: nothing is trained.
    done = forgetting.train(settings, run)
    np.testing.assert_array_equal(numbers(done), numbers(again))
    assert len(drawn) == 16


def test_another_configuration_is_refused(copy):
    with pytest.raises(config.ConfigError, match="(?s)another configuration.*seed"):
        forgetting.train(plan("forgetting.seed = 3"), copy)
    longer = plan("forgetting.training_steps = 14")
    rows = forgetting.train(longer, copy, allow_config_change=True)
    # The last test of the shorter run was of the task before.
    assert [(row.step, row.task) for row in rows][5:] == [(10, 2), (12, 3), (14, 3)]


def test_a_classifier_that_diverges_ends(tmp_path):
    settings = plan("forgetting.lr = 1e37", "D.spectral_norm = False")
    run = RunDir(tmp_path)
    with pytest.raises(Diverged, match="loss=nan"):
        forgetting.train(settings, run)
    assert not run.train_done.exists()


def test_a_table_that_is_damaged_or_gone(copy):
    settings, table = plan(), copy.path / "forgetting.csv"
    header, row, *_ = table.read_text().splitlines()
    for text, words in (
        (f"{header}\n{row.replace(',0,', ',x,', 1)}\n", "row 1, column task: 'x'"),
        (f"{header}\n", "at step 12"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=f"{table}.*{words}"):
            forgetting.train(settings, copy)
    table.unlink()
    with pytest.raises(ValueError, match="forgetting.csv"):
        forgetting.train(settings, copy)


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ("forgetting.batch_size = 7", "batch_size=7"),
        ("forgetting.rotated_batch_size = 64", "rotated_batch_size=64"),
        ("forgetting.eval_every_steps = 3", "eval_every_steps=3, steps_per_task=4"),
        ("forgetting.steps_per_task = 0", "steps_per_task=0"),
        ("forgetting.lr = -1", "lr=-1"),
        ("forgetting.weight_rotation_loss = 'a'", "weight_rotation_loss='a'"),
        ("dataset.flip = True", "flip=True"),
        ("dataset.name = 'celeb_a'", "dataset.name='celeb_a64'"),
    ],
)
def test_values_that_cannot_be_used_are_named(binding, words):
    with pytest.raises(config.ConfigError, match=f"Received: .*{words}"):
        plan(binding)


def test_the_config_of_a_gan_is_refused():
    config.parse(["ssgan_cifar10.gin"])
    with pytest.raises(config.ConfigError, match="forgetting.training_steps"):
        config.forgetting()


def test_the_command_without_rotation_loss(tmp_path):
    settings = ("forgetting.weight_rotation_loss = 0", "forgetting.training_steps = 6")
    flags = [f"--gin_bindings={binding}" for binding in (*BINDINGS, *settings)]
    done = subprocess.run(
        [sys.executable, "-m", "ssgan_tf", "forget", "--model_dir=run", *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = forgetting.read(tmp_path / "run/forgetting.csv")
    assert f"last accuracy {rows[-1].accuracy:.4f}, of class 1" in done.stdout
    assert np.isnan([row.rotation_accuracy for row in rows]).all()
    assert np.isfinite([row.loss for row in rows[1:]]).all()
    assert set(events.read(tmp_path / "run")) == {"accuracy/class", "loss/class"}
