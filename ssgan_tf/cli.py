"""The `ssgan` command, and how every binary starts and fails."""

import logging as standard_logging
import os
import pathlib
import runpy
import signal
import sys
import traceback

from absl import app, flags, logging

COMMANDS = {
    "data": ("ssgan_tf.data", "prepare a data set, or look at it"),
    "train": ("ssgan_tf.train", "train, export and score"),
    "launch": ("ssgan_tf.launch", "start several workers on this machine"),
    "sample": ("ssgan_tf.sample", "draw pictures from a module"),
    "evaluate": ("ssgan_tf.evaluate", "score a module"),
    "compare": ("ssgan_tf.compare", "print the scores of several runs side by side"),
    "report": ("ssgan_tf.report", "write a page on one run or several"),
    "probe": ("ssgan_tf.probe", "fit a linear classifier to every block of D"),
    "forget": ("ssgan_tf.forget", "train a classifier whose task changes"),
    "dump": ("ssgan_tf.dump", "write images as files that other programs score"),
    "reproduce": ("ssgan_tf.reproduce", "run an experiment of the paper"),
    "sweep": ("ssgan_tf.sweep", "train and score every combination of some values"),
    "summary": ("ssgan_tf.summary", "print the scores of a run and what to look at"),
}


def run(main) -> None:
    """Runs an absl main: quiet libraries, one message for a mistake of the user.

    A ValueError, OSError or MemoryError ends the program with exit code 1 and its
    message, SIGTERM with 143 and SIGINT with 130, after what is half-written is
    removed. Of TensorFlow and the other libraries only errors are logged.
    `--verbosity=1` adds the traceback, and `--verbosity` of any value their messages.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    def terminate(number, frame):
        raise SystemExit(128 + number)

    def guarded(argv):
        signal.signal(signal.SIGTERM, terminate)
        logging.use_absl_handler()
        if not flags.FLAGS["verbosity"].present:
            # Python's half of TensorFlow has a handler of its own.
            standard_logging.getLogger("tensorflow").setLevel(standard_logging.ERROR)
            logging.get_absl_handler().python_handler.addFilter(_is_ours_or_error)
        try:
            return main(argv)
        except KeyboardInterrupt:
            return 130
        except (ValueError, OSError, MemoryError) as error:
            if logging.get_verbosity() >= logging.DEBUG:
                traceback.print_exc()
            print(f"error: {error}", file=sys.stderr)
            return 1

    app.run(guarded)


def _is_ours_or_error(record) -> bool:
    package = pathlib.Path(__file__).parent
    is_ours = package in pathlib.Path(record.pathname).parents
    return is_ours or record.levelno >= standard_logging.ERROR


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
    del sys.argv[1]
    # As `python -m`: absl shows the flags of the main module.
    runpy.run_module(COMMANDS[command][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
