"""Mutated gin files: refused with a message, or read as their lines are."""

import ast
import collections
import pathlib
import re

import gin
import numpy as np
import pytest

from ssgan_tf import config
from ssgan_tf.config import checks, gan, networks

# Configs of GANs.
FILES = sorted(
    path for path in config.config_dir().glob("*.gin") if "options." in path.read_text()
)
VALUES = (
    "-1",
    "0",
    "64.0",
    "1e999",
    "-1e999",
    "nan",
    "1" * 40,
    "9" * 5000,
    "0x" + "f" * 5000,
    "'64'",
    '"',
    "None",
    "True",
    "[]",
    "{}",
    "{[1]: 2}",
    "(1, [2])",
    "1j",
    "b'x'",
    "[" * 90 + "]" * 90,
    "[" * 3000 + "]" * 3000,
    "(" * 50 + "1" + ")" * 50,
    "'" + "x" * 100_000 + "'",
    "'\\x00'",
    "'\\ud800'",
    "__import__('os').abort()",
    "@__import__('os').abort()",
    "lambda: 1",
    "1 + 1",
    "- -1",
    "@hinge()",
    "@adam",
    "@adam()",
    "@options()",
    "@x/macro()",
    "@gin.singleton()",
    "@nothing",
    "%nothing",
    "%gin.REQUIRED",
    "[@wasserstein, {'a': @hinge()}]",
)
LINES = (
    b"import ssgan_tf.layrs",
    b"import .os",
    b"from os import nothing",
    b"from __gin__ import nothing",
    b"import",
    b"include 'nothing.gin'",
    b"include ''",
    b"include '" + b"x" * 5000 + b"'",
    b"include 3",
    b"a/b/c/options.batch_size",
    b"%x = 3",
    b"options",
    b"options = 3",
    b"options.batch_size += 3",
    b"options.batch_size = 3 = 4",
    b"a" * 100_000,
    b"a/" * 5000 + b"a = 3",
    b"z.distribution_fn = @" + b"a." * 3000 + b"normal",
    b"S3GAN.project_y = {[1]: 2}",
    b"\\",
    b"'''",
    b"\x0c options.z_dim =",
    "٣ = 3".encode(),
    b"if.x = 3",
)
PIECES = [
    bytes([byte]) for byte in b"\"'()[]{}@%#=:./\\\n\r\t\0-$?!*,;`~ 019eE_\x1a\xff"
]
PIECES += ["é".encode(), "“".encode(), b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"""', b"()"]


def lines_of(data: bytes) -> tuple[list[bytes], list[int]]:
    """Lines, and which of them bind a parameter."""
    lines = data.split(b"\n")
    return lines, [i for i, line in enumerate(lines) if re.match(rb"[\w.]+ = ", line)]


def delete(data, rng):
    start = rng.integers(len(data))
    return data[:start] + data[start + rng.integers(1, 9) :]


def duplicate(data, rng):
    start = rng.integers(len(data))
    end = start + rng.integers(1, 9)
    return data[:end] + data[start:]


def reverse(data, rng):
    start = rng.integers(len(data))
    end = start + rng.integers(2, 9)
    return data[:start] + data[start:end][::-1] + data[end:]


def insert(data, rng):
    place = rng.integers(len(data))
    return data[:place] + PIECES[rng.integers(len(PIECES))] + data[place:]


def replace(data, rng):
    place = rng.integers(len(data))
    return data[:place] + PIECES[rng.integers(len(PIECES))] + data[place + 1 :]


def flip(data, rng):
    changed = bytearray(data)
    changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(changed)


def noise(data, rng):
    place = rng.integers(len(data))
    return data[:place] + rng.bytes(4) + data[place:]


def truncate(data, rng):
    return data[: rng.integers(len(data))]


def swap_lines(data, rng):
    lines, _ = lines_of(data)
    i, j = rng.integers(len(lines), size=2)
    lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def drop_line(data, rng):
    lines, bindings = lines_of(data)
    del lines[rng.choice(bindings)]
    return b"\n".join(lines)


def cut_line(data, rng):
    lines, bindings = lines_of(data)
    i = rng.choice(bindings)
    lines[i] = lines[i][: rng.integers(len(lines[i]))]
    return b"\n".join(lines)


def unquote(data, rng):
    places = [match.start() for match in re.finditer(b'"', data)]
    place = rng.choice(places)
    return data[:place] + data[place + 1 :]


def other_value(data, rng):
    lines, bindings = lines_of(data)
    i = rng.choice(bindings)
    key = lines[i].partition(b" = ")[0]
    lines[i] = key + b" = " + VALUES[rng.integers(len(VALUES))].encode()
    return b"\n".join(lines)


def other_number(data, rng):
    numbers = list(re.finditer(rb"(?<= = )[\d.e-]+$", data, re.MULTILINE))
    match = numbers[rng.integers(len(numbers))]
    number = rng.choice([b"-7", b"7", b"1.5", b"1e30", b"1e300", b"'7'", b"7_0", b"07"])
    return data[: match.start()] + number + data[match.end() :]


def wrong_line(data, rng):
    lines, _ = lines_of(data)
    lines.insert(rng.integers(len(lines)), LINES[rng.integers(len(LINES))])
    return b"\n".join(lines)


MUTATIONS = (
    delete,
    duplicate,
    reverse,
    insert,
    replace,
    flip,
    noise,
    truncate,
    swap_lines,
    drop_line,
    cut_line,
    unquote,
    other_value,
    other_value,
    other_number,
    wrong_line,
)


def read(file) -> tuple[config.Plan, str]:
    """The plan of a gin file, after cheap checks, and its bindings."""
    config.parse([str(file)])
    plan = config.plan()
    with checks.config_errors():
        for factory in (
            networks.weights,
            networks.spectral_norm,
            networks.standardize_batch,
            gan.loss,
            gan.penalty,
            gan.augmentation,
        ):
            factory()
        gan.z(plan.options.z_dim)
        gan.adam(0.1)
    return plan, gin.config_str()


def literals(text: str) -> dict[str, object]:
    """Key -> value of the lines that bind a literal, read without gin."""
    values = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"(\w+\.\w+) = ([^#@%]+?)\s*(#.*)?", line):
            values[match[1]] = ast.literal_eval(match[2])
    return values


def test_mutated_files(tmp_path):
    expected = {file: read(file) for file in FILES}
    outcomes = collections.defaultdict(collections.Counter)
    mutated = tmp_path / "mutated.gin"
    for seed in range(200):
        rng = np.random.default_rng(seed)
        file = FILES[seed % len(FILES)]
        mutation = MUTATIONS[seed % len(MUTATIONS)]
        data = mutation(file.read_bytes(), rng)
        mutated.write_bytes(data)
        try:
            result = read(mutated)
        except config.ConfigError as error:
            message = str(error)
            assert str(mutated) in message or "Received: " in message, (seed, message)
            assert max(map(len, message.splitlines())) < 2000, seed
            assert "Traceback" not in message and "<ast." not in message, message
            outcomes["refused"][mutation] += 1
            continue
        values = literals(mutated.read_text(encoding="utf-8"))
        assert {key: gin.query_parameter(key) for key in values} == values, seed
        same = result == expected[file]
        # No mutation writes the same value in another way.
        assert not same or values.items() <= literals(file.read_text()).items(), seed
        outcomes["same" if same else "another"][mutation] += 1
    for outcome, least in (("refused", 90), ("same", 20), ("another", 20)):
        assert sum(outcomes[outcome].values()) >= least
    assert set().union(*outcomes.values()) == set(MUTATIONS)


LONG = "x" * 5000


@pytest.mark.parametrize(
    "text, place, words",
    [
        ("z.distribution_fn = {[1]: 2}", 1, "unhashable"),
        ("\n\noptions.lamba = " + "[" * 3000 + "]" * 3000, 1, "recursion"),
        ("options.lamba = {1: " * 30 + "1" + "}" * 30, 1, "is no value"),
        ("options.seed = 0x" + "f" * 5000, 1, "4300 digits"),
        ("'''", 1, "EOF in multi-line"),
        ("include '" + LONG + "'", 1, "must be a file"),
        ("dataset.name = cifar10", 1, "cifar10 is no value: text needs quotes"),
        ("options.z_dim = @" + LONG, 1, "No configurable matching"),
        ("import ssgan_tf.layrs", 1, "No module named"),
        ("dataset.name = __import__('os').abort()", 1, "__import__ is no value"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path, text, place, words):
    file = tmp_path / "wrong.gin"
    file.write_text(text)
    with pytest.raises(config.ConfigError) as caught:
        config.parse([str(file)])
    (error,) = str(caught.value).splitlines()[1:]
    assert error.startswith(f"  {file}:{place}: ") and words in error
    assert len(error) < 2000


def test_a_disk_that_fails(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pathlib.Path, "open", fail)
    with pytest.raises(config.ConfigError, match="start.gin .*Input/"):
        config.parse(["quickstart.gin"])


@pytest.mark.parametrize(
    "bindings, words",
    [
        (["options.lamba = @x/macro()"], "'value'. Leave the parentheses out"),
        (["options.batch_size = @adam()"], "adam() missing 1 required"),
        (["dataset.name = @dataset()"], "must not lead back to themselves"),
        (["a = %b", "b = %a", "options.z_dim = %a"], "must not lead back"),
        (["options.batch_size = 9223372036854775808"], "below 2**63"),
        (["options.lamba = 1e39"], "in [0, 1.70141e+38)"),
        (["dataset.label_fraction = '" + LONG + "'"], "xxx ... xxx"),
    ],
)
def test_values_that_cannot_be_made(bindings, words):
    config.parse(["quickstart.gin"], bindings)
    with pytest.raises(config.ConfigError) as caught:
        plan = config.plan()
        plan.build_gan()
    assert words in str(caught.value) and "Received: " in str(caught.value)
    assert len(str(caught.value)) < 2000
