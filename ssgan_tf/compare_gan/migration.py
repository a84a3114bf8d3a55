"""compare_gan's gin files in the names of this package.

`config/compare_gan_names.py` translates names, as for `ssgan train`; `differences.py`
has the reasons for parameters and values without a counterpart.
"""

import ast
import dataclasses
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import gin
from gin import config_parser

from ssgan_tf import datasets, networks
from ssgan_tf.compare_gan.differences import (
    D_ATTENTION,
    DEFAULTS,
    NO_NORM,
    NO_VALUES,
    NOT_HERE,
    REQUIRED,
    WITHOUT_EFFECT,
    WITHOUT_VALUES,
    differences,
)
from ssgan_tf.config import parser
from ssgan_tf.config.checks import ConfigError, shortened
from ssgan_tf.config.compare_gan_names import IMPLIED, our_name
from ssgan_tf.config.forgetting import forgetting
from ssgan_tf.config.plan import plan
from ssgan_tf.datasets import folders


class Remark(NamedTuple):
    """A remark on a line or on the whole file.

    Attributes:
        place: str. `FILE:LINE`, or `FILE`.
        kind: str. "renamed"; "inlined", a macro or include; "dropped"; "not mapped", a
            comment now; "added"; or "differs", although the name is the same.
        text: str. The line and the reason.
    """

    place: str
    kind: str
    text: str

    def __str__(self):
        return f"{self.place}: {self.kind}: {self.text}"


class Migration(NamedTuple):
    """A file in the names of this package.

    Attributes:
        text: str. The new file; the old one if it has our names already.
        remarks: in the order of the old file.
        num_kept: int. Lines without a remark.
    """

    text: str
    remarks: tuple[Remark, ...]
    num_kept: int

    @property
    def is_complete(self) -> bool:
        """Whether every line is mapped or dropped."""
        return not any(remark.kind == "not mapped" for remark in self.remarks)

    @property
    def counts(self) -> str:
        """Number of lines by kind, in a line."""
        kinds = [remark.kind for remark in self.remarks]
        numbers = {"kept": self.num_kept} | {
            kind: kinds.count(kind)
            for kind in ("renamed", "inlined", "dropped", "not mapped", "added")
        }
        return ", ".join(f"{number} {kind}" for kind, number in numbers.items())


@dataclasses.dataclass
class _Line:
    """A statement of the old file.

    Attributes:
        place: `FILE:LINE`.
        old: the statement as gin text, in compare_gan's names.
        statement: as gin parses it; None of an include.
        macro: the macro that the statement defines; "" of other statements.
        key: our name of the parameter, with scope; "" of an import.
        value: its value as gin text.
        remark: None while the line is kept.
    """

    place: str
    old: str
    statement: config_parser.BindingStatement | config_parser.ImportStatement | None = (
        None
    )
    macro: str = ""
    key: str = ""
    value: str = ""
    remark: Remark | None = None

    @property
    def name(self) -> str:
        """The key without scope."""
        return self.key.rpartition("/")[2]

    @property
    def new(self) -> str:
        """The statement as gin text, in our names."""
        return f"{self.key} = {self.value}" if self.key else self.old

    @property
    def kind(self) -> str:
        return self.remark.kind if self.remark else "kept"

    def mark(self, kind: str, reason: str) -> None:
        text = f"{shortened(self.old)}: {reason}"
        self.remark = Remark(self.place, kind, text)


def migrate(path: str) -> Migration:
    """Rewrites a gin file of compare_gan.

    The new file has one line per parameter, in our names, without macros and includes.
    Lines that are implied here are left out. Lines without a meaning here become
    comments. If a line changed and the file is a complete experiment, compare_gan's
    defaults that differ from ours are added. A file in our names is returned as it is.
    Replaces gin's configuration.

    Args:
        path: of the file.

    Raises:
        ConfigError: the file cannot be read, or has a syntax error.
    """
    gin.clear_config()
    known = parser.Parser()
    lines = list(_read(known, path, ()))
    if known.errors:
        raise ConfigError(
            "A gin file must be gin from end to end. Received: "
            f"{known.errors[0]} Repair that first."
        )
    macros = {line.macro: line.statement.value for line in lines if line.macro}
    for line in lines:
        _judge(line, known, macros)
    for line in lines:
        _judge_implied(line, known)
    if all(line.kind in ("kept", "inlined") for line in lines):
        return Migration(parser.read(path), (), len(lines))
    remarks = [line.remark for line in lines if line.remark]
    num_kept = len(lines) - len(remarks)
    added: dict[str, tuple[str, str]] = {}
    # Otherwise it is a file of ours with a mistake.
    if any(line.kind in ("renamed", "dropped") for line in lines):
        values = {key: _literal(value) for key, value in known.bound.items()}
        names = {line.name for line in lines}
        added = dict(_missing_defaults(values, names))
        remarks += [
            Remark(path, "added", f"{key} = {value}, {meaning}")
            for key, (value, meaning) in added.items()
        ]
        if names.issuperset(REQUIRED) and "G.batch_norm_fn" not in names:
            reason = f"G.batch_norm_fn is not set, which means no norm: {NO_NORM}"
            remarks.append(Remark(path, "not mapped", reason))
        remarks += [
            Remark(path, "differs", text) for text in differences(values, known.implied)
        ]
    return Migration(_text(lines, added), tuple(remarks), num_kept)


def _read(
    known: parser.Parser, path: str, including: tuple[str, ...]
) -> Iterator[_Line]:
    """The statements of a file and of the files that it includes."""
    statements = known.statements(parser.read(path), path, rename=str)
    for statement, place in statements:
        if isinstance(statement, config_parser.IncludeStatement):
            line = _Line(place, f"include {statement.filename!r}")
            yield line
            try:
                included = str(parser.find_config(statement.filename))
                if included in (*including, path):
                    raise ConfigError("the file includes itself")
                yield from _read(known, included, (*including, path))
                line.mark("inlined", "its lines are in the new file")
            except ConfigError as error:
                line.mark("not mapped", str(error))
        elif isinstance(statement, config_parser.ImportStatement):
            yield _Line(place, statement.format(), statement)
        elif isinstance(statement, config_parser.BindingStatement):
            key, text = _written_key(statement), _as_written(statement)
            yield _Line(place, text, statement, macro="" if "." in key else key)


def _written_key(statement: config_parser.BindingStatement) -> str:
    name = ".".join(filter(None, (statement.selector, statement.arg_name)))
    return "/".join(filter(None, (statement.scope, name)))


def _as_written(statement: config_parser.BindingStatement) -> str:
    return f"{_written_key(statement)} = {statement.value!r}"


# --- The remark on a line --------------------------------------------------------


def _judge(line: _Line, known: parser.Parser, macros: Mapping) -> None:
    """Binds a line and marks it, except for implied parameters."""
    if isinstance(line.statement, config_parser.ImportStatement):
        _judge_import(line, known)
    elif line.statement is not None:
        try:
            if not line.macro:
                value = _without_macros(line.statement.value, macros)
                line.statement = line.statement._replace(value=value)
            written = _as_written(line.statement)
            value = _replaced(line.statement.value, _renamed)
            line.statement = line.statement._replace(value=value)
            line.key, line.value = parser.renamed(line.statement)
        except (TypeError, ValueError, RecursionError) as error:
            line.mark("not mapped", str(error))
            return
        if line.macro:
            line.mark("inlined", "its value is in the lines that use it")
        elif remark := _reason_against(line):
            line.mark(*remark)
        else:
            _bind(line, known, written)


def _judge_import(line: _Line, known: parser.Parser) -> None:
    if re.match(r"(compare_gan|gin|__future__)\b", line.statement.module):
        line.mark("dropped", "names need no import here")
        return
    try:
        known.attempt(line.old, line.place)
    # Modules for TensorFlow 1 can raise anything.
    except Exception as error:
        line.mark("not mapped", f"{error}. The module must run on TensorFlow 2")
    if known.errors:
        reason = known.errors.pop().removeprefix(f"{line.place}: {line.old}: ")
        line.mark("not mapped", f"{reason} For a module of yours set PYTHONPATH=FOLDER")


def _replaced(value, replace: Callable[[str], object]):
    """A value in which `replace` makes other values of references and macros."""
    if isinstance(value, parser.Text):
        return replace(value.text)
    if isinstance(value, dict):
        return dict(_replaced(list(value.items()), replace))
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, replace) for item in value)
    return value


def _renamed(reference: str) -> parser.Text:
    name = r"[\w.]+(?=(\(\))?$)"
    return parser.Text(re.sub(name, lambda match: our_name(match[0]), reference))


def _without_macros(value, macros: Mapping, used: tuple[str, ...] = ()):
    """A value in which macros are replaced by their values."""

    def expand(text: str):
        name = text.removeprefix("%")
        if name == text:
            return parser.Text(text)
        if name not in macros:
            raise ValueError(f"no line defines the macro %{shortened(name)}")
        if name in used:
            raise ValueError(f"the macro %{shortened(name)} leads back to itself")
        return _without_macros(macros[name], macros, (*used, name))

    return _replaced(value, expand)


def _reason_against(line: _Line) -> tuple[str, str] | None:
    """Kind and reason of a remark that needs no other line."""
    if reason := _lookup(WITHOUT_EFFECT, line.name):
        return "dropped", reason
    for table, kind in ((NO_VALUES, "not mapped"), (WITHOUT_VALUES, "dropped")):
        if reason := table.get(line.name, {}).get(line.value):
            return kind, reason
    legal = {
        "dataset.name": datasets.DATASETS,
        "options.architecture": networks.ARCHITECTURES,
    }.get(line.name)
    if not legal or not isinstance(line.statement.value, str):
        return None
    name = _literal(line.value)
    if name in legal or folders.is_folder(name):
        return None
    return "not mapped", f"it is not here. Legal: {', '.join(sorted(legal))}"


def _lookup(table: Mapping[str, str], name: str) -> str | None:
    """The entry of a parameter, of its configurable, or of its name there."""
    configurable, _, parameter = name.rpartition(".")
    return table.get(name) or table.get(configurable) or table.get(parameter)


def _bind(line: _Line, known: parser.Parser, written: str) -> None:
    known.bind(line.statement, line.place)
    if known.errors:
        error = known.errors.pop().removeprefix(f"{line.place}: ")
        for start in (shortened(line.new), line.statement.arg_name):
            error = error.removeprefix(f"{start}: ")
        line.mark("not mapped", _lookup(NOT_HERE, line.name) or error)
    elif line.new != written and line.name not in IMPLIED:
        text = f"{shortened(line.old)} -> {shortened(line.new)}"
        line.remark = Remark(line.place, "renamed", text)


def _judge_implied(line: _Line, known: parser.Parser) -> None:
    """Marks a parameter in `IMPLIED`, after all lines are bound."""
    if line.remark or line.name not in IMPLIED:
        return
    implied = IMPLIED[line.name]
    if reason := known.implied_otherwise(line.name, line.value):
        cure = _lookup(NOT_HERE, line.name)
        line.mark("not mapped", f"{reason}; {cure}" if cure else reason)
    elif isinstance(implied, str):
        line.mark("dropped", f"it follows from {implied}")
    else:
        line.mark("dropped", "it is always so here")


# --- The new file ----------------------------------------------------------------


def _literal(text: str):
    """The value of gin text; references stay text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _missing_defaults(
    values: Mapping[str, object], names: set[str]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """compare_gan's defaults for a complete experiment, where ours differ."""
    if not names.issuperset(REQUIRED):
        return
    yield from (item for item in DEFAULTS.items() if item[0] not in names)
    spec = datasets.DATASETS.get(str(values.get("dataset.name")))
    is_large = spec is not None and spec.image_shape[0] > 128
    is_biggan = values.get("options.architecture") == "resnet_biggan"
    if is_large and is_biggan and "D.attention" not in names:
        yield "D.attention", D_ATTENTION


def _text(lines: list[_Line], added: Mapping[str, tuple[str, str]]) -> str:
    """The new file: its lines, added defaults and, as comments, unmapped lines."""
    rows = [line.new for line in lines if line.kind in ("kept", "renamed")]
    if added:
        rows += ["", "# compare_gan's defaults, which differ from ours."]
    for key, (value, meaning) in added.items():
        rows += [f"# {meaning[0].upper()}{meaning[1:]}.", f"{key} = {value}"]
    for line in lines:
        if line.kind == "not mapped":
            comment = textwrap.wrap(f"Not mapped: {line.remark.text}", 86)
            rows += ["", *(f"# {row}" for row in comment)]
    return "".join(f"{row}\n" for row in rows)


def check_runs(text: str, name: str) -> str:
    """Parses a config and builds its networks with few channels.

    Args:
        text: gin text.
        name: of its file, for errors.

    Returns:
        A summary of the run, in a line.

    Raises:
        ValueError: the config cannot be used.
    """
    parser.parse_texts([(text, name)])
    if re.search(r"^forgetting\.", text, re.MULTILINE):
        task = forgetting()
        return f"forgetting on {task.dataset}, {task.training_steps} steps"
    settings = plan()
    options = settings.options
    gin.parse_config("G.width = 8\nD.width = 8")
    gan = settings.build_gan()
    tasks = ", ".join(type(task).__name__ for task in gan.tasks) or "no further task"
    return (
        f"{settings.dataset}, {options.architecture}, {tasks}, "
        f"batch {options.batch_size}, {options.training_steps} steps"
    )
