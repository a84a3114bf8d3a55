"""Parses arguments as a command would, without running it.

    python flag_check.py BINARY < calls.json

The calls are a list of `[arguments, is_whole]`, where `is_whole` is False for a part of
a command. Prints a list with the mistake of each call, or its gin flags.
"""

import importlib
import json
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
            # FLAGS checks names and values while it parses, and required or exclusive
            # flags afterwards. A part of a command need not pass the latter.
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
        takes_words = False
    else:
        takes_words = hasattr(importlib.import_module(binary), "USAGE")
    results = [check(*call, takes_words) for call in json.load(sys.stdin)]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
