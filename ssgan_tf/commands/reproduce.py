"""Runs an experiment of the paper and compares its numbers with the paper's.

    ssgan reproduce figure3 --scale=tiny --seeds=0
    ssgan reproduce table2 --scale=small --seeds=0,1 --only="*cifar10-sn_0_0.9_1*"

Experiments are table1 to table4 and figure2 to figure4. docs/reproduce.md describes
them at every scale. Finished jobs are not repeated.
"""

from absl import app, flags

from ssgan_tf.commands import flags as shared
from ssgan_tf.experiments import recipes, runner

_ONLY, _PRINT_COMMANDS = shared.define_study_flags()
shared.define_inception_flag()
_SCALE = flags.DEFINE_enum(
    "scale",
    "full",
    list(recipes.SCALES),
    "full: for accelerators. small: CPU hours per run. tiny: seconds, no real numbers.",
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the runs.")
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "reproduce", "Folder of runs, logs and reports."
)
_TFDS_DATA_DIR = shared.define_data_flag()

USAGE = (
    "Name one experiment: `ssgan reproduce NAME`, where NAME is one of "
    f"{', '.join(recipes.STUDIES)}."
)


def main(argv):
    if len(argv) != 2 or argv[1] not in recipes.STUDIES:
        raise app.UsageError(USAGE)
    if not _SEEDS.value or not all(text.isdecimal() for text in _SEEDS.value):
        received = f"--seeds={','.join(_SEEDS.value)}"
        raise app.UsageError(f"--seeds must be integers >= 0. Received: {received}.")
    seeds = list(dict.fromkeys(map(int, _SEEDS.value)))
    study = recipes.study(argv[1], _SCALE.value, seeds, shared.inception_path())
    return runner.run(
        study,
        output_dir=_OUTPUT_DIR.value,
        report_dir=f"{_SCALE.value}/{study.name}",
        tfds_data_dir=_TFDS_DATA_DIR.value,
        only=_ONLY.value,
        print_commands=_PRINT_COMMANDS.value,
    )
