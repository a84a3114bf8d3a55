"""Files of earlier versions still work; `data/README.md` describes them."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from paths import TESTS

from ssgan_tf import config, datasets, modules
from ssgan_tf.experiments import forgetting
from ssgan_tf.experiments.jobs import Campaign, Job, command
from ssgan_tf.training import loop
from ssgan_tf.training.checkpoint_export import load_run
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import strategies
from ssgan_tf.utils.startup import StartUp

FOLDER = TESTS / "data" / "commit_a02fc38"
# The same operations in another order of additions, on another machine.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as arrays:
        return dict(arrays)


def test_a_run_continues_to_the_same_weights(tmp_path, expected):
    shutil.copytree(FOLDER / "run", tmp_path / "run")
    plan, run = load_run(tmp_path / "run")
    gan = loop.build(plan, strategies.get_strategy("one_device"), warm=False)
    loop.train(gan, plan, run, start_up=StartUp())
    assert gan.step == 4
    checkpoint = tf.train.load_checkpoint(run.checkpoints.prefix(4))
    before = tf.train.load_checkpoint(str(FOLDER / "run" / "checkpoints" / "ckpt-2"))
    keys = [key.removeprefix("step 4 ") for key in expected if key.startswith("step")]
    assert len(keys) > 100
    moved = 0
    for key in keys:
        tensor = f"{key}/.ATTRIBUTES/VARIABLE_VALUE"
        value = checkpoint.get_tensor(tensor)
        np.testing.assert_allclose(
            value, expected[f"step 4 {key}"], **TOLERANCE, err_msg=key
        )
        moved += not np.allclose(value, before.get_tensor(tensor), **TOLERANCE)
    # The comparison tells step 4 from step 2.
    assert moved > len(keys) / 2


def test_an_operative_config_says_the_same():
    text = (FOLDER / "run" / "operative_config-0.gin").read_text()
    config.parse([str(FOLDER / "run" / "operative_config-0.gin")])
    plan = config.plan()
    assert plan.options.training_steps == 4 and plan.run.seed == 0
    plan.build_gan()
    assert config.operative_config().strip() == text.strip()


def test_a_module_loads_and_gives_the_same_images(expected):
    module = modules.load(FOLDER / "module")
    samples = module.sample(4, seed=0)
    np.testing.assert_allclose(samples, expected["samples"], atol=1e-5)
    outputs = module.discriminate(expected["samples"])
    for name in ("logits", "rotation_logits"):
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5)


def test_a_prepared_data_set_is_found(tmp_path):
    # TFDS makes a lock file beside the data.
    shutil.copytree(FOLDER / "prepared", tmp_path / "prepared")
    images, _ = datasets.load_split("celeb_a64", "train", tmp_path / "prepared")
    assert sorted(images.mean((1, 2, 3))) == [0, 20, 40, 60]
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == [
        "ssgan_prepared"
    ]


def test_a_forgetting_run_continues(tmp_path):
    shutil.copytree(FOLDER / "forget", tmp_path / "forget")
    run = RunDir(tmp_path / "forget")
    config.parse([str(run.latest_config())])
    before = (FOLDER / "forget" / "forgetting.csv").read_text().splitlines()
    forgetting.train(config.forgetting(), run)
    rows = (tmp_path / "forget" / "forgetting.csv").read_text().splitlines()
    # At step 8 the task changes: that row is the new task's.
    assert rows[: len(before) - 1] == before[:-1]
    assert [row.split(",")[:2] for row in rows[-3:]] == [
        ["8", "2"],
        ["10", "2"],
        ["12", "2"],
    ]
    assert (tmp_path / "forget" / "TRAIN_DONE").exists()


def test_records_of_finished_commands_still_count(tmp_path):
    job = Job("one", (command("train", "--a=1"), command("probe", "--b=2")))
    campaign = Campaign(tmp_path)
    campaign.run_dir(job).mkdir(parents=True)
    record = tmp_path / "jobs" / "one.json"
    record.parent.mkdir()
    lines = [
        {"arguments": ["-m", "ssgan_tf.train", "--a=1"], "seconds": 2.0},
        {"arguments": ["-m", "ssgan_tf.probe", "--b=2"], "seconds": 1.0},
    ]
    record.write_text(json.dumps(lines[:1]))
    assert not campaign.is_done(job)
    record.write_text(json.dumps(lines))
    assert campaign.is_done(job) and campaign.seconds(job) == 3.0
