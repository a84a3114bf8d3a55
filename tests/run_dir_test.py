"""The run directory: paths, checkpoints, and whose configuration it belongs to."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tiny

from ssgan_tf import config, exporting
from ssgan_tf.run_dir import RunDir, checkpoint_of, restore


def save(gan, run: RunDir, *steps: int) -> None:
    manager = tf.train.CheckpointManager(
        checkpoint_of(gan), str(run.checkpoints), None, checkpoint_name="ckpt"
    )
    for step in steps:
        manager.save(checkpoint_number=step)


def randomize(gan, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for owner in (*networks_of(gan), gan.g_optimizer, gan.d_optimizer):
        for variable in owner.variables:
            value = rng.uniform(0.5, 9.5, variable.shape)
            variable.assign(value.astype(variable.dtype))


def networks_of(gan):
    return gan.generator, gan.discriminator, gan.average


def test_an_empty_place_holds_nothing_and_gets_nothing(tmp_path):
    run = RunDir(tmp_path / "new" / "run")
    run.check_usable()
    run.check_config("options.batch_size = 3")
    assert run.checkpoint_steps() == [] and run.configs() == []
    for call in (run.latest_step, run.latest_config):
        with pytest.raises(FileNotFoundError, match=f"model_dir={run.path}"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_are_listed_by_number_when_whole(tmp_path):
    gan = tiny.plan().build_gan()
    run = RunDir(tmp_path)
    save(gan, run, 0, 5, 10, 100)
    assert run.checkpoint_steps() == [0, 5, 10, 100]
    assert run.latest_step() == 100
    with pytest.raises(FileNotFoundError, match=r"step=7; .* \[0, 5, 10, 100\]"):
        run.checkpoint(7)
    (run.checkpoints / "ckpt-100.index").unlink()
    assert run.latest_step() == 10
    # A run may be moved.
    moved = RunDir(tmp_path / "moved")
    run.checkpoints.rename(moved.checkpoints.parent.mkdir() or moved.checkpoints)
    restore(gan, moved.checkpoint(moved.latest_step()))


def test_a_checkpoint_holds_every_variable(tmp_path):
    plan = tiny.plan()
    gan, other = plan.build_gan(), plan.build_gan()
    randomize(gan, 1)
    randomize(other, 2)
    run = RunDir(tmp_path)
    save(gan, run, 3)
    restore(other, run.checkpoint(3))
    owners = [*networks_of(gan), gan.g_optimizer, gan.d_optimizer]
    others = [*networks_of(other), other.g_optimizer, other.d_optimizer]
    for owner, twin in zip(owners, others, strict=True):
        for variable, copy in zip(owner.variables, twin.variables, strict=True):
            same = np.array_equal(variable.numpy(), copy.numpy())
            # The learning rate is the configuration's, not the checkpoint's.
            assert same != (variable.name == "learning_rate"), variable.path


def test_a_changed_learning_rate_takes_effect(tmp_path):
    gan = tiny.plan("ModularGAN.g_lr = 0.5").build_gan()
    save(gan, RunDir(tmp_path), 3)
    other = tiny.plan("ModularGAN.g_lr = 0.25").build_gan()
    restore(other, RunDir(tmp_path).checkpoint(3))
    assert float(other.g_optimizer.learning_rate) == 0.25
    assert float(other.d_optimizer.learning_rate) == 0.25


def test_a_changed_schedule_takes_effect(tmp_path):
    gan = tiny.plan().build_gan()
    randomize(gan, 1)
    save(gan, RunDir(tmp_path), 3)
    # A schedule is no variable: nothing else may be taken for what it replaces.
    other = tiny.plan("ModularGAN.lr_schedule = 'linear'").build_gan()
    restore(other, RunDir(tmp_path).checkpoint(3))
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
@pytest.mark.parametrize("larger_first", [True, False])
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, binding, larger_first):
    run = RunDir(tmp_path)
    bindings = [(), (binding,)] if larger_first else [(binding,), ()]
    save(tiny.plan(*bindings[0]).build_gan(), run, 3)
    other = tiny.plan(*bindings[1]).build_gan()
    with pytest.raises(ValueError, match="whole and fit.*ckpt-3"):
        restore(other, run.checkpoint(3))


def test_a_damaged_checkpoint_is_refused(tmp_path):
    gan = tiny.plan().build_gan()
    run = RunDir(tmp_path)
    save(gan, run, 3)
    (data,) = run.checkpoints.glob("ckpt-3.data*")
    os.truncate(data, 100)
    with pytest.raises(ValueError, match="whole and fit.*ckpt-3"):
        restore(gan, run.checkpoint(3))


def test_configs_are_compared(tmp_path):
    run = RunDir(tmp_path / "run")
    first = "# Comment.\noptions.batch_size = 3\nloss.fn = @hinge\n"
    run.write_config(first, 0)
    run.check_config("loss.fn = @hinge\n\n# Other.\noptions.batch_size = 3")
    changed = first.replace("3", "4")
    with pytest.raises(config.ConfigError) as caught:
        run.check_config(changed)
    message = str(caught.value)
    assert f"model_dir={run.path}" in message
    assert "-options.batch_size = 3\n  +options.batch_size = 4" in message
    assert "hinge" not in message
    assert "--allow_config_change" in message

    run.write_config(first, 10)  # As before: no new file.
    run.write_config(changed, 100)
    assert run.latest_config().read_text() == changed
    # Back to an earlier checkpoint: what came after it is no longer in force.
    run.write_config(changed, 20)
    names = [path.name for path in run.configs()]
    assert names == [f"operative_config-{step}.gin" for step in (0, 20)]
    assert run.latest_config().read_text() == changed


def test_places_where_no_run_can_be(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OSError, match=f"model_dir={path}, but .*file is no folder"):
            RunDir(path).check_usable()
    # A folder that holds something else is usable.
    (tmp_path / "notes.txt").write_text("mine")
    RunDir(tmp_path).check_usable()
    # Checkpoints whose configuration is lost are not.
    save(tiny.plan().build_gan(), RunDir(tmp_path), 3)
    with pytest.raises(ValueError, match="operative_config"):
        RunDir(tmp_path).check_usable()


def test_a_module_older_than_its_checkpoint_does_not_count(tmp_path):
    run = RunDir(tmp_path)
    save(tiny.plan().build_gan(), run, 3)
    assert not run.has_module(3)
    run.module(3).mkdir(parents=True)
    metadata = run.module(3) / exporting.METADATA
    metadata.write_text("{}")
    assert run.has_module(3)
    os.utime(metadata, (1, 1))
    assert not run.has_module(3)
