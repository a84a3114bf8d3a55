"""Checks of bound values and of the objects that references make."""

import contextlib
import inspect
import re
from collections.abc import Iterator, Sequence

import gin


class ConfigError(ValueError):
    """A config that cannot be used; the message names every wrong line."""


# Parameter -> names of our own configurables that it may refer to.
REFERENCES: dict[str, list[str]] = {}


def legal_references(parameter: str) -> str:
    """The references that a parameter takes, as a sentence; "" if it takes none."""
    names = ", ".join(f"@{name}" for name in REFERENCES.get(parameter, ()))
    return f" Legal: {names}, or one of your own." if names else ""


def check_integer(parameter: str, value, at_least: int) -> None:
    # The range of TensorFlow's int64.
    if type(value) is not int or not at_least <= value < 2**63:
        raise ConfigError(
            f"`{parameter}` must be an integer, at least {at_least} and below 2**63. "
            f"{received(parameter, value)}"
        )


def check_number(parameter: str, value, below: float = 2.0**127) -> None:
    # By default a bound below the largest float32.
    if type(value) not in (int, float) or not 0 <= value < below:
        raise ConfigError(
            f"`{parameter}` must be a number in [0, {below:g}). "
            f"{received(parameter, value)}"
        )


def check_flag(parameter: str, value) -> None:
    if type(value) is not bool:
        raise ConfigError(
            f"`{parameter}` must be True or False. {received(parameter, value)}"
        )


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
    result, reason = None, _unfit(factory, len(args))
    if not reason:
        result = factory(*args)
        reason = f"it makes {type(result).__name__}"
    if isinstance(result, kind):
        return result
    # The value as the config has it. A default is never wrong, so it is bound.
    value = received(parameter, gin.query_parameter(parameter))
    raise ConfigError(
        f"`{parameter}` must be a reference, @name without parentheses or quotes, to a "
        f"function or class that makes {kind.__name__}. {value} Reason: {reason}."
        f"{legal_references(parameter)}"
    )


def _unfit(factory, num_args: int) -> str | None:
    """Why a factory does not take that many arguments, or None if it does."""
    if not callable(factory):
        return "it is not a reference"
    named = [
        parameter
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if len(named) < num_args:
        return f"it takes {len(named)} arguments, not {num_args}"
    try:
        bound = gin.get_bindings(factory, resolve_references=False)
    except ValueError:
        # Gin does not recognize the function of a reference with a scope.
        return None
    missing = [
        parameter.name
        for parameter in named[num_args:]
        if parameter.default is parameter.empty and parameter.name not in bound
    ]
    return f"it needs {', '.join(missing)}" if missing else None


def check_list(parameter: str, value, example: str) -> None:
    if not isinstance(value, list | tuple):
        raise ConfigError(
            f"`{parameter}` must be a list, such as [{example}]. "
            f"{received(parameter, value)}"
        )


def check_choice(parameter: str, value, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(
            f"`{parameter}` must be one of {', '.join(map(repr, choices))}. "
            f"{received(parameter, value)}"
        )


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
