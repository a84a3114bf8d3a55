"""Runs an experiment of the paper and compares its numbers with the paper's.

    ssgan reproduce figure3 --scale=tiny --seeds=0
    ssgan reproduce table2 --scale=small --seeds=0,1 --only="*cifar10-sn_0_0.9_1*"

Experiments are table1 to table4 and figure2 to figure4. docs/reproduce.md describes
them at every scale. Finished jobs are not repeated.
"""

from absl import app, flags

from ssgan_tf.commands.flags import (
    define_data_flag,
    define_inception_flag,
    define_study_flags,
    inception_path,
)
from ssgan_tf.experiments import recipes, runner

_ONLY, _PRINT_COMMANDS = define_study_flags()
define_inception_flag()
_SCALE = flags.DEFINE_enum(
    "scale",
    "full",
    list(recipes.SCALES),
    "full: the shipped configs, for accelerators. small: sized for a CPU, hours per "
    "run. tiny: seconds per run, with meaningless numbers.",
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the runs.")
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "reproduce", "Folder of runs, logs and reports."
)
_TFDS_DATA_DIR = define_data_flag()

USAGE = (
    "Name one experiment: `ssgan reproduce NAME`, where NAME is one of "
    f"{', '.join(recipes.STUDIES)}."
)


def main(argv):
    if len(argv) != 2 or argv[1] not in recipes.STUDIES:
        raise app.UsageError(USAGE)
    study = recipes.study(argv[1], _SCALE.value, _seeds(_SEEDS.value), inception_path())
    return runner.run(
        study,
        output_dir=_OUTPUT_DIR.value,
        report_dir=f"{_SCALE.value}/{study.name}",
        tfds_data_dir=_TFDS_DATA_DIR.value,
        only=_ONLY.value,
        print_commands=_PRINT_COMMANDS.value,
    )


def _seeds(texts: list[str]) -> list[int]:
    if not texts or not all(text.isdecimal() for text in texts):
        raise app.UsageError(
            "--seeds must be integers >= 0 separated by commas. Received: "
            f"--seeds={','.join(texts)}. Write --seeds=0,1,2, for example."
        )
    return list(dict.fromkeys(map(int, texts)))
