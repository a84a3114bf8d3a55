"""The paper's tables and figures as studies: their runs at three scales.

Chen et al., 2019, https://arxiv.org/abs/1811.11212. At full scale the shipped configs
are run unchanged. At small scale the runs are sized for a CPU, on CIFAR images. At tiny
scale they take seconds, and their numbers are meaningless.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from ssgan_tf.experiments import paper
from ssgan_tf.experiments.jobs import Job, command
from ssgan_tf.experiments.results import (
    PROBE,
    PROBE_END,
    PROBE_PEAK,
    Measurement,
    Study,
)

# Names of runs, and of the configs of GANs, by the data set.
_STEMS = {
    paper.UNCOND: "uncond_{}",
    paper.COND: "cond_{}",
    paper.ROTATION_ONLY: "rotation_only_{}",
    paper.SSGAN: "ssgan_{}",
    paper.SSGAN_SBN: "ssgan_sbn_{}",
    paper.PLAIN: "forgetting_{}-plain",
    paper.WITH_ROTATION: "forgetting_{}-rotation",
}

# --- Scales --------------------------------------------------------------------


class _Runs(NamedTuple):
    """The size of the runs of a GAN on one data set.

    Attributes:
        steps: generator steps.
        scored: steps between two scores; 0: every checkpoint.
        bindings: bindings over the configs.
    """

    steps: int
    scored: int
    bindings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Scale:
    """The size of the runs.

    Attributes:
        name: str.
        data: the paper's data set -> the data set that replaces it.
        row: row of table2.sweep, in studies with one row.
        runs: the runs of GANs, by data set of ours.
        probed: steps between two probes of Figure 2.
        differences: differences from the paper in all studies.
        forgetting: bindings of Figure 3.
        forgetting_steps: updates in Figure 3.
    """

    name: str
    data: dict[str, str]
    row: str
    runs: dict[str, _Runs]
    probed: int
    differences: str
    forgetting: tuple[str, ...] = ()
    forgetting_steps: int = 20_000


_SMALL = (
    "G.width=64",
    "D.width=32",
    "options.training_steps=12000",
    "run_config.save_checkpoints_steps=1000",
    "run_config.keep_checkpoint_max=20",
)
_TINY = (
    "G.width=8",
    "D.width=8",
    "options.batch_size=16",
    "options.training_steps=8",
    "run_config.iterations_per_loop=4",
    "run_config.save_checkpoints_steps=4",
    "run_config.save_summary_steps=4",
)
# Checkpoints to score and probe must survive interruptions of the run.
_KEEP = "run_config.keep_checkpoint_every_steps"
_FULL_SCALE = Scale(
    name="full",
    data={name: name for name in paper.TABLE1},
    # The row that the configs have by themselves.
    row="sn_0_0.9_2",
    runs={
        # Every step at which numbers of the paper's Figure 4 are known.
        "cifar10": _Runs(100_000, 10_000, (f"{_KEEP}=10000",)),
        "imagenet128": _Runs(1_000_000, 100_000, (f"{_KEEP}=100000",)),
        "lsun_bedroom": _Runs(100_000, 100_000),
        "celeb_a_hq": _Runs(100_000, 100_000),
    },
    probed=100_000,
    differences="Batch size, learning rate and rotated_batch_size are inferred, as the "
    "headers of the configs say.",
)
_SMALL_SCALE = Scale(
    name="small",
    data={"cifar10": "cifar10", "imagenet128": "cifar100"},
    row="sn_0_0.9_1",
    runs=dict.fromkeys(("cifar10", "cifar100"), _Runs(12_000, 1000, _SMALL)),
    probed=2000,
    differences="G has 64 channels instead of 256, D and the classifier of Figure 3 "
    "have 32 instead of 128, and GANs take 12,000 steps instead of 100,000.",
    forgetting=("D.width=32",),
)
_TINY_SCALE = Scale(
    name="tiny",
    data={"cifar10": "digits32"},
    row="sn_0_0.9_1",
    runs={"digits32": _Runs(8, 0, _TINY)},
    probed=4,
    differences="The numbers mean nothing: a handful of steps of networks of 8 "
    "channels on handwritten digits, to try the machinery.",
    forgetting=(
        'dataset.name="digits32"',
        "D.width=8",
        "forgetting.batch_size=16",
        "forgetting.training_steps=200",
        "forgetting.steps_per_task=10",
        "forgetting.eval_every_steps=5",
    ),
    forgetting_steps=200,
)
SCALES = {scale.name: scale for scale in (_FULL_SCALE, _SMALL_SCALE, _TINY_SCALE)}

# --- The paper's numbers -------------------------------------------------------


class _Cell(NamedTuple):
    """A method on a data set.

    Attributes:
        data: str. The paper's data set.
        arm: str. The method.
        numbers: the fields of a `Measurement` for each number of the paper.
        row: str. Row of table2.sweep; None for the row of the scale.
    """

    data: str
    arm: str
    numbers: list[dict]
    row: str | None = None


class _Recipe(NamedTuple):
    """A table or figure of the paper.

    Attributes:
        title, source: as in `Study`.
        cells: in order.
        differences: differences from the paper, besides those of the scale. {row}
            stands for the row of the scale.
    """

    title: str
    source: str
    cells: list[_Cell]
    differences: tuple[str, ...] = ()


def _number(metric: str, number: str, **fields) -> dict:
    return {"metric": metric, "paper": number} | fields


def _on_blocks(data: str, table: dict[str, Sequence[str]]) -> _Recipe:
    return _Recipe(
        "top-1 accuracy of a linear classifier on each block of D",
        "probe",
        [
            _Cell(
                data, arm, [_number(PROBE, n, block=i) for i, n in enumerate(numbers)]
            )
            for arm, numbers in table.items()
        ],
        ("The recipe of the paper's classifier is not given; docs/probe.md has ours.",),
    )


_READ_OFF = "The paper's values are read off a plot by eye."
STUDIES = {
    "table1": _Recipe(
        "the best FID of each data set and method",
        "scores",
        [
            _Cell(data, arm, [_number("fid", number)])
            for data, numbers in paper.TABLE1.items()
            for arm, number in numbers.items()
        ],
        (
            "The paper does not give the settings of Table 1: here the data sets of "
            "Table 2 have those of its row {row}.",
        ),
    ),
    "table2": _Recipe(
        "FID under nine settings of regularizer, Adam and D's steps",
        "scores",
        [
            _Cell(data, arm, [_number("fid", number)], row)
            for data, rows in paper.TABLE2.items()
            for row, numbers in rows.items()
            for arm, number in zip((paper.UNCOND, paper.SSGAN), numbers, strict=True)
        ],
    ),
    "table3": _on_blocks("cifar10", paper.TABLE3),
    "table4": _on_blocks("imagenet128", paper.TABLE4),
    "figure2": _Recipe(
        "accuracy of a linear classifier on D's last block, over training",
        "last_block",
        [
            _Cell(
                "imagenet128",
                arm,
                [_number(PROBE_PEAK, peak), _number(PROBE_END, end)],
            )
            for arm, (peak, end) in paper.FIGURE2.items()
        ],
        (_READ_OFF,),
    ),
    "figure3": _Recipe(
        "a classifier whose task changes, with and without rotation loss",
        "forgetting",
        [
            _Cell("cifar10", arm, [_number(*number) for number in numbers.items()])
            for arm, numbers in paper.FIGURE3.items()
        ],
        (
            "The paper does not give network, optimizer and sampling of the rest.",
            _READ_OFF,
        ),
    ),
    "figure4": _Recipe(
        "FID over steps",
        "scores",
        [
            _Cell("cifar10", arm, [_number("fid", n, step=s) for s, n in fids.items()])
            for arm, fids in paper.FIGURE4.items()
        ],
        (_READ_OFF,),
    ),
}

# --- Runs ----------------------------------------------------------------------


def study(
    name: str, scale: str, seeds: Sequence[int], inception_path: str | None = None
) -> Study:
    """One of the paper's tables or figures.

    Args:
        name: a key of `STUDIES`.
        scale: a key of `SCALES`.
        seeds: seeds of the runs.
        inception_path: folder of the Inception network; None: scores without Inception,
            as `ssgan train` computes them.
    """
    recipe, size = STUDIES[name], SCALES[scale]
    cells = [cell for cell in recipe.cells if cell.data in size.data] or recipe.cells
    jobs, numbers, replaced = [], [], {}
    for cell in cells:
        data = size.data.get(cell.data, size.data["cifar10"])
        if name == "figure2" and scale != "full":
            # Its runs are those of Table 3.
            data = size.data["cifar10"]
        replaced[cell.data] = data
        options = {"source": recipe.source, "inception_path": inception_path}
        of_cell = [_job(size, cell, data, seed=seed, **options) for seed in seeds]
        jobs += of_cell
        numbers += [
            Measurement(
                experiment=name,
                scale=scale,
                dataset=data,
                row=of_cell[0].row,
                arm=cell.arm,
                **fields,
            )
            for fields in cell.numbers
        ]
    flags = [f"--scale={scale}", f"--seeds={','.join(map(str, seeds))}"]
    if inception_path:
        flags.append(f"--inception_path={inception_path}")
    left_out = dict.fromkeys(cell.data for cell in recipe.cells if cell not in cells)
    return Study(
        name=name,
        scale=scale,
        title=recipe.title,
        command=shlex.join(["ssgan", "reproduce", name, *flags]),
        jobs=tuple(jobs),
        source=recipe.source,
        paper=tuple(numbers),
        differences=(
            size.differences,
            *(
                f"{ours} replaces {data}: its numbers are not comparable with those of "
                f"{data}."
                for data, ours in replaced.items()
                if ours != data
            ),
            *([f"Left out at this scale: {', '.join(left_out)}."] if left_out else ()),
            *(text.format(row=size.row) for text in recipe.differences),
        ),
    )


def config_flags(files: Sequence[str], bindings: Sequence[str]) -> tuple[str, ...]:
    """Config files and bindings as flags of a command."""
    return (
        *(f"--gin_config={name}" for name in files),
        *(f"--gin_bindings={line}" for line in bindings),
    )


def _job(
    size: Scale,
    cell: _Cell,
    data: str,
    *,
    seed: int,
    source: str,
    inception_path: str | None,
) -> Job:
    """The job of one run.

    A run is the same in all studies, but for the steps that are probed.
    """
    stem = _STEMS[cell.arm].format(data)
    if source == "forgetting":
        row, steps, is_plain = "", size.forgetting_steps, cell.arm == paper.PLAIN
        bindings = ["forgetting.weight_rotation_loss=0"] * is_plain
        bindings += [*size.forgetting, f"forgetting.seed={seed}"]
        config = config_flags(["forgetting_cifar10.gin"], bindings)
        commands = [command("forget", *config)]
    else:
        base = data if data in paper.TABLE1 else "cifar10"
        row = (cell.row or size.row) if base in paper.TABLE2 else ""
        steps = size.runs[data].steps
        config = _gan_config(size, cell.arm, data, base=base, row=row, seed=seed)
        scoring = _scoring(size, cell.arm, data, inception_path)
        probed = {
            "probe": [steps],
            "last_block": range(size.probed, steps + 1, size.probed),
        }
        commands = [command("train", *config, *scoring)]
        commands += [command("probe", f"--step={at}") for at in probed.get(source, [])]
    return Job(
        name="-".join(filter(None, (f"{size.name}/{stem}", row, f"seed{seed}"))),
        commands=tuple(commands),
        dataset=data,
        row=row,
        arm=cell.arm,
        seed=seed,
        steps=steps,
        config=shlex.join(config),
    )


def _gan_config(
    size: Scale, arm: str, data: str, *, base: str, row: str, seed: int
) -> tuple[str, ...]:
    bindings = [*size.runs[data].bindings]
    if base != data:
        bindings.append(f'dataset.name="{data}"')
    bindings.append(f"run_config.seed={seed}")
    file = f"{_STEMS[arm].format(base)}.gin"
    if (arm, base) == (paper.ROTATION_ONLY, "imagenet128"):
        file = "ssgan_imagenet128.gin"
        bindings.insert(0, 'SSGAN.self_supervision="rotation_only"')
    return config_flags([file, f"table2.sweep#{row}"] if row else [file], bindings)


def _scoring(
    size: Scale, arm: str, data: str, inception_path: str | None
) -> tuple[str, ...]:
    """The flags of `ssgan train` for the scores of a run."""
    if arm == paper.ROTATION_ONLY:
        # Its images are not scored in the paper.
        return ("--schedule=train",)
    return (
        "--schedule=eval_after_train",
        "--metrics=fid",
        # The spread that counts is the one over runs.
        "--num_eval_averaging_runs=1",
        f"--eval_every_steps={size.runs[data].scored}",
        *([f"--inception_path={inception_path}"] if inception_path else ()),
    )
