"""Parsing gin: compare_gan's names translated, every wrong line named.

Gin itself stops at the first line that it cannot use. Here the statements are read
one by one, given our names, and bound; what fails is collected with its place, the
reason and the nearest legal name.
"""

import ast
import difflib
import inspect
import os
import pathlib
import re
import tokenize
from collections.abc import Iterator, Sequence

import gin
from gin import config_parser

from ssgan_tf.config.checks import REFERENCES, ConfigError, legal_references, shortened
from ssgan_tf.config.compare_gan_names import (
    IMPLIED,
    IMPLIED_DEFAULTS,
    VALUE_ALIASES,
    our_name,
)

# Lists within lists: deeper ones would end in recursion errors of gin and Python.
_MAX_DEPTH = 20

# What a config may bind: the parameters of each factory, for suggestions in errors.
CONFIGURABLES: dict[str, list[str]] = {}


def configurable(
    name: str, denylist: Sequence[str] = (), legal_for: Sequence[str] = ()
):
    """Registers a factory with gin and remembers its parameters.

    Args:
        name: of the factory, in gin.
        denylist: parameters that a config may not bind.
        legal_for: parameters that may refer to the factory.
    """

    def register(factory):
        for parameter in legal_for:
            REFERENCES.setdefault(parameter, []).append(name)
        parameters = inspect.signature(factory).parameters
        CONFIGURABLES[name] = [p for p in parameters if p not in denylist]
        return gin.configurable(name, denylist=list(denylist) or None)(factory)

    return register


def config_dir() -> pathlib.Path:
    """The folder of the shipped gin files: in the installed package or beside it."""
    package = pathlib.Path(__file__).resolve().parents[1]
    installed = package / "gin_configs"
    return installed if installed.is_dir() else package.parent / "gin_configs"


def find_config(name: str) -> pathlib.Path:
    """A gin file by path, or a shipped one by name.

    Raises:
        ConfigError: there is neither.
    """
    for path in (pathlib.Path(name), config_dir() / name):
        # Unlike `Path.is_file`, says no where the name is too long to be asked for.
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

    A row starts with a line `[name]` and goes on to the next one. The text has empty
    lines where the other rows are, so that errors name the right line.

    Args:
        name: as `find_config` takes it.

    Raises:
        ConfigError: there is no such file, or it has no row, or two of one name.
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
    """Text and name of what `--gin_config` names: a file, or `FILE.sweep#row`."""
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


class _Text:
    """A reference or macro inside a value, kept as text."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self):
        return self.text


class _Renaming(config_parser.ParserDelegate):
    """Reads references without resolving them, and gives them our names.

    Attributes:
        macros: names of the macros used since it was made.
    """

    def __init__(self):
        self.macros: list[str] = []

    def configurable_reference(self, scoped_configurable_name, evaluate):
        *scopes, name = scoped_configurable_name.split("/")
        name = "/".join([*scopes, our_name(name)])
        return _Text(f"@{name}()" if evaluate else f"@{name}")

    def macro(self, macro_name):
        self.macros.append(macro_name)
        return _Text(f"%{macro_name}")


def _statements(text: str, delegate: _Renaming) -> Iterator:
    """The statements of a text; whatever is wrong with it shows on the way."""
    yield from config_parser.ConfigParser(text, delegate)


def _depth(value) -> int:
    """How many lists, tuples and dicts are around the innermost value."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        return 1 + max(map(_depth, value), default=0)
    return 0


def renamed(statement: config_parser.BindingStatement) -> tuple[str, str]:
    """Key and value of a binding as gin text, in our names.

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
    """Binds statements one by one, and keeps going behind wrong ones.

    Attributes:
        errors: one text for each statement that cannot be used.
        bound: what parameters and macros are bound to, by our names, as gin text.
        implied: value and place of the parameters of `IMPLIED`.
    """

    def __init__(self):
        self.errors: list[str] = []
        self._used: dict[str, str] = {}
        self._defined: dict[str, str] = {}
        self.bound: dict[str, str] = {}
        self.implied: dict[str, tuple[str, str]] = {}

    def parse(self, text: str, filename: str, including: tuple[str, ...] = ()) -> None:
        """Binds all statements of a text; files that it includes come along."""
        for statement, place in self.statements(text, filename):
            if isinstance(statement, config_parser.BindingStatement):
                self.bind(statement, place)
            elif isinstance(statement, config_parser.ImportStatement):
                self.attempt(statement.format(), place)
            elif isinstance(statement, config_parser.IncludeStatement):
                self.include(statement.filename, place, (*including, filename))

    def statements(self, text: str, filename: str) -> Iterator[tuple]:
        """The statements of a text, each with its place, up to an error of syntax."""
        delegate = _Renaming()
        statements = _statements(text, delegate)
        place = f"{filename}:1"
        while True:
            delegate.macros.clear()
            try:
                statement = next(statements, None)
            # Python's tokenizer and gin's parser cannot go on behind these.
            except SyntaxError as error:
                # Gin knows no text of what ends too early.
                lines = text.splitlines()[(error.lineno or 1) - 1 :]
                line = (error.text or "".join(lines[:1])).strip()
                self.errors.append(
                    f"{filename}:{error.lineno}: {shortened(line)}: "
                    f"{_reason(error.msg)}. The lines below it were not read."
                )
                return
            except tokenize.TokenError as error:
                reason, (line_num, _) = error.args
                self.errors.append(f"{filename}:{line_num}: {reason}.")
                return
            # Such as a dict whose key is a list, and a thousand brackets.
            except (TypeError, ValueError, RecursionError) as error:
                self.errors.append(
                    f"{place}: here or in the next statement: {error}. The lines from "
                    "there on were not read."
                )
                return
            if statement is None:
                return
            location = getattr(statement, "location", None)
            place = f"{filename}:{location.line_num}" if location else filename
            # Those of a block come with its first line.
            self._used |= dict.fromkeys(delegate.macros, place)
            yield statement, place

    def check_macros(self) -> None:
        """Adds an error for each macro that is used or defined in vain."""
        for name, place in self._used.items():
            if name not in self._defined:
                self.errors.append(
                    f"{place}: %{shortened(name)}: no line defines this macro."
                    f"{_suggest(name, self._defined)}"
                )
        legal = {
            parameter.split(".")[1]: parameter for parameter in reversed(_parameters())
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
        """What an implied parameter is here, if that is not `value`, as gin text."""
        implied = IMPLIED[key]
        if isinstance(implied, tuple):
            same = any(_is_literal(self.resolved(value), legal) for legal in implied)
            return None if same else f"here it is always {implied[0]!r}"
        # compare_gan's S3GAN projects by itself, and its networks must not.
        if key.endswith("Discriminator.project_y") and (
            self.bound.get("options.gan_class") == "@S3GAN"
        ):
            return None
        expected = self.bound.get(implied, IMPLIED_DEFAULTS[implied])
        same = self.resolved(value) == self.resolved(expected)
        return None if same else f"here it is always {expected}, as {implied}"

    def resolved(self, value: str) -> str:
        """The value of a macro; any other value as it is."""
        seen = set()
        while value.startswith("%") and value not in seen:
            seen.add(value)
            value = self.bound.get(value[1:], value)
        return value

    def bind(self, statement: config_parser.BindingStatement, place: str) -> None:
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
        try:
            gin.parse_config(line)
        except (ValueError, NameError, ImportError, SyntaxError) as error:
            self.errors.append(f"{place}: {_explain(line, error)}")

    def include(self, filename: str, place: str, including: tuple[str, ...]) -> None:
        try:
            path = str(find_config(filename))
            if path in including:
                raise ConfigError("the file includes itself.")
            self.parse(read(path), path, including)
        except ConfigError as error:
            self.errors.append(f"{place}: include {shortened(filename)!r}: {error}")


def _parameters() -> list[str]:
    return [f"{name}.{p}" for name, names in CONFIGURABLES.items() for p in names]


def _suggest(wrong: str, candidates) -> str:
    if wrong in candidates:
        return ""
    close = difflib.get_close_matches(wrong, candidates, n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _reason(message: str) -> str:
    """What an error of gin or Python says, in one line without a full stop."""
    if token := re.search(r"Failed to parse token '(.*)'", message, re.DOTALL):
        return (
            f"{shortened(token[1])} is no value: text stands in quotes, a reference "
            "behind @, a macro behind %"
        )
    if denied := re.search(r"'([\w.]+)' has denylisted kwarg '(\w+)'", message):
        return f"{denied[1]} is given its {denied[2]} by the code, and no line binds it"
    return shortened(message.strip().splitlines()[0].rstrip("."))


def _explain(line: str, error: Exception) -> str:
    """One line of explanation for a statement that gin refuses."""
    reason = _reason(str(error) or type(error).__name__)
    wrong, candidates = line.partition(" = ")[0].split("/")[-1], _parameters()
    said = f"{shortened(line)}: {reason}."
    if reference := re.search(r"reference '@(?:.*/)?([\w.]+)", reason):
        parameter, wrong = wrong, reference.group(1)
        hint = _suggest(wrong, list(CONFIGURABLES))
        return f"{said}{hint}{legal_references(parameter)}"
    return f"{said}{_suggest(wrong, candidates)}"


def read(path: str | pathlib.Path, newline: str | None = None) -> str:
    """The text of a gin file.

    Args:
        path: of the file.
        newline: as `open` takes it; "" keeps the ends of the lines as they are.

    Raises:
        ConfigError: it cannot be read, or is no text.
    """
    try:
        with pathlib.Path(path).open(encoding="utf-8", newline=newline) as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"A gin file must be UTF-8 text. Received: {path}, which is not ({error}). "
            "Save it as UTF-8."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"A gin file must be readable. Received: {path}, which fails with: "
            f"{error.strerror}."
        ) from error


def parse(gin_configs: Sequence[str], gin_bindings: Sequence[str] = ()) -> None:
    """Replaces gin's configuration by these files and bindings, in this order.

    compare_gan's names are translated on the way.

    Args:
        gin_configs: paths, or names of shipped files; `FILE.sweep#row` for one row of
            a sweep file.
        gin_bindings: lines such as `options.batch_size = 32`; one text may hold
            several.

    Raises:
        ConfigError: lists every line that cannot be used, with its place, the reason
            and the nearest legal name.
    """
    sources = [_source(name) for name in gin_configs]
    parse_texts([*sources, *((text, "--gin_bindings") for text in gin_bindings)])


def parse_texts(sources: Sequence[tuple[str, str]]) -> None:
    """As `parse`, of texts, each with the name that errors call it by."""
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
