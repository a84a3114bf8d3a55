"""Products of values of a config's parameters, as jobs."""

import ast
import hashlib
import itertools
import pathlib
import re
import shlex
from collections.abc import Sequence

from ssgan_tf.experiments.jobs import Job, command
from ssgan_tf.experiments.results import Study

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_LONGEST_NAME = 120


def parse_grid(text: str) -> tuple[str, list[str]]:
    """A parameter and its values, from `parameter=value,value`.

    Commas inside brackets and quotes separate nothing.

    Raises:
        ValueError: there is no parameter, or one with a scope; a value is empty, equals
            another one, or has a bracket or quote without its end.
    """
    name, equals, rest = text.partition("=")
    values = [value.strip() for value in _split(rest)]
    is_grid = name.strip() and equals and values and all(values)
    if not is_grid or _has_equal(list(map(_constant, values))):
        raise ValueError(
            "`--grid` must be a parameter and its values, all different, such as "
            f"options.disc_iters=1,2. Received: --grid={text}. Write text in quotes, "
            "as in gin, and close brackets."
        )
    if "/" in name:
        raise ValueError(
            "`--grid` must name a parameter without a scope, as its values would move "
            f"nothing where that is not used. Received: --grid={text}. Leave the scope "
            "out."
        )
    return name.strip(), values


def _constant(text: str):
    """A value as Python has it, so that 1 is 1.0; a reference or macro as its text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _has_equal(values: Sequence) -> bool:
    # Lists have no hash.
    return any(value in values[:place] for place, value in enumerate(values))


def _split(text: str) -> list[str]:
    """Cut at the commas outside brackets and quotes; empty where one is not closed."""
    parts, open_ones, quote = [""], [], None
    escaped = False
    for character in text:
        if quote:
            if character == quote and not escaped:
                quote = None
            escaped = character == "\\" and not escaped
        elif character in "\"'":
            quote = character
        elif character in _BRACKETS:
            open_ones.append(_BRACKETS[character])
        elif open_ones and character == open_ones[-1]:
            open_ones.pop()
        elif character == "," and not open_ones:
            parts.append("")
            continue
        parts[-1] += character
    return [] if quote or open_ones else parts


def sweep(
    files: Sequence[str],
    bindings: Sequence[str],
    grid: Sequence[str],
    seeds: Sequence[int],
    score: Sequence[str],
) -> Study:
    """All combinations of the values of a grid, each with every seed.

    Each combination is parsed and its networks are built, so that what cannot be used
    shows before anything runs.

    Args:
        files: of the config, as `--gin_config` takes them.
        bindings: of all runs.
        grid: one text for each parameter, as `parse_grid` takes it.
        seeds: of the trainings.
        score: flags of `ssgan train` that say how to score.

    Raises:
        ValueError: a text is no grid, a parameter is there twice, or a combination is
            no config that can be run; the message says which.
    """
    # TensorFlow takes seconds to import.
    from ssgan_tf.config.compare_gan_names import ALIASES

    axes = dict(map(parse_grid, grid))
    if len(axes) < len(grid):
        raise ValueError(
            "Each `--grid` must have a parameter of its own. Received: "
            f"{', '.join(grid)}. Put all values into one."
        )
    if "run_config.seed" in [ALIASES.get(name, name) for name in axes]:
        raise ValueError(
            "`--seeds` says which seeds there are. Received: --grid with "
            "run_config.seed. Leave it out."
        )
    combinations = [
        [f"{name}={value}" for name, value in zip(axes, values, strict=True)]
        for values in itertools.product(*axes.values())
    ]
    plans = [_checked(files, bindings, each) for each in combinations]
    stem = "-".join(name.partition("#")[2] or pathlib.Path(name).stem for name in files)
    jobs = []
    for combination, plan in zip(combinations, plans, strict=True):
        for seed in seeds:
            lines = [*bindings, *combination, f"run_config.seed={seed}"]
            config = (
                *(f"--gin_config={name}" for name in files),
                *(f"--gin_bindings={line}" for line in lines),
            )
            flags = (
                "--schedule=eval_after_train",
                "--metrics=fid",
                "--num_eval_averaging_runs=1",
                # Of a flag that is given twice the last one counts.
                *score,
            )
            jobs.append(
                Job(
                    name=f"{stem}-{_file_name(combination)}-seed{seed}",
                    commands=(command("train", *config, *flags),),
                    dataset=plan.dataset,
                    row=", ".join(combination),
                    seed=seed,
                    steps=plan.options.training_steps,
                    config=shlex.join(config),
                )
            )
    shown = [f"--gin_config={name}" for name in files]
    shown += [f"--gin_bindings={line}" for line in bindings]
    shown += [f"--grid={text}" for text in grid]
    shown += [f"--seeds={len(seeds)}", *score]
    return Study(
        name="sweep",
        scale="",
        title=" x ".join(axes),
        command=shlex.join(["ssgan", "sweep", *shown]),
        jobs=tuple(jobs),
        source="scores",
    )


def _checked(files, bindings, combination):
    from ssgan_tf import config

    try:
        config.parse(files, [*bindings, *combination])
        plan = config.plan()
        pieces = plan.options.accumulate
        for task in plan.build_gan().tasks:
            task.check(plan.options.batch_size // pieces, pieces)
    except ValueError as error:
        raise ValueError(f"With {', '.join(combination)}: {error}") from error
    return plan


def _file_name(combination: Sequence[str]) -> str:
    """A combination as part of a file's name; another one gets another name."""
    parts = [re.sub(r"[^\w.=-]+", "_", line) for line in combination]
    # No part has a plus.
    name = "+".join(parts)
    if parts == list(combination) and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(", ".join(combination).encode()).hexdigest()
    return f"{name[:_LONGEST_NAME]}-{digest[:8]}"
