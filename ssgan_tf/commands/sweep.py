r"""Trains and scores every combination of parameter values, with several seeds.

    ssgan sweep --gin_config=quickstart.gin --grid="options.disc_iters=1,2" \
        --grid="G.width=16,32" --seeds=3

Writes results.csv, a plot and report.md, as `ssgan reproduce` does. Finished jobs are
not repeated.
"""

from absl import app, flags

from ssgan_tf.commands import flags as shared
from ssgan_tf.experiments import runner, sweeps
from ssgan_tf.utils import startup

_GIN_CONFIG, _GIN_BINDINGS = shared.define_gin_flags()
_GRID = flags.DEFINE_multi_string(
    "grid",
    [],
    "A parameter and its values, such as G.width=16,32. Repeat it for a product.",
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Runs per combination, with seeds 0, 1, ...", lower_bound=1
)
_EVAL_EVERY_STEPS = shared.define_eval_every_steps_flag(0)
_SCORING = shared.define_scoring_flags()
_TFDS_DATA_DIR = shared.define_data_flag()
_ONLY, _PRINT_COMMANDS = shared.define_study_flags()
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "sweep", "Folder of runs, logs and the report."
)


def main(argv):
    if not _GIN_CONFIG.value or not _GRID.value:
        raise app.UsageError("--gin_config and --grid must be given.")
    startup.import_tensorflow()
    # Fail before the first run if the scoring flags are wrong.
    shared.scoring_options(num_runs=1)
    score = [flags.FLAGS[f.name].serialize() for f in _SCORING if f.present]
    study = sweeps.sweep(
        _GIN_CONFIG.value,
        _GIN_BINDINGS.value,
        _GRID.value,
        seeds=range(_SEEDS.value),
        score=(f"--eval_every_steps={_EVAL_EVERY_STEPS.value}", *score),
    )
    return runner.run(
        study,
        output_dir=_OUTPUT_DIR.value,
        report_dir="",
        tfds_data_dir=_TFDS_DATA_DIR.value,
        only=_ONLY.value,
        print_commands=_PRINT_COMMANDS.value,
    )
