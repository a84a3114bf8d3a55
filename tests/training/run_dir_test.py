"""The run directory: paths, checkpoints, and whose configuration it belongs to."""

import os
import platform
import subprocess
import sys

import keras
import pytest

from ssgan_tf import config
from ssgan_tf.modules.metadata import METADATA
from ssgan_tf.training.run_dir import RunDir, bindings
from ssgan_tf.utils import environment


def save(run: RunDir, step: int) -> None:
    run.checkpoints.save(step, {"counter": keras.Variable(step)})


def test_an_empty_path_stays_empty(tmp_path):
    run = RunDir(tmp_path / "new" / "run")
    run.check_usable()
    run.check_config("options.batch_size = 3", "")
    assert run.checkpoints.steps() == [] and run.configs() == []
    for call in (run.latest_step, run.latest_config):
        with pytest.raises(FileNotFoundError, match=f"model_dir={run.path}"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_configs_are_compared(tmp_path):
    run = RunDir(tmp_path / "run")
    first = "# Comment.\noptions.batch_size = 3\nloss.fn = @hinge\n"
    run.write_config(first, 0)
    run.check_config("loss.fn = @hinge\n\n# Other.\noptions.batch_size = 3", "")
    changed = first.replace("3", "4")
    with pytest.raises(config.ConfigError) as caught:
        run.check_config(changed, changed)
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


def test_bindings():
    text = (
        "# Parameters for a:\n# ===\na.b = 1\na.c = \\\n    ('x = 1',\n     'y')\n"
        "# None.\n\ns/d.e = @f\nd.g = \\\n    'long'\n"
    )
    assert bindings(text) == {
        "a.b": "1",
        "a.c": "('x = 1', 'y')",
        "s/d.e": "@f",
        "d.g": "'long'",
    }


def test_parameters_of_a_later_version_are_no_change(tmp_path):
    run = RunDir(tmp_path / "run")
    old = "options.batch_size = 3\nz.names = \\\n    ['a',\n     'b']\n"
    run.write_config(old, 0)
    new = "dataset.flip = False\n" + old
    run.check_config(new, "options.batch_size = 3")
    with pytest.raises(config.ConfigError, match=r"\+dataset.flip = True\nChoose"):
        run.check_config(new.replace("False", "True"), "dataset.flip = True")
    # A parameter that is no longer known may have been in force.
    with pytest.raises(config.ConfigError, match=r"-options.batch_size = 3\nChoose"):
        run.check_config(new.replace("options.batch_size = 3", ""), "")
    # A value of several lines is one value.
    with pytest.raises(config.ConfigError, match="-z.names.*'b'.*\\n.*z.names.*'c'"):
        run.check_config(old.replace("'b'", "'c'"), "")
    with pytest.raises(config.ConfigError, match="-z.names.*'b'.*\\n.*z.names.*'a',]"):
        run.check_config(old.replace("\n     'b'", "]"), "")


def test_a_changed_folder_is_a_warning(tmp_path, caplog):
    run = RunDir(tmp_path / "run")
    for fingerprint, warned in (("a", 0), ("a", 0), ("b", 1), ("b", 1)):
        run.note_folder(fingerprint)
        assert caplog.text.count("folder of images") == warned


@pytest.mark.parametrize(
    "content", ["{", "[]", "3", "{}", '{"commit": null, "cpu": "", "cores": 1}']
)
def test_a_damaged_environment_is_named(tmp_path, content):
    run = RunDir(tmp_path)
    whole = environment.facts()
    run.write_environment(whole, 0)
    assert run.environments() == {0: whole}
    path = tmp_path / "environment-10.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        run.environments()


def test_paths_that_cannot_hold_a_run(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OSError, match=f"model_dir={path} .*/file "):
            RunDir(path).check_usable()
    # A folder that holds something else is usable.
    (tmp_path / "notes.txt").write_text("mine")
    RunDir(tmp_path).check_usable()
    # Checkpoints whose configuration is lost are not.
    save(RunDir(tmp_path), 3)
    with pytest.raises(ValueError, match="operative_config"):
        RunDir(tmp_path).check_usable()


def test_a_module_older_than_its_checkpoint_does_not_count(tmp_path):
    run = RunDir(tmp_path)
    save(run, 3)
    assert not run.has_module(3)
    run.module(3).mkdir(parents=True)
    metadata = run.module(3) / METADATA
    metadata.write_text("{}")
    assert run.has_module(3)
    os.utime(metadata, (1, 1))
    assert not run.has_module(3)


def test_a_step_without_a_checkpoint_is_refused(tmp_path):
    run = RunDir(tmp_path)
    save(run, 10)
    run.check_step(10)
    assert run.latest_step() == 10
    with pytest.raises(FileNotFoundError, match=r"step=7.* \[10\]"):
        run.check_step(7)


# What `RunDir.claimed` does, without TensorFlow.
CLAIM = """
import sys
from ssgan_tf.utils.files import try_lock
with try_lock(sys.argv[1] + "/.training"):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_trains(tmp_path):
    run = RunDir(tmp_path / "run")
    other = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdout.readline() == b"mine\n"
        whose = f"process {other.pid} on {platform.node()}"
        with pytest.raises(OSError, match=f"model_dir={run.path} {whose} is"):
            with run.claimed():
                pytest.fail("two at a time")
        # The lock ends with the process, however that ends.
        other.kill()
    for _ in range(2):
        with run.claimed():
            text = (run.path / ".training").read_text()
            assert text == f"process {os.getpid()} on {platform.node()}\n"
