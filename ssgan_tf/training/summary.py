"""The scores of a run as text, and the paths of what to look at."""

from ssgan_tf.evaluation import protocols
from ssgan_tf.evaluation.score_table import FILENAME, ScoreTable
from ssgan_tf.training.run_dir import RunDir

_SUMMARY_COLUMNS = 5


def summary(run: RunDir, score_filename: str = FILENAME) -> str:
    """The scores of a run as a table, and the paths of what to look at.

    One column per checkpoint scored under the protocol of the newest row, the first
    and the latest ones; distances of the last column are also given as a share of the
    first one's.

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
            f"The run must have scores in {score_filename}. Received: model_dir="
            f"{run.path}, which has none. Run with --schedule=eval_after_train."
        )
    # Numbers under different protocols cannot be compared.
    rows = [row for row in rows if row["protocol"] == rows[-1]["protocol"]]
    # Of a step that was scored twice, the last.
    rows = sorted({int(row["step"]): row for row in rows}.items())
    rows = [row for _, row in rows]
    rows = rows[:1] + rows[1:][-_SUMMARY_COLUMNS:]
    metrics = [
        name.removesuffix("_mean")
        for name, value in rows[-1].items()
        if name.endswith("_mean") and value
    ]
    width = max(map(len, metrics))
    lines = [f"{'step':<{width}}" + "".join(f"{row['step']:>10}" for row in rows)]
    for metric in metrics:
        numbers = [row[f"{metric}_mean"] for row in rows]
        cells = (f"{float(n):>10.4g}" if n else f"{'-':>10}" for n in numbers)
        notes = ""
        if metric.startswith("rotation_accuracy"):
            notes = "   chance 0.25"
        elif protocols.is_distance(metric) and numbers[0] and float(numbers[0]):
            share = float(numbers[-1]) / float(numbers[0])
            notes = f"   last / first {share:.3f}"
        lines.append(f"{metric:<{width}}" + "".join(cells) + notes)
    last = int(rows[-1]["step"])
    lines += ["", f"protocol: {rows[-1]['protocol']}", ""]
    pictures = sorted(run.path.glob("*.png"))
    pictures.append(run.samples / f"{last}.png")
    for what, path in [
        *(("picture", path) for path in pictures),
        ("TF-Hub module", run.module(last)),
        ("scores", table.path),
        ("curves", run.tensorboard),
    ]:
        if path.exists():
            lines.append(f"{what:<14}{path}")
    return "\n".join(lines)
