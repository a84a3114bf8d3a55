"""Fits a linear classifier to every block of D: how well does it separate classes?

    ssgan probe --model_dir=run
    ssgan probe --model_dir=run --step=0

Prints top-1 accuracies as in Tables 3 and 4 of the paper and adds them to a table.
docs/probe.md has the recipe.
"""

import pathlib

from absl import flags

from ssgan_tf.commands import flags as shared
from ssgan_tf.utils import startup

_MODEL_DIR = shared.define_model_dir_flag()
_STEP = shared.define_step_flag()
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set with labels. Default: the data set of the run."
)
_TFDS_DATA_DIR = shared.define_data_flag()
_OUT = flags.DEFINE_string(
    "out", None, "CSV table to add a row to. Default: <model_dir>/probe.csv."
)


def main(argv):
    startup.import_tensorflow()
    from ssgan_tf.experiments import probe
    from ssgan_tf.training import checkpoint_export

    plan, run = checkpoint_export.load_run(_MODEL_DIR.value)
    step = run.latest_step() if _STEP.value is None else _STEP.value
    table = probe.ProbeTable(_OUT.value or pathlib.Path(run.path, "probe.csv"))
    # Fail before the work if the file is no table.
    table.rows()
    scores = probe.probe_checkpoint(
        plan, run, step, dataset=_DATASET.value, data_dir=_TFDS_DATA_DIR.value
    )
    table.add(scores)
    print(f"step {step} of {run.path}\n\n{probe.format_scores(scores)}")
    print(f"\n{table.path}")
