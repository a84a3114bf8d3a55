"""Who may import whom. Imports inside functions count."""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest
from paths import ROOT

# Bottom first. A file imports from its own package or from earlier lines. Packages of
# one line do not import each other.
LAYERS = [
    {"utils"},
    {"layers"},
    {"tasks", "losses", "augmentation", "randomness", "optimizers"},
    {"latents", "rotation"},
    {"penalties", "networks", "datasets"},
    {"modules"},
    {"gan"},
    {"config", "evaluation"},
    {"training", "compare_gan"},
    {"experiments"},
    {"reports"},
    {"commands"},
    {"__main__"},
]
LINE = {home: line for line, homes in enumerate(LAYERS) for home in homes}
# Code that samples or scores needs no training code.
NO_TRAINING_CODE = {"modules", "evaluation"}
TRAINING_CODE = {"gan", "networks", "config", "training"}
# Package -> the files that may import it.
ONLY = {
    "gin": r"config/\w+\.py|compare_gan/migration\.py",
    "tensorflow_gan": r"evaluation/tfgan\.py",
}


def imports(tree: ast.Module) -> Iterator[str]:
    """Dotted names of everything that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = f"ssgan_tf.{node.module or ''}" if node.level else node.module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def private_names(tree: ast.Module) -> Iterator[str]:
    """Underscored names of other files of the package that a file uses."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ssgan_tf"):
            for alias in node.names:
                modules.add(alias.asname or alias.name)
                if alias.name.startswith("_") and not alias.name.startswith("__"):
                    yield alias.name
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ):
            yield f"{node.value.id}.{node.attr}"


def violations(file: str, source: str) -> list[str]:
    """The rules that a file breaks.

    Args:
        file: path below `ssgan_tf/`.
        source: its text.
    """
    tree = ast.parse(source)
    path = pathlib.PurePath(file)
    home = path.parts[0].removesuffix(".py")
    broken = []
    for name in imports(tree):
        package, *rest = name.split(".")
        if package in ONLY and not re.fullmatch(ONLY[package], file):
            broken.append(f"{file} imports {package}")
        target = rest[0] if package == "ssgan_tf" and rest else None
        if target not in LINE or target == home or home == "__init__":
            continue
        if LINE[target] >= LINE[home]:
            broken.append(f"{file} imports {target}, which is not below {home}")
        elif home in NO_TRAINING_CODE and target in TRAINING_CODE:
            broken.append(f"{file} imports training code: {target}")
    broken += [f"{file} uses {name} of another file" for name in private_names(tree)]
    if home != "commands" and re.search(r"\bDEFINE_\w+\(", source):
        broken.append(f"{file} defines flags")
    reads_flags = re.search(r"\bFLAGS\b|from absl import .*\bflags\b", source)
    if home != "commands" and reads_flags:
        broken.append(f"{file} reads flags")
    return broken


FILES = {
    str(path.relative_to(ROOT / "ssgan_tf")): path
    for path in sorted((ROOT / "ssgan_tf").rglob("*.py"))
}


def test_rules_hold():
    for file, path in FILES.items():
        assert violations(file, path.read_text()) == []


def test_every_file_has_a_line():
    homes = {pathlib.PurePath(file).parts[0].removesuffix(".py") for file in FILES}
    assert homes == {*LINE, "__init__"}
    listed = [
        path for path in (ROOT / "ssgan_tf").iterdir() if path.name != "__pycache__"
    ]
    assert len(listed) <= 24


PLANTED = [
    ("utils/files.py", "from ssgan_tf import layers", "not below utils"),
    ("rotation.py", "from ssgan_tf.gan import GAN", "not below rotation"),
    ("networks/base.py", "from ssgan_tf import datasets", "not below networks"),
    ("training/loop.py", "from ssgan_tf import compare_gan", "not below training"),
    ("layers/linear.py", "if 1: from ssgan_tf.networks import base", "not below"),
    ("layers/linear.py", "from ..networks import base", "not below layers"),
    ("evaluation/features.py", "from ssgan_tf import gan", "training code: gan"),
    ("evaluation/features.py", "from ssgan_tf import networks", "code: networks"),
    ("modules/hub.py", "from ssgan_tf import networks", "training code: networks"),
    ("modules/hub.py", "from ssgan_tf import training", "not below modules"),
    ("training/loop.py", "import gin", "imports gin"),
    ("compare_gan/checkpoint.py", "from gin import config", "imports gin"),
    ("evaluation/frechet.py", "import tensorflow_gan.x", "imports tensorflow_gan"),
    ("experiments/runner.py", "absl.flags.DEFINE_bool('a', 0, '')", "defines flags"),
    ("training/loop.py", "from absl import flags, logging", "reads flags"),
    ("utils/machine.py", "import absl; absl.flags.FLAGS.x", "reads flags"),
    ("training/loop.py", "from ssgan_tf.utils import _a", "uses _a of another"),
    ("training/loop.py", "from ssgan_tf import utils; utils._a()", "uses utils._a"),
]


@pytest.mark.parametrize(("file", "line", "words"), PLANTED)
def test_a_planted_violation_fails(file, line, words):
    source = FILES[file].read_text() if file in FILES else ""
    before = violations(file, source)
    (broken,) = set(violations(file, f"{source}\n{line}\n")) - set(before)
    assert broken.startswith(file) and words in broken
