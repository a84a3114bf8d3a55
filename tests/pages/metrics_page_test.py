"""docs/metrics.md has exactly the numbers that the code writes."""

import csv
import dataclasses
import itertools
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
import tiny
from paths import ROOT
from tensorboard.backend.event_processing import event_file_loader

from ssgan_tf import losses, penalties
from ssgan_tf.evaluation import linear_probe, metrics, protocols
from ssgan_tf.evaluation.score_table import ModuleScores, ScoreTable
from ssgan_tf.experiments import forgetting, probe, results
from ssgan_tf.training import schedule
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import environment, strategies
from ssgan_tf.utils.startup import StartUp

# The architecture that compiles fastest.
DCGAN = ("options.architecture = 'dcgan'", "ModularGAN.g_use_ema = False")
S3GAN = (
    *DCGAN,
    "dataset.label_fraction = 0.5",
    "options.gan_class = @S3GAN",
    "ModularGAN.conditional = True",
    "G.batch_norm_fn = @conditional_batch_norm",
    "S3GAN.rotated_batch_fraction = 2",
    "S3GAN.use_predictor = True",
)
CONFUSIONS = dict.fromkeys(("real", "fake"), np.eye(4, dtype=int).tolist())


TEXT = (ROOT / "docs" / "metrics.md").read_text()


def tables() -> dict[str, list[list[str]]]:
    """Section -> for each of its tables, the names in the first column."""
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    return {
        section.splitlines()[0]: [
            [
                name
                # Below the header and the rule.
                for row in part.splitlines()[2:]
                for name in re.findall(r"`([^`]+)`", row.split("|")[1])
            ]
            for part in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
        ]
        for section in sections[1:]
    }


GLOSSARY = {
    section: [set(names) for names in parts] for section, parts in tables().items()
}


def written(folder) -> set[str]:
    """All tags in the events of a folder."""
    return {
        value.tag
        for path in pathlib.Path(folder).glob("events.out.tfevents.*")
        for event in event_file_loader.EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }


def names_of(record) -> set[str]:
    return {field.name for field in dataclasses.fields(record)}


def test_no_table_repeats_a_name():
    for names in itertools.chain.from_iterable(tables().values()):
        assert len(names) == len(set(names))


def test_tags_of_training(tmp_path):
    plan = tiny.plan(
        *DCGAN,
        "options.training_steps = 1",
        "SSGAN.self_supervision = 'minimax_rotation'",
        "penalty.fn = @l2_penalty",
        "run_config.save_checkpoints_steps = 1",
    )
    run = RunDir(tmp_path)
    schedule.train_and_evaluate(
        plan,
        run,
        schedule.Settings(jit_compile="false", eval_every_steps=0),
        start_up=StartUp(),
        get_strategy=lambda: strategies.get_strategy("one_device"),
    )
    tags = {
        re.sub(r"^(sigma/.)/.*", r"\1/<layer>", tag) for tag in written(run.tensorboard)
    }
    (named,) = GLOSSARY["TensorBoard: training"]
    assert tags <= named
    # The tags that this objective lacks are in the `log_names` of S3GAN.
    assert named - tags == set(tiny.plan(*S3GAN).build_gan().log_names) - tags


def test_reference_values():
    zeros = tf.zeros((4, 1))
    pairs = {
        "hinge": losses.Hinge(),
        "non-saturating": losses.NonSaturating(),
        "least squares": losses.LeastSquares(),
        "Wasserstein": losses.Wasserstein(),
    }
    d_row, g_row, penalty_row = (
        re.search(rf"^\| `{tag}`.*", TEXT, re.MULTILINE)[0]
        for tag in ("loss/d", "loss/g", "loss/penalty")
    )
    for name, pair in pairs.items():
        assert f"{name} {round(float(pair.d_loss(zeros, zeros)), 3):g}" in d_row
    assert "hinge and Wasserstein 0" in g_row
    for name, pair in pairs.items():
        value = round(float(pair.g_loss(zeros)), 3)
        assert f"{name} {value:g}" in g_row or value == 0
    flat = penalties.WganGP().target(tf.zeros(4))
    assert f"{float(flat):.3f}" in penalty_row
    for count in (2, 4, 5, 8):
        assert f"log({count}) = {np.log(count):.3f}" in TEXT
    assert f"{np.log(10):.3f}" in TEXT
    count = 50_000
    fraction = np.prod([(count - i) / (2 * count - i) for i in range(1, 6)])
    assert f"{1 - fraction:.3f} for equal numbers" in TEXT


def test_scores_are_those_of_the_page_of_scores():
    # metrics_test.py compares that table with what the metrics compute.
    text = (ROOT / "docs" / "scores.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (`.*?`) \|", text, re.MULTILINE)
    assert {key for key, _ in rows} == set(metrics.METRICS)
    numbers = {name for _, cell in rows for name in re.findall(r"`(\w+)`", cell)}
    sided = {
        f"{name}_{side}"
        for name in ("rotation_accuracy", "logit_spread")
        for side in ("real", "fake")
    }
    assert GLOSSARY["Scores"] == [numbers | sided]


def test_tags_and_columns_of_scores(tmp_path):
    scores = ModuleScores({"fid": [1.0, 2.0]}, CONFUSIONS)
    schedule.show_scores(tmp_path, 1, scores)
    (tags,) = GLOSSARY["TensorBoard: scores"]
    assert {tag.replace("<score>", "fid") for tag in tags} == written(tmp_path)
    table = ScoreTable(tmp_path / "scores.csv")
    table.add(
        scores,
        step=1,
        checkpoint="ckpt-1",
        weights_sha256="weights",
        protocol="protocol",
        config="config",
        metrics=("fid",),
    )
    with table.path.open(newline="") as file:
        columns = next(csv.reader(file))
    (named,) = GLOSSARY["scores.csv"]
    assert {name.replace("<score>", "fid") for name in named} == set(columns)


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("environment-<step>.json", set(environment.facts())),
        ("Protocol of a score", names_of(protocols.Protocol)),
        ("probe.csv", names_of(probe.BlockScore)),
        ("forgetting.csv", names_of(forgetting.Row)),
        ("results.csv", names_of(results.Measurement)),
    ],
)
def test_columns_and_facts(section, names):
    assert GLOSSARY[section][0] == names


def test_protocol_of_the_probe():
    # Read from the source: computing them takes a trained run.
    source = pathlib.Path(probe.__file__).read_text()
    (facts,) = re.findall(r"for key, value in \{(.*?)\}\.items", source, re.DOTALL)
    keys = {*re.findall(r'"(\w+)":', facts), *linear_probe.protocol()}
    assert GLOSSARY["probe.csv"][1] == keys


def test_tags_of_forgetting(tmp_path):
    values = dict(accuracy=0.5, loss=0.6, rotation_accuracy=0.7, protocol="protocol")
    with tf.summary.create_file_writer(str(tmp_path)).as_default() as writer:
        forgetting.write_summaries(writer, forgetting.Row(step=1, task=0, **values))
    assert GLOSSARY["forgetting.csv"][1] == written(tmp_path)


def test_metrics_of_results():
    # Two cycles of three tasks, of three tests each.
    points = [(step, step // 3 % 3, 0.5) for step in range(18)]
    assert GLOSSARY["results.csv"][1] == {
        *("<score>", results.PROBE, results.PROBE_PEAK, results.PROBE_END),
        *(results.FORGETTING, *results.forgetting_summary(points)),
    }


def test_every_section_is_tested():
    source = pathlib.Path(__file__).read_text()
    assert all(f'"{section}"' in source for section in GLOSSARY)
