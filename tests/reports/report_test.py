"""The report: what is there shows, what is missing is said, nothing is loaded."""

import base64
import contextlib
import html.parser
import io
import itertools
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny
from matplotlib.colors import to_rgb
from PIL import Image

from ssgan_tf.evaluation.score_table import ModuleScores, ScoreTable
from ssgan_tf.experiments.probe import BlockScore, ProbeTable
from ssgan_tf.reports import figures, report
from ssgan_tf.reports.page import picture_series
from ssgan_tf.training import checkpoint_export, loop
from ssgan_tf.training.events import Curve
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import environment, strategies
from ssgan_tf.utils.startup import StartUp

VOID = {"meta", "link", "img", "input"}
PROTOCOL = "data=digits32; split=test; real_count=397"
COUNTS = [[3, 1, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0], [2, 0, 0, 2]]
ODD = '<b>&"x'
CONFIG = """\
D.width = 4
dataset.name = 'digits32'
options.architecture = 'resnet_cifar'
options.gan_class = @SSGAN
options.training_steps = 4
"""
TAGS = (
    "accuracy/rotation_fake",
    "accuracy/rotation_real",
    "loss/d",
    "loss/g",
    "sigma/d/B1/same_conv1",
    "sigma/d/B1/same_conv2",
)
CLASSIFIER = """\
dataset.name = 'digits32'
forgetting.architecture = 'sndcgan'
forgetting.batch_size = 64
forgetting.seed = 7
forgetting.steps_per_task = 3
forgetting.training_steps = 40
forgetting.weight_rotation_loss = 0.5
"""


class Page(html.parser.HTMLParser):
    """What a browser makes of a page: its elements, and the text of each kind."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.texts, self._open = [], {}, []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        # Whatever was not escaped would leave its own tags open.
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def text(self, *tags) -> list[str]:
        return [text for tag in tags for text in self.texts.get(tag, [])]


def add_scores(run: RunDir, step, numbers, protocol=PROTOCOL):
    values = {"frechet_x_397_test": numbers, "rotation_accuracy_real": [0.75]}
    ScoreTable(run.path / "scores.csv").add(
        step,
        f"ckpt-{step}",
        ModuleScores(values, {"real": COUNTS}),
        protocol,
        "",
        "w",
        (),
    )


def write_curves(run: RunDir, tags) -> None:
    """Two points of each, at steps 2 and 4."""
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    with contextlib.closing(writer), writer.as_default():
        for step in (2, 4):
            for number, tag in enumerate(tags):
                tf.summary.scalar(tag, number / step, step)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunDir:
    """A run with all that a run can have, as if it was gone on with at step 2."""
    run = RunDir(tmp_path_factory.mktemp("runs") / ODD)
    facts = environment.facts()
    run.write_environment(facts, 0)
    run.write_environment(facts | {"cpu": "Another"}, 2)
    run.write_config(CONFIG, 0)
    run.write_config(CONFIG.replace("D.width = 4", "D.width = 5"), 2)
    write_curves(run, TAGS)
    run.samples.mkdir()
    for step in (0, 2, 4):
        Image.new("L", (16, 16), step).save(run.samples / f"{step}.png")
    run.train_done.touch()
    add_scores(run, 0, [90.0, 110.0])
    add_scores(run, 4, [4.0, 6.0])
    probe = ProbeTable(run.path / "probe.csv")
    for step, accuracy in ((2, 0.5), (4, 0.25)):
        probe.add(
            [
                BlockScore(step, b, f"B{b}", 8, 0.9, accuracy + b / 8, "l2")
                for b in (0, 1)
            ]
        )
    return run


@pytest.fixture
def bare(tmp_path) -> RunDir:
    """A run that has just begun."""
    run = RunDir(tmp_path / "bare")
    run.write_config("options.training_steps = 1000\nD.width = 4\n", 0)
    return run


@pytest.fixture(scope="module")
def page(trained) -> str:
    return report.render([trained.path])


def test_the_facts_are_there(trained, page):
    found = Page(page)
    assert found.text("h1") == found.text("title") == [ODD]
    assert found.text("p")[0].startswith("SSGAN \u00b7 digits32 \u00b7 resnet_cifar")
    cells = found.text("td")
    assert "4 of 4" in cells and "5 \u00b1 1" in cells and "0.75" in cells
    assert {"digits32", "397"} <= set(cells)
    for headline in ("Scores", "Samples", "Curves", "Linear probe of D"):
        assert headline in found.text("h2")
    # Both configurations, whole.
    assert found.text("pre") == [path.read_text() for path in trained.configs()]
    assert len(found.text("pre")) == 2
    before, after = trained.environments().values()
    assert {before["tensorflow"], before["cpu"], after["cpu"]} <= set(cells)
    assert {f"{ODD}, from step 0", f"{ODD}, from step 2"} <= set(found.text("th"))
    drawn = found.text("text")
    for title in ("Losses", "Rotation accuracy of D", "frechet_x_397_test"):
        assert title in drawn
    assert "B1/same_conv2" in drawn and "accuracy, block 1" in drawn
    assert not any(text.startswith("No ") for text in found.text("p"))


def test_confusions(page):
    shares = re.findall(r'<td style="--share:([\d.]+)">([\d.]+)</td>', page)
    expected = (np.array(COUNTS) / 4).ravel()
    np.testing.assert_allclose(np.array(shares, float), np.stack([expected] * 2, 1))


def test_the_same_run_gives_the_same_page(trained, page):
    assert report.render([trained.path]) == page


def test_pictures_are_those_of_the_run(trained, page):
    images = {
        int(attributes["data-step"]): attributes
        for tag, attributes in Page(page).elements
        if tag == "img"
    }
    assert list(images) == [0, 2, 4]
    for step, attributes in images.items():
        kind, content = attributes["src"].split(",")
        assert kind == "data:image/png;base64"
        picture = trained.samples / f"{step}.png"
        assert base64.b64decode(content) == picture.read_bytes()
        # Without JavaScript the last one shows.
        assert ("hidden" in attributes) == (step != 4)


@pytest.fixture(scope="module")
def compared(trained, tmp_path_factory) -> str:
    """A page on the run and another one of other steps, under a further protocol."""
    other = RunDir(tmp_path_factory.mktemp("runs") / "other")
    shutil.copytree(trained.path, other.path)
    (config,) = (path for path in other.configs() if "-2" in path.name)
    config.write_text(config.read_text().replace("D.width = 5", "D.width = 8"))
    (other.samples / "2.png").unlink()
    shutil.copy(other.samples / "4.png", other.samples / "6.png")
    add_scores(other, 6, [2.0], PROTOCOL.replace("397", "100"))
    return report.render([trained.path, other.path])


def test_runs_side_by_side(compared):
    found = Page(compared)
    assert found.text("h1") == [f"{ODD} against other"]
    rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', compared)
    assert "D.width</th><td>5</td><td>8</td>" in rows
    assert (
        "frechet_x_397_test</th><td>5 \u00b1 1</td><td>5 \u00b1 1</td>".replace(
            "\u00b1", "&#177;"
        )
        in rows
    )
    # The number of the other protocol stands alone.
    assert "frechet_x_397_test</th><td>2</td>" in rows
    (said,) = (note for note in found.text("p") if "do not compare" in note)
    assert "differ in real_count: 397 | 100." in said
    # Of all layers the largest.
    assert "Largest singular value of all layers of D" in found.text("text")
    assert ODD in found.text("text") and "other" in found.text("text")


def test_grids_side_by_side(compared):
    found = Page(compared)
    (series,) = (each for _, each in found.elements if each.get("id") == "series")
    assert json.loads(series["data-steps"]) == [0, 2, 4, 6]
    steps = [int(each["data-step"]) for tag, each in found.elements if tag == "img"]
    assert steps == [0, 2, 4, 0, 4, 6]


@pytest.mark.parametrize("names", [(ODD,), (ODD, "other")])
def test_nothing_is_loaded(page, compared, names):
    text = page if len(names) == 1 else compared
    for tag, attributes in Page(text).elements:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                assert value.startswith(("data:", "#")), (tag, name, value)
            assert not name.startswith("on")
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "@import" not in text and "import(" not in text and "fetch(" not in text
    # The names of SVG are no places.
    assert set(re.findall(r"https?:[^\"' ]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert text.isascii()


def test_a_run_that_has_just_begun(bare):
    found = Page(report.render([bare.path]))
    assert "0 of 1,000, not done" in found.text("td")
    said = [note for note in found.text("p") if note.startswith("No ")]
    assert said == [
        "No scores yet.",
        "No samples yet.",
        "No curves.",
        "No singular values.",
        "No record of the environment.",
    ]
    assert "Linear probe of D" not in found.text("h2")


def test_what_one_of_two_runs_lacks(bare, trained):
    found = Page(report.render([bare.path, trained.path]))
    for what in ("scores yet", "samples yet", "curves", "probe"):
        assert f"No {what}: bare." in found.text("p")


@pytest.fixture
def classifier(tmp_path) -> RunDir:
    """A run of `ssgan forget`."""
    run = RunDir(tmp_path / "classifier")
    run.write_config(CLASSIFIER, 0)
    write_curves(run, ("accuracy/class", "accuracy/rotation_real", "loss/class"))
    return run


def test_a_classifier_whose_task_changes(classifier):
    text = report.render([classifier.path])
    found = Page(text)
    lead, *words = found.text("p")
    assert (
        lead == "digits32 \u00b7 sndcgan \u00b7 40 steps \u00b7 batch 64 \u00b7 seed 7"
    )
    assert found.text("h2") == ["Training", "Curves", "Configuration", "Environment"]
    # Neither scores nor samples will ever come.
    assert words == ["No record of the environment."]
    rows = re.findall(r'<tr><th scope="row">(.*?)</td></tr>', text)
    assert "steps per task</th><td>3" in rows
    assert "weight of the rotation loss</th><td>0.5" in rows
    assert "steps</th><td>4 of 40, not done" in rows
    drawn = found.text("text")
    assert "Accuracy on the classifier's task" in drawn and "chance" in drawn


def test_a_classifier_beside_a_gan(classifier, bare):
    found = Page(report.render([classifier.path, bare.path]))
    assert [note for note in found.text("p") if note.startswith("No ")] == [
        "No scores yet: bare.",
        "No samples yet: bare.",
        "No curves: bare.",
        "No singular values: bare.",
        "No record of the environment: classifier, bare.",
    ]


@pytest.mark.parametrize("family, height", [("class", 0.5), ("rotation", 0.25)])
def test_chance(classifier, monkeypatch, family, height):
    drawn = {}

    def lines(name, title, of, level=None):
        drawn[title] = level
        return ""

    monkeypatch.setattr(figures, "lines", lines)
    report.render([classifier.path])
    title = report._TITLES[f"accuracy/{family}"]
    assert drawn[title] == ("chance", height)
    assert drawn["Loss of the classifier"] is None


def test_names_that_do_not_tell_runs_apart(bare, tmp_path):
    other = RunDir(tmp_path / "more" / "bare")
    shutil.copytree(bare.path, other.path)
    found = Page(report.render([bare.path, other.path]))
    assert found.text("h1") == [f"{bare.path} against {other.path}"]
    with pytest.raises(ValueError, match="once. Received: .*more.*one folder"):
        report.render([bare.path, other.path.parent / ".." / "bare"])


def test_a_folder_without_a_run(bare, tmp_path):
    with pytest.raises(FileNotFoundError, match="operative_config-<step>.gin"):
        report.render([bare.path, tmp_path])


@pytest.mark.slow
def test_the_command(bare, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ssgan_tf",
            "report",
            "bare",
            "--out=new/page.html",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "written new/page.html, 0.0 MB\n"
    page = (tmp_path / "new" / "page.html").read_text()
    assert page == report.render([bare.path])


@pytest.mark.parametrize(
    "count, chosen", [(3, [0, 1, 2]), (4, [0, 1, 2, 3]), (10, [0, 3, 6, 9])]
)
def test_evenly(count, chosen):
    assert report._evenly(range(count), 4) == chosen


def test_large_pictures_are_compressed(tmp_path):
    path = tmp_path / "1.png"
    # Smooth, so that little is lost, and noisy, so that PNG is large.
    image = np.add.outer(np.arange(512), np.arange(512))[..., None] // 8
    image = image + np.random.default_rng(0).integers(0, 32, (512, 512, 3))
    Image.fromarray(image.astype(np.uint8)).save(path)
    page = picture_series({"a": {1: path}})
    kind, content = re.search(r'src="(.*),(.*)"', page).groups()
    assert kind == "data:image/webp;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))), np.float64)
    assert shown.shape == image.shape and len(content) < path.stat().st_size / 2
    assert 0.5 < np.abs(shown - image).mean() < 16
    assert 'width="512"' in page


@pytest.mark.parametrize("content", ["empty", "cut", "torn", "other"])
def test_a_damaged_picture_is_named(bare, content):
    bare.samples.mkdir()
    path = bare.samples / "1.png"
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(noise).save(path, "GIF" if content == "other" else "PNG")
    whole = path.read_bytes()
    damaged = {
        "empty": b"",
        # Its size can still be read.
        "cut": whole[: len(whole) // 2],
        "torn": whole[:60] + b"\0" + whole[61:],
        "other": whole,
    }
    path.write_bytes(damaged[content])
    with pytest.raises(ValueError, match=f"whole PNG file. Received: {path}.*Remove"):
        report.render([bare.path])


def test_families():
    tags = ["loss/d", "loss/g", "loss/rotation_fake", "loss/rotation_real", "penalty"]
    assert figures.families(tags) == {
        "loss": {"d": "loss/d", "g": "loss/g"},
        "loss/rotation": {"real": "loss/rotation_real", "fake": "loss/rotation_fake"},
        "penalty": {"": "penalty"},
    }


def test_long_curves_keep_their_means():
    steps = np.arange(1, 4 * figures.MAX_POINTS + 1)
    values = np.random.default_rng(0).normal(size=len(steps))
    short = figures.thinned(Curve(steps, values))
    assert len(short.steps) == figures.MAX_POINTS
    np.testing.assert_allclose(short.values[5], values[20:24].mean(), rtol=1e-12)
    np.testing.assert_allclose(short.steps[5], 22.5, rtol=1e-12)
    same = Curve(steps[:7], values[:7])
    assert figures.thinned(same) is same


@pytest.mark.parametrize("count", [2, 14, 20])
def test_lines_of_one_run_can_be_told_apart(count):
    sides = [f"layer {i}" for i in range(count)]
    looks = figures._looks(["a"], sides)
    assert [*looks] == [("a", side) for side in sides]
    assert len({tuple(look.values()) for look in looks.values()}) == count
    # Lines of one kind differ in more than a shade.
    for one, other in itertools.combinations(looks.values(), 2):
        if one["linestyle"] == other["linestyle"]:
            apart = np.subtract(to_rgb(one["color"]), to_rgb(other["color"]))
            assert np.abs(apart).sum() > 0.3


def test_lines_of_several_runs_keep_a_colour_each():
    looks = figures._looks(["a", "b"], ["d", "g"])
    assert len({tuple(look.values()) for look in looks.values()}) == 4
    for run in ("a", "b"):
        assert looks[run, "d"]["color"] == looks[run, "g"]["color"]
    for side in ("d", "g"):
        assert looks["a", side]["linestyle"] == looks["b", side]["linestyle"]


@pytest.mark.slow
def test_what_a_training_writes_is_shown(tmp_path, monkeypatch):
    run, plan = RunDir(tmp_path / "run"), tiny.plan()
    gan = loop.build(plan, strategies.get_strategy("one_device"))
    # A module takes longer than the training.
    monkeypatch.setattr(checkpoint_export, "export_checkpoint", lambda *arguments: None)
    loop.train(gan, plan, run, start_up=StartUp())
    found = Page(report.render([run.path]))
    assert found.text("p")[0].startswith("SSGAN \u00b7 digits32 \u00b7 resnet_cifar")
    assert "4 of 4" in found.text("td")
    drawn = found.text("text")
    for title in (*report._TITLES.values(), "Largest singular value, layers of G"):
        assert (title in drawn) == ("classifier" not in title)
    assert "B1/same_conv2" in drawn and "chance" in drawn
    images = [attributes for tag, attributes in found.elements if tag == "img"]
    assert [image["data-step"] for image in images] == ["0", "2", "4"]
    said = [note for note in found.text("p") if note.startswith("No ")]
    assert said == ["No scores yet."]


# In a browser.


def chromium(tmp_path, address: str, *flags: str) -> subprocess.CompletedProcess:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed")
    return subprocess.run(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            # What the browser wants for itself stays here too.
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={tmp_path / 'browser'}",
            "--enable-logging=stderr",
            f"--log-net-log={tmp_path / 'net.json'}",
            *flags,
            address,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def requested(tmp_path) -> list[str]:
    """Addresses that a page has asked for, not the browser itself."""
    events = json.loads((tmp_path / "net.json").read_text())["events"]
    starts = [event.get("params", {}) for event in events]
    return [
        start["url"]
        for start in starts
        if start.get("initiator", "not an origin") != "not an origin"
        and not start["url"].startswith(("file:", "data:"))
    ]


def shown(text: str) -> list[int]:
    return [
        int(attributes["data-step"])
        for tag, attributes in Page(text).elements
        if tag == "img" and "hidden" not in attributes
    ]


@pytest.mark.parametrize("asked, steps", [("", [4, 6]), ("#step=2", [2, 0])])
def test_the_slider_in_a_browser(compared, tmp_path, asked, steps):
    path = tmp_path / "page.html"
    path.write_text(compared)
    done = chromium(tmp_path, f"{path.as_uri()}{asked}", "--dump-dom")
    # A mistake in the script, or something refused, is said on the console.
    assert "CONSOLE" not in done.stderr
    found = Page(done.stdout)
    assert shown(done.stdout) == steps
    assert found.text("span") == [str(step) for step in steps]
    assert found.text("output") == [asked.removeprefix("#step=") or "6"]
    (slider,) = (each for _, each in found.elements if each.get("class") == "slider")
    assert "hidden" not in slider
    assert requested(tmp_path) == []


@pytest.mark.slow
def test_a_request_would_be_seen(tmp_path):
    path = tmp_path / "page.html"
    path.write_text('<img src="http://report.invalid/x.png">')
    chromium(tmp_path, path.as_uri(), "--dump-dom")
    assert requested(tmp_path) == ["http://report.invalid/x.png"]


@pytest.mark.slow
def test_a_picture_of_the_page(page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page)
    for width in (1280, 500):
        picture = tmp_path / f"{width}.png"
        size = f"--window-size={width},1500"
        chromium(tmp_path, path.as_uri(), f"--screenshot={picture}", size)
        pixels = np.asarray(Image.open(picture).convert("L"), np.float64)
        assert pixels.shape == (1500, width)
        # Neither blank nor one-coloured.
        assert 5 < pixels.std() < 120
