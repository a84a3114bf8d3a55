"""Runs a command many times in one process, as TensorFlow takes seconds to import.

It is a process of its own, as the flags of two commands exclude each other.
"""

import contextlib
import importlib
import io
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

from absl import flags
from absl.testing import flagsaver


class Result(NamedTuple):
    """The end of a call.

    Attributes:
        code: int. Exit code.
        output: str. Standard output.
        errors: str. Standard error.
        changed: paths that the call made, changed or removed, below the folder.
    """

    code: int
    output: str
    errors: str
    changed: list[str]


def run(command: str, calls: dict, folder: pathlib.Path, **variables) -> dict:
    """The `Result` of every call by name.

    Args:
        command: name of a command, such as "dump".
        calls: name -> arguments. The first may be "cd PATH", a folder below `folder`
            to call the command in.
        folder: the working directory.
        **variables: further environment variables.
    """
    done = subprocess.run(
        [sys.executable, __file__, command],
        input=json.dumps(list(calls.values())),
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = (Result(*result) for result in json.loads(done.stdout))
    return dict(zip(calls, results, strict=True))


def tree(folder: str | os.PathLike) -> dict[str, bytes | None]:
    """Every file and folder within a folder, with the contents of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in pathlib.Path(folder).rglob("*")
    }


def main(command: str) -> None:
    from ssgan_tf.commands import main as cli

    module = importlib.import_module(f"ssgan_tf.commands.{command}")
    top = pathlib.Path().absolute()
    results = []
    for line in json.load(sys.stdin):
        if line[0].startswith("cd "):
            os.chdir(line.pop(0).removeprefix("cd "))
        before = tree(top)
        sys.argv = [f"ssgan {command}", *line]
        with (
            flagsaver.flagsaver(),
            contextlib.redirect_stdout(io.StringIO()) as output,
            contextlib.redirect_stderr(io.StringIO()) as errors,
        ):
            try:
                cli.run(module.main, getattr(module, "USAGE", None))
            except SystemExit as end:
                code = end.code or 0
        after = tree(top)
        changed = [
            path
            for path in sorted(before | after)
            if before.get(path, path) != after.get(path, path)
        ]
        results.append(Result(code, output.getvalue(), errors.getvalue(), changed))
        flags.FLAGS.unparse_flags()
        os.chdir(top)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
