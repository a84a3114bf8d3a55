"""The `ssgan` command, and how every command starts and fails."""

import contextlib
import difflib
import functools
import importlib
import inspect
import logging as standard_logging
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

from absl import app, flags, logging

import ssgan_tf
from ssgan_tf.utils import progress

COMMANDS = {
    "doctor": "check this installation and this machine",
    "data": "prepare or inspect a data set",
    "migrate": "rewrite a gin file of compare_gan",
    "train": "train, export and score",
    "launch": "start several workers on this machine",
    "export": "write a checkpoint as a module",
    "convert": "convert a module or checkpoint of compare_gan",
    "sample": "draw images from a module",
    "evaluate": "score a module",
    "compare": "print the scores of a run, or of several side by side",
    "report": "write an HTML page about one or several runs",
    "probe": "fit a linear classifier to every block of D",
    "forget": "train a classifier on a sequence of tasks",
    "dump": "write images as files that other programs score",
    "reproduce": "run an experiment of the paper",
    "sweep": "train and score every combination of parameter values",
}
_COMMONEST = (
    "ssgan doctor",
    "ssgan train --gin_config=quickstart.gin --model_dir=run",
    "ssgan sample --module=run/tfhub/1600 --num=64 --out=samples.png",
    "ssgan evaluate --module=run/tfhub/1600",
    "ssgan report run --out=report.html",
)
_HELP = {"-h", "-?", "-help", "--help", "--helpshort"}
_Main = Callable[[list[str]], int | None]


def run(main: _Main, usage: str | None = None) -> None:
    """Runs the main function of a command and exits.

    A mistake of the user is one line without a traceback. Exit codes: 2 for wrong flags
    and arguments (`app.UsageError`); 1 for a ValueError, OSError, MemoryError or
    ImportError; 143 for SIGTERM, 130 for SIGINT, 129 for SIGHUP, after partly written
    files are removed. TensorFlow and other libraries log errors only, unless
    `--verbosity` is given; `--verbosity=1` adds tracebacks.

    Args:
        main: takes `sys.argv` without the flags. The docstring of its module is the
            text of `--help`.
        usage: describes the arguments of the command beside its flags; None if it
            takes none.
    """
    # Python raises TensorFlow's errors; those that C++ logs besides are harmless, such
    # as a missing NVIDIA driver.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with _flushed_output():
        app.run(
            functools.partial(_run, main, usage),
            flags_parser=functools.partial(_parse_flags, main, usage),
        )


@contextlib.contextmanager
def _flushed_output() -> Iterator[None]:
    """Ends without a traceback if the standard output cannot be written.

    Ends quietly if the program that reads the output has ended, such as `head`.
    """
    try:
        try:
            yield
        finally:
            print(end="", flush=True)
    except OSError as error:
        # Python flushes the standard output again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        is_closed_pipe = isinstance(error, BrokenPipeError)
        sys.exit(128 + signal.SIGPIPE if is_closed_pipe else _fail(error))


def _parse_flags(main: _Main, usage: str | None, argv: list[str]) -> list[str]:
    """Parses flags as absl does, with our `--help` and exit codes."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    if _HELP & set(own):
        print(_command_help(main))
        sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except SystemExit:
        # absl ends --helpfull with 1.
        sys.exit(0)
    except flags.Error as error:
        message = f"{error} {usage or ''}"
        # absl begins with the value None of the missing flag.
        message = message.rpartition("=None: ")[2]
        message = message.replace("have a value other than None", "be given")
        sys.exit(_usage_error(" ".join(message.split())))


def _run(main: _Main, usage: str | None, argv: list[str]) -> int | None:
    """Runs a main function with parsed flags and returns the exit code."""
    _handle_signals()
    _configure_logging()
    try:
        if len(argv) > 1 and usage is None:
            raise app.UsageError(_unexpected(argv[1]))
        return main(argv)
    except KeyboardInterrupt:
        return 130
    except app.UsageError as error:
        return _usage_error(str(error))
    except BrokenPipeError:
        raise
    except (ValueError, OSError, MemoryError, ImportError) as error:
        if logging.get_verbosity() >= logging.DEBUG:
            traceback.print_exc()
        if isinstance(error, ImportError):
            return _fail(
                f"A required package is missing or incompatible: {error}. "
                "`ssgan doctor` lists what to install."
            )
        return _fail(error)


def _handle_signals() -> None:
    """Turns signals into SystemExit, so that partly written files are removed."""

    def terminate(number, frame):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, terminate)
    # nohup ignores the end of the terminal, and so do we.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, terminate)


def _configure_logging() -> None:
    """Logs our messages and the errors of other libraries, unless asked for more."""
    logging.use_absl_handler()
    if flags.FLAGS["verbosity"].present:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
        return
    # TensorFlow's Python code has a handler of its own.
    standard_logging.getLogger("tensorflow").setLevel(standard_logging.ERROR)
    handler = logging.get_absl_handler().python_handler
    handler.addFilter(_is_ours_or_error)
    handler.setFormatter(_Plain())


class _Plain(standard_logging.Formatter):
    """Time and message, with the level of warnings and errors."""

    def formatMessage(self, record):
        time = self.formatTime(record, "%b %d %H:%M:%S")
        if record.levelno < standard_logging.WARNING:
            return f"{time} {record.message}"
        color = "red" if record.levelno >= standard_logging.ERROR else "yellow"
        level = progress.colored(f"{record.levelname.lower()}:", color, sys.stderr)
        return f"{time} {level} {record.message}"


def _is_ours_or_error(record: standard_logging.LogRecord) -> bool:
    package = pathlib.Path(__file__).parents[1]
    is_ours = package in pathlib.Path(record.pathname).parents
    return is_ours or record.levelno >= standard_logging.ERROR


def _usage_error(message: str) -> int:
    end = "" if message.endswith((".", "?")) else "."
    return _fail(f"{message}{end} See `{sys.argv[0]} --help`.", code=2)


def _fail(message: object, code: int = 1) -> int:
    print(progress.colored("error:", "red", sys.stderr), message, file=sys.stderr)
    return code


def _unexpected(argument: str) -> str:
    """The error for an argument of a command that takes flags only."""
    message = f"Only flags are taken. Received: {argument}."
    name, is_setting, _ = argument.partition("=")
    if name in flags.FLAGS:
        return f"{message} Did you mean --{argument}?"
    if "gin_config" in flags.FLAGS and argument.endswith((".gin", ".sweep")):
        return f"{message} Did you mean --gin_config={argument}?"
    if "gin_bindings" in flags.FLAGS and "." in name and is_setting:
        return f"{message} Did you mean --gin_bindings={argument}?"
    return message


def _command_help(main: _Main) -> str:
    """The docstring of a command and its flags."""
    text = inspect.getdoc(sys.modules[main.__module__])
    # absl's first two lines name the module.
    own_flags = flags.FLAGS.module_help(main.__module__).split("\n", 2)[-1]
    return (
        f"{text}\n\nflags:\n{own_flags}\n\n"
        "`--helpfull` lists the flags of all libraries too."
    )


def _help() -> str:
    examples = "\n".join(f"  {example}" for example in _COMMONEST)
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {COMMANDS[name]}" for name in COMMANDS)
    return (
        f"Self-supervised GANs on Keras and TensorFlow.\n\n{examples}\n\n"
        f"usage: ssgan COMMAND [--flags]   (ssgan COMMAND --help)\n\n{commands}"
    )


def main() -> None:
    """Entry point of the console script: `ssgan COMMAND [--flags]`."""
    with _flushed_output():
        command, *arguments = sys.argv[1:] or [""]
        if command == "help" and arguments:
            command, arguments = arguments[0], ["--help"]
        if command in ("", "help", *_HELP):
            print(_help())
        elif command in ("version", "--version"):
            print(f"ssgan_tf {ssgan_tf.__version__}")
        elif command not in COMMANDS:
            close = difflib.get_close_matches(command, COMMANDS, n=1)
            hint = f"Did you mean `ssgan {close[0]}`? " if close else ""
            message = f"There is no command {command!r}. {hint}`ssgan help` lists all."
            sys.exit(_fail(message, code=2))
        else:
            module = importlib.import_module(f"ssgan_tf.commands.{command}")
            sys.argv = [f"ssgan {command}", *arguments]
            run(module.main, getattr(module, "USAGE", None))
