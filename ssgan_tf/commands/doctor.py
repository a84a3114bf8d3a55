"""Checks this installation and this machine, in about two minutes, without network.

    ssgan doctor
    ssgan doctor --json > doctor.json     one object, for a bug report

Looks at versions, devices, memory and the libraries behind the scores; takes 20 steps
of the quick start on every strategy that the machine offers, and compares their losses
with recorded ones; exports a module, loads it and samples from it. What is wrong comes
with its cure, and then the exit code is 1. Nothing is left behind.
"""

import json
import sys

from absl import flags

from ssgan_tf.commands import doctor_checks
from ssgan_tf.commands.flags import define_inception_flag, inception_path

define_inception_flag()
_JSON = flags.DEFINE_bool(
    "json", False, "Print one JSON object; the table goes to the standard error."
)


def main(argv):
    found = doctor_checks.examine(inception_path())
    table = sys.stderr if _JSON.value else sys.stdout
    print(doctor_checks.table(found.checks, table), file=table)
    if _JSON.value:
        print(json.dumps(found.as_dict(), indent=2, allow_nan=False))
    return int(not found.is_well)
