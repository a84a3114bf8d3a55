"""Sweeps: all combinations of some parameter values, as jobs."""

import contextlib
import hashlib
import itertools
import pathlib
import re
import shlex
from collections.abc import Sequence

from ssgan_tf.experiments.jobs import Job, command
from ssgan_tf.experiments.recipes import config_flags
from ssgan_tf.experiments.results import Study

_LONGEST_NAME = 120
# Further flags follow: the last one of a repeated flag counts.
_SCORING = (
    "--schedule=eval_after_train",
    "--metrics=fid",
    "--num_eval_averaging_runs=1",
)


def parse_grid(text: str) -> tuple[str, list[str]]:
    """Parses `parameter=[value, value]`, or the same without brackets.

    Returns:
        The parameter, and the values as gin text.

    Raises:
        ValueError: there is no parameter, or one with a scope; a value is not legal
            gin, or equals another one.
    """
    # TensorFlow takes seconds to import.
    from ssgan_tf import config

    name, _, values = (part.strip() for part in text.partition("="))
    with contextlib.suppress(config.ConfigError):
        if isinstance(config.parse_value(values), list):
            values = values[1:-1]
    texts, parsed, start = [], [], ""
    for part in values.split(","):
        try:
            value = config.parse_value(start + part)
        except config.ConfigError:
            # The comma is within a value.
            start += f"{part},"
            continue
        texts.append((start + part).strip())
        parsed.append(value)
        start = ""
    pairs = itertools.combinations(parsed, 2)
    is_repeated = any(one == other or repr(one) == repr(other) for one, other in pairs)
    if not name or not texts or start or is_repeated:
        raise ValueError(
            "`--grid` must be a parameter and its values, all different, such as "
            f"options.disc_iters=1,2. Received: --grid={text}. Write text in quotes, "
            "as in gin, and close brackets."
        )
    if "/" in name:
        raise ValueError(
            "`--grid` must name a parameter without a scope, which may have no effect. "
            f"Received: --grid={text}. Leave the scope out."
        )
    return name, texts


def sweep(
    files: Sequence[str],
    bindings: Sequence[str],
    grid: Sequence[str],
    *,
    seeds: Sequence[int],
    score: Sequence[str],
) -> Study:
    """Makes jobs of all combinations of the values of a grid, each with every seed.

    Each combination is parsed and its networks are built, so that errors show before
    the first run.

    Args:
        files: config files, as `--gin_config`.
        bindings: bindings of all runs, as `--gin_bindings`.
        grid: one text for each parameter, as `parse_grid` takes it.
        seeds: seeds of the runs.
        score: flags of `ssgan train` for scoring.

    Raises:
        ValueError: a text is no grid, a parameter has two, or a combination is no
            usable config; the message names it.
    """
    from ssgan_tf.config.compare_gan_names import ALIASES

    axes = dict(map(parse_grid, grid))
    if len(axes) < len(grid) or "run_config.seed" in [
        ALIASES.get(name, name) for name in axes
    ]:
        raise ValueError(
            "Each `--grid` must have a parameter of its own, and not run_config.seed, "
            f"which `--seeds` sets. Received: {', '.join(grid)}. Put all values of a "
            "parameter into one `--grid`."
        )
    stem = "-".join(name.partition("#")[2] or pathlib.Path(name).stem for name in files)
    jobs = []
    for values in itertools.product(*axes.values()):
        combination = list(map("=".join, zip(axes, values, strict=True)))
        plan = _checked(files, bindings, combination)
        for seed in seeds:
            lines = [*bindings, *combination, f"run_config.seed={seed}"]
            flags = config_flags(files, lines)
            jobs.append(
                Job(
                    name=f"{stem}-{file_name(combination)}-seed{seed}",
                    commands=(command("train", *flags, *_SCORING, *score),),
                    dataset=plan.dataset,
                    row=", ".join(combination),
                    seed=seed,
                    steps=plan.options.training_steps,
                    config=shlex.join(flags),
                )
            )
    grids = [f"--grid={text}" for text in grid]
    flags = [*config_flags(files, bindings), *grids, f"--seeds={len(seeds)}", *score]
    return Study(
        name="sweep",
        scale="",
        title=" x ".join(axes),
        command=shlex.join(["ssgan", "sweep", *flags]),
        jobs=tuple(jobs),
        source="scores",
    )


def _checked(files, bindings, combination):
    """The plan of a combination."""
    from ssgan_tf import config

    try:
        config.parse(files, [*bindings, *combination])
        plan = config.plan()
        plan.build_gan().check_batch(plan.options.batch_size, plan.options.accumulate)
    except ValueError as error:
        raise ValueError(f"With {', '.join(combination)}: {error}") from error
    return plan


def file_name(combination: Sequence[str]) -> str:
    """A combination as part of a file name; different combinations differ."""
    parts = [re.sub(r"[^\w.=-]+", "_", line) for line in combination]
    # No part has a plus.
    name = "+".join(parts)
    if parts == list(combination) and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(", ".join(combination).encode()).hexdigest()
    return f"{name[:_LONGEST_NAME]}-{digest[:8]}"
