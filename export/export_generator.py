"""Checkpoint to TF-Hub module.

    python export/export_generator.py --model_dir=run --output_dir=module
    python export/export_generator.py --model_dir=run --out=module.tar.gz

Exports the latest checkpoint of a run, or that of `--step`: G (its moving average
where one was kept) and D as one TensorFlow 2 SavedModel; export/README.md has the
signatures. `--out` makes the archive that TF-Hub and Kaggle Models take; alone, it
leaves no folder behind. Without both flags the module is the run's own,
<model_dir>/tfhub/<step>, which stays as it is if it is there.
"""

import pathlib
import tempfile

from absl import app, flags

from ssgan_tf.commands.main import run
from ssgan_tf.modules import hub
from ssgan_tf.utils import startup

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Run directory.", required=True)
_STEP = flags.DEFINE_integer("step", None, "Step of the checkpoint; default: latest.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the module.")
_OUT = flags.DEFINE_string("out", None, "Archive of the module, a .tar.gz file.")
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    ["ema", "raw"],
    "Of G: the moving average, or as trained; default: the average where one was kept.",
)
_FINE_TUNABLE = flags.DEFINE_bool(
    "fine_tunable", False, "Whether calls of the module take training=True."
)
_SCORE_FILENAME = flags.DEFINE_string(
    "score_filename", "scores.csv", "Table of scores in the run directory."
)


def main(argv):
    folder, out = _OUTPUT_DIR.value, _OUT.value
    if out is not None and not out.endswith(hub.ARCHIVES):
        raise app.UsageError(
            f"--out must end in .tar.gz or .tgz. Received: --out={out}"
        )
    named = [name for name in (folder, out) if name is not None]
    startup.import_tensorflow()
    from ssgan_tf.evaluation import score_table
    from ssgan_tf.modules import reading
    from ssgan_tf.training import checkpoint_export

    plan, run = checkpoint_export.load_run(_MODEL_DIR.value)
    step = run.latest_step() if _STEP.value is None else _STEP.value
    with tempfile.TemporaryDirectory() as temporary:
        if named == [out]:
            folder = pathlib.Path(temporary) / "module"
        folder = checkpoint_export.export_checkpoint(
            plan,
            run,
            step,
            folder,
            weights=_WEIGHTS.value,
            fine_tunable=_FINE_TUNABLE.value,
            table=score_table.ScoreTable(run.path / _SCORE_FILENAME.value),
        )
        module = reading.load(folder)
        if out is not None:
            hub.pack(folder, out)
    where = " and ".join(named) or module.path
    print(f"module {where}: step {step}, {module.metadata['weights']} weights")


if __name__ == "__main__":
    run(main)
