"""Writes an HTML page about one run, or about several side by side.

    ssgan report run
    ssgan report runs/uncond runs/ssgan --out=comparison.html

The page shows samples over time beside real images, scores with their protocols,
curves, the linear probe, rotation confusions, configurations and environments, as far
as the runs have them. docs/report.md has more.
"""

import pathlib

from absl import app, flags

from ssgan_tf.commands import flags as shared
from ssgan_tf.utils import startup

_TFDS_DATA_DIR = shared.define_data_flag()
_OUT = flags.DEFINE_string("out", "report.html", "HTML file to write.")

USAGE = "Name runs to report on, for example `ssgan report runs/uncond runs/ssgan`."


def main(argv):
    if len(argv) < 2:
        raise app.UsageError(USAGE)
    startup.import_tensorflow()
    from ssgan_tf.reports import report
    from ssgan_tf.utils import files

    out = pathlib.Path(_OUT.value)
    files.write_text(out, report.render(argv[1:], _TFDS_DATA_DIR.value))
    print(f"written {out}, {out.stat().st_size / 1e6:.1f} MB")
