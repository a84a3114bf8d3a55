"""The paper's studies: their numbers and runs."""

import re
import shlex

import pytest

from ssgan_tf import config
from ssgan_tf.experiments import recipes
from ssgan_tf.experiments.paper import (
    COND,
    PLAIN,
    ROTATION_ONLY,
    SSGAN,
    SSGAN_SBN,
    TABLE1,
    TABLE2,
    UNCOND,
    WITH_ROTATION,
)

# As printed in the paper.
PRINTED_1 = """
cifar10 19.73 15.60 17.11 15.65
imagenet128 56.67 42.07 47.56 43.87
lsun_bedroom 16.02 - 13.66 13.30
celeb_a_hq 23.77 - 26.11 24.36
"""
PRINTED_2 = """
GP 1 0 0.9 1 121.05 31.44 25.8 0.71 183.36 77.21 80.67 0.43
GP 1 0 0.9 2 28.11 0.66 26.98 0.54 85.13 2.88 83.08 0.38
GP 1 0.5 0.999 1 78.54 6.23 25.89 0.33 104.73 2.71 91.63 2.78
GP 10 0 0.9 1 188.52 64.54 28.48 0.68 227.04 31.45 85.38 2.7
GP 10 0 0.9 2 29.11 0.85 27.74 0.73 227.74 16.82 80.82 0.64
GP 10 0.5 0.999 1 117.67 17.46 25.22 0.38 242.71 13.62 144.35 91.4
SN 0 0 0.9 1 87.86 3.44 19.65 0.9 129.96 6.6 86.09 7.66
SN 0 0 0.9 2 20.24 0.62 17.88 0.64 80.05 1.33 70.64 0.31
SN 0 0.5 0.999 1 86.87 8.03 18.23 0.56 201.94 27.28 99.97 2.75
"""
# Uncond, Cond, Rot-only, SS-GAN (sBN), a line for each block.
PRINTED_3 = """
.719 .719 .710 .721
.762 .759 .749 .774
.778 .776 .762 .796
.776 .780 .752 .799
"""
PRINTED_4 = """
.074 .156 .147 .158
.063 .187 .134 .222
.073 .217 .158 .250
.083 .272 .202 .327
.077 .253 .196 .358
.074 .337 .195 .383
"""
PRINTED_FIGURE_4 = "28 22.4 20.9 23.8 17.3 16.4 26 19.0 17.8 21.2 18.0 16.5"

EVERY = [(name, scale) for name in recipes.STUDIES for scale in recipes.SCALES]


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


def paper(name: str, scale: str = "full", **fields) -> list[str]:
    """The paper's numbers of a study, in its order."""
    return [
        row.paper
        for row in recipes.study(name, scale, [0]).paper
        if all(getattr(row, key) == value for key, value in fields.items())
    ]


def test_table_1():
    for dataset, *numbers in rows(PRINTED_1):
        for arm, number in zip((UNCOND, COND, SSGAN, SSGAN_SBN), numbers, strict=True):
            printed = [] if number == "-" else [number]
            assert paper("table1", dataset=dataset, arm=arm) == printed
    assert len(paper("table1")) == 14


def test_table_2():
    for kind, weight, beta1, beta2, d_steps, *numbers in rows(PRINTED_2):
        parts = [kind.lower(), *[weight][: kind == "GP"], beta1, beta2, d_steps]
        cells = [
            paper("table2", dataset=dataset, row="_".join(parts), arm=arm)
            for dataset in ("cifar10", "imagenet128")
            for arm in (UNCOND, SSGAN)
        ]
        printed = [f"{a} +- {b}" for a, b in zip(numbers[::2], numbers[1::2])]
        assert cells == [[number] for number in printed]
    assert len(paper("table2")) == 36
    for numbers in TABLE2.values():
        assert list(numbers) == list(config.sweep_rows("table2.sweep"))


@pytest.mark.parametrize("name, text", [("table3", PRINTED_3), ("table4", PRINTED_4)])
def test_tables_of_blocks(name, text):
    columns = list(zip(*rows(text), strict=True))
    for arm, column in zip(
        (UNCOND, COND, ROTATION_ONLY, SSGAN_SBN), columns, strict=True
    ):
        numbers = paper(name, arm=arm)
        assert list(map(float, numbers)) == list(map(float, column))
        assert paper(name, arm=arm, block=2) == numbers[2:3]
    assert paper(name, arm=SSGAN) == []


def test_figures():
    assert paper("figure4") == PRINTED_FIGURE_4.split()
    assert paper("figure4", arm=COND, step=50_000) == ["17.3"]
    assert paper("figure2", arm=UNCOND) == ["0.23", "0.07"]
    assert paper("figure2", arm=ROTATION_ONLY) == ["0.29", "0.20"]
    assert paper("figure2", arm=SSGAN) == ["0.38", "0.38"]
    assert paper("figure3", arm=PLAIN) == ["0.49"]
    rotation = {"arm": WITH_ROTATION}
    assert paper("figure3", metric="floor_task_2", **rotation) == ["0.63"]
    assert paper("figure3", metric="floor_task_2_again", **rotation) == ["0.69"]
    assert paper("figure3", metric="peaks", **rotation) == ["0.85 to 0.88"]


@pytest.mark.parametrize("name, scale", EVERY)
def test_jobs_and_numbers_belong_together(name, scale):
    study = recipes.study(name, scale, [0, 1])
    jobs = {}
    for job in study.jobs:
        jobs.setdefault((job.dataset, job.row, job.arm), []).append(job.seed)
        assert job.name.startswith(f"{scale}/")
        assert job.name.endswith(f"-seed{job.seed}")
    # Every number of the paper has its runs, in each seed.
    assert set(map(tuple, jobs.values())) == {(0, 1)}
    assert {(row.dataset, row.row, row.arm) for row in study.paper} <= set(jobs)
    assert {row.dataset for row in study.paper} == {job.dataset for job in study.jobs}
    assert len({job.name for job in study.jobs}) == len(study.jobs)
    assert study.command == f"ssgan reproduce {name} --scale={scale} --seeds=0,1"


def test_the_same_run_is_the_same_everywhere():
    """Studies share runs, whose first command must be the same."""
    commands = {}
    for name, scale in EVERY:
        for job in recipes.study(name, scale, [0]).jobs:
            commands.setdefault(job.name, set()).add(job.commands[0])
    assert all(len(variants) == 1 for variants in commands.values())
    shared = "full/ssgan_cifar10-sn_0_0.9_2-seed0"
    users = [
        name
        for name in recipes.STUDIES
        if shared in [job.name for job in recipes.study(name, "full", [0]).jobs]
    ]
    assert users == ["table1", "table2", "table3", "figure4"]


def parsed(job, *more: str):
    """The plan that a job's command describes, with further bindings."""
    flags = shlex.split(job.config)
    files = [flag.partition("=")[2] for flag in flags if flag.startswith("--gin_c")]
    lines = [flag.partition("=")[2] for flag in flags if flag.startswith("--gin_b")]
    assert len(files) + len(lines) == len(flags)
    assert list(job.commands[0][3 : 3 + len(flags)]) == flags
    config.parse(files, [*lines, *more])
    return config.forgetting() if files[0].startswith("forg") else config.plan()


@pytest.mark.parametrize("name, scale", EVERY)
def test_every_job_is_a_config(name, scale):
    for job in recipes.study(name, scale, [3]).jobs:
        plan = parsed(job)
        assert plan.dataset == job.dataset
        if name == "figure3":
            assert plan.training_steps == job.steps and plan.seed == 3
            weight = plan.weight_rotation_loss
            assert weight == (1 if job.arm == WITH_ROTATION else 0)
            continue
        assert plan.options.training_steps == job.steps and plan.run.seed == 3
        # Every checkpoint that is probed is kept.
        probed = [
            int(command[-1].removeprefix("--step=")) for command in job.commands[1:]
        ]
        every = plan.run.keep_checkpoint_every_steps
        saved = plan.run.save_checkpoints_steps
        oldest = job.steps - saved * (plan.run.keep_checkpoint_max - 1)
        for step in probed:
            assert step % saved == 0 or step == job.steps
            assert step >= oldest or step % every == 0


def test_rotation_only_on_imagenet_has_no_adversarial_loss():
    jobs = recipes.study("table4", "full", [0]).jobs
    (job,) = (job for job in jobs if job.arm == ROTATION_ONLY)
    tiny = ("options.architecture = 'dcgan'", "G.width = 4", "D.width = 4")
    gan = parsed(job, *tiny, "dataset.name = 'digits32'").build_gan()
    assert gan.adversarial_loss is None
    assert [type(task).__name__ for task in gan.tasks] == ["RotationTask"]


def test_the_small_run():
    name = "small/ssgan_cifar10-sn_0_0.9_1-seed1"
    jobs = recipes.study("table2", "small", [1]).jobs
    (job,) = (job for job in jobs if job.name == name)
    assert shlex.split(job.config) == [
        "--gin_config=ssgan_cifar10.gin",
        "--gin_config=table2.sweep#sn_0_0.9_1",
        "--gin_bindings=G.width=64",
        "--gin_bindings=D.width=32",
        "--gin_bindings=options.training_steps=12000",
        "--gin_bindings=run_config.save_checkpoints_steps=1000",
        "--gin_bindings=run_config.keep_checkpoint_max=20",
        "--gin_bindings=run_config.seed=1",
    ]
    assert job.commands[0][-4:] == (
        "--schedule=eval_after_train",
        "--metrics=fid",
        "--num_eval_averaging_runs=1",
        "--eval_every_steps=1000",
    )


def test_inception_is_handed_on():
    for name in ("table1", "table3"):
        for job in recipes.study(name, "full", [0], "/nets/inception").jobs:
            scored = job.arm != ROTATION_ONLY
            assert ("--inception_path=/nets/inception" in job.commands[0]) == scored
            assert ("--schedule=train" in job.commands[0]) != scored


def test_headers_of_the_configs_have_the_same_numbers():
    for dataset, numbers in TABLE1.items():
        for arm, number in numbers.items():
            file = {UNCOND: "uncond", COND: "cond", SSGAN: "ssgan"}.get(
                arm, "ssgan_sbn"
            )
            text = config.find_config(f"{file}_{dataset}.gin").read_text()
            assert re.search(rf"\b{number}\b", text.splitlines()[0]), (file, number)
