"""Prints the scores of a run, and what to look at.

ssgan summary --model_dir=run
"""

from absl import app, flags

from ssgan_tf import cli

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Run directory.", required=True)
_SCORE_FILENAME = flags.DEFINE_string(
    "score_filename", "scores.csv", "Table of scores in the run directory."
)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument: {argv[1]}")
    # TensorFlow takes seconds to import: only now.
    from ssgan_tf import run_dir, scoring

    run = run_dir.RunDir(_MODEL_DIR.value)
    print(scoring.summary(run, _SCORE_FILENAME.value))


if __name__ == "__main__":
    cli.run(main)
