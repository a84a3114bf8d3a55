"""Writes the losses that `ssgan doctor` compares with, computed here.

    python tests/record_losses.py

Only after a change that is meant to change them: tests/checkup_test.py says when.
"""

import datetime
import json
import pathlib
import tempfile

from ssgan_tf.commands import doctor_checks
from ssgan_tf.utils import environment

FILE = pathlib.Path(doctor_checks.__file__).with_name("recorded_losses.json")


def main() -> None:
    trial, *_ = doctor_checks.trials(gpus=0, tpu_cores=0)
    with tempfile.TemporaryDirectory() as folder:
        training = doctor_checks.train(
            trial, doctor_checks.Sandbox(pathlib.Path(folder))
        )
    facts = environment.facts()
    record = {
        "command": "python tests/record_losses.py",
        "date": f"{datetime.date.today()}",
        **{name: facts[name] for name in ("tensorflow", "keras", "cpu", "cores")},
        "losses": {
            tag: [round(value, 6) for value in values]
            for tag, values in training.losses.items()
        },
    }
    FILE.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
