"""Checks this installation and this machine, in about a minute, without network.

    ssgan doctor
    ssgan doctor --json > doctor.json     one object, for a bug report

Checks versions, memory, devices and imports. Takes 20 steps of the quick start on the
devices that training uses here and compares their losses with recorded ones. Exports a
module and samples from it with TF-Hub. Each problem is printed with its cure, and then
the exit code is 1. No files are left.
"""

import json
import sys

from absl import flags

from ssgan_tf.commands import doctor_checks
from ssgan_tf.commands import flags as shared

shared.define_inception_flag()
_JSON = flags.DEFINE_bool(
    "json", False, "Print one JSON object; the table goes to the standard error."
)


def main(argv):
    diagnosis = doctor_checks.examine(shared.inception_path())
    stream = sys.stderr if _JSON.value else sys.stdout
    print(doctor_checks.table(diagnosis["checks"], stream), file=stream)
    if _JSON.value:
        diagnosis["checks"] = [check._asdict() for check in diagnosis["checks"]]
        print(json.dumps(diagnosis, indent=2, allow_nan=False))
    return int(not diagnosis["is_well"])
