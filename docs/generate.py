"""Writes those pages of this folder that are made from the code.

python docs/generate.py
"""

import inspect
import itertools
import pathlib
import re
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import gin

from ssgan_tf import config, networks
from ssgan_tf.config import checks, parser
from ssgan_tf.utils import files, tables

FOLDER = pathlib.Path(__file__).resolve().parent

# In the order in which a config is read; those without parameters stand with what
# refers to them.
ORDER = (
    "dataset",
    "options",
    "run_config",
    "G",
    "D",
    "standardize_batch",
    "self_modulated_batch_norm",
    "conditional_batch_norm",
    "spectral_norm",
    "weights",
    "z",
    "loss",
    "penalty",
    "augmentation",
    "ModularGAN",
    "SSGAN",
    "S3GAN",
    "adam",
    "forgetting",
)
# The values of the first of these that binds something are shown.
EXAMPLES = ("ssgan_cifar10.gin", "s3gan_cifar10.gin", "forgetting_cifar10.gin")

MARK = "<!-- From here on: python docs/generate.py -->"


class Argument(NamedTuple):
    """What a docstring says of a parameter.

    Attributes:
        legal: type or values.
        meaning: the rest; may be empty.
    """

    legal: str
    meaning: str


def summary(documented) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(inspect.getdoc(documented).partition("\n\n")[0].split())


def arguments(documented) -> dict[str, Argument]:
    """What the `Args:` of a docstring say: `name: legal values. Meaning.`"""
    section = inspect.getdoc(documented).partition("\nArgs:\n")[2]
    lines = itertools.takewhile(
        lambda line: not line or line.startswith(" "), section.splitlines()
    )
    found = {}
    for entry in re.split(r"\n(?=\w)", textwrap.dedent("\n".join(lines)).strip()):
        name, _, text = entry.partition(":")
        legal, _, meaning = " ".join(text.split()).partition(". ")
        if name:
            found[name] = Argument(legal.removesuffix("."), meaning)
    return found


def _factories() -> dict[Callable, str]:
    return {gin.get_configurable(name): name for name in parser.CONFIGURABLES}


def _as_gin(value) -> str:
    """A default as a config would have it."""
    if value is gin.REQUIRED:
        return "required"
    if callable(value):
        return f"`@{_factories()[value]}`"
    return f"`{value!r}`"


def _reference(name: str) -> str:
    return f"[`@{name}`](#{name.lower()})" if name in ORDER else f"`@{name}`"


def _legal(parameter: str, legal: str) -> str:
    """Legal values of a parameter; references by their names."""
    names = ", ".join(map(_reference, checks.REFERENCES.get(parameter, ())))
    named = f"{names}, [your own](extending.md)"
    return re.sub(r"^reference\b", named, legal) if names else legal


def _linked(text: str) -> str:
    """Markdown of a docstring's text: pages of this folder become links."""
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", text)


def _example(name: str) -> tuple[str | None, dict[str, str]]:
    """The config whose values of a configurable are shown, and those values."""
    for file in EXAMPLES:
        config.parse([file])
        bound = {}
        for parameter in parser.CONFIGURABLES[name]:
            try:
                bound[parameter] = gin.query_parameter(f"{name}.{parameter}")
            except ValueError:
                # It is not bound.
                continue
        if bound:
            return file, {key: f"`{value!r}`" for key, value in bound.items()}
    return None, {}


def _parameters(name: str) -> list[str]:
    """The table of a configurable's parameters."""
    factory = gin.get_configurable(name)
    signature, said = inspect.signature(factory).parameters, arguments(factory)
    file, values = _example(name)
    lines = [["parameter", "default", "legal", "meaning"]]
    if file:
        lines[0].append(f"`{file}`")
    for parameter in parser.CONFIGURABLES[name]:
        if parameter not in said:
            raise ValueError(
                "Every parameter must be described under `Args:` of its factory's "
                f"docstring. Received: {name}.{parameter}, which is not."
            )
        legal, meaning = said[parameter]
        line = [
            f"`{parameter}`",
            _as_gin(signature[parameter].default),
            _legal(f"{name}.{parameter}", legal),
            _linked(meaning),
        ]
        lines.append(line + ([values.get(parameter, "")] if file else []))
    return tables.markdown_table(*lines)


def _made(name: str) -> list[str]:
    """What the references that a configurable takes make, where they only make that."""
    return [
        f"- {_reference(made)}: {_linked(summary(gin.get_configurable(made)))}"
        for parameter in parser.CONFIGURABLES[name]
        for made in checks.REFERENCES.get(f"{name}.{parameter}", ())
        if made not in ORDER
    ]


def _architectures() -> list[str]:
    """Image sizes of the architectures, and the parameters that some of them take."""
    parameters = {
        "attention": "`G.attention`, `D.attention`",
        "hierarchical_z": "`G.hierarchical_z`",
        "layer_norm": "`D.layer_norm`",
    }
    lines = [["architecture", "image sizes", *parameters.values()]]
    for name, row in networks.ARCHITECTURES.items():
        takes = ["yes" if option in row.options else "" for option in parameters]
        lines.append([f"`{name}`", row.sizes, *takes])
    return tables.markdown_table(*lines)


def configuration() -> str:
    """Every parameter of a config."""
    with_parameters = {name for name, names in parser.CONFIGURABLES.items() if names}
    if set(ORDER) != with_parameters:
        raise ValueError(
            "ORDER must name all configurables with parameters, and no others. "
            f"Received: ORDER that differs in {sorted(with_parameters ^ set(ORDER))}."
        )
    lines = []
    for name in ORDER:
        lines += [f"## {name}", "", _linked(summary(gin.get_configurable(name))), ""]
        lines += [*_parameters(name), ""]
        if name == "options":
            lines += [*_architectures(), ""]
        if made := _made(name):
            lines += [*made, ""]
    return "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {"configuration.md": configuration}


def page(name: str) -> str:
    """A page: what is written by hand as it is, then what the code says now."""
    above, mark, _ = (FOLDER / name).read_text().partition(MARK)
    if not mark:
        raise ValueError(f"The page must have a line {MARK}. Received: {name}.")
    return f"{above}{mark}\n\n{PAGES[name]()}"


def main():
    for name in PAGES:
        files.write_text(FOLDER / name, page(name))


if __name__ == "__main__":
    main()
