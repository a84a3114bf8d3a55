"""Prints the scores of one run over its steps, or the latest of several side by side.

    ssgan compare run
    ssgan compare runs/uncond runs/ssgan
    ssgan compare runs/ssgan mine.csv --anyway

Takes run directories and tables of scores. Scores of different protocols are an error
that names the differences; `--anyway` prints them, marked.
"""

import os

from absl import app, flags

_ANYWAY = flags.DEFINE_bool(
    "anyway", False, "Print scores of different protocols too, marked by *."
)

USAGE = "Name runs to compare, for example `ssgan compare runs/uncond runs/ssgan`."


def main(argv):
    _, *paths = argv
    if not paths:
        raise app.UsageError(USAGE)
    if len(paths) == 1 and os.path.isdir(paths[0]):
        if _ANYWAY.value:
            raise app.UsageError("--anyway must go with several runs.")
        from ssgan_tf.utils import startup

        startup.import_tensorflow()
        from ssgan_tf.training import run_dir, summary

        print(summary.summary(run_dir.RunDir(paths[0])))
        return
    from ssgan_tf.evaluation import score_table

    print(score_table.comparison(paths, _ANYWAY.value))
