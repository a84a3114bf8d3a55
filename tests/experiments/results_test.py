"""Measurements of runs: read, tabulated, reported and drawn."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from ssgan_tf.evaluation import protocols
from ssgan_tf.evaluation.score_table import ScoreRow
from ssgan_tf.experiments import (
    forgetting,
    plots,
    probe,
    recipes,
    report,
    results,
    runner,
)
from ssgan_tf.experiments.jobs import Campaign
from ssgan_tf.utils.tables import Table

METRIC = {"small": "frechet_cifar10_cnn_10k_test", "full": "fid_10k_test"}


def random_of(job) -> np.random.Generator:
    return np.random.default_rng(sum(map(ord, job.name)))


def score_rows(job, scale: str, last: int, facts: str) -> list[ScoreRow]:
    """Distances that fall with steps, different for each run."""
    rng = random_of(job)
    return [
        ScoreRow(
            checkpoint=f"ckpt-{step}",
            step=step,
            weights_sha256="0",
            cells={
                f"{METRIC[scale]}_mean": str(
                    5 + rng.random() + 30 * np.exp(-step / 4e3)
                ),
                f"{METRIC[scale]}_std": "0.0",
                "logit_spread_real_mean": str(rng.random()),
            },
            metrics="fid",
            versions="tensorflow=1",
            protocol=f"data={job.dataset}; split=test; {facts}",
        )
        for step in range(0, last + 1, job.steps // 4)
    ]


def probe_rows(job) -> list[probe.BlockScore]:
    rng = random_of(job)
    steps = [command[-1].removeprefix("--step=") for command in job.commands[1:]]
    return [
        probe.BlockScore(
            step=int(step),
            block=block,
            layer=f"B{block}",
            features=8,
            train_accuracy=1.0,
            test_accuracy=0.5 + 0.4 * rng.random(),
            protocol="data=cifar10; l2=0.0001",
        )
        for step in steps
        for block in range(4)
    ]


def forgetting_rows(job) -> list[forgetting.Row]:
    rng = random_of(job)
    return [
        forgetting.Row(
            step=step,
            task=min(step, 19_999) // 1000 % 10,
            accuracy=(0.7 if step % 1000 or step == 20_000 else 0.45)
            + 0.1 * rng.random(),
            loss=0.5,
            rotation_accuracy=float("nan"),
            protocol="accuracy=balanced",
        )
        for step in range(0, 20_001, 250)
    ]


def make_runs(study, campaign, left_out=(), last=None, facts=()) -> None:
    """The tables that the runs of a study would have.

    Args:
        left_out: parts of names of jobs that have not run.
        last: last step that is scored, instead of that of the job.
        facts: part of a job's name -> facts of its protocol.
    """
    for job in study.jobs:
        if any(part in job.name for part in left_out):
            continue
        if study.source == "scores":
            of_job = [text for part, text in dict(facts).items() if part in job.name]
            text = "; ".join(["fake_count=10000", *of_job])
            rows = score_rows(job, study.scale, last or job.steps, text)
            name = "scores.csv"
        elif study.source == "forgetting":
            name, rows = "forgetting.csv", forgetting_rows(job)
        else:
            name, rows = "probe.csv", probe_rows(job)
        Table(campaign.run_dir(job) / name, type(rows[0])).write(rows)


@pytest.fixture
def campaign(tmp_path):
    return Campaign(tmp_path)


@pytest.fixture
def collected(campaign):
    """Makes runs of a study; returns the study and its measurements."""

    def collect(name, scale="small", seeds=(0, 1), **options):
        study = recipes.study(name, scale, seeds)
        make_runs(study, campaign, **options)
        return study, results.collect(study, campaign)

    return collect


def cells(measurements) -> dict[tuple[str, str], str]:
    """Cells of the table by the first words of their line and their column."""
    header, *lines = report.table(measurements)
    by_place = {}
    for line in lines:
        for i, name in enumerate(header):
            key = f"{header[i - 1]}, {name}" if name.startswith("paper") else name
            by_place[" ".join(line[:2]), key] = line[i]
    return by_place


def values_of(measurements, **fields) -> list[float]:
    return [
        row.value
        for row in measurements
        if all(getattr(row, name) == value for name, value in fields.items())
    ]


# --- The table -----------------------------------------------------------------


def test_names_of_distances():
    names = ["fid_10k_test", "frechet_cifar10_cnn_10k_test", "kid_10k_test"]
    names += ["fid_low_10k_test", "frechet_high_cifar10_cnn_10k_test", ""]
    assert list(map(protocols.is_distance, names)) == [True, True] + 4 * [False]


def test_means_and_deviations_beside_the_papers(collected):
    left_out = ["gp_", "cifar100", "0.5_0.999", "ssgan_cifar10-sn_0_0.9_2-seed1"]
    _, measurements = collected("table2", seeds=(0, 1, 2), left_out=left_out)
    values = values_of(
        measurements,
        dataset="cifar10",
        row="sn_0_0.9_1",
        arm="SS-GAN",
        step=12_000,
        metric=METRIC["small"],
    )
    assert len(values) == 3
    shown = cells(measurements)
    assert shown["cifar10 sn_0_0.9_1", "SS-GAN"] == (
        f"{np.mean(values):.2f} +- {np.std(values, ddof=1):.2f} (n=3)"
    )
    # The paper's number has other features: it is in a column of its own.
    assert shown["cifar10 sn_0_0.9_1", "SS-GAN, paper (FID)"] == "19.65 +- 0.9"
    assert shown["cifar10 sn_0_0.9_1", "metric"] == METRIC["small"]
    assert shown["cifar10 sn_0_0.9_2", "SS-GAN"].endswith("(n=2 of 3)")
    assert shown["cifar10 gp_1_0_0.9_1", "SS-GAN"] == report.NOT_YET
    assert shown["cifar100 sn_0_0.9_1", "Uncond-GAN"] == report.NOT_YET
    assert len(shown) == 18 * 7


def test_the_best_and_its_words(collected):
    study, measurements = collected("table1", "full", left_out=["lsun"])
    shown, place = cells(measurements), "celeb_a_hq fid_10k_test"
    values = values_of(
        results.finals(measurements),
        dataset="celeb_a_hq",
        arm="SS-GAN",
        metric="fid_10k_test",
    )
    assert len(values) == 2
    assert shown[place, "SS-GAN"] == f"{min(values):.2f} (n=2)"
    assert shown[place, "SS-GAN, paper (FID)"] == "26.11"
    assert shown[place, "Cond-GAN"] == "-" == shown[place, "Cond-GAN, paper (FID)"]
    assert shown["lsun_bedroom -", "SS-GAN"] == report.NOT_YET
    text = report.report(study, measurements, None)
    assert "best of n" in text and "no FID" not in text


def test_an_unfinished_run_has_no_final_measurement(collected):
    study, measurements = collected("figure4", seeds=[0], last=6000)
    (final,) = (
        row for row in results.finals(measurements) if "ssgan_cifar10" in row.run
    )
    assert (final.step, final.value) == (12_000, None)
    assert set(results.finals(measurements[::-1])) == set(results.finals(measurements))
    # The paper has no number so early.
    assert not any(row.paper for row in measurements if row.run)
    shown = cells(measurements)
    assert shown[f"3000 {METRIC['small']}", "SS-GAN"].endswith(" (n=1)")
    assert shown["12000 -", "SS-GAN"] == report.NOT_YET
    # Longer than any run of this scale.
    assert shown["20000 -", "SS-GAN"] == "-"
    assert shown["20000 -", "SS-GAN, paper (FID)"] == "26"
    text = report.report(study, measurements, "figure4.png")
    assert "0 of 4 runs" in text
    assert "- small/ssgan_cifar10-sn_0_0.9_1-seed0" in text


def test_blocks(collected):
    study, measurements = collected("table3", left_out=["/cond_"])
    # A number of the paper that our D has no block for.
    extra = dataclasses.replace(study.paper[0], block=4)
    header, *lines = report.table([*measurements, extra])
    assert header[:3] == ["block", "Uncond-GAN", "paper"]
    by_block = {line[0]: dict(zip(header, line, strict=True)) for line in lines}
    first, second = (
        row.test_accuracy
        for job in study.jobs
        if job.arm == "SS-GAN"
        for row in probe_rows(job)
        if row.block == 2
    )
    mean, deviation = (first + second) / 2, abs(first - second) / 2**0.5
    assert by_block["2"]["SS-GAN"] == f"{mean:.3f} +- {deviation:.3f} (n=2)"
    assert by_block["2"]["Cond-GAN"] == report.NOT_YET == by_block["4"]["Cond-GAN"]
    assert by_block["4"]["Uncond-GAN"] == "-"
    assert lines[2][header.index("SS-GAN (sBN)") + 1] == "0.796"
    beside = [row.paper for row in measurements if row.value is not None]
    assert "0.796" in beside and beside.count("") == 8


def test_the_papers_number_is_in_the_row_that_the_report_shows_beside_it(
    collected, campaign
):
    study, measurements = collected("table2", seeds=[0])
    beside = [row for row in measurements if row.run and row.paper]
    assert len(beside) == len(study.jobs)
    expected = {(row.dataset, row.row, row.arm): row.paper for row in study.paper}
    for row in beside:
        assert (row.step, row.metric) == (12_000, METRIC["small"])
        assert row.paper == expected[row.dataset, row.row, row.arm]
    # Where the paper's number is of a step, that step.
    other = dataclasses.replace(study.paper[0], step=6000)
    study = dataclasses.replace(study, paper=(other,))
    beside = [row for row in results.collect(study, campaign) if row.run]
    assert [row.step for row in beside if row.paper] == [6000]


def test_the_last_block_over_steps(collected):
    study, measurements = collected("figure2", seeds=[0])
    table = {line[0]: line for line in report.table(measurements)}
    peak, end = "highest over training", "at the end of training"
    assert list(table) == ["metric", peak, end]
    highest_first = 0
    for job in study.jobs:
        last = [row.test_accuracy for row in probe_rows(job) if row.block == 3]
        assert len(last) == 6
        highest_first += last[0] == max(last)
        column = table["metric"].index(job.arm)
        assert table[peak][column] == f"{max(last):.3f} (n=1)"
        assert table[end][column] == f"{last[-1]:.3f} (n=1)"
    assert highest_first < len(study.jobs)
    assert table[end][-1] == "0.38"
    beside = [row.paper for row in measurements if row.run and row.paper]
    assert beside == [row.paper for row in study.paper]
    assert {row.block for row in measurements if row.value is not None} == {3}


def test_a_method_with_labels_has_a_protocol_of_its_own(collected):
    facts = {"/cond": "labels=uniform"}
    text = report.report(*collected("figure4", facts=facts), None)
    metric = METRIC["small"]
    plain = "data=cifar10; split=test; fake_count=10000"
    arms = "Uncond-GAN, SS-GAN, SS-GAN (sBN)"
    assert f"Protocol of {metric} ({arms}): {plain}.\n" in text
    assert f"Protocol of {metric} (Cond-GAN): {plain}; labels=uniform.\n" in text
    assert "Not comparable" not in text
    assert "no FID, and not comparable with the paper's" in text


@pytest.mark.parametrize(
    "facts, difference",
    [
        ({"uncond_cifar10-sn_0_0.9_1-seed0": "seed=1"}, "seed: 1 | -"),
        # Within one method the labels must agree.
        ({"/cond_cifar10-sn_0_0.9_1-seed1": "labels=uniform"}, "labels: - | uniform"),
        ({"/uncond_cifar10-sn_0_0.9_1-seed1": "labels=uniform"}, "labels: - | uniform"),
        # And all else must among methods.
        ({"/cond": "labels=uniform; seed=1"}, "seed: - | 1"),
    ],
)
def test_different_protocols_are_named(collected, facts, difference):
    text = report.report(*collected("figure4", facts=facts), None)
    key, values = difference.split(": ")
    assert f"as {key} of {METRIC['small']} differs: {values}." in text
    assert text.count("Not comparable among themselves") == 1


def test_a_sweep_has_no_numbers_of_the_paper(collected, campaign):
    table, _ = collected("figure4")
    jobs = [
        dataclasses.replace(job, arm="", row=f"a={job.arm}|b") for job in table.jobs
    ]
    sweep = dataclasses.replace(
        table, name="sweep", scale="", jobs=tuple(jobs), paper=(), differences=()
    )
    measurements = results.collect(sweep, campaign)
    text = report.report(sweep, measurements, None)
    assert "no FID.\n" in text and "paper" not in text
    # Bars within a cell are escaped.
    rows = [line for line in text.splitlines() if line.startswith("| cifar10 |")]
    assert len(rows) == 4
    assert all(r"a=" in line and r"\|b | " in line for line in rows)
    # Its combinations are the lines of one panel.
    left, _ = plots.draw(measurements).axes
    labels = [label for label in drawn(left) if "n=2" in label]
    assert labels == [f"{row} (n=2)" for row in dict.fromkeys(job.row for job in jobs)]
    assert left.get_title() == "cifar10"
    header, *lines = report.table(measurements)
    assert header == ["dataset", "row", "metric", "ours"] and len(lines) == 4


def test_where_and_how_long(collected, campaign):
    left_out = {"left_out": ["/cond_", "sbn"]}
    study, _ = collected("figure4", seeds=[0], **left_out)
    job = study.jobs[0]
    folder = campaign.run_dir(job)
    facts = {"commit": "abc", "cpu": "a CPU", "cores": 2, "devices": ["CPU:0", "GPU:0"]}
    for step, commit in ((0, "old"), (5000, "abc")):
        path = folder / f"environment-{step}.json"
        path.write_text(json.dumps(facts | {"commit": commit}))
    # The run grows between two tables.
    for name, seconds in (("a", 725.0), ("b", 3000.0)):
        (folder / "tensorboard").mkdir(exist_ok=True)
        file = str(folder / "tensorboard" / f"events.out.tfevents.{name}")
        with tf.io.TFRecordWriter(file) as writer:
            for wall_time in (1e9, 1e9 + seconds):
                event = tf.compat.v1.Event(wall_time=wall_time)
                writer.write(event.SerializeToString())
        measurements = results.collect(study, campaign)
        times = {row.run: row.seconds for row in measurements if row.value is not None}
        assert times.pop(job.name) == seconds + 725.0 * (name == "b")
        assert set(times.values()) == {None}
    rows = [row for row in results.finals(measurements) if row.run == job.name]
    for row in rows:
        assert (row.commit, row.machine) == ("abc", "a CPU, 2 cores, GPU:0")
    text = report.report(study, measurements, None)
    assert f"| {job.name} | 12,000 | 1:02:05 | abc | a CPU, 2 cores, GPU:0 |" in text
    assert "run_config.seed=SEED`, SEED = 0" in text
    for path in folder.glob("environment-*.json"):
        path.write_text(json.dumps(facts | {"cores": 1}))
    machines = {row.machine for row in results.collect(study, campaign)}
    assert machines == {"a CPU, 1 core, GPU:0", ""}


# --- Figure 3 ------------------------------------------------------------------


def naive_summary(points) -> dict[str, float]:
    """By steps of 1,000 and ten tasks, in NumPy."""
    steps, _, accuracies = np.array(points).T
    inside = (steps % 1000 > 0) | (steps == 20_000)
    task = np.minimum(steps, 19_999) // 1000
    floors = np.array([accuracies[inside & (task == t)].min() for t in range(20)])
    peaks = np.array([accuracies[inside & (task == t)].max() for t in range(20)])
    at = (steps % 1000 == 0) & (0 < steps) & (steps < 20_000)
    cycles = [accuracies[inside & (task // 10 == c)].mean() for c in (0, 1)]
    return {
        "at_switches": accuracies[at].mean(),
        "floors": floors[1:].mean(),
        "peaks": peaks.mean(),
        "floor_task_2": floors[2],
        "floor_task_2_again": floors[12],
        "first_cycle": cycles[0],
        "second_cycle": cycles[1],
        "second_minus_first": cycles[1] - cycles[0],
    }


def points_of(job):
    return [(row.step, row.task, row.accuracy) for row in forgetting_rows(job)]


@pytest.mark.parametrize(
    "is_known, names",
    [
        (lambda step: True, None),
        (lambda step: step < 10_000, "at_switches floors peaks floor_task_2"),
        (lambda step: step < 750, ""),
        # Tasks with a test at their switch alone: floors of single tasks stay those of
        # their tasks, means over tasks are of all.
        (
            lambda step: not 1000 < step < 2000,
            "at_switches floor_task_2 floor_task_2_again",
        ),
        (lambda step: not 2000 < step < 3000, "at_switches floor_task_2_again"),
        (lambda step: step % 1000 == 0, "at_switches"),
    ],
)
def test_the_summary_of_forgetting(is_known, names):
    points = points_of(recipes.study("figure3", "small", [0]).jobs[0])
    expected = naive_summary(points)
    summary = results.forgetting_summary([p for p in points if is_known(p[0])])
    assert set(summary) == set(expected if names is None else names.split())
    for name in {*summary} & {"floor_task_2", "floor_task_2_again"}:
        assert summary[name] == pytest.approx(expected[name], abs=1e-12)
    if is_known(19_000):
        assert summary == pytest.approx({name: expected[name] for name in summary})


def test_forgetting_beside_the_papers(collected):
    study, measurements = collected("figure3")
    table = {line[0]: line[1:] for line in report.table(measurements)}
    second = table["floor after the second switch"]
    assert [second[i] for i in (1, 3)] == ["0.49", "0.63"]
    peaks = table["peaks, mean"]
    assert peaks[3] == "0.85 to 0.88" and peaks[1] == "-"
    rotation = [job for job in study.jobs if "rotation" in job.name]
    floors = [naive_summary(points_of(job))["floor_task_2_again"] for job in rotation]
    assert table["the same, one cycle later"][2] == (
        f"{np.mean(floors):.3f} +- {np.std(floors, ddof=1):.3f} (n=2)"
    )
    (axes,) = plots.draw(measurements).axes
    lines = axes.get_lines()
    vertical = [
        line.get_xdata()[0]
        for line in lines
        if len(line.get_xdata()) == 2 and len(set(line.get_xdata())) == 1
    ]
    assert sorted(set(vertical)) == list(range(1000, 20_000, 1000))
    marks = {
        tuple(point)
        for line in lines
        if line.get_marker() in "sD"
        for point in line.get_xydata()
    }
    assert marks == {(2000, 0.49), (2000, 0.63), (12_000, 0.69)}
    steps, values = drawn(axes)["classifier (n=2)"]
    plain = [job for job in study.jobs if job.arm == "classifier"]
    expected = np.mean([[p[2] for p in points_of(job)] for job in plain], axis=0)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert steps[-1] == 20_000


# --- Pictures ------------------------------------------------------------------


@pytest.mark.parametrize("name", list(recipes.STUDIES))
def test_plot_and_report_follow_from_the_table(name, collected, campaign, tmp_path):
    # Drawing a panel for each of eighteen rows is slow.
    study, _ = collected(name, left_out=["gp_", "sn_0.5", "sn_0_0.9_2", "cifar100"])
    folder = tmp_path / "report"
    runner.write_report(study, campaign, folder)
    names = {path.name for path in folder.iterdir()}
    files = {"report.md", "results.csv"}
    # Table 4 is on CIFAR-100 at this scale.
    has_runs = name != "table4"
    if has_runs:
        files |= {f"{name}.png", f"{name}.svg"}
    assert names == files
    measurements = results.read(folder / "results.csv")
    assert measurements == results.collect(study, campaign)
    text = (folder / "report.md").read_text()
    assert text == report.report(study, measurements, f"{name}.png" * has_runs or None)
    assert (f"![{name}]({name}.png)" in text) == has_runs and study.command in text
    assert (": 0 of " in text) != has_runs


def drawn(axes) -> dict[str, tuple]:
    return {
        line.get_label(): tuple(map(np.asarray, line.get_data()))
        for line in axes.get_lines()
    }


def test_curves_and_their_mean(collected, campaign):
    left_out = ["gp_", "cifar100", "sn_0.5", "sn_0_0.9_2"]
    study, _ = collected("table2", left_out=left_out)
    late = [job for job in study.jobs if "/ssgan_cifar10-sn_0_0.9_1-seed1" in job.name]
    make_runs(dataclasses.replace(study, jobs=late), campaign, last=6000)
    measurements = results.collect(study, campaign)
    left, right = plots.draw(measurements).axes
    # A mean is of all seeds or not drawn.
    for axes, metric in ((left, METRIC["small"]), (right, "logit_spread_real")):
        for arm, count in (("Uncond-GAN", 5), ("SS-GAN", 3)):
            curves = [
                values_of(measurements, arm=arm, metric=metric, seed=seed)[:count]
                for seed in (0, 1)
            ]
            steps, values = drawn(axes)[f"{arm} (n=2)"]
            np.testing.assert_array_equal(steps, np.arange(count) * 3000)
            np.testing.assert_allclose(values, np.mean(curves, axis=0), rtol=1e-12)
        assert len(axes.get_lines()) == 6


@pytest.mark.parametrize("name", ["table1", "figure4"])
def test_markers_at_the_top_are_not_cut(name, collected):
    # Values that are close together, far from zero.
    measurements = [
        dataclasses.replace(row, value=row.value and 100 + row.value / 100)
        for row in collected(name)[1]
    ]
    left = plots.draw(measurements).axes[0]
    highest = max(np.max(line.get_ydata()) for line in left.get_lines())
    assert highest > 100
    assert left.get_ylim() == pytest.approx((0, 1.05 * highest))
