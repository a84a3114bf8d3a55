"""The project's pages as data: code blocks, commands, links, headings."""

import itertools
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from paths import ROOT

from ssgan_tf.commands.main import COMMANDS

# The change log speaks of what was.
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "export/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)

_FENCE = re.compile(r" *```(\w*)")
_SHELLS = ("", "console", "sh", "bash")
_PROGRAM = r"ssgan|python -m ssgan_tf|(?:python )?(?:export|benchmarks)/\w+\.py"
_OPERATORS = {"|", "||", "&&", "&", ";", ">", ">>", "<"}
_BEFORE = re.compile(r"\w+=|(do|then|time|export)$")


class Command(NamedTuple):
    """A call of a program.

    Attributes:
        place: page and line.
        words: the words, as the shell splits them.
        whole: False if a sentence mentions the command, perhaps only a part.
    """

    place: str
    words: list[str]
    whole: bool = True


def read(page: str) -> str:
    return (ROOT / page).read_text()


def run_python(*arguments: str, **kwargs) -> str:
    """The output of `python ARGUMENTS`, which must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, **kwargs
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yields number, line, and whether it is for a shell, without other languages."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        if match := _FENCE.match(line):
            fence = match[1] if fence is None else None
        elif fence is None:
            yield number, line, line.startswith("    ")
        elif fence in _SHELLS:
            yield number, line, True


def commands(text: str, page: str) -> Iterator[Command]:
    """The commands in the shell blocks of a page and in its sentences.

    Blocks are fenced or indented. A variable has the first value that the page assigns.
    A line that starts with a flag is a command without a program.

    Raises:
        ValueError: a line that no shell can read.
    """
    variables: dict[str, str] = {}
    numbered = lines(text)
    for number, line, is_shell in numbered:
        place = f"{page}:{number}"
        if not is_shell:
            for mentioned in re.findall(rf"`((?:{_PROGRAM})(?: [^`]*)?)`", line):
                yield Command(place, mentioned.split(), whole=False)
            continue
        while line.endswith("\\"):
            line = line[:-1] + next(numbered)[1]
        line = re.sub(r"(^|\s)#.*", "", line)
        for name, value in re.findall(r"\b(\w+)(?:=| in )('[^']*'|[^\s;]+)", line):
            variables.setdefault(name, value.strip("'"))
        line = re.sub(r"\$(\w+)", lambda name: variables.get(name[1], name[0]), line)
        if not re.search(rf"(^|[\s/])({_PROGRAM})(\s|$)|^\s*--\w", line):
            continue
        words = shlex.split(line.replace(";", " ; "))
        for is_operator, group in itertools.groupby(words, _OPERATORS.__contains__):
            if not is_operator:
                yield Command(place, list(itertools.dropwhile(_BEFORE.match, group)))


def calls(command: Command) -> list[tuple[str, list[str]]]:
    """The binaries that a command calls, and their arguments.

    A binary is the name of a module, or the path of a file from the root. A command of
    `ssgan launch` calls a second one.

    Raises:
        ValueError: a flag without a program, or an unknown sub-command.
    """
    program, *words = command.words or [""]
    if program.startswith("--"):
        raise ValueError(
            f"{command.place}: {program}: does the line before end in a backslash?"
        )
    if program == "python":
        program, *words = words or [""]
    if program.startswith(("export/", "benchmarks/")):
        return [(program, words)]
    if program == "-m" and words[0] == "ssgan_tf":
        program, *words = words
    if pathlib.PurePath(program).name not in ("ssgan", "ssgan_tf"):
        return []
    name, *arguments = words or ["help"]
    if name in ("help", "--help", "--version"):
        return []
    if name not in COMMANDS:
        raise ValueError(f"{command.place}: ssgan has no command {name!r}")
    inner = []
    if name == "launch" and "--" in arguments:
        end = arguments.index("--")
        inner = calls(command._replace(words=["ssgan", *arguments[end + 1 :]]))
        arguments = arguments[:end]
    return [(f"ssgan_tf.commands.{name}", arguments), *inner]


def sentences(text: str) -> str:
    """A page without its blocks of code."""
    return "\n".join(line for _, line, is_shell in lines(text) if not is_shell)


def links(text: str) -> list[str]:
    """Targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", sentences(text)))


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#{1,6} +(.*?)[ #]*$", sentences(text), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in plain}
