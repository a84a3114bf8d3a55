"""Checks of bound values and of the objects that references make."""

import contextlib
import functools
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, NamedTuple

import gin


class ConfigError(ValueError):
    """A config that cannot be used; the message names every wrong line."""


# Parameter -> names of our own configurables that it may refer to.
REFERENCES: dict[str, list[str]] = {}


def legal_references(parameter: str) -> str:
    """The references that a parameter takes, as a sentence; "" if it takes none."""
    names = ", ".join(f"@{name}" for name in REFERENCES.get(parameter, ()))
    return f" Legal: {names}, or one of your own." if names else ""


class Values(NamedTuple):
    """The legal values of a parameter, in the annotation of its type.

    Attributes:
        text: str. What a value must be, for errors.
        contain: function. Whether a value is legal.
    """

    text: str
    contain: Callable[[object], bool]


def legal(kind: type, text: str, contain: Callable[[object], bool]):
    """The type of the values of a kind that are legal, with the fields of `Values`."""
    return Annotated[kind, Values(text, contain)]


def integer(at_least: int):
    """The type of integers from a number on, in the range of TensorFlow's int64."""
    return legal(
        int,
        f"an integer, at least {at_least} and below 2**63",
        lambda value: type(value) is int and at_least <= value < 2**63,
    )


def number(interval: str, contains: Callable[[float], bool]):
    """The type of numbers in an interval."""
    return legal(
        float,
        f"a number in {interval}",
        lambda value: type(value) in (int, float) and contains(value),
    )


def choice(names: Iterable[str]):
    """The type of values that are one of some names."""
    names = tuple(names)
    text = f"one of {', '.join(map(repr, names))}"
    return legal(str, text, lambda value: value in names)


# Below the largest float32.
_LIMIT = 2.0**127
Natural, Count = integer(0), integer(1)
Positive = number(f"(0, {_LIMIT:g})", lambda value: 0 < value < _LIMIT)
NonNegative = number(f"[0, {_LIMIT:g})", lambda value: 0 <= value < _LIMIT)
Decay = number("[0, 1)", lambda value: 0 <= value < 1)
Flag = legal(bool, "True or False", lambda value: type(value) is bool)
Text = legal(str, "text in quotes", lambda v: isinstance(v, str) and v != "")


def checked(configurable: str, function: Callable) -> Callable:
    """Lets a function check its arguments against the `Values` in their annotations.

    None is legal where an annotation allows it, as in `Count | None`.

    Args:
        configurable: name of the configurable, for errors.
        function: the function, or the constructor of a class.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        values = signature.bind_partial(*args, **kwargs).arguments
        for name, value in values.items():
            annotation = signature.parameters[name].annotation
            kinds = (annotation, *typing.get_args(annotation))
            if value is None and type(None) in kinds:
                continue
            for kind in kinds:
                for legal_values in getattr(kind, "__metadata__", ()):
                    if not legal_values.contain(value):
                        raise ConfigError(
                            f"`{configurable}.{name}` must be {legal_values.text}. "
                            f"{received(name, value)}"
                        )
        return function(*args, **kwargs)

    # Gin reads the parameters of the outermost function.
    call.__signature__ = signature
    return call


def received(parameter: str, value) -> str:
    return f"Received: {parameter.split('.')[-1]}={shortened(repr(value))}."


def shortened(text: str) -> str:
    """The text, or both ends of one of more than 400 characters."""
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-200:]}"


def made_by(parameter: str, factory, kind: type, args: Sequence = ()):
    """Calls the factory that a parameter refers to and checks the type of the result.

    Args:
        parameter: name of the parameter, for errors.
        factory: its value.
        kind: required type of the result.
        args: positional arguments of the factory.

    Raises:
        ConfigError: the value is not such a factory.
    """
    if not callable(factory):
        reason = "it is not a reference"
    elif (count := _num_positional(factory)) < len(args):
        reason = f"it takes {count} arguments, not {len(args)}"
    else:
        try:
            result = factory(*args)
        except TypeError as error:
            # Gin adds this sentence if arguments are missing.
            if "No values supplied" not in str(error):
                raise
            reason = str(error).partition("\n")[0]
        else:
            if isinstance(result, kind):
                return result
            reason = f"it makes {type(result).__name__}"
    # The value as the config has it. A default is never wrong, so it is bound.
    value = received(parameter, gin.query_parameter(parameter))
    raise ConfigError(
        f"`{parameter}` must be a reference, @name without parentheses or quotes, to a "
        f"function or class that makes {kind.__name__}. {value} Reason: {reason}."
        f"{legal_references(parameter)}"
    )


def _num_positional(factory: Callable) -> int:
    parameters = inspect.signature(factory).parameters.values()
    return sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)


@contextlib.contextmanager
def config_errors() -> Iterator[None]:
    """Turns exceptions of configurables and gin into a ConfigError with one message."""
    try:
        yield
    except RecursionError as error:
        raise ConfigError(
            "Macros and references with parentheses, @name(), must not lead back to "
            "themselves. Received: some that do. Bind one of them to a value."
        ) from error
    except ValueError as error:
        raise ConfigError(_without_calls(error)) from error
    except RuntimeError as error:
        missing = re.match(r"Required bindings for `(.*)` .*: \[(.*)\]", str(error))
        if not missing:
            raise
        names = [f"{missing[1]}.{name[1:-1]}" for name in missing[2].split(", ")]
        raise ConfigError(
            f"The configuration must set {', '.join(names)}. Received: no value. Set "
            f'it in the gin file or with --gin_bindings="{names[0]} = ...".'
        ) from error
    except TypeError as error:
        # Gin raises this when it calls the reference.
        missing = re.match(r"(\w+\(\) missing .*)\n  No values supplied", str(error))
        if not missing:
            raise
        raise ConfigError(
            "A reference with parentheses, @name(), must have all of its arguments "
            f"bound. Received: {missing[1]}. Leave the parentheses out, or bind the "
            "missing arguments."
        ) from error


def _without_calls(error: Exception) -> str:
    """The message without the lines that gin and Keras add about calls."""
    text = re.sub(r"\x1b\[\d*m", "", str(error)).partition("Arguments received by ")[0]
    # Keras wraps an error once per layer.
    text = text.rpartition("Error encountered:")[2]
    text = re.sub(r"\s*Exception encountered when calling .*\n", "", text)
    lines = text.strip().splitlines()
    return "\n".join(
        line for line in lines if not line.startswith("  In call to configurable")
    )
