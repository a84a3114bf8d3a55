"""docs/objectives.md: its gin lines train, and its equations are the code's."""

import re

import numpy as np
import pages
import pytest
import tensorflow as tf
from scipy.special import softmax

from ssgan_tf import config, penalties
from ssgan_tf.config import gan
from ssgan_tf.config.gan import penalty
from ssgan_tf.rotation import (
    LabelAugmentedTask,
    MinimaxRotationTask,
    RotationTask,
    rotation_loss,
)
from ssgan_tf.tasks import DiscriminatorOutputs

TEXT = pages.read("docs/objectives.md")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))
BLOCKS = [
    pytest.param(block, id=f"{heading}-{number}")
    for heading, section in SECTIONS.items()
    for number, block in enumerate(pages.blocks(section, "gin"))
]
SMALL = ["G.width = 4", "D.width = 4", "options.z_dim = 8"]


def plan(block: str, folder) -> config.Plan:
    """The quick start, changed by the block, with small networks."""
    path = folder / "mine.gin"
    path.write_text(block)
    config.parse(["quickstart.gin", str(path)], SMALL)
    return config.plan()


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's table, without its header."""
    lines = re.findall(r"^\| (.*) \|$", SECTIONS[heading], re.M)
    return [[cell.strip() for cell in line.split("|")] for line in lines[1:]]


@pytest.mark.parametrize("block", BLOCKS)
def test_gin_blocks_parse(block, tmp_path):
    assert plan(block, tmp_path).dataset == "digits32"


@pytest.mark.slow
def test_every_block_takes_a_step_and_logs_its_numbers(tmp_path):
    logged = set()
    for block in BLOCKS:
        made = plan(*block.values, tmp_path)
        gan = made.build_gan()
        size = made.options.batch_size
        images = np.random.default_rng(0).integers(0, 256, (size, 32, 32, 1), np.uint8)
        logs = gan.train_step((images, np.arange(size, dtype=np.int32) % 10))
        assert set(logs) == set(gan.log_names), block.id
        assert all(np.isfinite(value) for value in logs.values()), block.id
        logged |= set(logs)
    assert logged == set(re.findall(r"`((?:loss|accuracy|logits)/\w+)`", TEXT))


def formula(equation: str) -> str:
    """An equation of the page as Python."""
    code = re.sub(
        r"E_(real|fake) E_r log Q\((r|4|4 \+ r) \| x\^r\)", r"log_q(\1, '\2')", equation
    )
    code = re.sub(
        r"E_(real|fake) (.*?)(?= [+-] E_|\) / 2$| / 2$|$)",
        lambda match: f"mean({match[2].replace('D(x)', match[1])})",
        code,
    )
    return re.sub(r"log s\((\w+)\)", r"log(s(\1))", code).replace("^", "**")


def logits(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return 2 * np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize(
    ("name", "d_loss", "g_loss", "at_zero"), rows("Adversarial losses")
)
def test_adversarial_equations(name, d_loss, g_loss, at_zero):
    functions = {
        "mean": np.mean,
        "max": np.maximum,
        "log": np.log,
        "s": lambda logit: 1 / (1 + np.exp(-logit)),
    }
    config.parse([], [f"loss.fn = {name.strip('`')}"])
    loss = gan.loss()
    for real, fake in (
        (logits((9, 1), 0), logits((9, 1), 1)),
        (np.zeros([9, 1], "float32"),) * 2,
    ):
        symbols = functions | {"real": real, "fake": fake}
        expected = [eval(formula(text), symbols) for text in (d_loss, g_loss)]
        actual = [loss.d_loss(real, fake), loss.g_loss(fake)]
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    # The last pair of logits is zero; the page rounds its losses.
    np.testing.assert_allclose(actual, eval(at_zero), atol=5e-4)


@pytest.mark.parametrize(
    ("heading", "make_task", "classes"),
    [
        ("SS-GAN", RotationTask, 4),
        ("Rotation only", RotationTask, 4),
        ("SS-GAN-MS", MinimaxRotationTask, 5),
        ("SSGAN-LA", LabelAugmentedTask, 8),
    ],
)
def test_rotation_equations(heading, make_task, classes):
    turns = np.repeat(np.arange(4), 3)
    task = make_task(len(turns), 0.7, 0.3)
    assert task.heads == {"rotation_logits": classes}

    def outputs(values):
        parts = ({"rotation_logits": tf.constant(p)} for p in np.split(values, [3]))
        return DiscriminatorOutputs(*parts, None)

    def log_q(values, named):
        chosen = {"r": turns, "4": 4 + 0 * turns, "4 + r": 4 + turns}[named]
        return np.log(softmax(values, axis=1)[np.arange(len(turns)), chosen]).mean()

    symbols = {"log_q": log_q, "beta": 0.7, "alpha": 0.3, "adversarial": 0.0}
    symbols |= {"real": logits((12, classes), 0), "fake": logits((12, classes), 1)}
    equations = dict(re.findall(r"^    (L_[DG]) = (.*)$", SECTIONS[heading], re.M))
    real, fake = outputs(symbols["real"]), outputs(symbols["fake"])
    d_loss, _ = task.d_loss(real, fake if task.d_sees_fakes else None, 0)
    g_loss, _ = task.g_loss(fake, 0)
    for name, actual in (("L_D", d_loss), ("L_G", g_loss)):
        expected = eval(formula(equations[name]), symbols)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_chance_levels_of_rotation_heads():
    pairs = re.findall(r"(\d\.\d+) = log (\d+)", TEXT)
    assert {int(classes) for _, classes in pairs} == {4, 5, 8}
    for nats, classes in pairs:
        loss = rotation_loss(tf.zeros([4, int(classes)]), tf.range(4))
        np.testing.assert_allclose(loss, float(nats), atol=5e-4)


@pytest.mark.parametrize("row", rows("Penalties"), ids=lambda row: row[0])
def test_penalties_of_a_flat_d(row):
    name, _, flat, _ = row
    config.parse([], [f"penalty.fn = {name.strip('`')}"])
    made, _ = penalty()
    if not flat:
        assert made is None or isinstance(made, penalties.L2)
        return

    def discriminator(images, training):
        return {"logits": 0.0 * tf.reduce_sum(images, axis=[1, 2, 3], keepdims=False)}

    actual = made.value(discriminator, tf.ones([2, 4, 4, 1]), None)
    np.testing.assert_allclose(actual, float(flat), atol=5e-4)
