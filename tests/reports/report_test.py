"""The report: it shows the results, names what is missing, and loads nothing."""

import base64
import contextlib
import html.parser
import io
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny
from optional import needs_chromium
from PIL import Image

from ssgan_tf import datasets
from ssgan_tf.evaluation.score_table import ModuleScores, ScoreTable
from ssgan_tf.experiments.probe import BlockScore, ProbeTable
from ssgan_tf.reports import figures, report
from ssgan_tf.training import loop
from ssgan_tf.training.events import Curve
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import environment, strategies
from ssgan_tf.utils.startup import StartUp

VOID = {"meta", "link", "img", "input"}
PROTOCOL = "data=digits32; split=test; real_count=397"
COUNTS = [[3, 1, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0], [2, 0, 0, 2]]
HOSTILE = "<b>&\"x'{{ 1 }}"
CONFIG = """\
D.width = 4
G.width = </pre><script>alert(1)</script>
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
    "<script>alert(2)</script>'><img src=x>",
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
    """The elements of a page, their text, and the rows of its tables by section."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.texts, self.tables = [], {}, {}
        self._open, self._section = [], None
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["id"]
        if tag == "tr":
            self.tables.setdefault(self._section, []).append([])
        if tag in ("td", "th"):
            self.tables[self._section][-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        # Text that was not escaped would leave its tags open.
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)
        if self._open and self._open[-1] in ("td", "th"):
            self.tables[self._section][-1][-1] += data

    def text(self, *tags) -> list[str]:
        return [text for tag in tags for text in self.texts.get(tag, [])]

    def rows(self, section: str) -> dict[str, list[str]]:
        """The rows of the tables of a section, by their first cell."""
        return {name: cells for name, *cells in self.tables[section]}

    def attributes(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def sections(self) -> list[str]:
        return [attributes["id"] for attributes in self.attributes("section")]

    @property
    def missing(self) -> list[str]:
        return [note for note in self.text("p") if note.startswith("No ")]


def add_scores(run: RunDir, step, numbers, protocol=PROTOCOL):
    values = {"frechet_x_397_test": numbers, "rotation_accuracy_real": [0.75]}
    ScoreTable(run.path / "scores.csv").add(
        ModuleScores(values, {"real": COUNTS}),
        step=step,
        checkpoint=f"ckpt-{step}",
        weights_sha256="w",
        protocol=protocol,
        config="",
        metrics=(),
    )


def add_probe(run: RunDir, step: int, accuracy: float) -> None:
    scores = {"features": 8, "train_accuracy": 0.9, "protocol": "l2"}
    ProbeTable(run.path / "probe.csv").add(
        [
            BlockScore(step, b, f"B{b}", test_accuracy=accuracy + b / 8, **scores)
            for b in (0, 1)
        ]
    )


def write_curves(run: RunDir, tags) -> None:
    """Two points of each tag, at steps 2 and 4."""
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    with contextlib.closing(writer), writer.as_default():
        for step in (2, 4):
            for number, tag in enumerate(tags):
                tf.summary.scalar(tag, number / step, step)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunDir:
    """A run with all results, which was continued at step 2 on another machine."""
    run = RunDir(tmp_path_factory.mktemp("runs") / HOSTILE)
    facts = environment.facts()
    run.write_environment(facts, 0)
    run.write_environment(facts | {"cpu": "</td><script>alert(1)</script>"}, 2)
    run.write_config(CONFIG, 0)
    run.write_config(CONFIG.replace("D.width = 4", "D.width = 5"), 2)
    write_curves(run, TAGS)
    run.samples.mkdir()
    for step in (0, 2, 4):
        Image.new("L", (16, 16), step).save(run.samples / f"{step}.png")
    run.train_done.touch()
    add_scores(run, 0, [90.0, 110.0])
    add_scores(run, 4, [4.0, 6.0])
    add_probe(run, 2, 0.5)
    add_probe(run, 4, 0.25)
    return run


@pytest.fixture
def bare(tmp_path) -> RunDir:
    """A run that has just begun."""
    run = RunDir(tmp_path / "bare")
    run.write_config("options.training_steps = 1000\nD.width = 4\n", 0)
    return run


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    """A folder with digits32."""
    folder = tmp_path_factory.mktemp("data")
    tiny.prepare(folder)
    return folder


@pytest.fixture(scope="module")
def page(trained, data_dir) -> str:
    return report.render([trained.path], data_dir)


def test_one_run(trained, page):
    parsed = Page(page)
    assert parsed.text("h1") == parsed.text("title") == [HOSTILE]
    assert (
        parsed.text("p")[0]
        == "SSGAN \u00b7 digits32 \u00b7 resnet_cifar \u00b7 4 steps"
    )
    assert " ".join(parsed.sections) == (
        "samples scores training curves probe confusions configuration environment"
    )
    scores = parsed.rows("scores")
    assert scores["step"] == ["4"] and scores["rotation_accuracy_real"] == ["0.75"]
    assert scores["frechet_x_397_test"] == ["5 \u00b1 1"]
    # The protocol.
    assert scores["real_count"] == ["397"]
    assert parsed.rows("training")["steps"] == ["4 of 4"]
    assert parsed.rows("training")["width of D"] == ["5"]
    assert parsed.rows("probe")["accuracy, block 1"] == ["0.375"]
    # Both configurations.
    assert parsed.text("pre") == [path.read_text() for path in trained.configs()]
    before, after = trained.environments().values()
    facts = parsed.rows("environment")
    assert facts[""] == [f"{HOSTILE}, from step 0", f"{HOSTILE}, from step 2"]
    assert facts["cpu"] == [before["cpu"], after["cpu"]]
    drawn = parsed.text("text")
    for title in ("loss", "rotation accuracy of d", "frechet_x_397_test"):
        assert any(title in text.lower() for text in drawn)
    assert {"B1/same_conv2", "accuracy, block 1", "chance"} <= set(drawn)
    assert parsed.missing == []


def test_confusions_are_shares_of_rows(page):
    matrix = [row for name, *row in Page(page).tables["confusions"] if name]
    np.testing.assert_allclose(np.array(matrix, float), np.array(COUNTS) / 4)
    shares = re.findall(r"--share:([\d.]+)", page)
    np.testing.assert_allclose(np.array(shares, float), np.ravel(COUNTS) / 4)


def decoded(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))


def test_samples_beside_real_images(trained, page, data_dir):
    *samples, real = Page(page).attributes("img")
    assert [image["data-step"] for image in samples] == ["0", "2", "4"]
    for image in samples:
        kind, content = image["src"].split(",")
        assert kind == "data:image/png;base64"
        picture = trained.samples / f"{image['data-step']}.png"
        assert base64.b64decode(content) == picture.read_bytes()
        # Without JavaScript the last one is shown.
        assert ("hidden" in image) == (image["data-step"] != "4")
    assert "data-step" not in real and "hidden" not in real
    shown = decoded(real["src"]).reshape(8, 32, 8, 32).swapaxes(1, 2)
    images, _ = datasets.load_split("digits32", "train", data_dir)
    for row, start in zip(shown, np.linspace(0, 1400 - 8, 8, dtype=int), strict=True):
        np.testing.assert_array_equal(row, images[start : start + 8, ..., 0])


def add_sample(run: RunDir, bindings: str) -> None:
    run.samples.mkdir()
    Image.new("L", (8, 8)).save(run.samples / "0.png")
    run.latest_config().write_text(bindings)


@pytest.mark.parametrize(
    "damaged", [None, "dataset_info.json", "digits32-train.tfrecord*"]
)
def test_a_page_without_real_images_names_the_reason(bare, data_dir, tmp_path, damaged):
    add_sample(bare, "dataset.name = 'digits32'\n")
    folder = tmp_path / "data"
    if damaged:
        shutil.copytree(data_dir, folder)
        (file,) = (folder / "digits32" / "1.0.0").glob(damaged)
        file.write_text("damaged")
    parsed = Page(report.render([bare.path], folder))
    (note, *_) = parsed.missing
    assert "real images of digits32" in note
    assert damaged or "--tfds_data_dir" in note
    assert len(parsed.attributes("img")) == 1
    # Nothing is prepared.
    assert damaged or not folder.exists()


def test_each_size_of_a_folder_has_its_real_images(bare, tmp_path):
    folder = tmp_path / "gone"
    runs = [bare, RunDir(tmp_path / "large")]
    shutil.copytree(bare.path, runs[1].path)
    for run, size in zip(runs, (8, 16), strict=True):
        lines = f"dataset.colors = 3\ndataset.resolution = {size}\n"
        add_sample(run, f"dataset.name = 'folder:{folder}'\n{lines}")
    first, second, *_ = Page(report.render([run.path for run in runs])).missing
    assert f"{folder}@8x8x3" in first and f"{folder}@16x16x3" in second


@pytest.fixture(scope="module")
def compared(trained, tmp_path_factory) -> str:
    """A page on the run and another one of other steps, with a second protocol."""
    other = RunDir(tmp_path_factory.mktemp("runs") / "other")
    shutil.copytree(trained.path, other.path)
    (config,) = (path for path in other.configs() if "-2" in path.name)
    config.write_text(config.read_text().replace("D.width = 5", "D.width = 8"))
    (other.samples / "2.png").unlink()
    shutil.copy(other.samples / "4.png", other.samples / "6.png")
    add_scores(other, 6, [2.0], PROTOCOL.replace("397", "100"))
    return report.render([trained.path, other.path], other.path)


def test_runs_side_by_side(compared):
    parsed = Page(compared)
    assert parsed.text("h1") == [f"{HOSTILE} against other"]
    assert parsed.rows("configuration")["D.width"] == ["5", "8"]
    # Each protocol has its own table.
    scores = [cells for name, *cells in parsed.tables["scores"] if "frechet" in name]
    assert scores == [["5 \u00b1 1", "5 \u00b1 1"], ["2"]]
    (note,) = (note for note in parsed.text("p") if "do not compare" in note)
    assert "real_count: 397 | 100" in note
    drawn = parsed.text("text")
    # The largest over the layers.
    assert "B1/same_conv2" not in drawn
    assert any("largest singular value" in text.lower() for text in drawn)
    assert HOSTILE in drawn and "other" in drawn
    steps = [image["data-step"] for image in parsed.attributes("img")]
    assert steps == ["0", "2", "4", "0", "4", "6"]


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_is_loaded(page, compared, count):
    text = page if count == 1 else compared
    parsed = Page(text)
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                assert value.startswith(("data:", "#")), (tag, name, value)
            assert not name.startswith("on")
    # Neither a name nor a config adds one.
    assert len(parsed.attributes("script")) == 1 and not parsed.attributes("b")
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "@import" not in text and "import(" not in text and "fetch(" not in text
    # Namespaces of SVG are not addresses.
    assert set(re.findall(r"https?:[^\"' ]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert text.isascii()


def test_a_run_that_has_just_begun(bare):
    parsed = Page(report.render([bare.path]))
    assert parsed.rows("training")["steps"] == ["0 of 1,000, not done"]
    assert parsed.missing == [
        "No samples yet.",
        "No scores yet.",
        "No curves.",
        "No singular values.",
        "No record of the environment.",
    ]
    assert "probe" not in parsed.sections and "confusions" not in parsed.sections


def test_a_run_that_lacks_results_is_named(bare, tmp_path):
    other = RunDir(tmp_path / "other")
    shutil.copytree(bare.path, other.path)
    add_scores(other, 2, [1.0])
    add_probe(other, 2, 0.5)
    write_curves(other, ("loss/d",))
    missing = Page(report.render([bare.path, other.path])).missing
    for results in ("scores yet", "curves", "probe"):
        assert f"No {results}: bare." in missing
    assert "No samples yet: bare, other." in missing


@pytest.fixture
def classifier(tmp_path) -> RunDir:
    """A run of `ssgan forget`."""
    run = RunDir(tmp_path / "classifier")
    run.write_config(CLASSIFIER, 0)
    write_curves(run, ("accuracy/class", "accuracy/rotation_real", "loss/class"))
    return run


def test_a_classifier_has_no_samples_and_no_scores(classifier):
    page = report.render([classifier.path])
    # The same run gives the same page.
    assert report.render([classifier.path]) == page
    parsed = Page(page)
    lead = "digits32 \u00b7 sndcgan \u00b7 40 steps \u00b7 batch 64 \u00b7 seed 7"
    assert parsed.text("p")[0] == lead
    assert parsed.sections == ["training", "curves", "configuration", "environment"]
    assert parsed.missing == ["No record of the environment."]
    rows = parsed.rows("training")
    assert rows["steps per task"] == ["3"]
    assert rows["weight of the rotation loss"] == ["0.5"]
    assert rows["steps"] == ["4 of 40, not done"]
    # The class and the rotation accuracy have a chance level, the loss has none.
    drawn = parsed.text("text")
    assert any("accuracy on the classifier" in text.lower() for text in drawn)
    assert drawn.count("chance") == 2


def test_a_classifier_beside_a_gan(classifier, bare):
    assert Page(report.render([classifier.path, bare.path])).missing == [
        "No samples yet: bare.",
        "No scores yet: bare.",
        "No curves: bare.",
        "No singular values: bare.",
        "No record of the environment: classifier, bare.",
    ]


def test_folders_of_one_name_are_told_apart_by_path(bare, tmp_path):
    other = RunDir(tmp_path / "more" / "bare")
    shutil.copytree(bare.path, other.path)
    parsed = Page(report.render([bare.path, other.path]))
    assert parsed.text("h1") == [f"{bare.path} against {other.path}"]
    with pytest.raises(ValueError, match="more"):
        report.render([bare.path, other.path.parent / ".." / "bare"])


def test_a_folder_without_a_run(bare, tmp_path):
    with pytest.raises(FileNotFoundError, match="operative_config-<step>.gin"):
        report.render([bare.path, tmp_path])


@pytest.mark.slow
def test_the_command(bare, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ssgan_tf", "report", "bare", "--out=new/page.html"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "written new/page.html, 0.0 MB\n"
    page = (tmp_path / "new" / "page.html").read_text()
    assert page == report.render([bare.path])


def test_samples_of_many_steps(bare, tmp_path):
    copy = shutil.copytree(bare.path, tmp_path / "copy")
    for run, start in ((bare, 0), (RunDir(copy), 10)):
        run.samples.mkdir()
        for step in range(start, 23):
            Image.new("L", (8, 8)).save(run.samples / f"{step}.png")
    images = Page(report.render([bare.path, run.path])).attributes("img")
    steps = [*range(0, 23, 2), *range(10, 23, 2)]
    assert [int(image["data-step"]) for image in images] == steps


def test_large_pictures_are_compressed(bare):
    bare.samples.mkdir()
    path = bare.samples / "1.png"
    # WebP loses little of a smooth image. Noise makes the PNG large.
    image = np.add.outer(np.arange(512), np.arange(512))[..., None] // 8
    image = image + np.random.default_rng(0).integers(0, 32, (512, 512, 3))
    Image.fromarray(image.astype(np.uint8)).save(path)
    (shown,) = Page(report.render([bare.path])).attributes("img")
    assert shown["src"].startswith("data:image/webp;base64,")
    pixels = decoded(shown["src"]).astype(np.float64)
    assert pixels.shape == image.shape
    assert len(shown["src"]) < path.stat().st_size / 2
    assert 0.5 < np.abs(pixels - image).mean() < 16
    assert shown["width"] == "512"


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
    with pytest.raises(ValueError, match=str(path)):
        report.render([bare.path])


# --- Figures -------------------------------------------------------------------


def test_families():
    tags = ["loss/d", "loss/g", "loss/rotation_fake", "loss/rotation_real", "penalty"]
    assert figures.families([*tags, "sigma/d/B1/conv"]) == {
        "loss": {"d": "loss/d", "g": "loss/g"},
        "loss/rotation": {"real": "loss/rotation_real", "fake": "loss/rotation_fake"},
        "penalty": {"": "penalty"},
        "sigma/d": {"B1/conv": "sigma/d/B1/conv"},
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


def looks(runs: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Colour and dashes of the curves of a figure, in order."""
    # Only curves through more than 20 points have no markers, which look like them.
    curve = Curve(np.arange(30), np.arange(30.0))
    curves = {run: dict.fromkeys(sides, curve) for run, sides in runs.items()}
    svg = figures.lines("a", "title", curves)
    lines = re.findall(r'<g id="a-line2d_\d+">\s*<path d="M[^"]*" clip[^>]*>', svg)
    styles = [
        (
            re.search("stroke: (#......)", line),
            re.search("stroke-dasharray: ([^;]*)", line),
        )
        for line in lines
        if "stroke-opacity" not in line
    ]
    return [(color[1], dashes[1] if dashes else "") for color, dashes in styles]


@pytest.mark.parametrize("count", [2, 14, 20])
def test_curves_of_one_run_can_be_told_apart(count):
    styles = looks({"a": [f"layer {i}" for i in range(count)]})
    assert len(styles) == count == len(set(styles))


def test_sides_and_runs_keep_their_colours():
    (d, g), (real, fake) = looks({"a": ["d", "g"]}), looks({"a": ["real", "fake"]})
    assert len({d, g, real, fake}) == 4
    assert looks({"a": ["g", "d"]}) == [g, d]
    a_d, a_g, b_d, b_g = looks({"a": ["d", "g"], "b": ["d", "g"]})
    assert len({a_d, a_g, b_d, b_g}) == 4
    assert a_d[0] == a_g[0] != b_d[0] == b_g[0]
    assert a_d[1] == b_d[1] != a_g[1] == b_g[1]
    # Also where the first run has no curve.
    assert looks({"a": [], "b": ["d", "g"]}) == [b_d, b_g]


def test_table_headings_have_the_colours_of_the_figures(compared):
    colors = {
        attributes["style"].removeprefix("background: ")
        for attributes in Page(compared).attributes("i")
    }
    assert len(colors) == 2
    assert all(f"stroke: {color}" in compared for color in colors)


@pytest.mark.slow
def test_a_real_run(tmp_path):
    run = RunDir(tmp_path / "run")
    plan = tiny.plan("options.architecture = 'dcgan'")
    gan = loop.build(plan, strategies.get_strategy("one_device"))
    loop.train(gan, plan, run, start_up=StartUp())
    parsed = Page(report.render([run.path]))
    assert parsed.text("p")[0].startswith("SSGAN \u00b7 digits32 \u00b7 dcgan")
    assert parsed.rows("training")["steps"] == ["4 of 4"]
    titles = {"Losses", "Rotation loss", "Rotation accuracy of D"}
    assert titles | {"Largest singular value, layers of D"} <= set(parsed.text("text"))
    *samples, real = parsed.attributes("img")
    assert [image["data-step"] for image in samples] == ["0", "2", "4"]
    assert "real images" in real["alt"] and parsed.missing == ["No scores yet."]


# --- In a browser --------------------------------------------------------------


CHROMIUM = """
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
    --enable-logging=stderr
"""


def chromium(tmp_path, address: str, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            *CHROMIUM.split(),
            f"--user-data-dir={tmp_path / 'browser'}",
            *flags,
            address,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@needs_chromium
@pytest.mark.parametrize("fragment, steps", [("", [4, 6]), ("#step=2", [2, 0])])
def test_the_slider_in_a_browser(compared, tmp_path, fragment, steps):
    path = tmp_path / "page.html"
    path.write_text(compared)
    done = chromium(tmp_path, f"{path.as_uri()}{fragment}", "--dump-dom")
    # The console reports errors of the script and refused requests.
    assert "CONSOLE" not in done.stderr
    parsed = Page(done.stdout)
    shown = [
        int(image["data-step"])
        for image in parsed.attributes("img")
        if "hidden" not in image
    ]
    assert shown == steps
    assert parsed.text("span") == [str(step) for step in steps]
    assert parsed.text("output") == [fragment.removeprefix("#step=") or "6"]
    (slider,) = parsed.attributes("label")
    assert "hidden" not in slider


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_is_not_blank(page, tmp_path, width):
    path = tmp_path / "page.html"
    path.write_text(page)
    picture = tmp_path / "page.png"
    size = f"--window-size={width},1500"
    chromium(tmp_path, path.as_uri(), f"--screenshot={picture}", size)
    pixels = np.asarray(Image.open(picture).convert("L"), np.float64)
    assert pixels.shape == (1500, width)
    assert 5 < pixels.std() < 120
