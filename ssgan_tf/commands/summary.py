"""Prints the scores of a run, and what to look at.

    ssgan summary --model_dir=run

`ssgan train` ends with the same where it scores; docs/metrics.md says what the numbers
mean.
"""

from absl import flags

from ssgan_tf.utils import startup

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Run directory.", required=True)
_SCORE_FILENAME = flags.DEFINE_string(
    "score_filename", "scores.csv", "Table of scores in the run directory."
)


def main(argv):
    startup.import_tensorflow()
    from ssgan_tf.training import run_dir, summary

    run = run_dir.RunDir(_MODEL_DIR.value)
    print(summary.summary(run, _SCORE_FILENAME.value))
