"""The reference of the configuration: complete, true and up to date."""

import importlib.util
import inspect
import re

import gin
import pytest
import tiny
from paths import ROOT

from ssgan_tf import config, networks
from ssgan_tf.config import checks, parser

FOLDER = ROOT / "docs"
_SPEC = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
generate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(generate)

PARAMETERS = [
    (name, parameter)
    for name, parameters in parser.CONFIGURABLES.items()
    for parameter in parameters
]
# Arguments that the code passes.
GIVEN = {"architecture": "resnet_cifar", "spec_fields": {}, "name": "cifar10", "dim": 2}


def legal_of(name, parameter) -> str:
    described = generate.arguments(gin.get_configurable(name))
    # Collection must not fail where a description is missing; a test does.
    return described[parameter].legal if parameter in described else ""


@pytest.mark.parametrize("name", generate.PAGES)
def test_the_page_is_what_the_code_says(name):
    if (FOLDER / name).read_text() != generate.page(name):
        pytest.fail(f"docs/{name} is stale. Cure: python docs/generate.py")


@pytest.mark.parametrize("name", parser.CONFIGURABLES)
def test_docstrings_describe_the_parameters_and_no_others(name):
    factory = gin.get_configurable(name)
    described = generate.arguments(factory)
    assert set(parser.CONFIGURABLES[name]) <= set(described)
    assert set(described) <= set(inspect.signature(factory).parameters)
    assert all(argument.legal for argument in described.values())


# --- Legal values: the page against the checks ------------------------------------


@pytest.fixture
def plan(monkeypatch):
    """A plan whose networks are not built, because no check needs them."""
    for player in ("generator", "discriminator"):
        monkeypatch.setattr(networks, f"build_{player}", lambda *_: None)
    yield tiny.plan()
    gin.clear_config()


def refusal(name, parameter, value, plan) -> str | None:
    """The error about a value of a parameter, or None."""
    factory = gin.get_configurable(name)
    others = {
        key: {**GIVEN, "plan": plan}.get(key)
        for key, argument in inspect.signature(factory).parameters.items()
        if argument.default is argument.empty
    }
    gin.bind_parameter(f"{name}.{parameter}", value)
    try:
        factory(**others)
    except config.ConfigError as error:
        message = str(error)
        return message if message.startswith(f"`{name}.{parameter}` must") else None
    except Exception:
        # A GAN without networks fails after the checks.
        return None
    return None


def outside_and_inside(legal) -> tuple[list, list]:
    """Values that must be refused, and those that must not be, by the legal ones."""
    kind = legal.removesuffix(", or None").removesuffix(" or None")
    outside, inside = ([], [None]) if "None" in legal else ([None], [])
    if minimum := re.fullmatch(r"int >= (\d+)", kind):
        least = int(minimum[1])
        return [*outside, least - 1, least + 0.5, 2**63], [*inside, least]
    if kind == "float >= 0":
        return [*outside, -1e-9, 2.0**127, "1"], [*inside, 0, 0.0, 1e9]
    if kind == "float > 0":
        return [*outside, 0.0, -1.0], [*inside, 1e-9]
    if kind == "float in [0, 1)":
        return [*outside, -1e-9, 1.0], [*inside, 0.0, 0.999999]
    if kind == "float in (0, 1]":
        return [*outside, 0.0, 1.001], [*inside, 1e-9, 1]
    if kind == "bool":
        return [*outside, 0, "True"], [*inside, True, False]
    if choices := re.findall(r'"(\w+)"', kind):
        if kind.startswith("list of"):
            return ["color", ["no_such"]], [(), *([choice] for choice in choices)]
        return [*outside, "no_such"], [*inside, *choices]
    raise AssertionError(f"The test must know what legal values these are: {legal}")


# Checked only with a whole experiment, or a folder.
UNCHECKED = ("str", "reference", "list of references", "as `options.architecture`")
OF_FOLDERS = {("dataset", "resolution"), ("dataset", "colors")}
CHECKED = [
    (name, parameter)
    for name, parameter in PARAMETERS
    if (name, parameter) not in OF_FOLDERS
    and not legal_of(name, parameter).startswith(UNCHECKED)
]


@pytest.mark.parametrize("name, parameter", CHECKED)
def test_the_legal_values_are_those_that_the_checks_take(name, parameter, plan):
    legal = legal_of(name, parameter)
    outside, inside = outside_and_inside(legal)
    if name == "forgetting":
        config.parse(["forgetting_cifar10.gin"], ["forgetting.rotated_batch_size = 4"])
    for value in outside:
        assert refusal(name, parameter, value, plan), value
    for value in inside:
        assert not refusal(name, parameter, value, plan), value
    if choices := re.findall(r'"(\w+)"', legal):
        message = refusal(
            name, parameter, ["no_such"] if "list" in legal else "no_such", plan
        )
        named = re.search(r"one of (.*)\. Received", message)[1]
        assert set(re.findall(r"'(\w+)'", named)) == set(choices)


def test_references_are_described_as_references():
    described = {
        f"{name}.{parameter}"
        for name, parameter in PARAMETERS
        if legal_of(name, parameter).startswith("reference")
    }
    assert described == set(checks.REFERENCES)


# --- The page itself --------------------------------------------------------------


def page() -> str:
    return (FOLDER / "configuration.md").read_text()


def test_the_config_of_the_page_does_what_the_page_says(tmp_path, monkeypatch):
    (text,) = re.findall(r"```gin\n(.*?)```", page(), re.DOTALL)
    file = tmp_path / "mine.gin"
    file.write_text(text)
    (row,) = re.findall(r'--gin_config="(.*?)"', page())
    (binding,) = re.findall(r'--gin_bindings="(.*?)"', page())
    # Later lines win, also for the macro.
    config.parse([str(file), row], [binding, "channels = 4"])
    plan = config.plan()
    assert plan.options.batch_size == 32 and plan.options.lamba == 10
    gan = plan.build_gan()
    assert (gan.g_optimizer.beta_1, gan.g_optimizer.beta_2) == (0.0, 0.9)
    assert (gan.d_optimizer.beta_1, gan.d_optimizer.beta_2) == (0.5, 0.99)
    assert gan.penalty is not None
    shapes = [variable.shape for variable in gan.discriminator.variables]
    assert max(shape[-1] for shape in shapes if shape) < 9
