"""The table of scores, and comparisons between tables."""

import dataclasses
import re
import threading

import pytest

from ssgan_tf.evaluation import protocols
from ssgan_tf.evaluation.score_table import (
    ModuleScores,
    ScoreRow,
    ScoreTable,
    comparison,
)
from ssgan_tf.utils import files

VALUES = {"frechet_x": [4.0, 6.0], "rotation_accuracy_real": [0.5]}
CONFUSION = [[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0], [0, 0, 0, 4]]


def test_table_keeps_mean_deviation_and_list(tmp_path):
    table = ScoreTable(tmp_path / "new" / "scores.csv")
    assert table.rows() == [] and not table.has(5, "p", "w", ("fid",))
    row = ScoreRow(
        checkpoint="run/ckpt-5",
        step=5,
        weights_sha256="w",
        cells={
            "frechet_x_mean": "5.0",
            "frechet_x_std": "1.0",
            "frechet_x_list": "[4.0, 6.0]",
            "rotation_accuracy_real_mean": "0.5",
            "rotation_accuracy_real_std": "0.0",
            "rotation_accuracy_real_list": "[0.5]",
            "rotation_confusion_real": str(CONFUSION),
        },
        metrics="fid,is",
        versions=protocols.versions(),
        protocol="p, with; 'signs'",
        config="a = 1\nb = '2'\n",
    )
    table.add(
        ModuleScores(VALUES, {"real": CONFUSION}),
        step=5,
        checkpoint="run/ckpt-5",
        weights_sha256="w",
        protocol=row.protocol,
        config=row.config,
        metrics=("fid", "is"),
    )
    assert table.rows() == [row]
    assert row.means() == {"frechet_x": 5.0, "rotation_accuracy_real": 0.5}
    assert row.numbers() == VALUES
    assert row.deviation("frechet_x") == 1.0
    noted = dataclasses.replace(row, cells=row.cells | {"remark_std": "hi"})
    (other := ScoreTable(tmp_path / "noted.csv")).write([noted])
    assert other.rows() == [noted]
    # The bytes that earlier versions wrote.
    versions = protocols.versions()
    with table.path.open(newline="") as file:
        assert file.read() == (
            "checkpoint,step,weights_sha256,frechet_x_mean,frechet_x_std,frechet_x_list"
            ",rotation_accuracy_real_mean,rotation_accuracy_real_std,"
            "rotation_accuracy_real_list,rotation_confusion_real,metrics,versions,"
            "protocol,config\r\n"
            'run/ckpt-5,5,w,5.0,1.0,"[4.0, 6.0]",0.5,0.0,[0.5],'
            f'"{CONFUSION}","fid,is",{versions},"{row.protocol}",'
            "\"a = 1\nb = '2'\n\"\r\n"
        )


def add(table, step, values, protocol, **changes):
    fields = {"checkpoint": "c", "weights_sha256": "w", "metrics": ("fid",)} | changes
    scores = ModuleScores(values, {})
    table.add(scores, step=step, protocol=protocol, config="", **fields)


def test_one_row_per_step_and_protocol(tmp_path):
    table = ScoreTable(tmp_path / "scores.csv")
    add(table, 5, {"gone": [9.0]}, "p", weights_sha256="of a deleted run")
    assert not table.has(5, "p", "w", ("fid",))
    add(table, 5, VALUES, "p")
    assert table.has(5, "p", "w", ("fid",))
    for other in ((5, "q", "w"), (6, "p", "w"), (5, "p", "v")):
        assert not table.has(*other, ("fid",))
    add(table, 5, {"other": [1.0]}, "q")
    add(table, 6, VALUES, "p")
    rows = table.rows()
    assert [(row.step, row.protocol) for row in rows] == [(5, "p"), (5, "q"), (6, "p")]
    assert rows[0].means()["frechet_x"] == 5 and "gone_mean" not in rows[0].cells
    assert rows[1].means() == {"other": 1.0} and rows[1].cells["frechet_x_mean"] == ""
    columns = table.path.read_text().splitlines()[0].split(",")
    assert columns[-4:] == ["metrics", "versions", "protocol", "config"]


def test_a_row_waits_for_the_other_processes(tmp_path, caplog):
    caplog.set_level("INFO", "absl")
    waits_or_ends = threading.Event()
    caplog.handler.addFilter(lambda record: waits_or_ends.set() or True)
    table = ScoreTable(tmp_path / "scores.csv")

    def add_row():
        add(table, 5, VALUES, "p")
        waits_or_ends.set()

    with files.lock(tmp_path):
        other = threading.Thread(target=add_row)
        other.start()
        assert waits_or_ends.wait(60)
        assert table.rows() == []
    other.join(60)
    assert [row.step for row in table.rows()] == [5]


def test_metrics_of_the_same_weights_add_up(tmp_path):
    table = ScoreTable(tmp_path / "scores.csv")
    add(table, 5, {"fid": [9.0]}, "p", metrics=("fid",))
    assert not table.has(5, "p", "w", ("fid", "kid"))
    add(table, 5, {"kid": [1.0], "fid": [8.0]}, "p", metrics=("kid", "fid"))
    assert table.has(5, "p", "w", ("fid", "kid"))
    (row,) = table.rows()
    assert row.means() == {"fid": 8.0, "kid": 1.0}
    assert row.metrics == "fid,kid"


def test_a_file_that_is_no_table_is_refused_and_kept(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("name,phone\nA,1\n")
    table = ScoreTable(path)
    for call in (table.rows, lambda: add(table, 1, VALUES, "p")):
        with pytest.raises(ValueError, match=f"{path}.*checkpoint, step"):
            call()
    assert path.read_text() == "name,phone\nA,1\n"


def test_modules_of_one_table_stay_apart(tmp_path):
    table = ScoreTable(tmp_path / "mine.csv")
    for name, value in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        values = {"fid_10k_test": [value]}
        weights = f"w{value}"
        add(table, 0, values, str(PROTOCOL), weights_sha256=weights, checkpoint=name)
    assert [row.means()["fid_10k_test"] for row in table.rows()] == [2, 3]
    lines = comparison([table.path]).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["run", "b", "a"],
        ["step", "0", "0"],
        ["fid_10k_test", "2", "3"],
    ]


def test_one_module_by_two_names_and_two_by_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = [ScoreTable(tmp_path / name) for name in ("a.csv", "b.csv")]
    for table, value in zip(tables, (1.0, 2.0), strict=True):
        values = {"fid": [value]}
        weights = f"w{value}"
        add(table, 0, values, str(PROTOCOL), weights_sha256=weights, checkpoint="m/0")
    lines = comparison([table.path for table in tables]).splitlines()
    assert lines[2].split() == ["fid", "1", "2"]
    # The same weights by another path, then other weights at that path.
    path = str(tmp_path / "m" / "0")
    fields = {"weights_sha256": "w1.0", "metrics": ("kid",), "checkpoint": path}
    add(tables[0], 0, {"kid": [3.0]}, str(PROTOCOL), **fields)
    (row,) = tables[0].rows()
    assert row.means() == {"fid": 1.0, "kid": 3.0}
    fields = {"weights_sha256": "w4.0", "metrics": ("fid",), "checkpoint": "m/0"}
    add(tables[0], 0, {"fid": [4.0]}, str(PROTOCOL), **fields)
    (row,) = tables[0].rows()
    assert row.means() == {"fid": 4.0}


def test_versions_of_metrics_that_were_added_later(tmp_path, monkeypatch):
    table = ScoreTable(tmp_path / "scores.csv")
    for key in ("fid", "kid"):
        monkeypatch.setattr(protocols, "versions", lambda key=key: f"tensorflow={key}")
        add(table, 5, {key: [1.0]}, "p", metrics=(key,))
    (row,) = table.rows()
    assert row.versions == "tensorflow=fid | tensorflow=kid"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text + "5,c\n",
        lambda text: text.replace("\n", ",more\n").replace(",more\n", "\n", 1),
        lambda text: text.replace("c,5,", "c,5.0,"),
        lambda text: text.replace("w,5.0,", "w,five,"),
        lambda text: text.replace("[4.0, 6.0]", "[4.0; 6.0]"),
        lambda text: text.encode("utf-16"),
    ],
)
def test_torn_and_edited_tables(tmp_path, spoil):
    table = ScoreTable(tmp_path / "scores.csv")
    add(table, 5, VALUES, "p")
    text = spoil(whole := table.path.read_text())
    assert text != whole
    table.path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=str(table.path)):
        table.rows()


# ------------------------------------------------------------------------ comparison

PROTOCOL = protocols.Protocol(
    data="cifar10",
    split="test",
    data_hash="4567",
    real_count=10_000,
    fake_count=10_000,
    resolution="32x32x3",
    extractor="inception",
    extractor_hash="0123",
    resize="tf1_bilinear_299",
    weights="raw",
    batch_norm="moving moments",
    tags=None,
    z="uniform",
    labels=None,
    fake_seeds="0-2",
    rounding="8 bit",
    seed=0,
    covariance_divisor="N-1",
    classifier_score_splits=1,
    kernel_block_size=1024,
    swd_count=8192,
    ms_ssim="10000 pairs, 2 scales",
    prd="20 clusters, 10 runs",
    neighbours="3 and 5",
)
EMA = dataclasses.replace(PROTOCOL, weights="ema", fake_count=5000)


def test_protocol_as_text():
    text = str(PROTOCOL)
    assert text.startswith("data=cifar10; split=test; data_hash=4567; ")
    assert "labels" not in text
    facts = protocols.facts_of(text)
    assert facts["resize"] == "tf1_bilinear_299" and facts["real_count"] == "10000"
    assert protocols.differences([text, text]) == {}
    assert protocols.differences([text, str(EMA)]) == {
        "fake_count": ["10000", "5000"],
        "weights": ["raw", "ema"],
    }
    labelled = str(dataclasses.replace(PROTOCOL, labels="uniform"))
    assert protocols.differences([text, labelled]) == {"labels": ["-", "uniform"]}


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(PROTOCOL)])
def test_every_fact_keeps_scores_apart(field):
    other = dataclasses.replace(PROTOCOL, **{field: "another"})
    assert list(protocols.differences([str(PROTOCOL), str(other)])) == [field]


@pytest.mark.parametrize(
    ("count", "name"), [(10_000, "10k"), (397, "397"), (2048, "2048"), (1000, "1k")]
)
def test_names_of_counts(count, name):
    assert protocols.count_name(count) == name


@pytest.fixture
def two_runs(tmp_path):
    for name, values in (("a", [4.0, 6.0]), ("b", [7.0])):
        table = ScoreTable(tmp_path / name / "scores.csv")
        add(table, 5, {"fid_10k_test": [99.0]}, str(PROTOCOL))
        add(table, 100, {"fid_10k_test": values}, str(PROTOCOL))
    return [tmp_path / "a", tmp_path / "b" / "scores.csv"]


def test_runs_of_one_protocol_side_by_side(two_runs):
    lines = comparison(two_runs).splitlines()
    # A folder is one run; a table is shown module by module.
    assert lines[0].split() == ["run", str(two_runs[0]), f"{two_runs[1]}:", "c"]
    assert lines[1].split() == ["step", "100", "100"]
    assert lines[2].split() == ["fid_10k_test", "5", "+-", "1", "7"]
    assert lines[4:] == [f"protocol: {PROTOCOL}"]


def test_the_protocol_that_all_have_is_taken(two_runs):
    # The newest row of the second run is of another one.
    add(ScoreTable(two_runs[1]), 200, {"fid_5k_test": [3.0]}, str(EMA))
    for order, numbers in ((1, ["5", "+-", "1", "7"]), (-1, ["7", "5", "+-", "1"])):
        lines = comparison(two_runs[::order]).splitlines()
        assert lines[1].split() == ["step", "100", "100"]
        assert lines[2].split()[1:] == numbers


def test_other_protocols_are_refused_and_marked(two_runs):
    two_runs[1].unlink()
    add(ScoreTable(two_runs[1]), 100, {"fid_10k_test": [7.0]}, str(EMA))
    words = r"one protocol.*\n  fake_count: 10000 \| 5000\n  weights: raw \| ema\n"
    with pytest.raises(ValueError, match=words):
        comparison(two_runs)
    text = comparison(two_runs, anyway=True)
    assert re.search(r"fid_10k_test +5 \+- 1 +7 \*\n", text)
    assert "* of another protocol than the first:" in text
    assert "weights: raw | ema" in text


def test_the_latest_step_of_the_first_runs_latest_protocol(tmp_path):
    for name in "ab":
        table = ScoreTable(tmp_path / name / "scores.csv")
        for protocol in (PROTOCOL, EMA):
            # Scored in another order than trained.
            for step in (100, 20):
                add(table, step, {"fid_x": [step + (protocol is EMA)]}, str(protocol))
    add(table, 5, {"fid_x": [5.0]}, str(PROTOCOL))
    lines = comparison([tmp_path / "a", tmp_path / "b"]).splitlines()
    assert lines[1].split() == ["step", "100", "100"]
    assert lines[2].split() == ["fid_x", "101", "101"]
    assert lines[4] == f"protocol: {EMA}"


def test_a_run_without_scores(two_runs, tmp_path):
    (tmp_path / "c").mkdir()
    with pytest.raises(FileNotFoundError, match="c/scores.csv"):
        comparison([*two_runs, tmp_path / "c"])
