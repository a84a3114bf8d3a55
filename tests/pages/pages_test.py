"""Checks the commands, code, configurations and links of every page."""

import ast
import json
import pathlib
import re
import shutil

import pages
import pytest
from pages import PAGES, ROOT

from ssgan_tf import config
from ssgan_tf.commands.main import COMMANDS

# Pages whose Python and gin blocks run in a test file of their own.
HAVE_TESTS = [
    *("README.md", "export/README.md"),
    *("docs/extending.md", "docs/getting_started.md"),
]
# Pages whose code needs runs of hours: only the imports are checked.
NEEDS_RUNS = ["RESULTS.md"]
# Files that a page's code reads -> their place in the repository.
FILES = {
    "docs/reproduce.md": {
        "reproduce/small/figure3/results.csv": "docs/results/figure3.csv"
    }
}
# Links that are valid where the page is copied to, the folder of a module.
ELSEWHERE = {"docs/model_card_template.md": ["samples.png"]}
BINARIES = [
    *(f"ssgan_tf.commands.{name}" for name in COMMANDS),
    *(
        str(path.relative_to(ROOT))
        for folder in ("export", "benchmarks")
        for path in sorted(ROOT.glob(f"{folder}/*.py"))
        if re.search(r"\brun\((\w+\.)?main\b", path.read_text())
    ),
]


def source(binary: str) -> pathlib.Path:
    if binary.endswith(".py"):
        return ROOT / binary
    return ROOT.joinpath(*binary.split(".")).with_suffix(".py")


def help_text(binary: str) -> str:
    """The text of `--help` above the flags: the docstring, dedented."""
    return ast.get_docstring(ast.parse(source(binary).read_text()))


def called(texts: dict[str, str]) -> dict[str, list]:
    """Binary -> pairs of a `Command` that calls it and the arguments."""
    calls = {}
    for name, text in texts.items():
        for command in pages.commands(text, name):
            for binary, arguments in pages.calls(command):
                is_name_only = not (arguments or command.whole)
                if not (is_name_only or {"--help", "-h", "..."} & set(arguments)):
                    calls.setdefault(binary, []).append((command, arguments))
    return calls


def mistakes(binary: str, called_with: list) -> list[str]:
    """A line for each call that the binary or the config's parser refuses."""
    calls = json.dumps([(words, command.whole) for command, words in called_with])
    output = pages.run_python("tests/flag_check.py", binary, input=calls, cwd=ROOT)
    errors = []
    for (command, _), read in zip(called_with, json.loads(output), strict=True):
        names = read.get("gin_config")
        if "wrong" in read:
            errors.append(f"{command.place}: {binary}: {read['wrong']}")
        # Other files are the reader's own.
        elif names and all(
            (config.config_dir() / n.split("#")[0]).exists() for n in names
        ):
            try:
                config.parse(names, read["gin_bindings"])
            except config.ConfigError as error:
                errors.append(f"{command.place}: {error}")
    return errors


# --- Commands -----------------------------------------------------------------------


TEXTS = {page: pages.read(page) for page in PAGES}
TEXTS |= {binary: help_text(binary) for binary in BINARIES}
CALLED = called(TEXTS)


@pytest.mark.parametrize(
    "binary",
    [
        # benchmarks/soak.py imports TensorFlow at once.
        pytest.param(binary, marks=[pytest.mark.slow] if "soak" in binary else [])
        for binary in sorted(CALLED)
    ],
)
def test_commands(binary):
    assert binary in BINARIES
    assert mistakes(binary, CALLED[binary]) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    binary = f"ssgan_tf.commands.{command}"
    text = help_text(binary)
    assert re.search(rf"\n\n    ssgan {command}\b", text)
    assert any(example.place.startswith(binary) for example, _ in CALLED[binary])


def test_wrong_commands_are_reported():
    lines = {
        "ssgan sample --modul=m": "modul",
        "ssgan sample --module=m --num=0": "--num=0",
        "ssgan train --gin_config=quickstart.gin --gin_bindings=D.width:3": "D.width",
        "X=8; ssgan launch --num_workers=2 -- sample --modul=$X": "modul",
    }
    text = "".join(f"    {line}\n" for line in lines)
    wrong = [
        mistake
        for binary, calls in called({"page.md": text}).items()
        for mistake in mistakes(binary, calls)
    ]
    for number, word in enumerate(lines.values(), 1):
        (mistake,) = (m for m in wrong if m.startswith(f"page.md:{number}: "))
        assert word in mistake


@pytest.mark.parametrize("page", PAGES)
def test_flags_of_sentences_exist(page):
    files = [*map(source, BINARIES), ROOT / "ssgan_tf/commands/flags.py"]
    definition = r"DEFINE_\w+\(\s*\"(\w+)\""
    defined = {n for path in files for n in re.findall(definition, path.read_text())}
    defined |= {"help", "helpfull", "verbosity", "version"}
    # Flags of other programs.
    text = re.sub(r"`--(cpu|gpu|isc)[^`]*`", "", pages.sentences(TEXTS[page]))
    assert set(re.findall(r"--(\w+)", text)) <= defined


# --- Python and gin -----------------------------------------------------------------


def has(language: str) -> list[str]:
    return [page for page in PAGES if pages.blocks(TEXTS[page], language)]


@pytest.mark.parametrize("page", [p for p in has("python") if p not in HAVE_TESTS])
def test_python(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for target, place in FILES.get(page, {}).items():
        (tmp_path / target).parent.mkdir(parents=True)
        shutil.copy(ROOT / place, tmp_path / target)
    # In order, in one namespace; a traceback names page and block.
    scope = {"__name__": "page"}
    for number, block in enumerate(pages.blocks(TEXTS[page], "python"), 1):
        if page in NEEDS_RUNS:
            block = "\n".join(re.findall(r"^(?:from|import) .*", block, re.MULTILINE))
        exec(compile(block, f"{page}, block {number}", "exec"), scope)


@pytest.mark.parametrize("page", [p for p in has("gin") if p not in HAVE_TESTS])
def test_gin(page, tmp_path):
    for number, block in enumerate(pages.blocks(TEXTS[page], "gin"), 1):
        path = tmp_path / f"block-{number}.gin"
        path.write_text(block)
        config.parse([str(path)])


# --- Links --------------------------------------------------------------------------


def broken(page: str, text: str) -> list[str]:
    """Links of a page without a target."""
    bad_links = []
    for link in pages.links(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path
        if path and not target.exists():
            bad_links.append(link)
        elif anchor:
            linked = target.read_text() if target.suffix == ".md" else ""
            if anchor not in pages.anchors(linked if path else text):
                bad_links.append(link)
    return bad_links


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files(page):
    text = TEXTS[page]
    assert broken(page, text) == ELSEWHERE.get(page, [])
    for name in set(re.findall(r"(?<![\w-])\w+\.gin\b", text)) - {
        "mine.gin",
        "old.gin",
    }:
        assert (config.config_dir() / name).exists(), name


def test_a_broken_link_is_reported():
    text = "# One `two`, *three*: [four](data.md)!\n\n"
    good = ["#one-two-three-four", "distributed.md#commands"]
    bad = ["#no-heading", "data.md#no", "quickstart.png#no", "no.png"]
    text += " ".join(f"[x]({link})" for link in good + bad)
    assert broken("docs/page.md", text) == bad


def test_pages_that_the_code_names_exist():
    for pattern in ("ssgan_tf/**/*.py", "export/*.py", "gin_configs/*.*"):
        for path in ROOT.glob(pattern):
            for name in re.findall(r"\b(?:docs|export)/\w+\.md\b", path.read_text()):
                assert (ROOT / name).exists(), f"{path}: {name}"
