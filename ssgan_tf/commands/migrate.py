"""Rewrites a gin file of compare_gan into one that uses the names of this package.

    ssgan migrate old.gin --out=mine.gin

The new file has one line per parameter. Standard error gets one remark for each line
that was renamed, dropped, added or not mapped, and for each difference in numbers. The
exit code is 0 if the new file runs as it is, and 1 if a line needs a decision of yours.
See docs/migrating.md.
"""

import os
import sys

from absl import app, flags

from ssgan_tf.utils import files, startup

_OUT = flags.DEFINE_string(
    "out", None, "The new file; an old one is replaced. Default: standard output."
)

USAGE = "Name one gin file, for example `ssgan migrate old.gin --out=mine.gin`."


def main(argv):
    if len(argv) != 2:
        raise app.UsageError(USAGE)
    path, out = argv[1], _OUT.value
    if out is not None and os.path.realpath(out) == os.path.realpath(path):
        raise app.UsageError(f"--out must not be the old file. Received: --out={out}.")
    startup.import_tensorflow()
    from ssgan_tf.compare_gan import migration

    migrated = migration.migrate(path)
    if out is None:
        sys.stdout.write(migrated.text)
        sys.stdout.flush()
    else:
        files.write_text(out, migrated.text)
    for remark in migrated.remarks:
        print(remark, file=sys.stderr)
    print(f"{path}: {migrated.counts}", file=sys.stderr)
    name = "the new file" if out is None else out
    try:
        runs = migration.check_runs(migrated.text, name)
    except ValueError as error:
        print(f"{name} does not run yet: {error}", file=sys.stderr)
        return 1
    print(f"{name} runs: {runs}", file=sys.stderr)
    if not migrated.is_complete:
        print("Lines that are not mapped need a decision: see above.", file=sys.stderr)
    return 0 if migrated.is_complete else 1
