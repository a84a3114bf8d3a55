"""The project's pages as data: code blocks, commands, links, headings."""

import itertools
import pathlib
import re
import shlex
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
        words: as the shell hands them over.
        whole: False where a sentence mentions it, perhaps a part.
    """

    place: str
    words: list[str]
    whole: bool = True


class Call(NamedTuple):
    """A call of one of this project's binaries.

    Attributes:
        binary: a module's name, or a file's path from the root.
        arguments: what it is given.
    """

    binary: str
    arguments: list[str]


def read(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Number, line, and whether it is for a shell; other languages are left out."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        if found := _FENCE.match(line):
            fence = found[1] if fence is None else None
        elif fence is None:
            yield number, line, line.startswith("    ")
        elif fence in _SHELLS:
            yield number, line, True


def commands(text: str, page: str) -> Iterator[Command]:
    """What the shell blocks of a page run, and what its sentences mention.

    Blocks are fenced or indented. Variables have the first value that the page gives
    them. A line that starts with a flag is a command without a program.

    Raises:
        ValueError: a line that no shell can read, or that does not go on.
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
            _, more, goes_on = next(numbered, (0, "", False))
            if not (goes_on and more.strip()):
                raise ValueError(f"{place}: nothing follows the backslash: {line}")
            line = line[:-1] + more
        line = re.sub(r"(^|\s)#.*", "", line)
        for name, value in re.findall(r"\b(\w+)(?:=| in )('[^']*'|[^\s;]+)", line):
            variables.setdefault(name, value.strip("'"))
        line = re.sub(r"\$(\w+)", lambda found: variables.get(found[1], found[0]), line)
        if not re.search(rf"(^|[\s/])({_PROGRAM})(\s|$)|^\s*--\w", line):
            continue
        try:
            words = shlex.split(line.replace(";", " ; "))
        except ValueError as error:
            raise ValueError(f"{place}: {error}: {line.strip()}") from error
        for is_operator, group in itertools.groupby(words, _OPERATORS.__contains__):
            if not is_operator:
                yield Command(place, list(itertools.dropwhile(_BEFORE.match, group)))


def calls(command: Command) -> list[Call]:
    """Which binaries a command calls; `ssgan launch` calls a second one.

    Raises:
        ValueError: a flag without a program, or an unknown sub-command.
    """
    program, *words = command.words or [""]
    if program.startswith("--"):
        raise ValueError(
            f"{command.place}: {program}: does the line before end in a backslash?"
        )
    if pathlib.PurePath(program).name == "ssgan":
        if not words or words[0] in ("help", "--help", "--version"):
            return []
        name, *arguments = words
        if name not in COMMANDS:
            raise ValueError(f"{command.place}: ssgan has no command {name!r}")
        if name == "launch" and "--" in arguments:
            where = arguments.index("--")
            inner = command._replace(words=["ssgan", *arguments[where + 1 :]])
            return [Call(f"ssgan_tf.commands.{name}", arguments[:where]), *calls(inner)]
        return [Call(f"ssgan_tf.commands.{name}", arguments)]
    if pathlib.PurePath(program).name == "python":
        if words[:2] == ["-m", "ssgan_tf"]:
            return calls(command._replace(words=["ssgan", *words[2:]]))
        program, *words = words or [""]
    if program.startswith(("export/", "benchmarks/")):
        return [Call(program, words)]
    return []


def sentences(text: str) -> str:
    """A page without its blocks of code."""
    return "\n".join(line for _, line, is_shell in lines(text) if not is_shell)


def links(text: str) -> list[str]:
    """Targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", sentences(text)))


def anchors(text: str) -> set[str]:
    """What a link may name behind `#`: the headings, as GitHub writes them."""
    found: list[str] = []
    for _, line, is_shell in lines(text):
        if not is_shell and (heading := re.match(r"#{1,6} +(.*?)[ #]*$", line)):
            said = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            found.append(re.sub(r"[^\w\- ]", "", said).replace(" ", "-"))
    seen = [found[:i].count(each) for i, each in enumerate(found)]
    return {
        f"{each}-{before}" if before else each
        for each, before in zip(found, seen, strict=True)
    }
