r"""Trains and scores every combination of some values, with several seeds.

    ssgan sweep --gin_config=quickstart.gin --grid="options.disc_iters=1,2" \
        --grid="G.width=16,32" --seeds=3

Prints and writes what `ssgan reproduce` does: results.csv, a plot, report.md. What is
done is not done again.
"""

from absl import app, flags

from ssgan_tf.commands import score_flags
from ssgan_tf.commands.main import run
from ssgan_tf.experiments import runner, sweeps

for _module in (runner, score_flags):
    flags.adopt_module_key_flags(_module)
_GIN_CONFIG = flags.DEFINE_multi_string(
    "gin_config", [], "Path of a gin file, or name of a shipped one; later lines win"
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A gin binding of all runs, which wins over the files"
)
_GRID = flags.DEFINE_multi_string(
    "grid", [], "A parameter and its values, such as G.width=16,32"
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Trainings of each combination: seeds 0 to n - 1.", lower_bound=1
)
_EVAL_EVERY_STEPS = flags.DEFINE_integer(
    "eval_every_steps",
    0,
    "Score checkpoints whose step this divides, and the last; 0 scores all.",
    lower_bound=0,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    "sweep",
    "Folder of runs, logs and the report. Another sweep into the same one replaces the "
    "report and keeps the runs.",
)


def main(argv):
    if not _GIN_CONFIG.value or not _GRID.value:
        raise app.UsageError(
            "--gin_config must name at least one file, and --grid a parameter with its "
            'values, for example --grid="options.disc_iters=1,2".'
        )
    # What cannot be scored must show before the first run; sets of fakes are one.
    score_flags.scoring(1)
    score = [
        flags.FLAGS[name].serialize()
        for name in score_flags.given()
        if name != "tfds_data_dir"
    ]
    experiment = sweeps.sweep(
        _GIN_CONFIG.value,
        _GIN_BINDINGS.value,
        _GRID.value,
        range(_SEEDS.value),
        (f"--eval_every_steps={_EVAL_EVERY_STEPS.value}", *score),
    )
    return runner.run(
        experiment,
        output_dir=_OUTPUT_DIR.value,
        report_dir="",
        tfds_data_dir=flags.FLAGS["tfds_data_dir"].value,
    )


if __name__ == "__main__":
    run(main)
