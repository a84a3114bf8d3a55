"""The `ssgan` command, and how every binary starts and fails."""

import importlib
import os
import sys
import traceback

from absl import app, flags, logging

COMMANDS = {
    "train": ("ssgan_tf.train", "train, export and score"),
    "summary": ("ssgan_tf.summary", "print the scores of a run and what to look at"),
}


def run(main) -> None:
    """Runs an absl main: quiet TensorFlow, one message for a mistake of the user.

    A ValueError or OSError ends the program with exit code 1 and its message;
    `--verbosity=1` adds the traceback.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    def guarded(argv):
        logging.use_absl_handler()
        if flags.FLAGS["verbosity"].using_default_value:
            logging.set_verbosity(logging.INFO)
        try:
            return main(argv)
        except (ValueError, OSError) as error:
            if logging.get_verbosity() >= logging.DEBUG:
                traceback.print_exc()
            print(f"error: {error}", file=sys.stderr)
            return 1

    app.run(guarded)


def main() -> None:
    """Entry point of the console script: `ssgan COMMAND [--flags]`."""
    command = sys.argv[1] if len(sys.argv) > 1 else None
    if command not in COMMANDS:
        width = max(map(len, COMMANDS))
        lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
        print("usage: ssgan COMMAND [--flags]   (ssgan COMMAND --help)\n")
        print("\n".join(lines))
        if command in (None, "-h", "--help", "help"):
            sys.exit(0)
        print(f"\nerror: unknown command {command!r}", file=sys.stderr)
        sys.exit(2)
    module = importlib.import_module(COMMANDS[command][0])
    sys.argv = [f"ssgan {command}", *sys.argv[2:]]
    run(module.main)
