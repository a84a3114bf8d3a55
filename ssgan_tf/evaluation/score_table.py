"""The table of scores, `scores.csv`, and comparisons between tables.

One row per (checkpoint, protocol): `checkpoint`, `step`, `weights_sha256`, for every
metric `<metric>_mean`, `_std` and `_list` over the seeds, `rotation_confusion_real` and
`_fake`, `metrics`, `versions`, `protocol`, `config`. Names of metrics end in the number
of fakes and the split: `fid_10k_test`.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssgan_tf.evaluation import protocols
from ssgan_tf.utils.tables import Table

FILENAME = "scores.csv"
_PARSERS = {"mean": float, "std": float, "list": json.loads}


class ModuleScores(NamedTuple):
    """The scores of a module.

    Attributes:
        values: every metric, one number per seed; one number for those of rotation.
        confusions: int lists (4, 4), by "real" and "fake": entry (i, j) counts images
            of orientation i that D takes for j. Empty without a rotation head.
    """

    values: dict[str, list[float]]
    confusions: dict[str, list[list[int]]]


@dataclasses.dataclass(frozen=True)
class ScoreRow:
    """One row of the table.

    Attributes:
        checkpoint: str. Prefix of the checkpoint, or path of the module.
        step: int.
        weights_sha256: str. Hash of the module's weights.
        cells: texts by column: means, deviations, lists and confusions. A metric that
            only other rows have has an empty cell.
        metrics: str. The metrics as `--metrics` takes them.
        versions: str. Versions of the packages that computed the scores.
        protocol: str. The facts that the scores depend on besides the weights.
        config: str. The configuration, as gin text.
    """

    checkpoint: str
    step: int
    weights_sha256: str
    cells: dict[str, str]
    metrics: str
    versions: str
    protocol: str
    config: str = ""

    def means(self) -> dict[str, float]:
        """The mean of every metric over the seeds."""
        return {name: float(text) for name, text in self._ending_in("_mean").items()}

    def deviation(self, metric: str) -> float:
        """The standard deviation of a metric over the seeds."""
        return float(self.cells.get(f"{metric}_std") or 0)

    def numbers(self) -> dict[str, list[float]]:
        """Every metric, one number per seed."""
        return {
            name: json.loads(text) for name, text in self._ending_in("_list").items()
        }

    def _ending_in(self, ending: str) -> dict[str, str]:
        return {
            column.removesuffix(ending): text
            for column, text in self.cells.items()
            if column.endswith(ending) and text
        }


class ScoreTable(Table[ScoreRow]):
    """The file `scores.csv` of a run.

    Args:
        path: the file. It is made with the first row.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__(path, ScoreRow)

    def rows(self) -> list[ScoreRow]:
        """See `Table.rows`; scores that are no numbers are damage, too."""
        rows = super().rows()
        for number, row in enumerate(rows, start=1):
            for column, text in row.cells.items():
                name, _, ending = column.rpartition("_")
                # A user's own column may end alike, but does not come in threes.
                is_score = {f"{name}_{e}" for e in _PARSERS} <= row.cells.keys()
                try:
                    _PARSERS.get(ending if is_score else "", str)(text or "0")
                except ValueError as error:
                    raise ValueError(
                        f"{self.path}: row {number}, column {column}: {text!r} is no "
                        "score. Repair the table, move it away, or name another."
                    ) from error
        return rows

    def has(
        self, step: int, protocol: str, weights_sha256: str, metrics: Sequence[str]
    ) -> bool:
        """Whether the table has these metrics of these weights under this protocol."""
        wanted = step, protocol, weights_sha256
        return any(
            (row.step, row.protocol, row.weights_sha256) == wanted
            and set(metrics) <= set(row.metrics.split(","))
            for row in self.rows()
        )

    def add(
        self,
        scores: ModuleScores,
        *,
        step: int,
        checkpoint: str,
        weights_sha256: str,
        protocol: str,
        config: str,
        metrics: Sequence[str],
    ) -> None:
        """Adds a row; the file is replaced as a whole.

        A row of the same step, protocol and weights is merged into it: its other
        metrics stay. A row of the same step, protocol and checkpoint with other
        weights is removed: those weights are gone.

        Args:
            scores: of one module.
            step: int.
            checkpoint: str. Prefix of the checkpoint, or path of the module.
            weights_sha256: str. Hash of the module's weights.
            protocol: str. The facts that the scores depend on besides the weights.
            config: str. The configuration, as gin text.
            metrics: the metrics as `--metrics` takes them.
        """
        row = ScoreRow(
            checkpoint=checkpoint,
            step=step,
            weights_sha256=weights_sha256,
            cells=_cells(scores),
            metrics=",".join(metrics),
            versions=protocols.versions(),
            protocol=protocol,
            config=config,
        )

        def with_row(rows: list[ScoreRow]) -> list[ScoreRow]:
            merged, others = row, []
            for former in rows:
                if (former.step, former.protocol) != (step, protocol):
                    others.append(former)
                elif former.weights_sha256 == weights_sha256:
                    merged = _merged(former, merged)
                elif os.path.abspath(former.checkpoint) != os.path.abspath(checkpoint):
                    others.append(former)
            return [*others, merged]

        self.update(with_row)


def _cells(scores: ModuleScores) -> dict[str, str]:
    cells = {}
    for name, numbers in scores.values.items():
        cells[f"{name}_mean"] = repr(float(np.mean(numbers)))
        cells[f"{name}_std"] = repr(float(np.std(numbers)))
        cells[f"{name}_list"] = json.dumps(numbers)
    for side, confusion in scores.confusions.items():
        cells[f"rotation_confusion_{side}"] = json.dumps(confusion)
    return cells


def _merged(former: ScoreRow, row: ScoreRow) -> ScoreRow:
    """A row, with the metrics that a former row of the same weights has besides."""

    def union(name: str, separator: str) -> str:
        texts = f"{getattr(former, name)}{separator}{getattr(row, name)}"
        return separator.join(dict.fromkeys(texts.split(separator)))

    cells = {column: text for column, text in former.cells.items() if text}
    return dataclasses.replace(
        row,
        cells=cells | row.cells,
        metrics=union("metrics", ","),
        versions=union("versions", " | "),
    )


def comparison(paths: Sequence[str | os.PathLike], anyway: bool = False) -> str:
    """The latest scores of several runs, side by side, if they can be compared.

    Args:
        paths: run directories, shown at their latest step, or tables of scores, of
            which every module is shown.
        anyway: show scores of different protocols too, marked.

    Returns:
        One column for each run or module, one line for each metric, and the protocol.

    Raises:
        FileNotFoundError: a run has no scores.
        ValueError: the protocols differ; the message names the differences.
    """
    candidates = _candidates(list(map(pathlib.Path, paths)))
    rows = _latest_comparable(list(candidates.values()))
    texts = [row.protocol for row in rows]
    differences = protocols.differences(texts)
    lines_of_differences = [
        f"{key}: {' | '.join(values)}" for key, values in differences.items()
    ]
    if differences and not anyway:
        raise ValueError(
            "Scores must be of one protocol to be compared. Received: "
            f"{', '.join(candidates)}, which differ in\n  "
            + "\n  ".join(lines_of_differences)
            + "\nScore them alike with `ssgan evaluate`, or add --anyway."
        )
    lines = _aligned(_columns(list(candidates), rows))
    if differences:
        lines += ["", "* of another protocol than the first:", *lines_of_differences]
    else:
        lines += ["", f"protocol: {texts[0]}"]
    versions = protocols.differences([row.versions for row in rows])
    lines += [
        f"versions, {key}: {' | '.join(values)}" for key, values in versions.items()
    ]
    return "\n".join(lines)


def _candidates(paths: list[pathlib.Path]) -> dict[str, list[ScoreRow]]:
    """The rows of each run, and of each module of a table, by its name."""
    candidates = {}
    for path in paths:
        table = ScoreTable(path / FILENAME if path.is_dir() else path)
        rows = table.rows()
        if not rows:
            raise FileNotFoundError(
                f"{table.path} does not exist or has no scores. Score the run with "
                "`ssgan train --schedule=eval_after_train` or `ssgan evaluate`."
            )
        if path.is_dir():
            candidates[str(path)] = rows
            continue
        for row in rows:
            # Tables made in two folders may name two modules alike.
            name = f"{path}: {row.checkpoint}" if len(paths) > 1 else row.checkpoint
            candidates.setdefault(name, []).append(row)
    return candidates


def _latest_comparable(candidates: list[list[ScoreRow]]) -> list[ScoreRow]:
    """The row of the latest step of each candidate, under a shared protocol if any."""
    shared = set.intersection(*({row.protocol for row in rows} for rows in candidates))
    chosen = []
    for rows in candidates:
        usable = [row for row in rows if row.protocol in shared] or rows
        # If there is a shared protocol, all take the first candidate's latest.
        protocol = (chosen[0] if chosen and shared else usable[-1]).protocol
        usable = [row for row in usable if row.protocol == protocol]
        last = max(row.step for row in usable)
        chosen.append([row for row in usable if row.step == last][-1])
    return chosen


def _columns(names: list[str], rows: list[ScoreRow]) -> list[list[str]]:
    metrics = list(dict.fromkeys(name for row in rows for name in row.means()))
    columns = [["run", "step", *metrics]]
    for name, row in zip(names, rows, strict=True):
        mark = "" if row.protocol == rows[0].protocol else " *"
        means, cells = row.means(), []
        for metric in metrics:
            if metric not in means:
                cells.append("-")
                continue
            deviation = row.deviation(metric)
            # A single seed has no deviation.
            spread = f" +- {deviation:.2g}" if deviation else ""
            cells.append(f"{means[metric]:.4g}{spread}{mark}")
        columns.append([name, str(row.step), *cells])
    return columns


def _aligned(columns: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in zip(*columns, strict=True)
    ]


def report(scores: ModuleScores, protocol: str) -> str:
    """Scores as text: every number, the confusions, protocol and versions."""
    width = max(map(len, scores.values))
    lines = []
    for name, numbers in scores.values.items():
        line = f"{name:<{width}}  {np.mean(numbers):.6g}"
        if len(numbers) > 1:
            texts = ", ".join(f"{number:.6g}" for number in numbers)
            line += f" +- {np.std(numbers):.2g}  ({texts})"
        lines.append(line)
    for side, confusion in scores.confusions.items():
        lines += ["", f"rotations of {side} images; rows are true, columns predicted"]
        for turns, counts in enumerate(confusion):
            lines.append(f"{90 * turns:>4}" + "".join(f"{n:>8}" for n in counts))
    lines += ["", f"protocol: {protocol}", f"versions: {protocols.versions()}"]
    return "\n".join(lines)
