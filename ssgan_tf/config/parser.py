"""Parses gin, translates compare_gan's names and names every wrong line.

Gin itself stops at the first error. `Parser` reads statements one by one, translates
and binds them, and collects the errors with place, reason and the nearest legal name.
"""

import ast
import dataclasses
import difflib
import inspect
import os
import pathlib
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence

import gin
from gin import config_parser

from ssgan_tf.config.checks import (
    REFERENCES,
    ConfigError,
    checked,
    legal_references,
    shortened,
)
from ssgan_tf.config.compare_gan_names import (
    IMPLIED,
    IMPLIED_DEFAULTS,
    VALUE_ALIASES,
    our_name,
)

# Deeper nested lists would end in recursion errors of gin and Python.
_MAX_DEPTH = 20
# Errors of Python's tokenizer and gin's parser. Examples of the last three: a dict
# whose key is a list, a thousand brackets.
_UNREADABLE = (
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    ValueError,
    RecursionError,
)

# Configurable -> the parameters that a config may bind, for hints in errors.
CONFIGURABLES: dict[str, list[str]] = {}


def configurable(
    name: str, *, legal_for: Sequence[str] = (), denylist: Sequence[str] = ()
):
    """Registers a function or class with gin and remembers its parameters.

    A config may bind the parameters with a default. Functions and dataclasses check
    them by their annotations.

    Args:
        name: its name in gin.
        legal_for: parameters that may refer to it.
        denylist: further parameters that a config may not bind.
    """

    def register(factory):
        for parameter in legal_for:
            REFERENCES.setdefault(parameter, []).append(name)
        parameters = inspect.signature(factory).parameters
        denied = [n for n, p in parameters.items() if p.default is p.empty]
        denied += denylist
        CONFIGURABLES[name] = [p for p in parameters if p not in denied]
        if dataclasses.is_dataclass(factory):
            factory.__init__ = checked(name, factory.__init__)
        elif inspect.isfunction(factory):
            factory = checked(name, factory)
        return gin.configurable(name, denylist=denied or None)(factory)

    return register


def config_dir() -> pathlib.Path:
    """The folder of the shipped gin files: in the installed package or beside it."""
    package = pathlib.Path(__file__).resolve().parents[1]
    installed = package / "gin_configs"
    return installed if installed.is_dir() else package.parent / "gin_configs"


def find_config(name: str) -> pathlib.Path:
    """A gin file by path, or a shipped one by name.

    Raises:
        ConfigError: there is no such file.
    """
    for path in (pathlib.Path(name), config_dir() / name):
        # Unlike `Path.is_file`, this returns False for names that are too long.
        if os.path.isfile(path):
            return path
    shipped = sorted(
        path.name for path in config_dir().iterdir() if path.suffix in _SUFFIXES
    )
    hint = _suggest(name, shipped) or f" Shipped: {', '.join(shipped)}."
    raise ConfigError(
        "`--gin_config` must be a file or the name of a shipped config. Received: "
        f"--gin_config={shortened(name)}.{hint}"
    )


_SUFFIXES = (".gin", ".sweep")


def sweep_rows(name: str) -> dict[str, str]:
    """The rows of a sweep file: name of the row -> its bindings, as gin text.

    A row extends from a line `[name]` to the next one. Its text has an empty line for
    each line above it, so that errors name the right line.

    Args:
        name: as of `find_config`.

    Raises:
        ConfigError: there is no such file, or it has no row, or two of the same name.
    """
    path = find_config(name)
    rows: dict[str, list[str]] = {}
    row = None
    for number, line in enumerate(read(path).splitlines()):
        if match := re.fullmatch(r"\[(.+)\]", line.strip()):
            row = match[1]
            if row in rows:
                raise ConfigError(f"{path}:{number + 1}: a second row [{row}].")
            rows[row] = (number + 1) * [""]
        elif row is not None:
            rows[row].append(line)
        elif line.strip() and not line.startswith("#"):
            raise ConfigError(f"{path}:{number + 1}: a line before the first [row].")
    if not rows:
        raise ConfigError(f"A sweep file must have rows. Received: {path}, with none.")
    return {row: "\n".join(lines) for row, lines in rows.items()}


def _source(name: str) -> tuple[str, str]:
    """Text and path of a value of `--gin_config`: a file, or `FILE.sweep#ROW`."""
    file, hash_sign, row = name.partition("#")
    if not hash_sign and not file.endswith(".sweep"):
        path = find_config(name)
        return read(path), str(path)
    rows = sweep_rows(file)
    if row not in rows:
        raise ConfigError(
            "`--gin_config` must name a row of a sweep file as FILE#ROW. Received: "
            f"--gin_config={name}. Rows: {', '.join(rows)}."
        )
    return rows[row], str(find_config(file))


class Text:
    """A reference or macro inside a value, as gin text."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self):
        return self.text


class _TextDelegate(config_parser.ParserDelegate):
    """Returns references and macros as `Text` instead of resolving them.

    Attributes:
        macros: names of the macros in the current statement.
    """

    def __init__(self, rename: Callable[[str], str]):
        self.macros: list[str] = []
        self._rename = rename

    def configurable_reference(self, scoped_configurable_name, evaluate):
        *scopes, name = scoped_configurable_name.split("/")
        name = "/".join([*scopes, self._rename(name)])
        return Text(f"@{name}()" if evaluate else f"@{name}")

    def macro(self, macro_name):
        self.macros.append(macro_name)
        return Text(f"%{macro_name}")


def parse_value(text: str):
    """Parses the text of one value. References and macros become `Text`.

    Raises:
        ConfigError: the text is not exactly one value.
    """
    try:
        (statement,) = config_parser.ConfigParser(f"value = {text}", _TextDelegate(str))
    except _UNREADABLE as error:
        raise ConfigError(
            f"A value of gin must be legal. Received: {shortened(text)}."
        ) from error
    return statement.value


def _syntax_error(error: Exception, text: str, filename: str, place: str) -> str:
    """The message for an error after which the rest of a text cannot be read."""
    if isinstance(error, SyntaxError):
        # Gin gives no line for a text that ends too early.
        lines = text.splitlines()[(error.lineno or 1) - 1 :]
        line = (error.text or "".join(lines[:1])).strip()
        return (
            f"{filename}:{error.lineno}: {shortened(line)}: {_reason(error.msg)}. The "
            "lines below it were not read."
        )
    if isinstance(error, tokenize.TokenError):
        reason, (line_num, _) = error.args
        return f"{filename}:{line_num}: {reason}."
    return (
        f"{place}: here or in the next statement: {error}. The lines from there on "
        "were not read."
    )


def _depth(value) -> int:
    """Number of lists, tuples and dicts around the innermost value."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        return 1 + max(map(_depth, value), default=0)
    return 0


def renamed(statement: config_parser.BindingStatement) -> tuple[str, str]:
    """Translates a binding: its key, with scope, and its value, as gin text.

    Raises:
        ValueError: the value cannot be written as text.
    """
    selector = our_name(statement.selector)
    key = our_name(".".join(filter(None, (selector, statement.arg_name))))
    value = statement.value
    if isinstance(value, str):
        value = VALUE_ALIASES.get(key, {}).get(value, value)
    scope = f"{statement.scope}/" if statement.scope else ""
    return f"{scope}{key}", repr(value)


def _is_literal(text: str, value) -> bool:
    """Whether a text is a literal that equals a value."""
    try:
        return ast.literal_eval(text) == value
    except (SyntaxError, ValueError):
        return False


class Parser:
    """Binds statements one by one and continues after wrong ones.

    Attributes:
        errors: one message for each statement that cannot be used.
        bound: our name of a parameter or macro -> its value as gin text.
        implied: parameter in `IMPLIED` -> its value and place.
    """

    def __init__(self):
        self.errors: list[str] = []
        self._used: dict[str, str] = {}
        self._defined: dict[str, str] = {}
        self.bound: dict[str, str] = {}
        self.implied: dict[str, tuple[str, str]] = {}

    def parse(self, text: str, filename: str, including: tuple[str, ...] = ()) -> None:
        """Binds all statements of a text and of the files that it includes."""
        for statement, place in self.statements(text, filename):
            if isinstance(statement, config_parser.BindingStatement):
                self.bind(statement, place)
            elif isinstance(statement, config_parser.ImportStatement):
                self.attempt(statement.format(), place)
            elif isinstance(statement, config_parser.IncludeStatement):
                self.include(statement.filename, place, (*including, filename))

    def statements(
        self, text: str, filename: str, rename: Callable[[str], str] = our_name
    ) -> Iterator[tuple]:
        """Yields the statements of a text with their places, up to a syntax error.

        Args:
            text: gin text.
            filename: its name, for places.
            rename: translates the names of references.
        """
        delegate = _TextDelegate(rename)
        place = f"{filename}:1"
        try:
            for statement in config_parser.ConfigParser(text, delegate):
                location = getattr(statement, "location", None)
                place = f"{filename}:{location.line_num}" if location else filename
                # The macros of a block are read with its first line.
                self._used |= dict.fromkeys(delegate.macros, place)
                delegate.macros.clear()
                yield statement, place
        # Python's tokenizer and gin's parser cannot continue.
        except _UNREADABLE as error:
            self.errors.append(_syntax_error(error, text, filename, place))

    def check_macros(self) -> None:
        """Adds an error for each macro that is undefined or unused."""
        for name, place in self._used.items():
            if name not in self._defined:
                self.errors.append(
                    f"{place}: %{shortened(name)}: no line defines this macro."
                    f"{_suggest(name, self._defined)}"
                )
        legal = {
            parameter.split(".")[1]: parameter
            for parameter in reversed(parameter_names())
        }
        for name, place in self._defined.items():
            if name not in self._used:
                hint = f" Did you mean {legal[name]}?" if name in legal else ""
                self.errors.append(
                    f"{place}: {shortened(name)}: a name without a dot defines a "
                    f"macro, and no line uses it.{hint}"
                )

    def check_implied(self) -> None:
        """Adds an error for each implied parameter that is bound to another value."""
        for key, (value, place) in self.implied.items():
            if expected := self.implied_otherwise(key, value):
                self.errors.append(f"{place}: {key} = {shortened(value)}: {expected}.")

    def implied_otherwise(self, key: str, value: str) -> str | None:
        """Why a parameter in `IMPLIED` cannot have a value, or None if it can."""
        implied = IMPLIED[key]
        if isinstance(implied, tuple):
            is_same = any(_is_literal(self.resolved(value), legal) for legal in implied)
            return None if is_same else f"here it is always {implied[0]!r}"
        # compare_gan's S3GAN has its own projection; its networks must have none.
        if key.endswith("Discriminator.project_y") and (
            self.bound.get("options.gan_class") == "@S3GAN"
        ):
            return None
        expected = self.bound.get(implied, IMPLIED_DEFAULTS[implied])
        is_same = self.resolved(value) == self.resolved(expected)
        return None if is_same else f"here it is always {expected}, as {implied}"

    def resolved(self, value: str) -> str:
        """The value of a macro; any other value unchanged."""
        macros = set()
        while value.startswith("%") and value not in macros:
            macros.add(value)
            value = self.bound.get(value[1:], value)
        return value

    def bind(self, statement: config_parser.BindingStatement, place: str) -> None:
        """Translates and binds one statement, or adds an error."""
        try:
            if _depth(statement.value) > _MAX_DEPTH:
                raise ValueError(f"a value must be nested {_MAX_DEPTH} deep at most")
            key, value = renamed(statement)
        except ValueError as error:
            self.errors.append(f"{place}: {statement.arg_name}: {error}.")
            return
        if key in IMPLIED:
            self.implied[key] = value, place
            return
        if "." not in key:
            self._defined[key] = place
        self.bound[key] = value
        self.attempt(f"{key} = {value}", place)

    def attempt(self, line: str, place: str) -> None:
        """Lets gin parse one line, or adds an error."""
        try:
            gin.parse_config(line)
        except (ValueError, NameError, ImportError, SyntaxError) as error:
            self.errors.append(f"{place}: {_explain(line, error)}")

    def include(self, filename: str, place: str, including: tuple[str, ...]) -> None:
        """Binds the statements of an included file, or adds an error."""
        try:
            path = str(find_config(filename))
            if path in including:
                raise ConfigError("the file includes itself.")
            self.parse(read(path), path, including)
        except ConfigError as error:
            self.errors.append(f"{place}: include {shortened(filename)!r}: {error}")


def parameter_names() -> list[str]:
    """All parameters that a config may bind, as `configurable.parameter`."""
    return [f"{name}.{p}" for name, names in CONFIGURABLES.items() for p in names]


def _suggest(wrong: str, candidates) -> str:
    if wrong in candidates:
        return ""
    close = difflib.get_close_matches(wrong, candidates, n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _reason(message: str) -> str:
    """The message of gin or Python, in one line without a full stop."""
    if token := re.search(r"Failed to parse token '(.*)'", message, re.DOTALL):
        return (
            f"{shortened(token[1])} is no value: text needs quotes, a reference @, "
            "a macro %"
        )
    if denied := re.search(r"'([\w.]+)' has denylisted kwarg '(\w+)'", message):
        return f"{denied[2]} of {denied[1]} is set by the code and cannot be bound"
    return shortened(message.strip().splitlines()[0].rstrip("."))


def _explain(line: str, error: Exception) -> str:
    """The message for a statement that gin refuses, with a hint."""
    reason = _reason(str(error) or type(error).__name__)
    wrong, candidates = line.partition(" = ")[0].split("/")[-1], parameter_names()
    message = f"{shortened(line)}: {reason}."
    if reference := re.search(r"reference '@(?:.*/)?([\w.]+)", reason):
        parameter, wrong = wrong, reference.group(1)
        hint = _suggest(wrong, list(CONFIGURABLES))
        return f"{message}{hint}{legal_references(parameter)}"
    return f"{message}{_suggest(wrong, candidates)}"


def read(path: str | pathlib.Path) -> str:
    """The text of a gin file.

    Raises:
        ConfigError: it cannot be read, or is not text.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        return text.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The gin file {path} is not UTF-8 text: {error}. Save it as UTF-8."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"The gin file {path} cannot be read: {error.strerror}."
        ) from error


def parse(gin_configs: Sequence[str], gin_bindings: Sequence[str] = ()) -> None:
    """Replaces gin's configuration by these files and bindings, in this order.

    Translates compare_gan's names.

    Args:
        gin_configs: paths, or names of shipped files; `FILE.sweep#row` for one row of
            a sweep file.
        gin_bindings: lines such as `options.batch_size = 32`; one text may hold
            several.

    Raises:
        ConfigError: lines that cannot be used, listed with place, reason and the
            nearest legal name.
    """
    sources = [_source(name) for name in gin_configs]
    parse_texts([*sources, *((text, "--gin_bindings") for text in gin_bindings)])


def parse_texts(sources: Sequence[tuple[str, str]]) -> None:
    """As `parse`, from pairs of a text and its name for errors."""
    gin.clear_config()
    parser = Parser()
    for text, filename in sources:
        parser.parse(text, filename)
    parser.check_macros()
    parser.check_implied()
    if parser.errors:
        raise ConfigError(
            "The configuration has lines that cannot be used:\n  "
            + "\n  ".join(parser.errors)
        )
