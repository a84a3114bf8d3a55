"""Writes a checkpoint as a TF-Hub module.

    ssgan export --model_dir=run --output_dir=module
    ssgan export --model_dir=run --out=module.tar.gz

Exports the latest checkpoint of a run, or that of `--step`. The module is a TensorFlow
2 SavedModel with G (its moving average if the run kept one) and D; export/README.md has
the signatures. `--out` writes the archive that TF-Hub and Kaggle Models take; without
`--output_dir` no folder is left beside it. Without both flags the module is the run's
own, <model_dir>/tfhub/<step>. An existing one is kept.
"""

import pathlib
import tempfile

from absl import app, flags

from ssgan_tf.commands import flags as shared
from ssgan_tf.utils import startup

_MODEL_DIR = shared.define_model_dir_flag()
_STEP = shared.define_step_flag()
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the module.")
_OUT = flags.DEFINE_string("out", None, "Archive of the module, a .tar.gz file.")
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    ["ema", "raw"],
    "Weights of G: their average, or as trained. Default: ema if the run has it.",
)
_FINE_TUNABLE = flags.DEFINE_bool(
    "fine_tunable", False, "Whether the module can be called with training=True."
)
_SCORE_FILENAME = shared.define_score_filename_flag()


def main(argv):
    folder, out = _OUTPUT_DIR.value, _OUT.value
    if out is not None and not out.endswith((".tar.gz", ".tgz")):
        raise app.UsageError(f"--out must end in .tar.gz. Received: --out={out}.")
    targets = [path for path in (folder, out) if path is not None]
    startup.import_tensorflow()
    from ssgan_tf.evaluation import score_table
    from ssgan_tf.modules import hub, reading
    from ssgan_tf.training import checkpoint_export

    plan, run = checkpoint_export.load_run(_MODEL_DIR.value)
    step = run.latest_step() if _STEP.value is None else _STEP.value
    with tempfile.TemporaryDirectory() as temporary:
        if targets == [out]:
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
    target = " and ".join(targets) or module.path
    print(f"module {target}: step {step}, {module.metadata['weights']} weights")
