"""Runs an experiment of the paper, and puts its numbers beside the paper's.

    ssgan reproduce figure3 --scale=tiny --seeds=0
    ssgan reproduce table2 --scale=small --seeds=0,1 --only="*cifar10-sn_0_0.9_1*"

Experiments are table1 to table4 and figure2 to figure4; docs/reproduce.md says what
each is at each scale. What is done is not done again.
"""

from absl import app, flags

from ssgan_tf.commands import inception_flags
from ssgan_tf.commands.main import run
from ssgan_tf.experiments import recipes, runner

for _module in (runner, inception_flags):
    # Shown by --help.
    flags.adopt_module_key_flags(_module)
_SCALE = flags.DEFINE_enum(
    "scale",
    "full",
    list(recipes.SCALES),
    "full: the shipped configs, for accelerators. small: a CPU's size, hours per run. "
    "tiny: seconds per run, and the numbers mean nothing.",
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the trainings.")
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "reproduce", "Folder of runs, logs and reports."
)
_TFDS_DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir", None, "Folder of prepared TFDS data sets."
)

_USAGE = (
    "Name one experiment: `ssgan reproduce NAME`, NAME one of "
    f"{', '.join(recipes.EXPERIMENTS)}."
)


def main(argv):
    if len(argv) != 2 or argv[1] not in recipes.EXPERIMENTS:
        raise app.UsageError(_USAGE)
    experiment = recipes.experiment(
        argv[1], _SCALE.value, _seeds(_SEEDS.value), inception_flags.path()
    )
    return runner.run(
        experiment,
        output_dir=_OUTPUT_DIR.value,
        report_dir=f"{_SCALE.value}/{experiment.name}",
        tfds_data_dir=_TFDS_DATA_DIR.value,
    )


def _seeds(texts: list[str]) -> list[int]:
    if not texts or not all(text.isdecimal() for text in texts):
        raise app.UsageError(
            "--seeds must be whole numbers from 0 on, such as 0,1,2. Received: "
            f"--seeds={','.join(texts)}."
        )
    return list(dict.fromkeys(map(int, texts)))


if __name__ == "__main__":
    run(main, usage=_USAGE)
