"""Checks the commands, code, configurations and links of every page."""

import ast
import importlib
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pages
import pytest
from pages import PAGES, ROOT

from ssgan_tf import config
from ssgan_tf.commands.main import COMMANDS

# Pages whose Python and gin blocks run in a test file of their own.
HAVE_TESTS = {
    "README.md": "readme_test.py",
    "export/README.md": "readme_test.py",
    "docs/extending.md": "extending_test.py",
    "docs/getting_started.md": "getting_started_test.py",
}
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


def is_shipped(name: str) -> bool:
    return (config.config_dir() / name.split("#")[0]).exists()


def mistakes(binary: str, called_with: list) -> list[str]:
    """A line for each call that the binary or the config's parser refuses."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/flag_check.py"), binary],
        input=json.dumps([(words, command.whole) for command, words in called_with]),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    errors = []
    for (command, _), read in zip(called_with, json.loads(done.stdout), strict=True):
        names = read.get("gin_config")
        if "wrong" in read:
            errors.append(f"{command.place}: {binary}: {read['wrong']}")
        # Other files are the reader's own.
        elif names and all(map(is_shipped, names)):
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
    assert re.match(r"[A-Z].*[.?:]\n", text)
    assert re.search(rf"\n\n    ssgan {command}\b", text)
    assert "python -m" not in text
    assert any(example.place.startswith(binary) for example, _ in CALLED[binary])


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("ssgan sample --modul=m", "modul"),
        ("ssgan sample --module=m --num=0", "--num=0"),
        ("ssgan sample --module=m --interpolate=many", "many"),
        ("ssgan sample --num=3", "--module=None"),
        ("ssgan sample --module=m n", "['n']"),
        ("ssgan train --gin_config=quickstart.gin --gin_bindings=D.width:3", "D.width"),
        ("ssgan train --schedule=never", "never"),
        ("X=8; ssgan launch --num_workers=2 -- sample --modul=$X", "modul"),
        ("python -m ssgan_tf sample --modul=m", "modul"),
        ("PYTHONPATH=. .venv/bin/ssgan sample --modul=m", "modul"),
        ("python export/load_generator.py --modul=m", "modul"),
    ],
)
def test_a_wrong_command_is_reported(line, word):
    for text in (f"    {line}\n", f"```console\n{line}\n```\n"):
        (mistake,) = (
            mistake
            for binary, calls in called({"page.md": text}).items()
            for mistake in mistakes(binary, calls)
        )
        assert word in mistake
        assert re.match(r"page.md:\d: ", mistake)


@pytest.mark.parametrize(
    "line",
    [
        "    ssgan sample\n      --module=m\n",
        "    ssgan smaple --module=m\n",
        "    ssgan sample --module=m \\\n",
        "    ssgan sample --module='m\n",
    ],
)
def test_a_line_that_is_no_command_is_reported(line):
    with pytest.raises(ValueError, match="page.md:"):
        called({"page.md": line})


def test_a_sentence_may_mention_part_of_a_command():
    assert mistakes(*called({"p": "`ssgan sample --num=3`"}).popitem()) == []
    (wrong,) = mistakes(*called({"p": "see `ssgan sample --nmu=3`"}).popitem())
    assert "nmu" in wrong


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


def run_python(page: str, blocks: list[str], folder: pathlib.Path) -> None:
    """Runs the blocks in order, in one namespace; a traceback names page and block."""
    for target, source_path in FILES.get(page, {}).items():
        (folder / target).parent.mkdir(parents=True)
        shutil.copy(ROOT / source_path, folder / target)
    scope = {"__name__": "page"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{page}, block {number}", "exec"), scope)


@pytest.mark.parametrize(
    "page", [p for p in has("python") if p not in [*HAVE_TESTS, *NEEDS_RUNS]]
)
def test_python(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_python(page, pages.blocks(TEXTS[page], "python"), tmp_path)


@pytest.mark.parametrize("page", NEEDS_RUNS)
def test_imports_of_python(page):
    for block in pages.blocks(TEXTS[page], "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name) or importlib.import_module(
                        f"{node.module}.{alias.name}"
                    )


def test_python_that_raises_fails(tmp_path):
    text = "```python\nx = 1\n```\n\n```python\nprint(y)\n```\n"
    with pytest.raises(NameError, match="'y'"):
        run_python("page.md", pages.blocks(text, "python"), tmp_path)


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
    text = (
        "# One `two`, *three*: [four](data.md)!\n\n## Twice\n\n## Twice\n\n"
        "```console\n# no heading\n```\n"
        "[a](#one-two-three-four) [b](#twice-1) [c](distributed.md#commands)"
        " ![d](quickstart.png) [e](https://example.com/#x) `[f](g)`\n"
        "    [in code](h)\n"
    )
    assert broken("docs/page.md", text) == []
    wrong = ["#twice-2", "#no-heading", "data.md#no", "quickstart.png#no", "no.png"]
    text += " ".join(f"[x]({link})" for link in wrong)
    assert broken("docs/page.md", text) == wrong


def test_pages_that_the_code_names_exist():
    files = itertools.chain(
        ROOT.glob("ssgan_tf/**/*.py"),
        ROOT.glob("export/*.py"),
        ROOT.glob("gin_configs/*"),
    )
    for path in files:
        if path.is_file():
            for name in re.findall(r"\b(?:docs|export)/\w+\.md\b", path.read_text()):
                assert (ROOT / name).exists(), f"{path}: {name}"


def test_the_pages_with_tests_of_their_own_have_them():
    for page, test in HAVE_TESTS.items():
        assert os.path.basename(page) in (ROOT / "tests/pages" / test).read_text()
