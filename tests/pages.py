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
        words: the words, as the shell splits them.
        whole: False if a sentence mentions the command, perhaps only a part.
    """

    place: str
    words: list[str]
    whole: bool = True


class Call(NamedTuple):
    """A call of one of this project's binaries.

    Attributes:
        binary: name of a module, or path of a file from the root.
        arguments: its arguments.
    """

    binary: str
    arguments: list[str]


def read(page: str) -> str:
    return (ROOT / page).read_text()


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
        ValueError: a line that no shell can read, or nothing after a backslash.
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
            _, more, is_shell = next(numbered, (0, "", False))
            if not (is_shell and more.strip()):
                raise ValueError(f"{place}: nothing follows the backslash: {line}")
            line = line[:-1] + more
        line = re.sub(r"(^|\s)#.*", "", line)
        for name, value in re.findall(r"\b(\w+)(?:=| in )('[^']*'|[^\s;]+)", line):
            variables.setdefault(name, value.strip("'"))
        line = re.sub(r"\$(\w+)", lambda name: variables.get(name[1], name[0]), line)
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
    """The binaries that a command calls; `ssgan launch` calls a second one.

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
            end = arguments.index("--")
            inner = command._replace(words=["ssgan", *arguments[end + 1 :]])
            return [Call(f"ssgan_tf.commands.{name}", arguments[:end]), *calls(inner)]
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
    """The anchors of a page's headings, as GitHub makes them."""
    names: list[str] = []
    for _, line, is_shell in lines(text):
        if not is_shell and (heading := re.match(r"#{1,6} +(.*?)[ #]*$", line)):
            title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            names.append(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    repeats = [names[:i].count(name) for i, name in enumerate(names)]
    return {
        f"{name}-{count}" if count else name
        for name, count in zip(names, repeats, strict=True)
    }
