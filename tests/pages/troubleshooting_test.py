"""The page of messages: all that the package says, and nothing else."""

import ast
import functools
import re

from paths import ROOT

PAGE = "docs/troubleshooting.md"

# A message on the page: an item of a list that is nothing but code.
ENTRY = re.compile(r"- `` (.*) ``")
TEXTS = ast.Constant | ast.JoinedStr


def assigned(node):
    """What one statement gives names to, one text or number for each."""
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
            pairs = list(zip(names, values))
        case ast.Assign(targets=[name], value=value):
            pairs = [(name, value)]
        case _:
            pairs = []
    for name, value in pairs:
        if isinstance(name, ast.Name) and isinstance(value, TEXTS):
            yield name.id, value


def constants(trees):
    """Names that stand for one text or number in all modules -> that one.

    A function that does no more than `return f"..."` is one of them.
    """
    values = {}
    for node in (node for tree in trees for node in tree.body):
        for name, value in assigned(node):
            values.setdefault(name, []).append(value)
        match node:
            case ast.FunctionDef(name=name, body=[ast.Return(ast.JoinedStr() as text)]):
                values.setdefault(name, []).append(text)
    return {name: found[0] for name, found in values.items() if len(found) == 1}


def locals_of(tree):
    """Node -> variables of the function around it -> the one text of each, or None."""
    scopes = {}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            nodes = list(ast.walk(function))
            stored = [
                node.id
                for node in nodes
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            ]
            given = [node.arg for node in nodes if isinstance(node, ast.arg)]
            texts = dict.fromkeys(stored + given)
            for name, value in (pair for node in nodes for pair in assigned(node)):
                if stored.count(name) == 1:
                    texts[name] = value
            # An inner function comes later, and wins.
            scopes |= dict.fromkeys(nodes, texts)
    return scopes


def fixed_text(node, known):
    """What a message always says; `...` stands for what it says of one occasion."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"%(\.\d+)?[sdfg]|\{\}", "...", text)
        case ast.Constant(value=int() | float() as value):
            return str(value)
        case ast.JoinedStr(values=parts):
            return "".join(fixed_text(part, known) for part in parts)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return fixed_text(left, known) + fixed_text(right, known)
        case ast.FormattedValue(value=value) if not isinstance(value, ast.BinOp):
            return fixed_text(value, known)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            # What another module calls `x.name` is ours where it is a constant of ours.
            if isinstance(node, ast.Name) or name.isupper():
                return fixed_text(known.get(name), known | {name: None})
        case ast.Call(func=ast.Name(id=name)) if isinstance(
            known.get(name), ast.JoinedStr
        ):
            return fixed_text(known[name], known | {name: None})
    return "..."


def is_message(call):
    """Whether a call makes an exception or writes a line that a user reads."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="logging"), attr="warning" | "error"):
            return True
        case ast.Attribute(value=ast.Attribute(attr="errors"), attr="append"):
            return True
        case ast.Name(id="_fail" | "_warn_once"):
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.endswith("Error")
    return False


def is_abstract(call):
    """Whether a call makes no message.

    Such as the NotImplementedError of a method that nobody calls, and what becomes a
    line of doctor's table, which has its own cures.
    """
    return getattr(call.func, "id", "") in ("NotImplementedError", "Failed")


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if isinstance(node.body[0], ast.Expr):
                yield node.body[0].value


def messages(sources):
    """The fixed texts of all messages -> a place where each is made.

    A message is what is handed to an exception, to what makes one for a `raise`, to
    the log as a warning or an error, or to the errors of a gin file; and every other
    text that says what was received.

    Args:
        sources: name of a file -> its text.
    """
    trees = {name: ast.parse(text) for name, text in sources.items()}
    shared = constants(trees.values())
    found = {}
    for name, tree in trees.items():
        scopes = locals_of(tree)
        # Its own constants hide those of other modules.
        own = shared | constants([tree])
        seen = {part for text in docstrings(tree) for part in ast.walk(text)}

        def add(said):
            known = own | scopes.get(said, {})
            text = " ".join(fixed_text(said, known).split())
            if re.search("[a-z]", text):
                found.setdefault(text, f"{name}:{said.lineno}")
            seen.update(ast.walk(said))

        nodes = list(ast.walk(tree))
        raised = {node.exc for node in nodes if isinstance(node, ast.Raise)}
        for node in nodes:
            if isinstance(node, ast.Call) and not is_abstract(node):
                if node in raised or is_message(node):
                    is_logged = getattr(node.func, "attr", "") in ("warning", "error")
                    for said in node.args[:1] if is_logged else node.args:
                        add(said)
        for node in nodes:
            if isinstance(node, TEXTS) and node not in seen:
                if " Received: " in fixed_text(node, {}):
                    add(node)
    return found


def sources():
    """Name of a file -> its text, of all that may say something to a user."""
    paths = [*ROOT.glob("ssgan_tf/**/*.py"), *ROOT.glob("export/*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


@functools.cache
def said_now():
    return messages(sources())


def page():
    return (ROOT / PAGE).read_text()


def entries(text):
    return [match[1] for line in text.splitlines() if (match := ENTRY.fullmatch(line))]


def differences(said, listed):
    """What there is to do to the page, a line for each entry.

    Args:
        said: message -> where it is made.
        listed: the messages on the page.
    """
    return [
        *(f"add: - `` {t} ``  ({said[t]})" for t in sorted(said.keys() - set(listed))),
        *(f"remove: - `` {t} ``" for t in sorted(set(listed) - said.keys())),
        *(f"listed twice: {t}" for t in sorted(set(listed)) if listed.count(t) > 1),
    ]


def test_the_page_has_every_message_and_no_other():
    problems = differences(said_now(), entries(page()))
    assert not problems, "\n".join(["", PAGE, *problems])


def test_a_changed_word_is_found():
    files = sources()
    name = "ssgan_tf/latents.py"
    files[name] = files[name].replace("must be positive.", "should be positive.")
    lost, new = (
        f"`z_dim` {word} be positive. Received: z_dim=.... The paper takes 128."
        for word in ("must", "should")
    )
    added, removed = differences(messages(files), list(said_now()))
    assert added.startswith(f"add: - `` {new} ``  ({name}:")
    assert removed == f"remove: - `` {lost} ``"


def test_a_missing_entry_is_found():
    for text, place in said_now().items():
        others = [other for other in said_now() if other != text]
        assert differences(said_now(), others) == [f"add: - `` {text} ``  ({place})"]


def test_an_entry_that_is_there_twice_is_found():
    assert differences({"a": "file:1"}, ["a", "a"]) == ["listed twice: a"]


SOURCE = '''
LEAST, NAME = 3, "size"
_CURE = "Take more."


def received(value):
    return f"Received: {NAME}={value}."


class Diverged(ValueError):
    """Not a message. Received: no."""


def check(value, rule, path):
    found = f"Received: {NAME}={value!r}"
    if value < LEAST:
        raise ValueError(f"At least {LEAST} are needed. {found}. {_CURE}")
    if value > 2 * LEAST:
        raise Diverged(f"{rule} must hold. {received(value)} Take {value - 1}.")
    if not path:
        raise _damaged(path, "no such path")
    logging.warning("%s has %d of %.1f", path, value, LEAST)
    logging.info("said in passing: %s", path)
    errors.append("no message")
    self.errors.append("line 1: " + path)
    if value:
        return OSError(f"no value ({LEAST:d})")
    said = f"Give one. Received: {value}"
    raise NotImplementedError("Later.")


def shadowed(_CURE):
    raise app.UsageError(f"Here {_CURE} is another.")


def again():
    raise
'''


def test_messages_are_collected():
    assert set(messages({"a.py": SOURCE})) == {
        "At least 3 are needed. Received: size=.... Take more.",
        "... must hold. Received: size=.... Take ....",
        "no such path",
        "... has ... of ...",
        "line 1: ...",
        "no value (3)",
        "Give one. Received: ...",
        "Here ... is another.",
    }


def test_every_list_of_messages_has_its_cure():
    blocks = page().split("\n\n")
    for block, cure in zip(blocks, [*blocks[1:], ""]):
        if entries(block):
            assert all(ENTRY.fullmatch(line) for line in block.splitlines()), block
            assert cure and not cure.startswith(("- ", "#")), block


def test_the_contents_name_every_part():
    contents = re.findall(r"\[([^]]+)\]\(#[\w-]+\)", page().split("\n## ")[0])
    assert contents == re.findall(r"^## (.*)$", page(), re.MULTILINE)
