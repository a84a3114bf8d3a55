"""Measurements of runs: read, tabulated, reported and drawn."""

import csv
import dataclasses
import json
import pathlib
import statistics

import numpy as np
import pytest

from ssgan_tf.evaluation import protocols
from ssgan_tf.experiments import plots, recipes, report, results, runner
from ssgan_tf.experiments.jobs import Campaign
from ssgan_tf.experiments.results import Measurement
from ssgan_tf.training import events

METRIC = {"small": "frechet_cifar10_cnn_10k_test", "full": "fid_10k_test"}


def score_rows(job, scale: str, last: int) -> list[dict]:
    """Distances that fall with steps, different for each run."""
    rng = np.random.default_rng(sum(map(ord, job.name)))
    return [
        {
            "checkpoint": f"ckpt-{step}",
            "step": str(step),
            "weights_sha256": "0",
            f"{METRIC[scale]}_mean": str(5 + rng.random() + 30 * np.exp(-step / 4000)),
            f"{METRIC[scale]}_std": "0.0",
            "logit_spread_real_mean": str(rng.random()),
            "metrics": "fid",
            "versions": "tensorflow=1",
            "protocol": f"data={job.dataset}; split=test; fake_count=10000",
        }
        for step in range(0, last + 1, job.steps // 4)
    ]


def probe_rows(job) -> list[dict]:
    rng = np.random.default_rng(sum(map(ord, job.name)))
    steps = [command[-1].removeprefix("--step=") for command in job.commands[1:]]
    return [
        {
            "step": step,
            "block": str(block),
            "layer": f"B{block}",
            "features": "8",
            "train_accuracy": "1.0",
            "test_accuracy": str(0.5 + 0.4 * rng.random()),
            "protocol": "data=cifar10; l2=0.0001",
        }
        for step in steps
        for block in range(4)
    ]


def forgetting_rows(job) -> list[dict]:
    rng = np.random.default_rng(sum(map(ord, job.name)))
    rows = []
    for step in range(0, 20_001, 250):
        task = min(step, 19_999) // 1000 % 10
        low = step % 1000 == 0 and step < 20_000
        accuracy = (0.45 if low else 0.7) + 0.1 * rng.random()
        rows.append(
            {
                "step": str(step),
                "task": str(task),
                "accuracy": str(accuracy),
                "loss": "0.5",
                "rotation_accuracy": "nan",
                "protocol": "accuracy=balanced",
            }
        )
    return rows


def write_csv(path: pathlib.Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_runs(study, campaign, left_out=(), last=None) -> None:
    """The tables that the runs of a study would have."""
    for job in study.jobs:
        if any(word in job.name for word in left_out):
            continue
        if study.source == "scores":
            name, rows = (
                "scores.csv",
                score_rows(job, study.scale, last or job.steps),
            )
        elif study.source == "forgetting":
            name, rows = "forgetting.csv", forgetting_rows(job)
        else:
            name, rows = "probe.csv", probe_rows(job)
        write_csv(campaign.run_dir(job) / name, rows)


@pytest.fixture
def campaign(tmp_path):
    return Campaign(tmp_path)


def cells(measurements) -> dict[tuple[str, str], str]:
    """Cells of the table by the first words of their line and their column."""
    header, *lines = report.table(measurements)
    by_place = {}
    for line in lines:
        for i, name in enumerate(header):
            key = f"{header[i - 1]}, {name}" if name.startswith("paper") else name
            by_place[" ".join(line[:2]), key] = line[i]
    return by_place


# --- The table -----------------------------------------------------------------


def test_a_table_is_read_as_it_was_written(tmp_path):
    measurements = [
        Measurement(
            "table1", "full", "cifar10", arm="SS-GAN", metric="fid", paper="17.11"
        ),
        Measurement(
            experiment="table1",
            scale="full",
            dataset="cifar10",
            row='a, "b"',
            arm="SS-GAN",
            seed=2,
            step=100,
            block=0,
            metric="fid_10k_test",
            value=0.1 + 0.2,
            paper="17.11",
            protocol="data=cifar10; split=test",
            run="full/run",
            config="--gin_bindings='x=\"y\"'",
            commit="abc",
            seconds=12.5,
            machine="a CPU, 4 cores",
        ),
    ]
    results.write(tmp_path / "results.csv", measurements)
    assert results.read(tmp_path / "results.csv") == measurements
    text = (tmp_path / "results.csv").read_text()
    for old, new, words in (
        (",100,", ",1e2,", "row 2, column step: '1e2'"),
        (",12.5,", ",soon,", "row 2, column seconds: 'soon'"),
        (",12.5,", ",12.5,,", "row 2: more cells"),
        (',"a CPU, 4 cores"', "", "row 2, column machine"),
    ):
        (tmp_path / "bad.csv").write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=f"bad.csv: {words}"):
            results.read(tmp_path / "bad.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="other.csv: missing columns exp"):
        results.read(tmp_path / "other.csv")


def test_names_of_distances():
    names = ["fid_10k_test", "frechet_cifar10_cnn_10k_test", "kid_10k_test"]
    names += ["fid_low_10k_test", "frechet_high_cifar10_cnn_10k_test", ""]
    assert list(map(protocols.is_distance, names)) == [True, True] + 4 * [False]


def test_means_and_deviations_beside_the_papers(campaign):
    study = recipes.study("table2", "small", [0, 1, 2])
    left_out = ["gp_", "cifar100", "0.5_0.999", "ssgan_cifar10-sn_0_0.9_2-seed1"]
    make_runs(study, campaign, left_out)
    measurements = results.collect(study, campaign)
    values = [
        row.value
        for row in measurements
        if (row.dataset, row.row, row.arm) == ("cifar10", "sn_0_0.9_1", "SS-GAN")
        and row.step == 12_000
        and row.metric == METRIC["small"]
    ]
    assert len(values) == 3
    deviation = np.std(values, ddof=1)
    shown = cells(measurements)
    assert shown["cifar10 sn_0_0.9_1", "SS-GAN"] == (
        f"{np.mean(values):.2f} +- {deviation:.2f} (n=3)"
    )
    # The paper's number has other features: it is in a column of its own.
    assert shown["cifar10 sn_0_0.9_1", "SS-GAN, paper (FID)"] == "19.65 +- 0.9"
    assert shown["cifar10 sn_0_0.9_1", "metric"] == METRIC["small"]
    assert shown["cifar10 sn_0_0.9_2", "SS-GAN"].endswith("(n=2 of 3)")
    assert shown["cifar10 gp_1_0_0.9_1", "SS-GAN"] == "not yet run"
    assert shown["cifar100 sn_0_0.9_1", "Uncond-GAN"] == "not yet run"
    assert len(shown) == 18 * 7


def test_the_best_and_its_words(campaign):
    study = recipes.study("table1", "full", [0, 1])
    make_runs(study, campaign, ["lsun"])
    measurements = results.collect(study, campaign)
    shown = cells(measurements)
    values = [
        row.value
        for row in results.finals(measurements)
        if (row.dataset, row.arm) == ("celeb_a_hq", "SS-GAN")
        and row.metric == "fid_10k_test"
    ]
    assert len(values) == 2
    place = "celeb_a_hq fid_10k_test"
    assert shown[place, "SS-GAN"] == f"{min(values):.2f} (n=2)"
    assert shown[place, "SS-GAN, paper (FID)"] == "26.11"
    assert shown[place, "Cond-GAN"] == "-" == shown[place, "Cond-GAN, paper (FID)"]
    assert shown["lsun_bedroom -", "SS-GAN"] == "not yet run"
    text = report.report(study, measurements, None)
    assert "The best of n training seeds." in text and "no FID" not in text


def test_an_unfinished_run_has_no_final_measurement(campaign):
    study = recipes.study("figure4", "small", [0])
    make_runs(study, campaign, last=6000)
    measurements = results.collect(study, campaign)
    (final,) = (
        row for row in results.finals(measurements) if "ssgan_cifar10" in row.run
    )
    assert (final.step, final.value) == (12_000, None)
    assert set(results.finals(measurements[::-1])) == set(results.finals(measurements))
    # The paper has no number so early.
    assert not any(row.paper for row in measurements if row.run)
    shown = cells(measurements)
    assert shown[f"3000 {METRIC['small']}", "SS-GAN"].endswith(" (n=1)")
    assert shown["12000 -", "SS-GAN"] == "not yet run"
    # Longer than any run of this scale.
    assert shown["20000 -", "SS-GAN"] == "-"
    assert shown["20000 -", "SS-GAN, paper (FID)"] == "26"
    text = report.report(study, measurements, "figure4.png")
    assert "0 of 4 runs are done" in text
    assert "- small/ssgan_cifar10-sn_0_0.9_1, seed 0" in text


def test_blocks(campaign):
    study = recipes.study("table3", "small", [0, 1])
    make_runs(study, campaign, ["/cond_"])
    measurements = results.collect(study, campaign)
    # A number of the paper that our D has no block for.
    extra = dataclasses.replace(study.paper[0], block=4)
    by_block = {}
    header, *lines = report.table([*measurements, extra])
    assert header[:3] == ["block", "Uncond-GAN", "paper"]
    for line in lines:
        by_block[line[0]] = dict(zip(header, line, strict=True))
    values = [
        float(row["test_accuracy"])
        for job in study.jobs
        if job.arm == "SS-GAN"
        for row in probe_rows(job)
        if row["block"] == "2"
    ]
    mean, deviation = statistics.fmean(values), abs(values[0] - values[1]) / 2**0.5
    assert by_block["2"]["SS-GAN"] == f"{mean:.3f} +- {deviation:.3f} (n=2)"
    assert by_block["2"]["Cond-GAN"] == "not yet run" == by_block["4"]["Cond-GAN"]
    assert by_block["4"]["Uncond-GAN"] == "-"
    sbn = header.index("SS-GAN (sBN)")
    assert lines[2][sbn + 1] == "0.796"
    beside = [row.paper for row in measurements if row.value is not None]
    assert "0.796" in beside and beside.count("") == 8


def test_the_papers_number_is_in_the_row_that_the_report_shows_beside_it(campaign):
    study = recipes.study("table2", "small", [0])
    make_runs(study, campaign)
    measurements = results.collect(study, campaign)
    beside = [row for row in measurements if row.run and row.paper]
    assert len(beside) == len(study.jobs)
    for row in beside:
        (expected,) = (
            other.paper
            for other in study.paper
            if (other.dataset, other.row, other.arm) == (row.dataset, row.row, row.arm)
        )
        assert (row.step, row.metric) == (12_000, METRIC["small"])
        assert row.paper == expected
    # Where the paper's number is of a step, that step.
    other = dataclasses.replace(study.paper[0], step=6000)
    study = dataclasses.replace(study, paper=(other,))
    beside = [row for row in results.collect(study, campaign) if row.run]
    assert [row.step for row in beside if row.paper] == [6000]


def test_the_last_block_over_steps(campaign):
    study = recipes.study("figure2", "small", [0])
    make_runs(study, campaign)
    measurements = results.collect(study, campaign)
    table = {line[0]: line for line in report.table(measurements)}
    peak, end = "highest over training", "at the end of training"
    assert list(table) == ["metric", peak, end]
    highest_first = 0
    for job in study.jobs:
        rows = [row for row in probe_rows(job) if row["block"] == "3"]
        last = [float(row["test_accuracy"]) for row in rows]
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


def test_different_protocols_are_named(campaign):
    study = recipes.study("figure4", "small", [0, 1])
    make_runs(study, campaign)
    path = campaign.run_dir(study.jobs[0]) / "scores.csv"
    assert "Not comparable" not in report.report(
        study, results.collect(study, campaign), None
    )
    path.write_text(path.read_text().replace("fake_count=10000", "fake_count=5000"))
    text = report.report(study, results.collect(study, campaign), None)
    assert "**Not comparable among themselves**, as fake_count" in text
    assert "5000 | 10000" in text
    assert "that is no FID, and not comparable with the paper's" in text


def report_with_facts(study, campaign, changes: dict[str, str]) -> str:
    """The report if the protocols of some runs have another fact at their end."""
    make_runs(study, campaign)
    for word, fact in changes.items():
        for job in study.jobs:
            if word in job.name:
                path = campaign.run_dir(job) / "scores.csv"
                text = path.read_text().replace("=10000", f"=10000; {fact}")
                path.write_text(text)
    measurements = results.collect(study, campaign)
    return report.report(study, measurements, None)


def test_labels_belong_to_the_method(campaign):
    study = recipes.study("figure4", "small", [0, 1])
    text = report_with_facts(study, campaign, {"/cond": "labels=uniform"})
    assert "Not comparable" not in text
    metric = METRIC["small"]
    plain = "data=cifar10; split=test; fake_count=10000"
    arms = "Uncond-GAN, SS-GAN, SS-GAN (sBN)"
    assert f"Protocol of {metric} ({arms}): {plain}.\n" in text
    assert f"Protocol of {metric} (Cond-GAN): {plain}; labels=uniform.\n" in text
    # Within one method they must agree.
    for word in ("/cond_cifar10-sn_0_0.9_1-seed1", "/uncond_cifar10-sn_0_0.9_1-seed1"):
        text = report_with_facts(study, campaign, {word: "labels=uniform"})
        assert f"as labels of {metric} differs: - | uniform." in text
    # And all else must among methods.
    text = report_with_facts(study, campaign, {"/cond": "labels=uniform; seed=1"})
    assert f"as seed of {metric} differs: - | 1." in text
    assert "as labels" not in text


def test_a_sweep_has_no_numbers_of_the_paper(campaign):
    table = recipes.study("figure4", "small", [0, 1])
    make_runs(table, campaign)
    jobs = [
        dataclasses.replace(job, arm="", row=f"a={job.arm}|b") for job in table.jobs
    ]
    sweep = dataclasses.replace(
        table, name="sweep", scale="", jobs=tuple(jobs), paper=(), differences=()
    )
    text = report.report(sweep, results.collect(sweep, campaign), None)
    assert "over n training seeds, divided by n - 1.\n" in text
    assert "that is no FID.\n" in text and "paper" not in text
    # Bars within a cell are escaped.
    rows = [line for line in text.splitlines() if line.startswith("| cifar10 |")]
    assert len(rows) == 4
    assert all(r"a=" in line and r"\|b | " in line for line in rows)


def test_a_run_that_grows_between_two_tables(campaign, monkeypatch):
    study = recipes.study("figure4", "small", [0])
    make_runs(study, campaign)
    for seconds in (100.0, 250.0):
        monkeypatch.setattr(events, "train_seconds", lambda path: seconds)
        measurements = results.collect(study, campaign)
        assert {row.seconds for row in measurements if row.run} == {seconds}


def test_where_and_how_long(campaign, monkeypatch):
    study = recipes.study("figure4", "small", [0])
    make_runs(study, campaign, ["/cond_", "sbn"])
    job = study.jobs[0]
    facts = {"commit": "abc", "cpu": "a CPU", "cores": 2, "devices": ["CPU:0", "GPU:0"]}
    for step, commit in ((0, "old"), (5000, "abc")):
        path = campaign.run_dir(job) / f"environment-{step}.json"
        path.write_text(json.dumps(facts | {"commit": commit}))
    monkeypatch.setattr(
        events, "train_seconds", lambda path: 3725.0 * (path == campaign.run_dir(job))
    )
    measurements = results.collect(study, campaign)
    (number,) = (
        row
        for row in results.finals(measurements)
        if row.run == job.name and row.metric == METRIC["small"]
    )
    assert (number.commit, number.machine) == ("abc", "a CPU, 2 cores, GPU:0")
    assert number.seconds == 3725.0
    for path in campaign.run_dir(job).glob("environment-*.json"):
        path.write_text(json.dumps(facts | {"cores": 1}))
    machines = {row.machine for row in results.collect(study, campaign)}
    assert machines == {"a CPU, 1 core, GPU:0", ""}
    text = report.report(study, measurements, None)
    assert f"| {job.name} | 12,000 | 1:02:05 | abc | a CPU, 2 cores, GPU:0 |" in text
    assert "run_config.seed=SEED`, SEED = 0" in text


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
    return [
        (int(row["step"]), int(row["task"]), float(row["accuracy"]))
        for row in forgetting_rows(job)
    ]


def test_the_summary_of_forgetting():
    job = recipes.study("figure3", "small", [0]).jobs[0]
    points = points_of(job)
    summary, expected = results.forgetting_summary(points), naive_summary(points)
    assert list(summary) and set(summary) == set(expected)
    for name, value in expected.items():
        assert summary[name] == pytest.approx(value, abs=1e-12), name
    assert set(results.forgetting_summary(points[:40])) == {
        "at_switches",
        "floors",
        "peaks",
        "floor_task_2",
    }
    assert results.forgetting_summary(points[:3]) == {}


def test_tasks_with_a_test_at_their_switch_alone():
    job = recipes.study("figure3", "small", [0]).jobs[0]
    points, expected = points_of(job), naive_summary(points_of(job))
    # Floors of single tasks stay those of their tasks, means over tasks are of all.
    without = [point for point in points if not 1000 < point[0] < 2000]
    summary = results.forgetting_summary(without)
    singles = ("at_switches", "floor_task_2", "floor_task_2_again")
    assert summary == pytest.approx({name: expected[name] for name in singles})
    without = [point for point in points if not 2000 < point[0] < 3000]
    summary = results.forgetting_summary(without)
    singles = ("at_switches", "floor_task_2_again")
    assert summary == pytest.approx({name: expected[name] for name in singles})
    at_switches = [point for point in points if point[0] % 1000 == 0]
    summary = results.forgetting_summary(at_switches)
    assert summary == pytest.approx({"at_switches": expected["at_switches"]})


def test_forgetting_beside_the_papers(campaign):
    study = recipes.study("figure3", "small", [0, 1])
    make_runs(study, campaign)
    measurements = results.collect(study, campaign)
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


# --- Pictures ------------------------------------------------------------------


@pytest.mark.parametrize("name", list(recipes.STUDIES))
def test_plot_and_report_follow_from_the_table(name, campaign, tmp_path):
    study = recipes.study(name, "small", [0, 1])
    # Drawing a panel for each of eighteen rows is slow.
    make_runs(study, campaign, ["gp_", "sn_0.5", "sn_0_0.9_2"])
    folder = tmp_path / "report"
    runner.write_report(study, campaign, folder)
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{name}.png", f"{name}.svg", "report.md", "results.csv"}
    measurements = results.read(folder / "results.csv")
    text = (folder / "report.md").read_text()
    assert text == report.report(study, measurements, f"{name}.png")
    assert f"![{name}]({name}.png)" in text and study.command in text


def test_a_campaign_without_runs_has_no_picture(campaign, tmp_path):
    study = recipes.study("figure3", "small", [0])
    runner.write_report(study, campaign, tmp_path / "report")
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["report.md", "results.csv"]
    text = pathlib.Path(tmp_path / "report/report.md").read_text()
    assert "0 of 2 runs are done" in text and "![" not in text


def drawn(axes) -> dict[str, tuple]:
    return {
        line.get_label(): tuple(map(np.asarray, line.get_data()))
        for line in axes.get_lines()
    }


def test_curves_and_their_mean(campaign):
    study = recipes.study("table2", "small", [0, 1])
    make_runs(study, campaign, ["gp_", "cifar100", "sn_0.5", "sn_0_0.9_2"])
    measurements = results.collect(study, campaign)
    left, right = plots.draw(measurements).axes
    for axes, metric in ((left, METRIC["small"]), (right, "logit_spread_real")):
        for arm in ("Uncond-GAN", "SS-GAN"):
            curves = [
                [
                    row.value
                    for row in measurements
                    if (row.arm, row.metric, row.seed) == (arm, metric, seed)
                ]
                for seed in (0, 1)
            ]
            steps, values = drawn(axes)[f"{arm} (n=2)"]
            np.testing.assert_array_equal(steps, [0, 3000, 6000, 9000, 12000])
            np.testing.assert_allclose(values, np.mean(curves, axis=0), rtol=1e-12)
        assert len(axes.get_lines()) == 6


def test_a_mean_is_of_all_seeds_or_not_drawn(campaign):
    study = recipes.study("figure4", "small", [0, 1])
    make_runs(study, campaign)
    job = next(job for job in study.jobs if (job.arm, job.seed) == ("SS-GAN", 1))
    rows = score_rows(job, "small", 6000)
    write_csv(campaign.run_dir(job) / "scores.csv", rows)
    ours, _ = plots.draw(results.collect(study, campaign)).axes
    np.testing.assert_array_equal(drawn(ours)["SS-GAN (n=2)"][0], [0, 3000, 6000])
    assert len(drawn(ours)["Cond-GAN (n=2)"][0]) == 5


@pytest.mark.parametrize("name", ["table1", "figure4"])
def test_markers_at_the_top_are_not_cut(name, campaign):
    study = recipes.study(name, "small", [0, 1])
    make_runs(study, campaign)
    # Values that are close together, far from zero.
    measurements = [
        dataclasses.replace(row, value=row.value and 100 + row.value / 100)
        for row in results.collect(study, campaign)
    ]
    left = plots.draw(measurements).axes[0]
    highest = max(np.max(line.get_ydata()) for line in left.get_lines())
    assert highest > 100
    assert left.get_ylim() == pytest.approx((0, 1.05 * highest))


def test_switches_and_the_papers_floors(campaign):
    study = recipes.study("figure3", "small", [0, 1])
    make_runs(study, campaign)
    measurements = results.collect(study, campaign)
    (axes,) = plots.draw(measurements).axes
    lines = axes.get_lines()
    vertical = [
        line.get_xdata()[0] for line in lines if len(set(line.get_xdata())) == 1
    ]
    assert sorted(set(vertical)) == list(range(1000, 20_000, 1000))
    marks = {
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in lines
        if line.get_marker() in "sD"
    }
    assert marks == {(2000, 0.49), (2000, 0.63), (12_000, 0.69)}
    steps, values = drawn(axes)["classifier (n=2)"]
    plain = [job for job in study.jobs if job.arm == "classifier"]
    expected = np.mean([[p[2] for p in points_of(job)] for job in plain], axis=0)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert steps[-1] == 20_000


def test_combinations_of_a_sweep_are_lines_of_one_panel(campaign):
    table = recipes.study("table2", "small", [0, 1])
    make_runs(table, campaign, ["gp_", "cifar100", "/uncond"])
    measurements = [
        dataclasses.replace(row, experiment="sweep", arm="")
        for row in results.collect(table, campaign)
        if row.run and row.value is not None
    ]
    left, _ = plots.draw(measurements).axes
    labels = [label for label in drawn(left) if "n=2" in label]
    assert labels == [
        f"{row} (n=2)" for row in ("sn_0_0.9_1", "sn_0_0.9_2", "sn_0.5_0.999_1")
    ]
    assert left.get_title() == "cifar10"
    header, *lines = report.table(measurements)
    assert header == ["dataset", "row", "metric", "ours"] and len(lines) == 3
