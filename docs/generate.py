"""Writes the pages of this folder that are generated from the code.

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

# In the order in which a config is read. Configurables without parameters are listed
# with the parameter that refers to them.
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
# Values are shown from the first of these that binds the configurable.
EXAMPLES = ("ssgan_cifar10.gin", "s3gan_cifar10.gin", "forgetting_cifar10.gin")

MARK = "<!-- From here on: python docs/generate.py -->"


class Argument(NamedTuple):
    """The description of a parameter in a docstring.

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
    """The `Args:` or `Attributes:` of a docstring: `name: legal values. Meaning.`"""
    section = re.split(r"\n(?:Args|Attributes):\n", inspect.getdoc(documented))[-1]
    lines = itertools.takewhile(
        lambda line: not line or line.startswith(" "), section.splitlines()
    )
    entries = {}
    for entry in re.split(r"\n(?=\w)", textwrap.dedent("\n".join(lines)).strip()):
        name, _, text = entry.partition(":")
        legal, _, meaning = " ".join(text.split()).partition(". ")
        if name:
            entries[name] = Argument(legal.removesuffix("."), meaning)
    return entries


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
    """A docstring's text with links to the pages of this folder."""
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", text)


def _example(name: str) -> tuple[str | None, dict[str, str]]:
    """The first example that binds a configurable, and its values."""
    for file in EXAMPLES:
        config.parse([file])
        bound = {}
        for parameter in parser.CONFIGURABLES[name]:
            try:
                bound[parameter] = gin.query_parameter(f"{name}.{parameter}")
            except ValueError:
                continue  # Not bound.
        if bound:
            return file, {key: f"`{value!r}`" for key, value in bound.items()}
    return None, {}


def _parameters(name: str) -> list[str]:
    """The table of a configurable's parameters."""
    factory = gin.get_configurable(name)
    signature = inspect.signature(factory).parameters
    described = arguments(factory)
    file, values = _example(name)
    lines = [["parameter", "default", "legal", "meaning"]]
    if file:
        lines[0].append(f"`{file}`")
    for parameter in parser.CONFIGURABLES[name]:
        if parameter not in described:
            raise ValueError(
                "Every parameter must be described under `Args:` or `Attributes:` of "
                f"its configurable. Received: {name}.{parameter}, which is not."
            )
        legal, meaning = described[parameter]
        line = [
            f"`{parameter}`",
            _as_gin(signature[parameter].default),
            _legal(f"{name}.{parameter}", legal),
            _linked(meaning),
        ]
        lines.append(line + ([values.get(parameter, "")] if file else []))
    return tables.markdown_table(*lines)


def _references(name: str) -> list[str]:
    """Descriptions of the references that have no section of their own."""
    references = [
        reference
        for parameter in parser.CONFIGURABLES[name]
        for reference in checks.REFERENCES.get(f"{name}.{parameter}", ())
        if reference not in ORDER
    ]
    return [
        f"- {_reference(made)}: {_linked(summary(gin.get_configurable(made)))}"
        for made in references
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
        if references := _references(name):
            lines += [*references, ""]
    return "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {"configuration.md": configuration}


def page(name: str) -> str:
    """A page: its hand-written part, then the generated one."""
    above, mark, _ = (FOLDER / name).read_text().partition(MARK)
    if not mark:
        raise ValueError(f"The page must have a line {MARK}. Received: {name}.")
    return f"{above}{mark}\n\n{PAGES[name]()}"


def main():
    for name in PAGES:
        files.write_text(FOLDER / name, page(name))


if __name__ == "__main__":
    main()
