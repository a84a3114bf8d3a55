"""The scores of one run as text, and the paths of its pictures, module and curves."""

from ssgan_tf.evaluation import protocols
from ssgan_tf.evaluation.score_table import FILENAME, ScoreRow, ScoreTable
from ssgan_tf.training.run_dir import RunDir

_LAST_COLUMNS = 5


def summary(run: RunDir, score_filename: str = FILENAME) -> str:
    """The scores of a run as a table, and the paths of its files.

    One column per checkpoint scored under the protocol of the newest row: the first
    and the last five. Lines of distances end in the last column's share of the first.

    Args:
        run: the run directory.
        score_filename: name of the table in it.

    Raises:
        FileNotFoundError: there are no scores.
    """
    table = ScoreTable(run.path / score_filename)
    rows = table.rows()
    if not rows:
        raise FileNotFoundError(
            f"{table.path} does not exist or has no scores. Score the run with "
            "`ssgan train --schedule=eval_after_train`."
        )
    # Scores of different protocols cannot be compared.
    rows = [row for row in rows if row.protocol == rows[-1].protocol]
    # If a step was scored twice, take its newest row.
    by_step = {row.step: row for row in rows}
    rows = [by_step[step] for step in sorted(by_step)]
    rows = rows[:1] + rows[1:][-_LAST_COLUMNS:]
    lines = [*_score_lines(rows), "", f"protocol: {rows[-1].protocol}", ""]
    last = rows[-1].step
    pictures = [*sorted(run.path.glob("*.png")), run.samples / f"{last}.png"]
    for label, path in [
        *(("picture", path) for path in pictures),
        ("TF-Hub module", run.module(last)),
        ("scores", table.path),
        ("curves", run.tensorboard),
    ]:
        if path.exists():
            lines.append(f"{label:<14}{path}")
    return "\n".join(lines)


def _score_lines(rows: list[ScoreRow]) -> list[str]:
    """A line for each metric of the last row, with a cell for each row."""
    means = [row.means() for row in rows]
    width = max(map(len, means[-1]))
    lines = [f"{'step':<{width}}" + "".join(f"{row.step:>10}" for row in rows)]
    for metric in means[-1]:
        numbers = [by_metric.get(metric) for by_metric in means]
        cells = [f"{'-':>10}" if n is None else f"{n:>10.4g}" for n in numbers]
        note = ""
        if metric.startswith("rotation_accuracy"):
            note = "   chance 0.25"
        elif protocols.is_distance(metric) and numbers[0]:
            note = f"   last / first {numbers[-1] / numbers[0]:.3f}"
        lines.append(f"{metric:<{width}}" + "".join(cells) + note)
    return lines
