"""The `ssgan` command, and how every binary starts and fails."""

import difflib
import functools
import logging as standard_logging
import os
import pathlib
import re
import runpy
import signal
import sys
import traceback

from absl import app, flags, logging

import ssgan_tf
from ssgan_tf.utils import progress

COMMANDS = {
    "doctor": "check this installation and this machine",
    "data": "prepare a data set, or look at it",
    "migrate": "rewrite a gin file of compare_gan",
    "train": "train, export and score",
    "launch": "start several workers on this machine",
    "sample": "draw pictures from a module",
    "evaluate": "score a module",
    "summary": "print the scores of a run and what to look at",
    "compare": "print the scores of several runs side by side",
    "report": "write a page on one run or several",
    "probe": "fit a linear classifier to every block of D",
    "forget": "train a classifier whose task changes",
    "dump": "write images as files that other programs score",
    "reproduce": "run an experiment of the paper",
    "sweep": "train and score every combination of some values",
}
_COMMONEST = (
    "ssgan doctor",
    "ssgan train --gin_config=quickstart.gin --model_dir=run",
    "ssgan sample --module=run/tfhub/1600 --num=64 --out=samples.png",
    "ssgan evaluate --module=run/tfhub/1600",
    "ssgan report run --out=report.html",
)


def run(main, usage: str | None = None) -> None:
    """Runs an absl main: quiet libraries, one message for a mistake of the user.

    A wrong flag, a UsageError, a ValueError, an OSError, a MemoryError or an
    ImportError ends the program with exit code 1 and its message, SIGTERM with 143,
    SIGINT with 130, SIGHUP with 129, after what is half-written is removed. Of
    TensorFlow and the other libraries only errors are logged. `--verbosity=1` adds the
    traceback, and `--verbosity` of any value their messages.

    Args:
        main: takes `sys.argv` without the flags; returns the exit code, or None for 0.
        usage: how it is given arguments that are no flags; None if it takes none.
    """
    # What C++ logs as an error comes as an exception too, or is none: such as that
    # there is no NVIDIA driver, or that a graph was not optimized.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The only one that this package computes with, whatever other programs take.
    os.environ["KERAS_BACKEND"] = "tensorflow"

    def terminate(number, frame):
        raise SystemExit(128 + number)

    def guarded(argv):
        signal.signal(signal.SIGTERM, terminate)
        # A terminal that is closed; under nohup it is ignored.
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            signal.signal(signal.SIGHUP, terminate)
        logging.use_absl_handler()
        if not flags.FLAGS["verbosity"].present:
            # Python's half of TensorFlow has a handler of its own.
            standard_logging.getLogger("tensorflow").setLevel(standard_logging.ERROR)
            handler = logging.get_absl_handler().python_handler
            handler.addFilter(_is_ours_or_error)
            handler.setFormatter(_Plain())
        try:
            if len(argv) > 1 and usage is None:
                raise app.UsageError(_unexpected(argv[1]))
            return main(argv)
        except KeyboardInterrupt:
            return 130
        except app.UsageError as error:
            return _fail(_with_help(str(error)))
        except (ValueError, OSError, MemoryError, ImportError) as error:
            if logging.get_verbosity() >= logging.DEBUG:
                traceback.print_exc()
            if isinstance(error, ImportError):
                return _fail(
                    "The packages that this one requires must be there, and fit. "
                    f"Received: {error}. `ssgan doctor` says what to install."
                )
            return _fail(error)

    app.run(guarded, flags_parser=functools.partial(_parse_flags, usage))


def _parse_flags(usage: str | None, argv: list[str]) -> list[str]:
    """As absl does it, but for the exit with one line."""
    try:
        return flags.FLAGS(argv)
    except SystemExit:
        # Of --help, which absl ends with 1.
        sys.exit(0)
    except flags.UnrecognizedFlagError as error:
        hint = f" {usage}" if usage else _nearest_flag(error.flagname)
        message = f"There is no flag --{error.flagname}.{hint}"
    except flags.Error as error:
        message = _in_one_line(str(error))
        words = [word for word in argv[1:] if not word.startswith("-")]
        missing = re.match(r"--(\w+) must be given\.", message)
        if missing and words and usage is None:
            message += f" Did you mean --{missing[1]}={words[0]}?"
    sys.exit(_fail(_with_help(message)))


def _nearest_flag(name: str) -> str:
    """The flag of the running program that may have been meant; not one of absl's."""
    own = [flag.name for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])]
    close = difflib.get_close_matches(name, own, n=1)
    return f" Did you mean --{close[0]}?" if close else ""


def _in_one_line(message: str) -> str:
    """What absl says of wrong flags, of missing ones more plainly."""
    message = re.sub(
        r"flag --(\w+)=None: Flag --\1 must have a value other than None\.",
        r"--\1 must be given.",
        message,
    )
    message = re.sub(
        r"flags .*: Exactly one of \((\w+), (\w+)\) must have a value other than "
        r"None\.",
        r"Exactly one of --\1 and --\2 must be given.",
        message,
    )
    return " ".join(message.split())


def _with_help(message: str) -> str:
    end = "" if message.endswith((".", "?")) else "."
    return f"{message}{end} See `{_name()} --help`."


def _unexpected(argument: str) -> str:
    """Says that an argument is none, and which flag may have been meant."""
    name = argument.lstrip("-").partition("=")[0]
    if argument.endswith((".gin", ".sweep")) and "gin_config" in flags.FLAGS:
        hint = f"--gin_config={argument}"
    elif name in flags.FLAGS:
        hint = f"--{argument.lstrip('-')}"
    elif argument == "=" and "gin_bindings" in flags.FLAGS:
        hint = '--gin_bindings="options.batch_size = 32", in quotes'
    else:
        hint = ""
    said = f"Only flags are taken. Received: {argument}."
    return f"{said} Did you mean {hint}?" if hint else said


def _fail(message: object) -> int:
    print(progress.colored("error:", "red", sys.stderr), message, file=sys.stderr)
    return 1


def _name() -> str:
    """How the running program was called."""
    spec = sys.modules["__main__"].__spec__
    for command in COMMANDS:
        if spec is not None and spec.name == f"ssgan_tf.commands.{command}":
            return f"ssgan {command}"
    return f"python {sys.argv[0]}"


class _Plain(standard_logging.Formatter):
    """Time and message; the level where it is more than information."""

    def __init__(self):
        super().__init__(datefmt="%b %d %H:%M:%S")

    def formatMessage(self, record):
        time = self.formatTime(record, self.datefmt)
        if record.levelno < standard_logging.WARNING:
            return f"{time} {record.message}"
        color = "red" if record.levelno >= standard_logging.ERROR else "yellow"
        level = progress.colored(f"{record.levelname.lower()}:", color, sys.stderr)
        return f"{time} {level} {record.message}"


def _is_ours_or_error(record) -> bool:
    package = pathlib.Path(__file__).parents[1]
    is_ours = package in pathlib.Path(record.pathname).parents
    return is_ours or record.levelno >= standard_logging.ERROR


def _help(all_commands: bool) -> str:
    if not all_commands:
        example = "\n  ".join(_COMMONEST)
        return (
            f"Self-supervised GANs on Keras and TensorFlow.\n\n  {example}\n\n"
            "`ssgan help` lists all commands, `ssgan COMMAND --help` the flags of one."
        )
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        ["usage: ssgan COMMAND [--flags]   (ssgan COMMAND --help)", "", *lines]
    )


def main() -> None:
    """Entry point of the console script: `ssgan COMMAND [--flags]`."""
    if sys.argv[1:2] == ["help"] and len(sys.argv) > 2:
        sys.argv[1:] = [sys.argv[2], "--help"]
    command = sys.argv[1] if len(sys.argv) > 1 else None
    if command in (None, "-h", "--help", "help"):
        print(_help(all_commands=command is not None))
        sys.exit(0)
    if command in ("--version", "version"):
        print(f"ssgan_tf {ssgan_tf.__version__}")
        sys.exit(0)
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"Did you mean `ssgan {close[0]}`? " if close else ""
        _fail(f"unknown command {command!r}. {hint}`ssgan help` lists all commands.")
        sys.exit(2)
    del sys.argv[1]
    # As `python -m`: absl shows the flags of the main module.
    runpy.run_module(
        f"ssgan_tf.commands.{command}", run_name="__main__", alter_sys=True
    )
