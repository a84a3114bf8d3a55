"""Prints the scores of a run, and what to look at.

    ssgan summary --model_dir=run

`ssgan train` ends with the same where it scores; docs/metrics.md says what the numbers
mean.
"""

from absl import flags

from ssgan_tf import cli

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Run directory.", required=True)
_SCORE_FILENAME = flags.DEFINE_string(
    "score_filename", "scores.csv", "Table of scores in the run directory."
)


def main(argv):
    cli.import_tensorflow()
    from ssgan_tf import run_dir, scoring

    run = run_dir.RunDir(_MODEL_DIR.value)
    print(scoring.summary(run, _SCORE_FILENAME.value))


if __name__ == "__main__":
    cli.run(main)
