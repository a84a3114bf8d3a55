"""Reads arguments as one binary would, and does not run it.

    python flag_check.py BINARY < calls.json

The calls are a list of `[arguments, whether they are whole]`. Prints a list of what is
wrong with each, or what it binds in gin.
"""

import importlib
import inspect
import json
import pathlib
import runpy
import sys

from absl import app, flags
from absl.testing import flagsaver


def check(arguments: list[str], is_whole: bool, takes_words: bool) -> dict:
    flags.FLAGS.unparse_flags()
    with flagsaver.flagsaver():
        try:
            _, *words = flags.FLAGS(["binary", *arguments])
        except flags.Error as error:
            # Whole or not, each flag is one and has a legal value; what must be given,
            # or not together, is looked at afterwards.
            if is_whole or not flags.FLAGS.is_parsed():
                return {"wrong": str(error)}
            words = []
        if words and is_whole and not takes_words:
            return {"wrong": f"it takes flags only, and not {words}"}
        return {
            name: flags.FLAGS[name].value
            for name in ("gin_config", "gin_bindings")
            if name in flags.FLAGS
        }


def main(binary: str) -> None:
    app.define_help_flags()
    if binary.endswith(".py"):
        runpy.run_path(binary)
        source = pathlib.Path(binary).read_text()
    else:
        source = inspect.getsource(importlib.import_module(binary))
    takes_words = "usage=_USAGE" in source
    found = [check(*call, takes_words) for call in json.load(sys.stdin)]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
