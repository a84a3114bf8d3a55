"""Collects the results of runs and renders them with `report.html.j2`."""

import ast
import base64
import bisect
import io
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from ssgan_tf.datasets import folders, image_files, inspection
from ssgan_tf.evaluation import protocols
from ssgan_tf.evaluation.score_table import FILENAME, ScoreRow, ScoreTable
from ssgan_tf.experiments.probe import ProbeTable
from ssgan_tf.reports import figures
from ssgan_tf.training import events
from ssgan_tf.training.events import Curve
from ssgan_tf.training.run_dir import RunDir, bindings
from ssgan_tf.utils import pictures, plots
from ssgan_tf.utils.progress import clock

MAX_GRIDS = 12
# Pictures of more bytes are compressed. Narrower ones are shown twice as large.
_LARGE_BYTES = 2**18
_NARROW_PIXELS = 400

# Parameters of a GAN's config, or of a classifier's (`ssgan forget`).
_PARAMETERS = {
    "GAN": ("options.gan_class",),
    "data set": ("dataset.name",),
    "architecture": ("options.architecture", "forgetting.architecture"),
    "width of G": ("G.width",),
    "width of D": ("D.width",),
    "batch": ("options.batch_size", "forgetting.batch_size"),
    "updates of D per step": ("options.disc_iters",),
    "steps per task": ("forgetting.steps_per_task",),
    "weight of the rotation loss": ("forgetting.weight_rotation_loss",),
    "seed": ("run_config.seed", "forgetting.seed"),
    "steps": ("options.training_steps", "forgetting.training_steps"),
}
# Named figures come first, in this order.
_TITLES = {
    "loss": "Losses",
    "loss/rotation": "Rotation loss",
    "loss/class": "Loss of the classifier",
    "accuracy/class": "Accuracy on the classifier's task",
    "accuracy/rotation": "Rotation accuracy of D",
    "logits": "Mean logits of D",
    "sigma/d": "Largest singular value, layers of D",
    "sigma/g": "Largest singular value, layers of G",
    "sigma/all": "Largest singular value of all layers",
}
_LEVELS = {
    "accuracy/class": ("chance", 0.5),
    "accuracy/rotation": ("chance", 0.25),
    "rotation_accuracy": ("chance", 0.25),
}


class _Means(NamedTuple):
    """Numbers of one step under one protocol, by metric.

    Attributes:
        step: int.
        protocol: str.
        means: metric -> mean.
        texts: metric -> mean and deviation as text.
    """

    step: int
    protocol: str
    means: dict[str, float]
    texts: dict[str, str]


class _Run:
    """The contents of a run directory.

    Attributes:
        name: heading of the run.
        color: of the run in all figures, as CSS.
        folder: `RunDir`.
        bindings: parameters of the latest config, as gin text.
        scores: rows of the table of scores.
        probe: accuracies of the linear probe, with a metric per block.
        curves: TensorBoard scalars, by tag.
        seconds: wall time of training.
        grids: step -> sample grid.
        environments: first step and facts of each session on another environment.
    """

    def __init__(self, path: str | os.PathLike, name: str, color: str):
        self.name, self.color = name, color
        self.folder = RunDir(path)
        self.bindings = bindings(self.folder.latest_config().read_text())
        self.scores = ScoreTable(self.folder.path / FILENAME).rows()
        self.probe = _probe(ProbeTable(self.folder.path / "probe.csv"))
        self.curves = events.read(path)
        self.seconds = events.train_seconds(path)
        files = self.folder.samples.glob("*.png")
        grids = {int(file.stem): file for file in files if file.stem.isdecimal()}
        self.grids = dict(sorted(grids.items()))
        self.environments: list[tuple[int, dict]] = []
        for step, facts in self.folder.environments().items():
            if not self.environments or self.environments[-1][1] != facts:
                self.environments.append((step, facts))

    @property
    def is_gan(self) -> bool:
        """False for a run of `ssgan forget`, which has no scores and no samples."""
        return "forgetting.training_steps" not in self.bindings

    @property
    def has_sigmas(self) -> bool:
        return any(tag.startswith("sigma/") for tag in self.curves)

    @property
    def progress(self) -> str:
        ends = (int(curve.steps[-1]) for curve in self.curves.values())
        last = max([0, *self.folder.checkpoints.steps(), *self.grids, *ends])
        planned = self.parameter("steps")
        total = f" of {int(planned):,}" if planned.isdecimal() else ""
        return f"{last:,}{total}" + ", not done" * (not self.folder.train_done.exists())

    @property
    def wall_time(self) -> str:
        return clock(self.seconds) if self.seconds else "-"

    def parameter(self, name: str) -> str:
        """A row of `_PARAMETERS` without gin's quotes; empty if it is not bound."""
        values = (self.bindings[p] for p in _PARAMETERS[name] if p in self.bindings)
        return next(values, "").strip("@'\"")

    def confusions(self) -> Iterable[tuple["_Run", str, int, list[list[int]]]]:
        """Run, side ("real" or "fake"), step and counts of the latest confusions."""
        for side in ("real", "fake"):
            column = f"rotation_confusion_{side}"
            if rows := [row for row in self.scores if row.cells.get(column)]:
                row = max(rows, key=lambda row: row.step)
                yield self, side, row.step, json.loads(row.cells[column])


class _Picture(NamedTuple):
    """A picture within the page: its `data:` URL, width on screen and enlargement."""

    source: str
    width: int
    is_enlarged: bool


def render(
    paths: Sequence[str | os.PathLike], data_dir: str | os.PathLike | None = None
) -> str:
    """Renders a page on one run, or on several side by side.

    Args:
        paths: run directories, at least one.
        data_dir: folder of prepared TFDS data sets, where the real images are read;
            None for TFDS's default.

    Returns:
        HTML in ASCII characters, which loads nothing.

    Raises:
        FileNotFoundError: a folder holds no run.
        ValueError: a run is named twice, or a file of a run is damaged.
        OSError: a file cannot be read.
    """
    names = _names(paths)
    colors = plots.colors(len(names))
    runs = [_Run(*run) for run in zip(paths, names, colors, strict=True)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["facts"] = protocols.facts_of
    page = environment.get_template("report.html.j2").render(
        title=" against ".join(names) if len(names) < 3 else f"{len(names)} runs",
        lead=_lead(runs),
        runs=runs,
        gans=[run for run in runs if run.is_gan],
        samples=_samples(runs),
        real_images=_real_images(runs, data_dir),
        scores=_scores("scores", {run: _means(run.scores) for run in runs}),
        parameters=_parameters(runs),
        drawings=_curves(runs),
        max_points=figures.MAX_POINTS,
        probe=_scores("probe", {run: run.probe for run in runs}),
        protocol_differences=protocols.differences,
        confusions=[matrix for run in runs for matrix in run.confusions()],
        differences=_differences(runs),
        environment=_environment(runs),
    )
    return page.encode("ascii", "xmlcharrefreplace").decode()


def _names(paths: Sequence[str | os.PathLike]) -> list[str]:
    """Names of the folders if they differ, else the paths."""
    resolved = [pathlib.Path(path).resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise ValueError(
            "A report shows every run once. Received: "
            f"{', '.join(map(str, paths))}, of which two are one folder. Leave one out."
        )
    names = [path.name for path in resolved]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


# --- Parameters and environments -----------------------------------------------


def _lead(runs: Sequence[_Run]) -> str:
    """The main parameters on which the runs agree."""
    phrases = {"steps": "{} steps", "batch": "batch {}", "seed": "seed {}"}
    parts = []
    for name in ("GAN", "data set", "architecture", *phrases):
        value, *others = {run.parameter(name) for run in runs}
        if value and not others:
            parts.append(phrases.get(name, "{}").format(value))
    return " \u00b7 ".join(parts)


def _parameters(runs: Sequence[_Run]) -> dict[str, list[str]]:
    rows = {name: [run.parameter(name) for run in runs] for name in _PARAMETERS}
    # `_Run.progress` has the steps.
    del rows["steps"]
    return {k: [value or "-" for value in row] for k, row in rows.items() if any(row)}


def _differences(runs: Sequence[_Run]) -> dict[str, list[str]]:
    """The parameters whose values differ."""
    names = sorted({name for run in runs for name in run.bindings})
    rows = {name: [run.bindings.get(name, "-") for run in runs] for name in names}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}


def _environment(runs: Sequence[_Run]) -> dict[str, list]:
    """Name of a fact -> its value in the sessions of all runs."""
    sessions = [facts for run in runs for _, facts in run.environments]
    names = dict.fromkeys(name for facts in sessions for name in facts)
    return {name: [facts.get(name) for facts in sessions] for name in names}


# --- Samples and real images ---------------------------------------------------


def _samples(runs: Sequence[_Run]) -> dict[_Run, dict[int, _Picture]]:
    """The sample grids of each run by step, those of at most `MAX_GRIDS` steps."""
    steps = sorted({step for run in runs for step in run.grids})
    places = np.linspace(0, len(steps) - 1, min(len(steps), MAX_GRIDS))
    samples = {}
    for run in runs:
        own = list(run.grids)
        # The last grid up to each step, else the first one.
        chosen = {max(0, bisect.bisect(own, steps[round(p)]) - 1) for p in places}
        samples[run] = {own[i]: _read_png(run.grids[own[i]]) for i in sorted(chosen)}
    return {run: grids for run, grids in samples.items() if grids}


def _real_images(
    runs: Sequence[_Run], data_dir: str | os.PathLike | None
) -> dict[str, _Picture | str]:
    """Data set -> a grid of real images, or the reason why there is no grid."""
    grids = {}
    for run in runs:
        name = run.parameter("data set")
        if not name or not run.grids:
            continue
        try:
            if folders.is_folder(name):
                size, colors = (
                    ast.literal_eval(run.bindings.get(f"dataset.{parameter}", "None"))
                    for parameter in ("resolution", "colors")
                )
                name = folders.dataset_name(name, size, colors)
            if name not in grids:
                images = inspection.prepared_images(name, data_dir)
                grids[name] = "not prepared in --tfds_data_dir"
                if images is not None:
                    pixels = pictures.grid(images, columns=8).squeeze()
                    image = Image.fromarray(pixels)
                    grids[name] = _embed(image, image_files.png(image))
        # TFDS raises many types for a damaged data set. The report does not need it.
        except Exception as error:
            grids[name] = f"{error}".rstrip(".")
    return grids


def _read_png(path: pathlib.Path) -> _Picture:
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
    # Pillow's errors on PNG have no class of their own.
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"A picture must be a whole PNG file. Received: {path}, which is not. "
            "Remove it."
        ) from error
    return _embed(image, content)


def _embed(image: Image.Image, content: bytes) -> _Picture:
    kind = "png"
    if len(content) > _LARGE_BYTES:
        compressed = io.BytesIO()
        image.save(compressed, "WEBP", quality=90)
        content, kind = compressed.getvalue(), "webp"
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    is_narrow = image.width < _NARROW_PIXELS
    return _Picture(source, image.width * (1 + is_narrow), is_narrow)


# --- Scores and curves ---------------------------------------------------------


def _means(rows: Iterable[ScoreRow]) -> list[_Means]:
    results = []
    for row in rows:
        texts = {}
        for metric, mean in row.means().items():
            deviation = row.deviation(metric)
            # A single number has no deviation.
            spread = f" \u00b1 {deviation:.2g}" if deviation else ""
            texts[metric] = f"{mean:.4g}{spread}"
        results.append(_Means(row.step, row.protocol, row.means(), texts))
    return results


def _probe(table: ProbeTable) -> list[_Means]:
    results: dict[tuple[int, str], _Means] = {}
    for row in table.rows():
        key = row.step, row.protocol
        result = results.setdefault(key, _Means(*key, means={}, texts={}))
        metric = f"accuracy, block {row.block}"
        result.means[metric] = row.test_accuracy
        result.texts[metric] = f"{row.test_accuracy:.4g}"
    return list(results.values())


def _scores(prefix: str, tables: Mapping[_Run, list[_Means]]) -> list[dict]:
    """One entry per protocol, as scores of different protocols do not compare.

    Args:
        prefix: of the ids in the figures. "probe" has another figure over the blocks.
        tables: the numbers of each run.

    Returns:
        Dicts with `protocol`; `last`, the last numbers of each run that has any;
        `metrics`; `drawings`.
    """
    sections = []
    texts = dict.fromkeys(row.protocol for table in tables.values() for row in table)
    for number, protocol in enumerate(texts):
        curves, last, name = {}, {}, f"{prefix}-{number}"
        for run, table in tables.items():
            # If a step has several rows, the last one counts.
            rows = {row.step: row for row in table if row.protocol == protocol}
            points: dict[str, dict[int, float]] = {}
            for step in sorted(rows):
                last[run] = rows[step]
                for metric, mean in rows[step].means.items():
                    points.setdefault(metric, {})[step] = mean
            curves[run.name] = {m: _curve(numbers) for m, numbers in points.items()}
        drawings = []
        if prefix == "probe":
            blocks: dict[str, dict[str, Curve]] = {run.name: {} for run in tables}
            for run, row in last.items():
                blocks[run.name][""] = _curve(dict(enumerate(row.means.values())))
            title = "accuracy over blocks, last step"
            drawings = [figures.lines(f"{name}-blocks", title, blocks, x_label="block")]
        if any(len(c.steps) > 1 for table in curves.values() for c in table.values()):
            drawings += _draw_families(name, curves)
        sections.append(
            {
                "protocol": protocol,
                "last": last,
                "metrics": dict.fromkeys(m for table in curves.values() for m in table),
                "drawings": drawings,
            }
        )
    return sections


def _curve(points: Mapping[int, float]) -> Curve:
    return Curve(np.array([*points]), np.array([*points.values()]))


def _curves(runs: Sequence[_Run]) -> list[Markup]:
    curves = {run.name: run.curves for run in runs}
    if len(runs) > 1:
        curves = {run: _with_largest_sigma(tags) for run, tags in curves.items()}
    return _draw_families("curve", curves)


def _with_largest_sigma(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Replaces the singular values of the layers by the largest at each step."""
    kept, largest = {}, {}
    for tag, curve in curves.items():
        if not tag.startswith("sigma/"):
            kept[tag] = curve
            continue
        points = largest.setdefault(f"sigma/all/{tag.split('/')[1]}", {})
        for step, value in zip(curve.steps, curve.values, strict=True):
            points[step] = max(value, points.get(step, value))
    return kept | {tag: _curve(points) for tag, points in largest.items()}


def _draw_families(
    prefix: str, runs: Mapping[str, Mapping[str, Curve]]
) -> list[Markup]:
    """A figure per family of curves."""
    groups = figures.families(
        dict.fromkeys(tag for tags in runs.values() for tag in tags)
    )
    order = [
        family for family in dict.fromkeys([*_TITLES, *groups]) if family in groups
    ]
    drawings = []
    for number, family in enumerate(order):
        curves = {
            run: {s: tags[tag] for s, tag in groups[family].items() if tag in tags}
            for run, tags in runs.items()
        }
        title, level = _TITLES.get(family, family), _LEVELS.get(family)
        drawings.append(figures.lines(f"{prefix}-{number}", title, curves, level=level))
    return drawings
