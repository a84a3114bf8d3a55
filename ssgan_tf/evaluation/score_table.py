"""The table of scores, `scores.csv`, and comparisons between tables.

One row per (checkpoint, protocol): `checkpoint`, `step`, for every metric
`<metric>_mean`, `_std` and `_list` over the seeds, `rotation_confusion_real` and
`_fake`, `metrics`, `versions`, `protocol`, `config`. Names of metrics end in how many
fakes were compared with which split: `fid_10k_test`.
"""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssgan_tf.evaluation import protocols
from ssgan_tf.utils import files, tables

FILENAME = "scores.csv"
_NEEDED_COLUMNS = (
    "checkpoint",
    "step",
    "weights_sha256",
    "metrics",
    "versions",
    "protocol",
)
_LAST_COLUMNS = ("metrics", "versions", "protocol", "config")


class ModuleScores(NamedTuple):
    """What scoring a module gives.

    Attributes:
        values: every metric, one number per seed; those of rotation, one.
        confusions: int lists (4, 4), by "real" and "fake": entry (i, j) counts images
            of orientation i that D takes for j. Empty without a rotation head.
    """

    values: dict[str, list[float]]
    confusions: dict[str, list[list[int]]]


class ScoreTable:
    """The file `scores.csv` of a run.

    Args:
        path: the file; made with the first row.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)

    def rows(self) -> list[dict[str, str]]:
        """All rows, in the order in which they were scored.

        Raises:
            ValueError: the file is no table of scores.
        """
        if not self.path.exists():
            return []
        columns, rows = tables.read_csv(self.path)
        if not set(_NEEDED_COLUMNS) <= set(columns):
            raise ValueError(
                f"A table of scores must have the columns {', '.join(_NEEDED_COLUMNS)}"
                f". Received: {self.path} with the columns "
                f"{columns}. Name another file, or move that one away."
            )
        for number, row in enumerate(rows, start=1):
            if None in row or None in row.values() or not row["step"].isdecimal():
                raise ValueError(
                    "Every row of a table of scores must have one cell for each column "
                    f"and a whole number as step. Received: {self.path}, row {number}. "
                    "Mend it, or move the file away."
                )
        return rows

    def has(
        self, step: int, protocol: str, weights: str, keys: tuple[str, ...]
    ) -> bool:
        """Whether these metrics are there of these weights under this protocol."""
        return any(
            (row["step"], row["protocol"]) == (str(step), protocol)
            and row["weights_sha256"] == weights
            and set(keys) <= set(row["metrics"].split(","))
            for row in self.rows()
        )

    def add(
        self,
        step: int,
        checkpoint: str,
        found: ModuleScores,
        protocol: str,
        operative_config: str,
        weights: str,
        keys: tuple[str, ...],
    ) -> None:
        """Adds a row; the file is replaced as a whole.

        The row takes the place of one of the same checkpoint, step and protocol, whose
        weights are no more, and joins one of the same weights, whose other metrics
        stay.

        Args:
            step: int.
            checkpoint: str. Prefix of the checkpoint.
            found: `ModuleScores`.
            protocol: str. What moves the scores besides the weights.
            operative_config: str. The configuration, as gin text.
            weights: str. Hash of the module's weights.
            keys: which metrics those are, as `--metrics` has them.
        """
        row = {"checkpoint": checkpoint, "step": str(step), "weights_sha256": weights}
        for name, numbers in found.values.items():
            row[f"{name}_mean"] = repr(float(np.mean(numbers)))
            row[f"{name}_std"] = repr(float(np.std(numbers)))
            row[f"{name}_list"] = json.dumps(numbers)
        for side, confusion in found.confusions.items():
            row[f"rotation_confusion_{side}"] = json.dumps(confusion)
        row |= {
            "metrics": ",".join(keys),
            "versions": protocols.versions(),
            "protocol": protocol,
            "config": operative_config,
        }
        with files.lock(self.path.parent):
            others = []
            for former in self.rows():
                if any(former[name] != row[name] for name in ("step", "protocol")):
                    others.append(former)
                elif former["weights_sha256"] == weights:
                    row = _joined(former, row)
                # However it is spelt, its weights are no more.
                elif not _same_path(former["checkpoint"], checkpoint):
                    others.append(former)
            self._write([*others, row])

    def _write(self, rows: list[dict[str, str]]) -> None:
        # Metrics may differ between rows; what is long stays last.
        columns = dict.fromkeys(name for each in rows for name in each)
        columns = [name for name in columns if name not in _LAST_COLUMNS]
        tables.write_csv(self.path, [*columns, *_LAST_COLUMNS], rows)


def _same_path(one: str, other: str) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)


def _joined(former: dict[str, str], row: dict[str, str]) -> dict[str, str]:
    """A row with what another one of the same weights has besides."""
    joined = {name: value for name, value in former.items() if value} | row
    for column, comma in (("metrics", ","), ("versions", " | ")):
        both = [*former[column].split(comma), *row[column].split(comma)]
        joined[column] = comma.join(dict.fromkeys(both))
    return joined


def comparison(paths: Sequence[str | os.PathLike], anyway: bool = False) -> str:
    """The latest scores of several runs, side by side, if they can be compared.

    Args:
        paths: run directories, of which the latest step is shown, or tables of scores,
            of which each module is.
        anyway: put numbers of different protocols beside each other, marked.

    Returns:
        One column for each run or module, one line for each metric, and the protocol.

    Raises:
        FileNotFoundError: a run has no scores.
        ValueError: the protocols differ; the message says in what.
    """
    candidates = {}
    for path in map(pathlib.Path, paths):
        rows = _rows_at(path)
        if path.is_dir():
            candidates[str(path)] = rows
            continue
        for row in rows:
            # Tables made in two folders may call two modules alike.
            names = [row["checkpoint"], f"{path}: {row['checkpoint']}"]
            several = len(paths) > 1
            candidates.setdefault(names[several], []).append(row)
    every = [{row["protocol"] for row in rows} for rows in candidates.values()]
    shared = set.intersection(*every)
    chosen = []
    for rows in candidates.values():
        usable = [row for row in rows if row["protocol"] in shared] or rows
        # Of the first's latest protocol, if all have that.
        protocol = (chosen[0] if chosen and shared else usable[-1])["protocol"]
        rows = [row for row in usable if row["protocol"] == protocol]
        last = max(int(row["step"]) for row in rows)
        chosen.append([row for row in rows if int(row["step"]) == last][-1])
    texts = [row["protocol"] for row in chosen]
    apart = protocols.differences(texts)
    said = [f"{key}: {' | '.join(values)}" for key, values in apart.items()]
    if apart and not anyway:
        raise ValueError(
            "Scores must be of one protocol to be compared. Received: "
            f"{', '.join(candidates)}, which differ in\n  "
            + "\n  ".join(said)
            + "\nScore them alike with `ssgan evaluate`, or say --anyway."
        )
    lines = _aligned(_columns(candidates, chosen, texts))
    if apart:
        lines += ["", "* of another protocol than the first:", *said]
    else:
        lines += ["", f"protocol: {texts[0]}"]
    found = protocols.differences([row["versions"] for row in chosen])
    lines += [f"versions, {key}: {' | '.join(each)}" for key, each in found.items()]
    return "\n".join(lines)


def _rows_at(path: pathlib.Path) -> list[dict[str, str]]:
    table = ScoreTable(path / FILENAME if path.is_dir() else path)
    rows = table.rows()
    if not rows:
        raise FileNotFoundError(
            f"A run that is compared must have scores. Received: {table.path}, which "
            "has none. Score it with `ssgan train --schedule=eval_after_train` or "
            "`ssgan evaluate`."
        )
    return rows


def _columns(paths, rows, texts) -> list[list[str]]:
    metrics = dict.fromkeys(
        name.removesuffix("_mean")
        for row in rows
        for name, value in row.items()
        if name.endswith("_mean") and value
    )
    columns = [["run", "step", *metrics]]
    for path, row, text in zip(paths, rows, texts, strict=True):
        mark = "" if text == texts[0] else " *"
        numbers = []
        for metric in metrics:
            mean, std = (row.get(f"{metric}_{part}") for part in ("mean", "std"))
            number = "-"
            if mean:
                number = f"{float(mean):.4g}"
                # Of one number it is 0.
                number += f" +- {float(std):.2g}" if float(std) else ""
                number += mark
            numbers.append(number)
        columns.append([str(path), row["step"], *numbers])
    return columns


def _aligned(columns: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in zip(*columns, strict=True)
    ]


def report(found: ModuleScores, protocol: str) -> str:
    """Scores as text: every number, the confusions, and what they depend on."""
    width = max(map(len, found.values))
    lines = []
    for name, numbers in found.values.items():
        line = f"{name:<{width}}  {np.mean(numbers):.6g}"
        if len(numbers) > 1:
            each = ", ".join(f"{number:.6g}" for number in numbers)
            line += f" +- {np.std(numbers):.2g}  ({each})"
        lines.append(line)
    for side, confusion in found.confusions.items():
        lines += ["", f"rotations of {side} images; rows are true, columns predicted"]
        for turns, counts in enumerate(confusion):
            lines.append(f"{90 * turns:>4}" + "".join(f"{n:>8}" for n in counts))
    lines += ["", f"protocol: {protocol}", f"versions: {protocols.versions()}"]
    return "\n".join(lines)
