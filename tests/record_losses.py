"""Writes the losses that `ssgan doctor` compares with, computed here.

    python tests/record_losses.py

Run it only after a change that is meant to change them: tests/commands/doctor_test.py
fails then.
"""

import datetime
import json
import pathlib

from ssgan_tf.commands import doctor_checks

FILE = pathlib.Path(doctor_checks.__file__).with_name("recorded_losses.json")


def main() -> None:
    diagnosis = doctor_checks.examine()
    names = ("tensorflow", "keras", "cpu", "cores")
    record = {
        "command": "python tests/record_losses.py",
        "date": f"{datetime.date.today()}",
        **{name: diagnosis["facts"][name] for name in names},
        "losses": {
            tag: [round(value, 6) for value in values]
            for tag, values in diagnosis["training"]["losses"].items()
        },
    }
    FILE.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
