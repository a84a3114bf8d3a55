"""Checkpoints: whole or skipped, kept by a rule, of everything that trains."""

import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tiny
from absl import logging

from ssgan_tf.gan import Diverged
from ssgan_tf.training.checkpoints import Checkpoints, DamagedCheckpoint


def save(gan, folder, *steps: int) -> Checkpoints:
    found = Checkpoints(folder)
    for step in steps:
        gan.g_optimizer.iterations.assign(step)
        found.save(gan)
    return found


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
    found = save(gan, tmp_path / "run", 0, 5, 10, 100)
    assert found.steps() == [0, 5, 10, 100]
    pathlib.Path(found.prefix(100) + ".index").unlink()
    (found.folder / "ckpt-x.index").touch()
    assert found.steps() == [0, 5, 10]
    # A run may be moved.
    moved = Checkpoints(shutil.move(found.folder, tmp_path / "moved"))
    assert moved.restore_latest(gan) == gan.step == 10


def test_a_checkpoint_holds_every_variable(tmp_path, pair):
    gan, other = pair
    randomize(gan, 1)
    randomize(other, 2)
    gan.rollbacks.assign(2)
    save(gan, tmp_path, 3).restore(other, 3)
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
    found = save(gan, tmp_path, 3)
    other = tiny.plan("ModularGAN.g_lr = 0.25").build_gan()
    found.restore(other, 3)
    assert float(other.g_optimizer.learning_rate) == 0.25
    assert float(other.d_optimizer.learning_rate) == 0.25


def test_a_changed_schedule_takes_effect(tmp_path):
    gan = tiny.plan().build_gan()
    randomize(gan, 1)
    found = save(gan, tmp_path, 3)
    # A schedule is no variable: nothing else may be taken for what it replaces.
    other = tiny.plan("ModularGAN.lr_schedule = 'linear'").build_gan()
    found.restore(other, 3)
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
        found = save(saved, tmp_path, 3)
        for restore in (lambda gan: found.restore(gan, 3), found.restore_latest):
            with pytest.raises(ValueError, match="fit the conf.*ckpt-3") as caught:
                restore(other)
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
def test_a_damaged_checkpoint_is_skipped(tmp_path, damage, monkeypatch, pair):
    gan, other = pair
    randomize(other, 2)
    randomize(gan, 1)
    found = save(gan, tmp_path, 3, 5)
    (data,) = tmp_path.glob("ckpt-5.data*")
    DAMAGES[damage](data, tmp_path / "ckpt-5.index")
    with pytest.raises(DamagedCheckpoint, match="must be whole.*ckpt-5"):
        found.restore(gan, 5)
    said = []
    monkeypatch.setattr(
        logging, "warning", lambda text, *args: said.append(text % args)
    )
    assert found.restore_latest(other) == other.step == 3
    (line,) = said
    assert line.startswith("skipped: ") and "ckpt-5" in line
    gan.g_optimizer.iterations.assign(3)
    for owner, twin in zip(networks_of(gan), networks_of(other), strict=True):
        for variable, copy in zip(owner.variables, twin.variables, strict=True):
            np.testing.assert_array_equal(variable, copy)
    # What was damaged does not count any more, but is not lost.
    assert found.steps() == [3]
    assert all(
        name.startswith(("ckpt-3.", "damaged-ckpt-5.")) for name in names(tmp_path)
    )
    # With no other left the run must not begin anew by itself.
    (data,) = tmp_path.glob("ckpt-3.data*")
    DAMAGES[damage](data, tmp_path / "ckpt-3.index")
    with pytest.raises(DamagedCheckpoint, match=r"steps \[3\] are all damaged"):
        found.restore_latest(other)
    assert found.steps() == [3]
    # The step that was torn is written again when training comes there.
    assert save(gan, tmp_path, 5).restore_latest(other) == 5


def test_one_not_written_to_the_end_does_not_count(tmp_path, monkeypatch, pair):
    gan, _ = pair
    found = save(gan, tmp_path, 3)
    before = names(tmp_path)
    replace = pathlib.Path.replace

    def killed(path, target):
        if path.suffix == ".index":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(pathlib.Path, "replace", killed)
    monkeypatch.setattr(Checkpoints, "_sweep", lambda self: None)
    with pytest.raises(KeyboardInterrupt):
        save(gan, tmp_path, 5)
    # As the process left it: tensors, no index.
    assert names(tmp_path) - before == {
        ".ckpt-5.partial",
        "ckpt-5.data-00000-of-00001",
    }
    assert found.steps() == [3]
    monkeypatch.undo()
    # The next one that is written tidies up.
    save(gan, tmp_path, 7)
    assert names(tmp_path) == before | {
        "ckpt-7.data-00000-of-00001",
        "ckpt-7.index",
    }


def test_one_that_cannot_be_written_leaves_the_others(tmp_path, monkeypatch, pair):
    gan, _ = pair
    found = save(gan, tmp_path, 3, 5)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    error = tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    def fail(*args):
        raise error

    monkeypatch.setattr(tf.train.Checkpoint, "write", fail)
    for step in (5, 7):
        with pytest.raises(OSError, match="ckpt-.* No space left .*step [35]"):
            save(gan, tmp_path, step)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"must be writable.*\(none\)"):
        save(gan, tmp_path / "file" / "checkpoints", 1)
    assert found.restore_latest(gan) == 5


def test_what_a_killed_write_left_is_no_hindrance(tmp_path, pair):
    gan, _ = pair
    left = tmp_path / ".ckpt-3.partial" / "ckpt-3_temp"
    left.mkdir(parents=True)
    (left / "part-0").touch()
    save(gan, tmp_path, 3)
    assert names(tmp_path) == {"ckpt-3.data-00000-of-00001", "ckpt-3.index"}


def test_what_cannot_be_reached_is_not_taken_for_damaged(tmp_path, monkeypatch, pair):
    gan, _ = pair
    found = save(gan, tmp_path, 3, 5)

    def refuse(*args):
        raise tf.errors.PermissionDeniedError(None, None, "Permission denied")

    monkeypatch.setattr(tf.train.Checkpoint, "read", refuse)
    with pytest.raises(OSError, match="must be readable.*ckpt-5.*Permission denied"):
        found.restore_latest(gan)
    assert found.steps() == [3, 5]


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
    found = Checkpoints(tmp_path)
    unlink, deleted = pathlib.Path.unlink, []

    def record(path, **options):
        deleted.append(path.suffix)
        unlink(path, **options)

    monkeypatch.setattr(pathlib.Path, "unlink", record)
    found.keep(num_latest, every)
    assert found.steps() == kept
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
