"""Fits a linear classifier to every block of D: what has it learnt of the classes?

    ssgan probe --model_dir=run
    ssgan probe --model_dir=run --step=0

Prints top-1 accuracies, as Tables 3 and 4 of the paper have them, and adds them to a
table; docs/probe.md has the recipe.
"""

import pathlib

from absl import flags

from ssgan_tf.commands.main import run
from ssgan_tf.utils import startup

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Run directory.", required=True)
_STEP = flags.DEFINE_integer("step", None, "Step of the checkpoint; default: latest.")
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set with labels; default: that of the run."
)
_TFDS_DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir", None, "Folder of prepared TFDS data sets."
)
_OUT = flags.DEFINE_string("out", None, "Table. Default: <model_dir>/probe.csv.")


def main(argv):
    startup.import_tensorflow()
    from ssgan_tf.experiments import probe
    from ssgan_tf.training import checkpoint_export

    plan, run = checkpoint_export.load_run(_MODEL_DIR.value)
    step = run.latest_step() if _STEP.value is None else _STEP.value
    table = probe.ProbeTable(_OUT.value or pathlib.Path(run.path, "probe.csv"))
    # What cannot be added to must show before the work.
    table.rows()
    scores = probe.probe_checkpoint(
        plan,
        run,
        step,
        dataset=_DATASET.value,
        data_dir=_TFDS_DATA_DIR.value,
    )
    table.add(scores)
    print(f"step {step} of {run.path}\n\n{probe.format_scores(scores)}")
    print(f"\n{table.path}")


if __name__ == "__main__":
    run(main)
