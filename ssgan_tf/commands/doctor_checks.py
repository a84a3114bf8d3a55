"""The checks of `ssgan doctor`; those that need TensorFlow run in a child process.

A broken TensorFlow may end the child, but not this process.
"""

import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from typing import NamedTuple, TextIO

import ssgan_tf
from ssgan_tf.utils.machine import memory_limit
from ssgan_tf.utils.processes import Processes, exit_code
from ssgan_tf.utils.progress import colored

REINSTALL = "reinstall this package in an empty environment"
_COLORS = {"ok": "green", "absent": "yellow", "wrong": "red"}


class Check(NamedTuple):
    """A row of the table.

    Attributes:
        name: str.
        status: "ok", "wrong", or "absent" for a part that only some commands need.
        message: str. The result.
        cure: str. Empty if the status is "ok".
    """

    name: str
    status: str
    message: str
    cure: str = ""


class Diagnosis(NamedTuple):
    """The results of all checks.

    Attributes:
        checks: in the order of the table.
        packages: name -> version of the required packages.
        facts: `environment.facts()`; empty if TensorFlow does not import.
        training: seconds per step and losses by tag; None if training failed.
    """

    checks: list[Check]
    packages: dict[str, str | None]
    facts: dict
    training: dict | None

    @property
    def is_well(self) -> bool:
        return all(check.status != "wrong" for check in self.checks)

    def as_dict(self) -> dict:
        """The results as JSON has them."""
        checks = [check._asdict() for check in self.checks]
        return {"is_well": self.is_well} | self._asdict() | {"checks": checks}


def examine(inception_path: str | None = None, time_limit: float = 600) -> Diagnosis:
    """Runs all checks; takes about a minute and leaves no files.

    Args:
        inception_path: folder of TFGAN's Inception network, or None.
        time_limit: seconds for the child process.
    """
    checks = [check_packages(), check_memory()]
    results = {"facts": {}, "training": None}
    running = "TensorFlow", REINSTALL
    with tempfile.TemporaryDirectory(prefix="ssgan_doctor_") as name:
        folder = pathlib.Path(name).resolve()
        failure = _run_child(folder, inception_path or "", time_limit)
        # A child that crashes may leave an incomplete last line.
        complete, _, _ = (folder / "report.jsonl").read_text().rpartition("\n")
        for line in complete.splitlines():
            record = json.loads(line)
            running = record.pop("running", running)
            checks += [Check(*check) for check in record.pop("checks", [])]
            results |= record
    if failure:
        name, cure = running
        message = f"{failure}. The checks after it did not run."
        checks.append(Check(name, "wrong", message, cure))
    packages = {needed.name: _version(needed.name) for needed in requirements()}
    return Diagnosis(checks, packages, **results)


def _run_child(folder: pathlib.Path, inception: str, time_limit: float) -> str | None:
    """Runs `doctor_child` in a folder; returns why it failed, or None."""
    (folder / "report.jsonl").touch()
    environment = dict(os.environ)
    # The child is no worker of a cluster, and libraries must not leave files.
    environment.pop("TF_CONFIG", None)
    environment |= dict.fromkeys(("MPLCONFIGDIR", "XDG_CACHE_HOME"), str(folder))
    environment["TMPDIR"] = str(folder)
    if not pathlib.Path("~/.keras").expanduser().exists():
        environment.setdefault("KERAS_HOME", str(folder))
    if inception and "://" not in inception:
        inception = os.path.abspath(inception)
    with Processes() as processes:
        child = processes.start(
            [sys.executable, "-m", "ssgan_tf.commands.doctor_child", inception],
            environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            output, _ = child.communicate(timeout=time_limit)
        except subprocess.TimeoutExpired:
            return f"not done after {time_limit:.0f} seconds"
        processes.exit_if_signalled()
    code = exit_code(child)
    return f"exit code {code}: {_reason(output)}" if code else None


def _reason(output: str) -> str:
    """The last error message in a process's output, or its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    is_error = re.compile(r"error: |Fatal |[\w.]+(Error|Exception): ").match
    errors = [i for i, line in enumerate(lines) if is_error(line)]
    start = errors[-1] if errors else -1
    return textwrap.shorten(" ".join(lines[start:]), 500) or "no output"


def requirements() -> list:
    """The `packaging.Requirement`s of this package, without its extras.

    Empty if the package is not installed.
    """
    from packaging.requirements import Requirement

    try:
        needed = map(Requirement, importlib.metadata.requires("ssgan-tf") or [])
    except importlib.metadata.PackageNotFoundError:
        return []
    return [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_packages() -> Check:
    """Checks that every required package is installed in a version that fits."""
    own = f"ssgan_tf {ssgan_tf.__version__}, Python {sys.version.split()[0]}"
    needed = {requirement: _version(requirement.name) for requirement in requirements()}
    if not needed:
        return Check("versions", "wrong", f"{own}; not installed by pip", REINSTALL)
    unfit = [
        requirement
        for requirement, version in needed.items()
        if version is None
        or not requirement.specifier.contains(version, prereleases=True)
    ]
    if unfit:
        actual = ", ".join(f"{r.name} {needed[r]}" for r in unfit)
        wanted = " ".join(f'"{r.name}{r.specifier}"' for r in unfit)
        return Check("versions", "wrong", f"{own}; {actual}", f"pip install {wanted}")
    names = ("tensorflow", "keras", "tensorflow-datasets", "numpy")
    listed = ", ".join(f"{name} {_version(name)}" for name in names)
    return Check("versions", "ok", f"{own}, {listed}")


def check_memory() -> Check:
    """Checks memory, and free space in the folder of temporary files."""
    memory = memory_limit() / 2**30
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    message = f"{memory:.1f} GiB; {free:.1f} GiB free in {tempfile.gettempdir()}"
    # The quick start had a peak of 1.04 GiB.
    if memory < 1.5:
        return Check("memory", "wrong", message, "the quick start needs 1.1 GiB")
    if free < 1:
        cure = "free some space, or set TMPDIR to another folder"
        return Check("memory", "wrong", message, cure)
    return Check("memory", "ok", message)


def table(checks: Sequence[Check], stream: TextIO) -> str:
    """The checks as text, with cures below their checks and a summary at the end."""
    width = max(len(check.name) for check in checks)
    columns = max(shutil.get_terminal_size().columns - width - 10, 40)
    lines = []
    for check in checks:
        texts = (
            [check.message, f"cure: {check.cure}"] if check.cure else [check.message]
        )
        wrapped = [
            line
            for text in texts
            for line in textwrap.wrap(text, columns, break_long_words=False)
        ]
        status = colored(f"{check.status:<8}", _COLORS[check.status], stream)
        lines.append(f"{status}{check.name:<{width}}  {wrapped[0]}")
        lines += [" " * (width + 10) + line for line in wrapped[1:]]
    wrong = [check.name for check in checks if check.status == "wrong"]
    if wrong:
        summary = colored(f"wrong: {', '.join(wrong)}", "red", stream)
    else:
        summary = colored("All is well.", "green", stream)
    return "\n".join([*lines, "", summary])
