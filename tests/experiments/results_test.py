"""Numbers of runs: read, tabulated, reported and drawn."""

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
    """Distances that fall with steps, others for each run."""
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


def make_runs(experiment, campaign, left_out=(), last=None) -> None:
    """The tables that the runs of an experiment would have."""
    for job in experiment.jobs:
        if any(word in job.name for word in left_out):
            continue
        if experiment.source == "scores":
            name, rows = (
                "scores.csv",
                score_rows(job, experiment.scale, last or job.steps),
            )
        elif experiment.source == "forgetting":
            name, rows = "forgetting.csv", forgetting_rows(job)
        else:
            name, rows = "probe.csv", probe_rows(job)
        write_csv(campaign.run_dir(job) / name, rows)


@pytest.fixture
def campaign(tmp_path):
    return Campaign(tmp_path)


def cells(numbers) -> dict[tuple[str, str], str]:
    """Cells of the table by what its first words and its column say."""
    header, *lines = report.table(numbers)
    found = {}
    for line in lines:
        for i, name in enumerate(header):
            key = f"{header[i - 1]}, {name}" if name.startswith("paper") else name
            found[" ".join(line[:2]), key] = line[i]
    return found


# --- The table -----------------------------------------------------------------


def test_what_is_written_is_read(tmp_path):
    numbers = [
        Measurement(
            "table1", "full", "cifar10", arm="SS-GAN", metric="fid", paper="17.11"
        ),
        Measurement(
            "table1",
            "full",
            "cifar10",
            'a, "b"',
            "SS-GAN",
            2,
            100,
            0,
            "fid_10k_test",
            0.1 + 0.2,
            "17.11",
            "data=cifar10; split=test",
            "full/run",
            "--gin_bindings='x=\"y\"'",
            "abc",
            12.5,
            "a CPU, 4 cores",
        ),
    ]
    results.write(tmp_path / "results.csv", numbers)
    assert results.read(tmp_path / "results.csv") == numbers
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


def test_what_is_the_distance():
    names = ["fid_10k_test", "frechet_cifar10_cnn_10k_test", "kid_10k_test"]
    names += ["fid_low_10k_test", "frechet_high_cifar10_cnn_10k_test", ""]
    assert list(map(protocols.is_distance, names)) == [True, True] + 4 * [False]


def test_means_and_deviations_beside_the_papers(campaign):
    experiment = recipes.study("table2", "small", [0, 1, 2])
    left_out = ["gp_", "cifar100", "0.5_0.999", "ssgan_cifar10-sn_0_0.9_2-seed1"]
    make_runs(experiment, campaign, left_out)
    numbers = results.collect(experiment, campaign)
    values = [
        each.value
        for each in numbers
        if (each.dataset, each.row, each.arm) == ("cifar10", "sn_0_0.9_1", "SS-GAN")
        and each.step == 12_000
        and each.metric == METRIC["small"]
    ]
    assert len(values) == 3
    deviation = np.std(values, ddof=1)
    found = cells(numbers)
    assert found["cifar10 sn_0_0.9_1", "SS-GAN"] == (
        f"{np.mean(values):.2f} +- {deviation:.2f} (n=3)"
    )
    # The paper's is no distance of these features, and stands apart.
    assert found["cifar10 sn_0_0.9_1", "SS-GAN, paper (FID)"] == "19.65 +- 0.9"
    assert found["cifar10 sn_0_0.9_1", "metric"] == METRIC["small"]
    assert found["cifar10 sn_0_0.9_2", "SS-GAN"].endswith("(n=2 of 3)")
    assert found["cifar10 gp_1_0_0.9_1", "SS-GAN"] == "not yet run"
    assert found["cifar100 sn_0_0.9_1", "Uncond-GAN"] == "not yet run"
    assert len(found) == 18 * 7


def test_the_best_and_its_words(campaign):
    experiment = recipes.study("table1", "full", [0, 1])
    make_runs(experiment, campaign, ["lsun"])
    numbers = results.collect(experiment, campaign)
    found = cells(numbers)
    values = [
        each.value
        for each in results.finals(numbers)
        if (each.dataset, each.arm) == ("celeb_a_hq", "SS-GAN")
        and each.metric == "fid_10k_test"
    ]
    assert len(values) == 2
    place = "celeb_a_hq fid_10k_test"
    assert found[place, "SS-GAN"] == f"{min(values):.2f} (n=2)"
    assert found[place, "SS-GAN, paper (FID)"] == "26.11"
    assert found[place, "Cond-GAN"] == "-" == found[place, "Cond-GAN, paper (FID)"]
    assert found["lsun_bedroom -", "SS-GAN"] == "not yet run"
    text = report.report(experiment, numbers, None)
    assert "The best of n training seeds." in text and "no FID" not in text


def test_a_run_on_its_way_has_no_final_number(campaign):
    experiment = recipes.study("figure4", "small", [0])
    make_runs(experiment, campaign, last=6000)
    numbers = results.collect(experiment, campaign)
    (final,) = (each for each in results.finals(numbers) if "ssgan_cifar10" in each.run)
    assert (final.step, final.value) == (12_000, None)
    assert set(results.finals(numbers[::-1])) == set(results.finals(numbers))
    # The paper has no number so early.
    assert not any(each.paper for each in numbers if each.run)
    found = cells(numbers)
    assert found[f"3000 {METRIC['small']}", "SS-GAN"].endswith(" (n=1)")
    assert found["12000 -", "SS-GAN"] == "not yet run"
    # Longer than any run of this scale.
    assert found["20000 -", "SS-GAN"] == "-"
    assert found["20000 -", "SS-GAN, paper (FID)"] == "26"
    text = report.report(experiment, numbers, "figure4.png")
    assert "0 of 4 runs are done" in text
    assert "- small/ssgan_cifar10-sn_0_0.9_1, seed 0" in text


def test_blocks(campaign):
    experiment = recipes.study("table3", "small", [0, 1])
    make_runs(experiment, campaign, ["/cond_"])
    numbers = results.collect(experiment, campaign)
    # A number of the paper that our D has no block for.
    extra = dataclasses.replace(experiment.paper[0], block=4)
    found = {}
    header, *lines = report.table([*numbers, extra])
    assert header[:3] == ["block", "Uncond-GAN", "paper"]
    for line in lines:
        found[line[0]] = dict(zip(header, line, strict=True))
    values = [
        float(row["test_accuracy"])
        for job in experiment.jobs
        if job.arm == "SS-GAN"
        for row in probe_rows(job)
        if row["block"] == "2"
    ]
    mean, deviation = statistics.fmean(values), abs(values[0] - values[1]) / 2**0.5
    assert found["2"]["SS-GAN"] == f"{mean:.3f} +- {deviation:.3f} (n=2)"
    assert found["2"]["Cond-GAN"] == "not yet run" == found["4"]["Cond-GAN"]
    assert found["4"]["Uncond-GAN"] == "-"
    sbn = header.index("SS-GAN (sBN)")
    assert lines[2][sbn + 1] == "0.796"
    beside = [each.paper for each in numbers if each.value is not None]
    assert "0.796" in beside and beside.count("") == 8


def test_the_papers_number_stands_beside_what_the_report_has_there(campaign):
    experiment = recipes.study("table2", "small", [0])
    make_runs(experiment, campaign)
    numbers = results.collect(experiment, campaign)
    beside = [each for each in numbers if each.run and each.paper]
    assert len(beside) == len(experiment.jobs)
    for each in beside:
        (expected,) = (
            other.paper
            for other in experiment.paper
            if (other.dataset, other.row, other.arm)
            == (each.dataset, each.row, each.arm)
        )
        assert (each.step, each.metric) == (12_000, METRIC["small"])
        assert each.paper == expected
    # Where the paper's number is of a step, that step.
    other = dataclasses.replace(experiment.paper[0], step=6000)
    experiment = dataclasses.replace(experiment, paper=(other,))
    beside = [each for each in results.collect(experiment, campaign) if each.run]
    assert [each.step for each in beside if each.paper] == [6000]


def test_the_last_block_over_steps(campaign):
    experiment = recipes.study("figure2", "small", [0])
    make_runs(experiment, campaign)
    numbers = results.collect(experiment, campaign)
    table = {line[0]: line for line in report.table(numbers)}
    peak, end = "highest over training", "at the end of training"
    assert list(table) == ["metric", peak, end]
    highest_first = 0
    for job in experiment.jobs:
        rows = [row for row in probe_rows(job) if row["block"] == "3"]
        last = [float(row["test_accuracy"]) for row in rows]
        assert len(last) == 6
        highest_first += last[0] == max(last)
        column = table["metric"].index(job.arm)
        assert table[peak][column] == f"{max(last):.3f} (n=1)"
        assert table[end][column] == f"{last[-1]:.3f} (n=1)"
    assert highest_first < len(experiment.jobs)
    assert table[end][-1] == "0.38"
    beside = [each.paper for each in numbers if each.run and each.paper]
    assert beside == [each.paper for each in experiment.paper]
    assert {each.block for each in numbers if each.value is not None} == {3}


def test_other_protocols_are_said(campaign):
    experiment = recipes.study("figure4", "small", [0, 1])
    make_runs(experiment, campaign)
    path = campaign.run_dir(experiment.jobs[0]) / "scores.csv"
    assert "Not comparable" not in report.report(
        experiment, results.collect(experiment, campaign), None
    )
    path.write_text(path.read_text().replace("fake_count=10000", "fake_count=5000"))
    text = report.report(experiment, results.collect(experiment, campaign), None)
    assert "**Not comparable among themselves**, as fake_count" in text
    assert "5000 | 10000" in text
    assert "that is no FID, and not comparable with the paper's" in text


def protocols_said(experiment, campaign, changes: dict[str, str]) -> str:
    """The report where protocols of some runs have another fact at their end."""
    make_runs(experiment, campaign)
    for word, fact in changes.items():
        for job in experiment.jobs:
            if word in job.name:
                path = campaign.run_dir(job) / "scores.csv"
                text = path.read_text().replace("=10000", f"=10000; {fact}")
                path.write_text(text)
    numbers = results.collect(experiment, campaign)
    return report.report(experiment, numbers, None)


def test_labels_belong_to_the_method(campaign):
    experiment = recipes.study("figure4", "small", [0, 1])
    text = protocols_said(experiment, campaign, {"/cond": "labels=uniform"})
    assert "Not comparable" not in text
    metric = METRIC["small"]
    plain = "data=cifar10; split=test; fake_count=10000"
    arms = "Uncond-GAN, SS-GAN, SS-GAN (sBN)"
    assert f"Protocol of {metric} ({arms}): {plain}.\n" in text
    assert f"Protocol of {metric} (Cond-GAN): {plain}; labels=uniform.\n" in text
    # Of one method they must agree.
    for word in ("/cond_cifar10-sn_0_0.9_1-seed1", "/uncond_cifar10-sn_0_0.9_1-seed1"):
        text = protocols_said(experiment, campaign, {word: "labels=uniform"})
        assert f"as labels of {metric} differs: - | uniform." in text
    # And all else must among methods.
    text = protocols_said(experiment, campaign, {"/cond": "labels=uniform; seed=1"})
    assert f"as seed of {metric} differs: - | 1." in text
    assert "as labels" not in text


def test_what_a_sweep_has_no_paper_for(campaign):
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
    # Nothing in a cell ends it.
    rows = [line for line in text.splitlines() if line.startswith("| cifar10 |")]
    assert len(rows) == 4
    assert all(r"a=" in line and r"\|b | " in line for line in rows)


def test_a_run_that_grows_between_two_tables(campaign, monkeypatch):
    experiment = recipes.study("figure4", "small", [0])
    make_runs(experiment, campaign)
    for seconds in (100.0, 250.0):
        monkeypatch.setattr(events, "train_seconds", lambda path: seconds)
        numbers = results.collect(experiment, campaign)
        assert {each.seconds for each in numbers if each.run} == {seconds}


def test_where_and_how_long(campaign, monkeypatch):
    experiment = recipes.study("figure4", "small", [0])
    make_runs(experiment, campaign, ["/cond_", "sbn"])
    job = experiment.jobs[0]
    facts = {"commit": "abc", "cpu": "a CPU", "cores": 2, "devices": ["CPU:0", "GPU:0"]}
    for step, commit in ((0, "old"), (5000, "abc")):
        path = campaign.run_dir(job) / f"environment-{step}.json"
        path.write_text(json.dumps(facts | {"commit": commit}))
    monkeypatch.setattr(
        events, "train_seconds", lambda path: 3725.0 * (path == campaign.run_dir(job))
    )
    numbers = results.collect(experiment, campaign)
    (number,) = (
        each
        for each in results.finals(numbers)
        if each.run == job.name and each.metric == METRIC["small"]
    )
    assert (number.commit, number.machine) == ("abc", "a CPU, 2 cores, GPU:0")
    assert number.seconds == 3725.0
    for path in campaign.run_dir(job).glob("environment-*.json"):
        path.write_text(json.dumps(facts | {"cores": 1}))
    machines = {each.machine for each in results.collect(experiment, campaign)}
    assert machines == {"a CPU, 1 core, GPU:0", ""}
    text = report.report(experiment, numbers, None)
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
    found, expected = results.forgetting_summary(points), naive_summary(points)
    assert list(found) and set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
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
    found = results.forgetting_summary(without)
    singles = ("at_switches", "floor_task_2", "floor_task_2_again")
    assert found == pytest.approx({name: expected[name] for name in singles})
    without = [point for point in points if not 2000 < point[0] < 3000]
    found = results.forgetting_summary(without)
    singles = ("at_switches", "floor_task_2_again")
    assert found == pytest.approx({name: expected[name] for name in singles})
    at_switches = [point for point in points if point[0] % 1000 == 0]
    found = results.forgetting_summary(at_switches)
    assert found == pytest.approx({"at_switches": expected["at_switches"]})


def test_forgetting_beside_the_papers(campaign):
    experiment = recipes.study("figure3", "small", [0, 1])
    make_runs(experiment, campaign)
    numbers = results.collect(experiment, campaign)
    table = {line[0]: line[1:] for line in report.table(numbers)}
    second = table["floor after the second switch"]
    assert [second[i] for i in (1, 3)] == ["0.49", "0.63"]
    peaks = table["peaks, mean"]
    assert peaks[3] == "0.85 to 0.88" and peaks[1] == "-"
    rotation = [job for job in experiment.jobs if "rotation" in job.name]
    floors = [naive_summary(points_of(job))["floor_task_2_again"] for job in rotation]
    assert table["the same, one cycle later"][2] == (
        f"{np.mean(floors):.3f} +- {np.std(floors, ddof=1):.3f} (n=2)"
    )


# --- Pictures ------------------------------------------------------------------


@pytest.mark.parametrize("name", list(recipes.STUDIES))
def test_all_that_is_written_comes_from_the_table(name, campaign, tmp_path):
    experiment = recipes.study(name, "small", [0, 1])
    # A panel for each of eighteen rows takes its time.
    make_runs(experiment, campaign, ["gp_", "sn_0.5", "sn_0_0.9_2"])
    folder = tmp_path / "report"
    runner.write_report(experiment, campaign, folder)
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{name}.png", f"{name}.svg", "report.md", "results.csv"}
    numbers = results.read(folder / "results.csv")
    text = (folder / "report.md").read_text()
    assert text == report.report(experiment, numbers, f"{name}.png")
    assert f"![{name}]({name}.png)" in text and experiment.command in text


def test_a_campaign_that_has_not_begun_has_no_picture(campaign, tmp_path):
    experiment = recipes.study("figure3", "small", [0])
    runner.write_report(experiment, campaign, tmp_path / "report")
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
    experiment = recipes.study("table2", "small", [0, 1])
    make_runs(experiment, campaign, ["gp_", "cifar100", "sn_0.5", "sn_0_0.9_2"])
    numbers = results.collect(experiment, campaign)
    left, right = plots.draw(numbers).axes
    for axes, metric in ((left, METRIC["small"]), (right, "logit_spread_real")):
        for arm in ("Uncond-GAN", "SS-GAN"):
            curves = [
                [
                    each.value
                    for each in numbers
                    if (each.arm, each.metric, each.seed) == (arm, metric, seed)
                ]
                for seed in (0, 1)
            ]
            steps, values = drawn(axes)[f"{arm} (n=2)"]
            np.testing.assert_array_equal(steps, [0, 3000, 6000, 9000, 12000])
            np.testing.assert_allclose(values, np.mean(curves, axis=0), rtol=1e-12)
        assert len(axes.get_lines()) == 6


def test_a_mean_is_of_all_seeds_or_not_drawn(campaign):
    experiment = recipes.study("figure4", "small", [0, 1])
    make_runs(experiment, campaign)
    job = next(job for job in experiment.jobs if (job.arm, job.seed) == ("SS-GAN", 1))
    rows = score_rows(job, "small", 6000)
    write_csv(campaign.run_dir(job) / "scores.csv", rows)
    ours, _ = plots.draw(results.collect(experiment, campaign)).axes
    np.testing.assert_array_equal(drawn(ours)["SS-GAN (n=2)"][0], [0, 3000, 6000])
    assert len(drawn(ours)["Cond-GAN (n=2)"][0]) == 5


@pytest.mark.parametrize("name", ["table1", "figure4"])
def test_markers_at_the_top_are_not_cut(name, campaign):
    experiment = recipes.study(name, "small", [0, 1])
    make_runs(experiment, campaign)
    # Values that are close together, far from zero.
    numbers = [
        dataclasses.replace(each, value=each.value and 100 + each.value / 100)
        for each in results.collect(experiment, campaign)
    ]
    left = plots.draw(numbers).axes[0]
    highest = max(np.max(line.get_ydata()) for line in left.get_lines())
    assert highest > 100
    assert left.get_ylim() == pytest.approx((0, 1.05 * highest))


def test_switches_and_the_papers_floors(campaign):
    experiment = recipes.study("figure3", "small", [0, 1])
    make_runs(experiment, campaign)
    numbers = results.collect(experiment, campaign)
    (axes,) = plots.draw(numbers).axes
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
    plain = [job for job in experiment.jobs if job.arm == "classifier"]
    expected = np.mean([[p[2] for p in points_of(job)] for job in plain], axis=0)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert steps[-1] == 20_000


def test_combinations_of_a_sweep_are_lines_of_one_panel(campaign):
    table = recipes.study("table2", "small", [0, 1])
    make_runs(table, campaign, ["gp_", "cifar100", "/uncond"])
    numbers = [
        dataclasses.replace(each, experiment="sweep", arm="")
        for each in results.collect(table, campaign)
        if each.run and each.value is not None
    ]
    left, _ = plots.draw(numbers).axes
    labels = [label for label in drawn(left) if "n=2" in label]
    assert labels == [
        f"{row} (n=2)" for row in ("sn_0_0.9_1", "sn_0_0.9_2", "sn_0.5_0.999_1")
    ]
    assert left.get_title() == "cifar10"
    header, *lines = report.table(numbers)
    assert header == ["dataset", "row", "metric", "ours"] and len(lines) == 3
