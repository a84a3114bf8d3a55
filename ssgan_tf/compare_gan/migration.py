"""compare_gan's gin files in the names of this package, line by line.

What a name is called here is in `parser.py`; what has no name here is in this module,
with the reason. Comments, order and layout of a file stay.
"""

import ast
import dataclasses
import io
import itertools
import re
import textwrap
import tokenize
from collections.abc import Iterator, Sequence

import gin
from gin import config_parser

from ssgan_tf import datasets, networks
from ssgan_tf.config import compare_gan_names, parser
from ssgan_tf.config.checks import ConfigError, shortened
from ssgan_tf.config.forgetting import forgetting
from ssgan_tf.config.plan import plan
from ssgan_tf.datasets import folders

# --- What has no name here -----------------------------------------------------
# By our names where there are some. A configurable stands for all its parameters.

# Left out whatever their values are: they change nothing that is computed here.
WITHOUT_EFFECT = {
    "options.discriminator_normalization": "compare_gan does not read it either",
    "dataset.seed": "run_config.seed decides the order of the data too",
    "cross_replica_moments.parallel": "it chooses between two ways to equal moments",
    "resnet_biggan_deep.Discriminator.blocks_with_attention": (
        "compare_gan does not read it: attention is at 64x64 places, there and here"
    ),
    "resnet_biggan_deep.Generator.blocks_with_attention": (
        "compare_gan has no such parameter: attention is at 64x64 places"
    ),
}
_LATENTS = (
    "z is uniform on [-1, 1) or normal with deviation 1. Name a distribution of your "
    "own in z.distribution_fn (docs/extending.md)"
)
_EMBEDDING = "labels are embedded in 128 numbers without bias, and z is not"
NOT_HERE = {
    "BigGanDeepResNetBlock": "the blocks are those of the paper's table",
    "BigGanResNetBlock": "shortcuts are 1x1 convolutions, where the shape changes",
    "D.batch_norm_fn": (
        "D has no batch normalization here. Take D.spectral_norm or D.layer_norm"
    ),
    "S3GAN.project_y": "D of a conditional GAN always has a projection",
    "S3GAN.use_soft_labels": (
        "labels are classes, not probabilities. dataset.label_file replaces them"
    ),
    "TpuSummaries": (
        "what is logged is fixed. run_config.save_summary_steps says how often"
    ),
    "adam.use_locking": "no update runs beside another one",
    "conditional_batch_norm.use_bias": (
        "gain and bias of each class are one row of a matrix; another bias would add "
        "nothing but the centre of the gain, which is 1. See "
        "conditional_batch_norm.center_gain"
    ),
    "cross_replica_moments": "batch-norm moments are always those of all replicas",
    "eval_imagenet_transform": "scores take the central square. Crop a folder yourself",
    "eval_z": "scores draw z as training does. See z.distribution_fn",
    "options.use_tpu": "devices are a flag: ssgan train --strategy=tpu",
    "options.lambda": "the parameter is spelt options.lamba, as in compare_gan",
    "replace_labels": (
        "labels of your own are integers in one file: dataset.label_file = "
        '"labels.npy" (docs/data.md)'
    ),
    "resnet_biggan_deep.Generator.experimental_fast_conv_to_rgb": (
        "the last convolution has as many channels as the image"
    ),
    "run_config.single_core": "devices are a flag: ssgan train --strategy=one_device",
    "spectral_norm.epsilon": "it is always 1e-12. Leave the line out",
    "standardize_batch.use_cross_replica_mean": (
        "batch-norm moments are always those of all replicas"
    ),
    "train_imagenet_transform": (
        "random squares of 50 to 100 % of the area are cut once, before training. Cut "
        'others yourself, and train on dataset.name = "folder:DIR" (docs/data.md)'
    ),
    "z": _LATENTS,
}
NOT_HERE |= {
    f"{network}.Generator.{parameter}": _EMBEDDING
    for network in ("resnet_cifar", "resnet_biggan", "resnet5_biggan")
    for parameter in ("embed_z", "embed_y_dim", "embed_bias")
}
NOT_HERE |= {
    f"{gan}.{parameter}": reason
    for gan in ("ModularGAN", "SSGAN", "S3GAN", "GPUModularGAN")
    for parameter, reason in {
        "deprecated_split_disc_calls": (
            "D sees real and fake images in one call. options.accumulate = 2 saves "
            "memory"
        ),
        "experimental_force_graph_unroll": (
            "G's update takes the fakes of D's last one, as compare_gan's does on GPUs"
        ),
        "experimental_joint_gen_for_disc": (
            "G's batch-norm moments are those of one update's batch"
        ),
        "fit_label_distribution": "G's labels are drawn with equal chances",
    }.items()
}
NOT_HERE |= {
    f"{gan}.{parameter}": (
        f"bind ModularGAN.{parameter}. In compare_gan this line wins over one of "
        f"ModularGAN, and is read only where options.gan_class = @{gan}"
    )
    for gan in ("SSGAN", "S3GAN")
    for parameter in (
        "conditional",
        "d_lr",
        "d_optimizer_fn",
        "ema_decay",
        "ema_start_step",
        "g_lr",
        "g_optimizer_fn",
        "g_use_ema",
    )
}
_NO_NORM = (
    "a G without norms is not here. Take @batch_norm, or name a norm of your own "
    "(docs/extending.md)"
)
_FOLDER = (
    'Make a folder of the images: dataset.name = "folder:DIR", dataset.resolution = '
    "{} (docs/data.md)"
)
# Values, as gin text, that are not here. What is bound to them is not mapped.
NO_VALUES = {
    "G.batch_norm_fn": {"None": _NO_NORM, "@no_batch_norm": _NO_NORM},
    "SSGAN.self_supervision": {
        value: "without rotations it is options.gan_class = @ModularGAN"
        for value in ("None", "'none'")
    },
    "self_modulated_batch_norm.num_hidden": {
        "0": "gain and bias come from a hidden layer: it must be 1 or more"
    },
    "options.architecture": {
        "'infogan_arch'": "InfoGAN's networks are not here; 'sndcgan' is nearest",
        "'dummy_arch'": "it is compare_gan's own test",
        "'resnet5_ablation'": "it is not here; 'resnet5' is nearest",
    },
    "dataset.name": {
        "'imagenet_512'": _FOLDER.format(512),
        "'imagenet_512_hq400'": _FOLDER.format(512),
        "'single_class_imagenet_128'": _FOLDER.format(128),
        "'random_class_imagenet_128'": (
            "'imagenet128' with random classes in dataset.label_file is the same"
        ),
        "'soft_labeled_imagenet_128'": (
            "labels are classes, not probabilities: 'imagenet128' with "
            "dataset.label_file is nearest"
        ),
        "'labeled_only_imagenet_128'": (
            "unlabelled images are not left out. " + _FOLDER.format(128)
        ),
    },
}
# The same, of values that mean what this package does without the line.
WITHOUT_VALUES = {
    "run_config.seed": {"None": "every run has a seed here, 0 where none is set"},
}

# --- What a file means that does not say it -------------------------------------

_REQUIRED = (
    "dataset.name",
    "options.gan_class",
    "options.architecture",
    "options.batch_size",
    "options.training_steps",
)
# compare_gan's defaults that are not ours and change a run: gin text, and what it does.
DEFAULTS = {
    "standardize_batch.decay": ("0.999", "of the moving moments"),
    "standardize_batch.epsilon": ("0.001", "added to the variance"),
    "run_config.keep_checkpoint_max": ("1000", "so that all can be scored"),
}
_D_ATTENTION = (
    '"B1"',
    "at half of the image's size, which takes memory; without this line at 64x64",
)


@dataclasses.dataclass(frozen=True)
class Remark:
    """What became of a statement, or has to be known of the file.

    Attributes:
        line: int, or None. Where it stands in the old file.
        kind: str. "renamed"; "dropped"; "not mapped", a comment now; "to do", in
            another file; "added"; or "differs", though the name is the same.
        text: what, and why.
    """

    line: int | None
    kind: str
    text: str

    def at(self, path: str) -> str:
        """The remark as a line of a report."""
        place = path if self.line is None else f"{path}:{self.line}"
        return f"{place}: {self.kind}: {self.text}"


@dataclasses.dataclass(frozen=True)
class Migration:
    """A file in the names of this package.

    Attributes:
        text: str. The new file; as the old one if nothing had to change.
        remarks: in the order of the old file.
        num_kept: int. Statements that stayed as they were.
    """

    text: str
    remarks: tuple[Remark, ...]
    num_kept: int

    @property
    def is_complete(self) -> bool:
        """Whether no line needs a user's hand."""
        return not any(r.kind in ("not mapped", "to do") for r in self.remarks)


def _names(tokens: Sequence[tokenize.TokenInfo]) -> Iterator[tuple]:
    """References and macros: sign, name with its scopes, first and last token of it."""
    for i, sign in enumerate(tokens):
        if sign.type == tokenize.OP and sign.string in "@%":
            name = list(
                itertools.takewhile(
                    lambda token: token.type == tokenize.NAME or token.string in "/.",
                    tokens[i + 1 :],
                )
            )
            yield sign.string, "".join(t.string for t in name), name[0], name[-1]


class _Statement:
    """A statement of gin with its place in the text.

    Attributes:
        parsed: as gin has it.
        tokens: what it is written in, comments included.
        first, last: numbers of its lines.
        key: what is bound, in our names and without scope; "" of other statements.
        value: gin text in our names.
        remark: what becomes of it; None while it stays as it is.
    """

    def __init__(self, parsed, tokens: list[tokenize.TokenInfo]):
        self.parsed, self.tokens = parsed, tokens
        self.first, self.last = tokens[0].start[0], tokens[-1].end[0]
        self.key = self.value = ""
        self.remark: Remark | None = None

    @property
    def is_binding(self) -> bool:
        return isinstance(self.parsed, config_parser.BindingStatement)

    @property
    def is_block(self) -> bool:
        return isinstance(self.parsed, config_parser.BlockDeclaration)

    @property
    def code(self) -> list[tokenize.TokenInfo]:
        return [token for token in self.tokens if token.type != tokenize.COMMENT]

    @property
    def written_key(self) -> str:
        return "".join(token.string for token in self.key_tokens)

    @property
    def key_tokens(self) -> list[tokenize.TokenInfo]:
        """What stands before the equals sign."""
        return list(itertools.takewhile(lambda t: t.string != "=", self.code))

    @property
    def old_key(self) -> str:
        """What is bound, as the file calls it, with its scope."""
        name = ".".join(filter(None, (self.parsed.selector, self.parsed.arg_name)))
        return "/".join(filter(None, (self.parsed.scope, name)))

    @property
    def said(self) -> str:
        """The binding as the file has it, in a line."""
        value = self.code[len(self.key_tokens) + 1 :]
        text = "".join(token.string for token in value).replace(",", ", ")
        return f"{self.old_key} = {shortened(' '.join(text.split()))}"

    @property
    def is_member(self) -> bool:
        """Whether it stands in a block, whose first line has the rest of its key."""
        name = self.is_binding and self.parsed.arg_name
        return bool(name) and self.written_key == name

    @property
    def is_macro(self) -> bool:
        return self.is_binding and bool(self.key) and "." not in self.key

    @property
    def macros(self) -> set[str]:
        """Names of the macros that it uses."""
        return {name for sign, name, _, _ in _names(self.code) if sign == "%"}

    @property
    def is_gone(self) -> bool:
        return self.remark is not None and self.remark.kind in ("dropped", "not mapped")

    def mark(self, kind: str, text: str) -> None:
        self.remark = Remark(self.first, kind, text)


@dataclasses.dataclass(frozen=True)
class _Edit:
    """A piece of text that takes the place of another one."""

    start: int
    end: int
    text: str


def migrate(path: str) -> Migration:
    """Rewrites a gin file of compare_gan.

    A statement keeps its text, or gets our names, or is left out because it is implied
    here, or, if it has no meaning here, becomes a comment with the reason. Where one
    had to change and the file is a whole experiment, compare_gan's defaults that are
    not ours are added. A file of this package stays as it is. Replaces gin's
    configuration.

    Args:
        path: of the file. Files that it includes are read, not rewritten.

    Raises:
        ConfigError: it cannot be read, or is not gin to its end.
    """
    text = parser.read(path, newline="").removeprefix("\ufeff")
    gin.clear_config()
    known = parser.Parser()
    statements = list(_read(known, text, path))
    if known.errors:
        raise ConfigError(
            "A gin file must be gin from end to end. Received: "
            f"{known.errors[0]} Repair that first."
        )
    for statement in statements:
        _judge(statement, known, path)
    for statement in statements:
        _judge_implied(statement, known)
    _judge_macros(statements)
    edits = list(_edits(text, statements))
    remarks = [statement.remark for statement in statements if statement.remark]
    num_kept = len(statements) - len(remarks)
    # A whole file of compare_gan has at least an architecture of another name.
    if any(remark.kind in ("renamed", "dropped") for remark in remarks):
        facts = _Facts(known, {statement.key for statement in statements})
        added = dict(facts.defaults())
        edits.append(_Edit(len(text), len(text), _lines_of(added, text)))
        for key, (value, what) in added.items():
            remarks.append(Remark(None, "added", f"{key} = {value}, {what}"))
        remarks += facts.remarks()
    return Migration(_edited(text, edits), tuple(remarks), num_kept)


def _read(known: parser.Parser, text: str, path: str) -> Iterator[_Statement]:
    """The statements of a text, up to what gin cannot read."""
    parsed = [statement for statement, _ in known.statements(text, path)]
    if known.errors:
        return
    lines, tokens = {}, []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
            if tokens:
                lines[tokens[0].start[0]] = tokens
            tokens = []
        elif token.type == tokenize.COMMENT and not tokens:
            # It stands alone.
            continue
        elif token.type not in (tokenize.INDENT, tokenize.DEDENT, tokenize.NL):
            tokens.append(token)
    for statement in parsed:
        yield _Statement(statement, lines[statement.location.line_num])


# --- What becomes of a statement -------------------------------------------------


def _judge(statement: _Statement, known: parser.Parser, path: str) -> None:
    """Decides on what can be decided without the statements behind it."""
    parsed, place = statement.parsed, f"{path}:{statement.first}"
    num_errors = len(known.errors)
    if isinstance(parsed, config_parser.ImportStatement):
        if re.match(r"(compare_gan|gin|__future__)\b", parsed.module):
            statement.mark("dropped", f"{parsed.format()}: names need no import here")
        elif error := _import_error(parsed, known, place):
            statement.mark("not mapped", f"{parsed.format()}: {error}")
    elif isinstance(parsed, config_parser.IncludeStatement):
        known.include(parsed.filename, place, (path,))
        if errors := known.errors[num_errors:]:
            said = f"include {parsed.filename!r}: {len(errors)} of its statements fail"
            first = errors[0].removeprefix(f"{place}: ")
            statement.mark("to do", f"{said}, the first: {first} Migrate that file too")
    elif statement.is_binding:
        _judge_binding(statement, known, place)


def _import_error(parsed, known: parser.Parser, place: str) -> str | None:
    num_errors = len(known.errors)
    try:
        known.attempt(parsed.format(), place)
    # Modules for TensorFlow 1 fail in ways of their own.
    except Exception as error:
        return f"the module fails with: {error}. It must run on TensorFlow 2"
    if errors := known.errors[num_errors:]:
        said = errors[0].removeprefix(f"{place}: {parsed.format()}: ")
        return f"{said} If it is a module of yours, run this with PYTHONPATH=FOLDER"
    return None


def _judge_binding(statement: _Statement, known: parser.Parser, place: str) -> None:
    num_errors = len(known.errors)
    with_values = ((NO_VALUES, "not mapped"), (WITHOUT_VALUES, "dropped"))
    try:
        key, statement.value = parser.renamed(statement.parsed)
        statement.key = key.rpartition("/")[2]
    except ValueError as error:
        statement.mark("not mapped", f"{statement.old_key}: {error}")
        return
    said = statement.said
    if reason := _reason(WITHOUT_EFFECT, statement.key):
        statement.mark("dropped", f"{said}: {reason}")
        return
    for table, kind in with_values:
        if reason := table.get(statement.key, {}).get(statement.value):
            statement.mark(kind, f"{said}: {reason}")
            return
    if unknown := _unknown_name(statement):
        statement.mark("not mapped", f"{said}: {unknown}")
        return
    known.bind(statement.parsed, place)
    if len(known.errors) > num_errors:
        error = known.errors[-1].removeprefix(f"{place}: ")
        for start in (
            shortened(f"{key} = {statement.value}"),
            statement.parsed.arg_name,
        ):
            error = error.removeprefix(f"{start}: ")
        reason = _reason(NOT_HERE, statement.key) or error
        statement.mark("not mapped", f"{said}: {reason}")


def _reason(table: dict[str, str], key: str) -> str | None:
    """That of a parameter, or that of its configurable."""
    return table.get(key) or table.get(key.rpartition(".")[0])


def _unknown_name(statement: _Statement) -> str | None:
    """Why a data set or architecture of compare_gan cannot be used."""
    legal = {
        "dataset.name": sorted(datasets.DATASETS),
        "options.architecture": sorted(networks.ARCHITECTURES),
    }.get(statement.key)
    name = statement.parsed.value
    if not legal or not isinstance(name, str) or folders.is_folder(name):
        return None
    if ast.literal_eval(statement.value) in legal:
        return None
    return f"it is not here. Legal: {', '.join(legal)}"


def _judge_implied(statement: _Statement, known: parser.Parser) -> None:
    """Decides on what may be implied, once everything is bound."""
    if statement.remark or statement.key not in compare_gan_names.IMPLIED:
        return
    said = statement.said
    if otherwise := known.implied_otherwise(statement.key, statement.value):
        reason = _reason(NOT_HERE, statement.key)
        cure = f"; {reason}" if reason else ""
        statement.mark("not mapped", f"{said}: {otherwise}{cure}")
    else:
        implied = compare_gan_names.IMPLIED[statement.key]
        source = (
            f"it follows from {implied}" if isinstance(implied, str) else "always so"
        )
        statement.mark("dropped", f"{said}: {source}")


def _judge_macros(statements: Sequence[_Statement]) -> None:
    """Leaves out the macros whose last user went: one without a user is an error."""
    while True:
        used = set().union(*(s.macros for s in statements if not s.is_gone))
        lost = set().union(*(s.macros for s in statements if s.is_gone)) - used
        vain = [s for s in statements if s.is_macro and not s.is_gone and s.key in lost]
        if not vain:
            return
        for statement in vain:
            statement.mark(
                "dropped", f"{statement.key}: the lines that used it are gone"
            )


# --- The new text -----------------------------------------------------------------


class _Lines:
    """Where tokens stand in a text."""

    def __init__(self, text: str):
        self.text = text
        lengths = (len(line) + 1 for line in text.split("\n"))
        self._starts = [0, *itertools.accumulate(lengths)]
        self.end_of_line = "\r\n" if "\r\n" in text else "\n"

    def offset(self, position: tuple[int, int]) -> int:
        """Of a row, from 1, and a column."""
        row, column = position
        return self._starts[row - 1] + column

    def edit(self, tokens: Sequence[tokenize.TokenInfo], text: str) -> _Edit:
        """The text from the first to the last token replaced."""
        return _Edit(self.offset(tokens[0].start), self.offset(tokens[-1].end), text)

    def whole(self, statement: _Statement) -> tuple[int, int]:
        """From the start of its first line to the start of the line behind it."""
        end = min(self._starts[statement.last], len(self.text))
        return self._starts[statement.first - 1], end


def _edits(text: str, statements: Sequence[_Statement]) -> Iterator[_Edit]:
    """What to change; marks the statements that get new names."""
    lines, values = _Lines(text), _value_names(statements)
    renames = {}
    for statement in statements:
        if statement.is_binding and not statement.is_gone:
            renames[statement] = list(_renames(lines, statement, values))
    opened = {
        each
        for header, members in _blocks(statements)
        if any(member.is_gone or renames[member] for member in members)
        for each in (header, *members)
    }
    for statement in statements:
        if statement.is_gone:
            is_comment = statement.remark.kind == "not mapped"
            yield (_commented if is_comment else _left_out)(lines, statement)
        elif statement in opened and statement.is_block:
            yield _left_out(lines, statement)
        elif statement in opened:
            start, _ = lines.whole(statement)
            key = lines.edit(statement.key_tokens, parser.renamed(statement.parsed)[0])
            yield dataclasses.replace(key, start=start)
            yield from (edit for edit in renames[statement] if edit.start > key.end)
        else:
            yield from renames.get(statement, ())


def _blocks(statements: Sequence[_Statement]) -> Iterator[tuple]:
    """First line and members of each block of bindings."""
    for i, header in enumerate(statements):
        if header.is_block:
            yield (
                header,
                list(itertools.takewhile(lambda s: s.is_member, statements[i + 1 :])),
            )


def _value_names(statements: Sequence[_Statement]) -> dict[str, dict[str, str]]:
    """Keys, and macros bound to them -> our names of compare_gan's values."""
    names = dict(compare_gan_names.VALUE_ALIASES)
    for statement in statements:
        if statement.value.startswith("%"):
            names.setdefault(statement.value[1:], names.get(statement.key, {}))
    return names


def _renames(
    lines: _Lines, statement: _Statement, value_names: dict[str, dict[str, str]]
) -> Iterator[_Edit]:
    """New names in a binding, which is marked if there are some."""
    parsed, said = statement.parsed, []
    old, (new, _) = statement.old_key, parser.renamed(parsed)
    if new != old:
        said.append(f"{old} -> {new}")
        yield lines.edit(statement.key_tokens, new)
    for sign, name, first, last in _names(statement.code):
        *scopes, end = name.split("/")
        renamed = "/".join([*scopes, compare_gan_names.our_name(end)])
        if sign == "@" and renamed != name:
            said.append(f"@{name} -> @{renamed}")
            yield lines.edit([first, last], renamed)
    value = value_names.get(statement.key, {}).get(_if_text(parsed.value))
    if value is not None:
        strings = [t for t in statement.code if t.type == tokenize.STRING]
        quote = strings[-1].string[-1]
        said.append(f"{parsed.value!r} -> {value!r}")
        yield lines.edit(strings, f"{quote}{value}{quote}")
    if said:
        where = f"{new}: " if new == old else ""
        statement.mark("renamed", where + ", ".join(said))


def _if_text(value) -> str | None:
    """What can be looked up: a text."""
    return value if isinstance(value, str) else None


def _left_out(lines: _Lines, statement: _Statement) -> _Edit:
    """Without a statement; its comments stay."""
    indent = statement.tokens[0].start[1] * " "
    comments = [t.string for t in statement.tokens if t.type == tokenize.COMMENT]
    kept = "".join(f"{indent}{comment}{lines.end_of_line}" for comment in comments)
    return _Edit(*lines.whole(statement), kept)


def _commented(lines: _Lines, statement: _Statement) -> _Edit:
    """A statement as a comment, below one that says why."""
    start, end = lines.whole(statement)
    end_mark = "" if statement.remark.text.endswith((".", "?")) else "."
    why = textwrap.wrap(f"Not mapped: {statement.remark.text}{end_mark}", 86)
    old = re.findall(r"[^\n]*\n|[^\n]+", lines.text[start:end])
    commented = [f"{line}{lines.end_of_line}" for line in why] + old
    return _Edit(start, end, "".join(f"# {line}" for line in commented))


def _edited(text: str, edits: Sequence[_Edit]) -> str:
    pieces, position = [], 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        pieces += text[position : edit.start], edit.text
        position = edit.end
    return "".join([*pieces, text[position:]])


# --- What the file does not say -----------------------------------------------------


class _Facts:
    """What a file of compare_gan, with what it includes, means.

    Args:
        known: everything that it binds, by our names.
        keys: of its own statements, those that are not mapped among them.
    """

    def __init__(self, known: parser.Parser, keys: set[str]):
        self._known, self._keys = known, keys

    def _value(self, key: str):
        """What a parameter is bound to, references as text; None if it is not."""
        text = self._known.resolved(self._known.bound.get(key, "None"))
        try:
            value = ast.literal_eval(text)
        # A reference, or a macro that nobody defines.
        except (SyntaxError, ValueError):
            value = text
        # That of a macro has no key to tell whose name it is.
        return compare_gan_names.VALUE_ALIASES.get(key, {}).get(_if_text(value), value)

    def _is_set(self, key: str) -> bool:
        return key in self._known.bound or key in self._keys

    @property
    def is_whole(self) -> bool:
        """Whether it is an experiment, not part of one."""
        return all(map(self._is_set, _REQUIRED))

    def defaults(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Of `DEFAULTS` those where the file is silent, and D's attention."""
        if not self.is_whole:
            return
        yield from (item for item in DEFAULTS.items() if not self._is_set(item[0]))
        spec = datasets.DATASETS.get(_if_text(self._value("dataset.name")))
        if spec and spec.image_shape[0] > 128 and not self._is_set("D.attention"):
            if self._value("options.architecture") == "resnet_biggan":
                yield "D.attention", _D_ATTENTION

    def remarks(self) -> Iterator[Remark]:
        """What differs though the names are the same."""
        if self.is_whole and not self._is_set("G.batch_norm_fn"):
            text = (
                f"G.batch_norm_fn is not set, which is none in compare_gan: {_NO_NORM}"
            )
            yield Remark(None, "not mapped", text)
        for text in self._differences():
            yield Remark(None, "differs", text)

    def _differences(self) -> Iterator[str]:
        gan = self._value("options.gan_class")
        architecture = self._value("options.architecture")
        conditional = self._value("ModularGAN.conditional")
        projected = any(key.endswith("project_y") for key in self._known.implied)
        if self._value("G.batch_norm_fn") == "@conditional_batch_norm":
            if not self._is_set("conditional_batch_norm.center_gain"):
                yield (
                    "the gain of conditional batch norm is centred on 1, and starts "
                    "there; compare_gan's is not. For its weights: "
                    "conditional_batch_norm.center_gain = False"
                )
        if conditional and not projected and "biggan" not in str(architecture):
            yield "D of a conditional GAN has a projection; compare_gan's had none"
        if conditional and gan == "@SSGAN":
            yield (
                "rotated fakes carry the fakes' labels; in compare_gan those of the "
                "real images"
            )
        rotates = self._value("S3GAN.self_supervision") != "none"
        if gan == "@SSGAN" or gan == "@S3GAN" and rotates:
            yield (
                "the rotation loss is computed from logits; compare_gan's "
                "log(softmax + 1e-10) has no gradient where the head is most wrong"
            )
        if self._value("z.distribution_fn") == "@normal" and (
            "eval_z.distribution_fn" not in self._known.implied
        ):
            yield (
                "scores draw z from the normal distribution, as training does; "
                "compare_gan's drew it uniformly where eval_z is not set"
            )
        if str(self._value("dataset.name")).startswith("imagenet"):
            yield (
                "the random square of an image is cut once, before training; in "
                "compare_gan anew in every epoch"
            )
        if (self._value("options.disc_iters") or 1) != 1:
            yield (
                "options.training_steps counts updates of G, whatever compare_gan's "
                "help says; there it did too"
            )
        yield (
            "G's update takes the images of D's last one, as compare_gan's does on "
            "GPUs; on TPUs it draws fresh ones"
        )


def _lines_of(defaults: dict[str, tuple[str, str]], text: str) -> str:
    """Bindings for the end of a text, each below what it does."""
    lines = ["", "# compare_gan's defaults, which are others here."]
    for key, (value, what) in defaults.items():
        lines += f"# {what[0].upper()}{what[1:]}.", f"{key} = {value}"
    eol = _Lines(text).end_of_line
    start = "" if not text or text.endswith("\n") else eol
    return start + "".join(f"{line}{eol}" for line in lines) if defaults else ""


# --- Whether it runs -----------------------------------------------------------------

_NARROW = "G.width = 8\nD.width = 8"


def check_runs(text: str, name: str) -> str:
    """Parses and plans a config, and builds its networks, narrow ones.

    Args:
        text: of the config.
        name: of its file, for errors.

    Returns:
        What it trains, in a line.

    Raises:
        ValueError: it does not run as it is.
    """
    parser.parse_texts([(text, name)])
    if re.search(r"^forgetting\.", text, re.MULTILINE):
        task = forgetting()
        return f"forgetting on {task.dataset}, {task.training_steps} steps"
    settings = plan()
    options = settings.options
    parser.parse_texts([(text, name), (_NARROW, "narrow networks")])
    gan = plan().build_gan()
    tasks = ", ".join(type(task).__name__ for task in gan.tasks) or "no further task"
    return (
        f"{settings.dataset}, {options.architecture}, {tasks}, "
        f"batch {options.batch_size}, {options.training_steps} steps"
    )


def counts(migrated: Migration) -> str:
    """How many statements became what, in a line."""
    kinds = [remark.kind for remark in migrated.remarks]
    numbers = {"kept": migrated.num_kept} | {
        kind: kinds.count(kind)
        for kind in ("renamed", "dropped", "not mapped", "to do", "added")
    }
    return ", ".join(f"{number} {kind}" for kind, number in numbers.items())
