"""Prints the latest scores of several runs side by side.

    ssgan compare runs/uncond runs/ssgan
    ssgan compare runs/ssgan mine.csv --anyway

Takes run directories and tables of scores. Numbers of different protocols are not put
side by side: what differs is said instead. `--anyway` marks them.
"""

from absl import app, flags

_ANYWAY = flags.DEFINE_bool(
    "anyway", False, "Show numbers of different protocols too, marked by *."
)

USAGE = "Name runs to compare, for example `ssgan compare runs/uncond runs/ssgan`."


def main(argv):
    if len(argv) < 2:
        raise app.UsageError(USAGE)
    from ssgan_tf.evaluation import score_table

    print(score_table.comparison(argv[1:], _ANYWAY.value))
