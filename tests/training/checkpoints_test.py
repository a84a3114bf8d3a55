"""Checkpoints: whole or skipped, kept by a rule, of everything that trains."""

import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from ssgan_tf.training.checkpoints import Checkpoints, DamagedCheckpoint
from ssgan_tf.utils.step_model import Diverged


def save(gan, folder, steps: list[int]) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for step in steps:
        gan.g_optimizer.iterations.assign(step)
        checkpoints.save(step, gan.parts)
    return checkpoints


def randomize(gan, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for owner in (*networks_of(gan), gan.g_optimizer, gan.d_optimizer):
        for variable in owner.variables:
            value = rng.uniform(0.5, 9.5, variable.shape)
            variable.assign(value.astype(variable.dtype))


def networks_of(gan):
    return gan.generator, gan.discriminator, gan.average


@pytest.fixture(scope="module")
def pair():
    """Two GANs alike, whose numbers the tests may change."""
    plan = tiny.plan()
    return plan.build_gan(), plan.build_gan()


def names(folder) -> set[str]:
    return {path.name for path in pathlib.Path(folder).iterdir()}


def test_checkpoints_are_listed_by_number_when_whole(tmp_path, pair):
    gan, _ = pair
    assert Checkpoints(tmp_path / "none").steps() == []
    checkpoints = save(gan, tmp_path / "run", [0, 5, 10, 100])
    assert checkpoints.steps() == [0, 5, 10, 100]
    pathlib.Path(checkpoints.prefix(100) + ".index").unlink()
    (checkpoints.folder / "ckpt-x.index").touch()
    assert checkpoints.steps() == [0, 5, 10]
    # A run may be moved.
    moved = Checkpoints(shutil.move(checkpoints.folder, tmp_path / "moved"))
    assert moved.restore_latest(gan.parts) == gan.step == 10


def test_a_checkpoint_holds_every_variable(tmp_path, pair):
    gan, other = pair
    randomize(gan, 1)
    randomize(other, 2)
    gan.rollbacks.assign(2)
    save(gan, tmp_path, [3]).restore(3, other.parts)
    assert other.rollbacks.numpy() == 2
    owners = [*networks_of(gan), gan.g_optimizer, gan.d_optimizer]
    others = [*networks_of(other), other.g_optimizer, other.d_optimizer]
    for owner, twin in zip(owners, others, strict=True):
        for variable, copy in zip(owner.variables, twin.variables, strict=True):
            same = np.array_equal(variable.numpy(), copy.numpy())
            # The learning rate is the configuration's, not the checkpoint's.
            assert same != (variable.name == "learning_rate"), variable.path


def test_a_changed_learning_rate_takes_effect(tmp_path):
    gan = tiny.plan("ModularGAN.g_lr = 0.5").build_gan()
    checkpoints = save(gan, tmp_path, [3])
    other = tiny.plan("ModularGAN.g_lr = 0.25").build_gan()
    checkpoints.restore(3, other.parts)
    assert float(other.g_optimizer.learning_rate) == 0.25
    assert float(other.d_optimizer.learning_rate) == 0.25


def test_a_changed_schedule_takes_effect(tmp_path):
    gan = tiny.plan().build_gan()
    randomize(gan, 1)
    checkpoints = save(gan, tmp_path, [3])
    # A schedule is no variable: the other variables must keep their places.
    other = tiny.plan("ModularGAN.lr_schedule = 'linear'").build_gan()
    checkpoints.restore(3, other.parts)
    for name in ("g_optimizer", "d_optimizer"):
        ours = [
            variable
            for variable in getattr(gan, name).variables
            if variable.name != "learning_rate"
        ]
        for one, twin in zip(ours, getattr(other, name).variables, strict=True):
            np.testing.assert_array_equal(one.numpy(), twin.numpy())


@pytest.mark.parametrize(
    "binding",
    [
        "G.width = 8",
        "options.gan_class = @ModularGAN",  # No rotation head: too little to restore.
        "ModularGAN.g_use_ema = False",
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, binding, pair):
    gan, changed = pair[0], tiny.plan(binding).build_gan()
    for saved, other in ((gan, changed), (changed, gan)):
        checkpoints = save(saved, tmp_path, [3])
        for restore in (
            lambda parts: checkpoints.restore(3, parts),
            checkpoints.restore_latest,
        ):
            with pytest.raises(ValueError, match="checkpoint=.*ckpt-3") as caught:
                restore(other.parts)
            assert not isinstance(caught.value, DamagedCheckpoint)


def truncate(path, size):
    os.truncate(path, size)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "torn": lambda data, index: truncate(data, 100),
    "empty": lambda data, index: truncate(data, 0),
    "one bit": lambda data, index: flip(data, data.stat().st_size // 2),
    "gone": lambda data, index: data.unlink(),
    "index torn": lambda data, index: truncate(index, 40),
    "index empty": lambda data, index: truncate(index, 0),
    "index, one bit": lambda data, index: flip(index, 30),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_skipped(tmp_path, damage, caplog, pair):
    gan, other = pair
    randomize(other, 2)
    randomize(gan, 1)
    checkpoints = save(gan, tmp_path, [3, 5])
    (data,) = tmp_path.glob("ckpt-5.data*")
    DAMAGES[damage](data, tmp_path / "ckpt-5.index")
    with pytest.raises(DamagedCheckpoint, match="ckpt-5"):
        checkpoints.restore(5, gan.parts)
    with caplog.at_level("WARNING"):
        assert checkpoints.restore_latest(other.parts) == other.step == 3
    (line,) = caplog.messages
    assert line.startswith("skipped: ") and "ckpt-5" in line
    gan.g_optimizer.iterations.assign(3)
    for owner, twin in zip(networks_of(gan), networks_of(other), strict=True):
        for variable, copy in zip(owner.variables, twin.variables, strict=True):
            np.testing.assert_array_equal(variable, copy)
    # Damaged files are renamed, not deleted.
    assert checkpoints.steps() == [3]
    assert all(
        name.startswith(("ckpt-3.", "damaged-ckpt-5.")) for name in names(tmp_path)
    )
    # Without a whole checkpoint the run must not start again by itself.
    (data,) = tmp_path.glob("ckpt-3.data*")
    DAMAGES[damage](data, tmp_path / "ckpt-3.index")
    with pytest.raises(DamagedCheckpoint, match=r"steps \[3\]"):
        checkpoints.restore_latest(other.parts)
    assert checkpoints.steps() == [3]
    # Training writes the damaged step again.
    assert save(gan, tmp_path, [5]).restore_latest(other.parts) == 5


def test_one_not_written_to_the_end_does_not_count(tmp_path, monkeypatch, pair):
    gan, _ = pair
    folder, killed = tmp_path / "run", tmp_path / "killed"
    save(gan, folder, [3])
    before = names(folder)
    replace = pathlib.Path.replace

    def copy_before_the_index(path, target):
        if path.suffix == ".index":
            # The files that a process leaves that is killed here.
            shutil.copytree(folder, killed)
        return replace(path, target)

    monkeypatch.setattr(pathlib.Path, "replace", copy_before_the_index)
    save(gan, folder, [5])
    monkeypatch.undo()
    # Tensors, but no index.
    assert names(killed) - before == {
        ".ckpt-5.partial",
        "ckpt-5.data-00000-of-00001",
    }
    assert Checkpoints(killed).steps() == [3]
    # The next checkpoint removes the rest.
    save(gan, killed, [7])
    assert names(killed) == before | {
        "ckpt-7.data-00000-of-00001",
        "ckpt-7.index",
    }


def test_one_that_cannot_be_written_leaves_the_others(tmp_path, monkeypatch, pair):
    gan, _ = pair
    checkpoints = save(gan, tmp_path, [3, 5])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    error = tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    def fail(*args):
        raise error

    monkeypatch.setattr(tf.train.Checkpoint, "write", fail)
    for step in (5, 7):
        with pytest.raises(OSError, match="ckpt-.* No space left .*step [35]"):
            save(gan, tmp_path, [step])
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"checkpoints/ckpt-1 .*\(none\)"):
        save(gan, tmp_path / "file" / "checkpoints", [1])
    assert checkpoints.restore_latest(gan.parts) == 5


def test_files_of_a_killed_write_are_removed(tmp_path, pair):
    gan, _ = pair
    left = tmp_path / ".ckpt-3.partial" / "ckpt-3_temp"
    left.mkdir(parents=True)
    (left / "part-0").touch()
    save(gan, tmp_path, [3])
    assert names(tmp_path) == {"ckpt-3.data-00000-of-00001", "ckpt-3.index"}


def test_an_error_of_access_is_no_damage(tmp_path, monkeypatch, pair):
    gan, _ = pair
    checkpoints = save(gan, tmp_path, [3, 5])

    def refuse(*args):
        raise tf.errors.PermissionDeniedError(None, None, "Permission denied")

    monkeypatch.setattr(tf.train.Checkpoint, "read", refuse)
    with pytest.raises(OSError, match="ckpt-5.*Permission denied"):
        checkpoints.restore_latest(gan.parts)
    assert checkpoints.steps() == [3, 5]


@pytest.mark.parametrize(
    "num_latest, every, kept",
    [
        (2, None, [9, 10]),
        (1, 4, [0, 4, 8, 10]),
        (3, 5, [0, 5, 8, 9, 10]),
        (20, None, list(range(11))),
    ],
)
def test_the_latest_and_multiples_are_kept(
    tmp_path, num_latest, every, kept, monkeypatch
):
    for step in range(11):
        for ending in ("index", "data-00000-of-00002", "data-00001-of-00002"):
            (tmp_path / f"ckpt-{step}.{ending}").touch()
    checkpoints = Checkpoints(tmp_path)
    unlink, deleted = pathlib.Path.unlink, []

    def record(path, **options):
        deleted.append(path.suffix)
        unlink(path, **options)

    monkeypatch.setattr(pathlib.Path, "unlink", record)
    checkpoints.keep(num_latest, every)
    assert checkpoints.steps() == kept
    assert len(names(tmp_path)) == 3 * len(kept)
    # The index first: a process that is killed then leaves no half of a checkpoint.
    assert deleted[::3] == (11 - len(kept)) * [".index"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["generator", "average", "g_optimizer", "d_optimizer"])
def test_numbers_that_are_not_finite_are_refused(part, value, pair):
    gan, _ = pair
    gan.g_optimizer.iterations.assign(7)
    gan.check_finite()
    variable = getattr(gan, part).variables[-1]
    good, bad = variable.numpy(), variable.numpy()
    bad.flat[-1] = value
    variable.assign(bad)
    with pytest.raises(Diverged, match=f"1 of .* such as {variable.path}, at step 7"):
        gan.check_finite()
    variable.assign(good)


def test_parts_may_be_any_networks_optimizers_and_variables(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    pairs = []
    for value in (1.0, 2.0):
        network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        optimizer = keras.optimizers.SGD(momentum=0.9)
        optimizer.build(network.trainable_variables)
        counter = keras.Variable(value, trainable=False)
        network.set_weights([np.full(w.shape, value) for w in network.get_weights()])
        pairs.append({"net": network, "optimizer": optimizer, "counter": counter})
    assert checkpoints.restore_latest(pairs[1]) is None
    checkpoints.save(7, pairs[0])
    assert checkpoints.restore_latest(pairs[1]) == 7
    assert float(pairs[1]["counter"]) == 1
    for weight in pairs[1]["net"].get_weights():
        np.testing.assert_array_equal(weight, np.ones_like(weight))


def test_checkpoints_of_a_checkpoint_manager_are_read(tmp_path):
    counter, other = keras.Variable(3.0), keras.Variable(0.0)
    checkpoint = tf.train.Checkpoint(counter=counter.value)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=1)
    manager.save(checkpoint_number=4)
    assert Checkpoints(tmp_path).restore_latest({"counter": other}) == 4
    assert float(other) == 3
