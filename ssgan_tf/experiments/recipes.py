"""The paper's tables and figures as studies: their runs at three scales.

Chen et al., 2019, https://arxiv.org/abs/1811.11212. At full scale the shipped configs
are run unchanged. At small scale the runs are sized for a CPU, on CIFAR images. At tiny
scale they take seconds, and their numbers are meaningless.
"""

import dataclasses
import shlex
from collections.abc import Sequence

from ssgan_tf.experiments import results
from ssgan_tf.experiments.jobs import Job, command
from ssgan_tf.experiments.paper import (
    COND,
    FIGURE2,
    FIGURE3,
    FIGURE4,
    PLAIN,
    ROTATION_ONLY,
    SSGAN,
    SSGAN_SBN,
    TABLE1,
    TABLE2,
    TABLE3,
    TABLE4,
    UNCOND,
    WITH_ROTATION,
)
from ssgan_tf.experiments.results import Measurement, Study

_FILES = {
    UNCOND: "uncond",
    COND: "cond",
    ROTATION_ONLY: "rotation_only",
    SSGAN: "ssgan",
    SSGAN_SBN: "ssgan_sbn",
}

# --- Scales --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Scale:
    """The size of the runs.

    Attributes:
        data: the paper's data set -> the data set that replaces it.
        row: row of table2.sweep, in studies with one row.
        bindings: bindings over the configs, by data set of ours.
        steps: generator steps, by data set of ours.
        probed: steps between two probes of Figure 2.
        scored: steps between two scores, by data set of ours; 0: every checkpoint.
        forgetting: bindings of Figure 3.
        forgetting_steps: updates in Figure 3.
        differences: differences from the paper in all studies.
    """

    data: dict[str, str]
    row: str
    bindings: dict[str, tuple[str, ...]]
    steps: dict[str, int]
    probed: int
    scored: dict[str, int]
    forgetting: tuple[str, ...]
    forgetting_steps: int
    differences: tuple[str, ...]


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
SCALES = {
    "full": Scale(
        data={name: name for name in TABLE1},
        # The row that the configs have by themselves.
        row="sn_0_0.9_2",
        # Checkpoints to score and probe must survive interruptions of the run.
        bindings={
            "cifar10": ("run_config.keep_checkpoint_every_steps=10000",),
            "imagenet128": ("run_config.keep_checkpoint_every_steps=100000",),
        },
        steps={
            "cifar10": 100_000,
            "imagenet128": 1_000_000,
            "lsun_bedroom": 100_000,
            "celeb_a_hq": 100_000,
        },
        probed=100_000,
        # Every step at which numbers of the paper's Figure 4 are known.
        scored={"cifar10": 10_000, "imagenet128": 100_000},
        forgetting=(),
        forgetting_steps=20_000,
        differences=(
            "Batch size, learning rate and rotated_batch_size are inferred, as the "
            "headers of the configs say.",
        ),
    ),
    "small": Scale(
        data={"cifar10": "cifar10", "imagenet128": "cifar100"},
        row="sn_0_0.9_1",
        bindings={
            "cifar10": _SMALL,
            "cifar100": (*_SMALL, 'dataset.name="cifar100"'),
        },
        steps={"cifar10": 12_000, "cifar100": 12_000},
        probed=2000,
        scored={"cifar10": 1000, "cifar100": 1000},
        forgetting=("D.width=32",),
        forgetting_steps=20_000,
        differences=(
            "G has 64 channels instead of 256, D 32 instead of 128, and 12,000 steps "
            "are taken instead of 100,000.",
        ),
    ),
    "tiny": Scale(
        data={"cifar10": "digits32"},
        row="sn_0_0.9_1",
        bindings={"digits32": (*_TINY, 'dataset.name="digits32"')},
        steps={"digits32": 8},
        probed=4,
        scored={"digits32": 0},
        forgetting=(
            'dataset.name="digits32"',
            "D.width=8",
            "forgetting.batch_size=16",
            "forgetting.training_steps=200",
            "forgetting.steps_per_task=10",
            "forgetting.eval_every_steps=5",
        ),
        forgetting_steps=200,
        differences=(
            "The numbers mean nothing: a handful of steps of networks of 8 channels on "
            "handwritten digits, to try the machinery.",
        ),
    ),
}


# --- Runs ----------------------------------------------------------------------


def config_flags(files: Sequence[str], bindings: Sequence[str]) -> tuple[str, ...]:
    """Config files and bindings as flags of a command."""
    return (
        *(f"--gin_config={name}" for name in files),
        *(f"--gin_bindings={line}" for line in bindings),
    )


@dataclasses.dataclass(frozen=True)
class _Runs:
    """Makes the jobs of a scale.

    Attributes:
        scale: name of the scale.
        inception_path: folder of the Inception network, or None.
    """

    scale: str
    inception_path: str | None

    def train(
        self, arm: str, data: str, seed: int, row: str | None = None, probes=()
    ) -> Job:
        """The job of a GAN: training, scores, and the probe at some steps.

        A run is the same in all studies: `row` defaults to the row of the scale.

        Args:
            arm: a key of `_FILES`.
            data: the data set, ours.
            seed: int.
            row: row of table2.sweep.
            probes: steps to probe.
        """
        scale = SCALES[self.scale]
        bindings = (*scale.bindings.get(data, ()), f"run_config.seed={seed}")
        base = data if data in TABLE1 else "cifar10"
        has_rows = base in TABLE2
        row = (row or scale.row) if has_rows else ""
        file = f"{_FILES[arm]}_{base}.gin"
        if (arm, base) == (ROTATION_ONLY, "imagenet128"):
            file = f"{_FILES[SSGAN]}_{base}.gin"
            bindings = ('SSGAN.self_supervision="rotation_only"', *bindings)
        files = (file, f"table2.sweep#{row}") if has_rows else (file,)
        config = config_flags(files, bindings)
        commands = [command("train", *config, *self._scoring(arm, data))]
        commands += [command("probe", f"--step={step}") for step in probes]
        name = "-".join(
            part for part in (f"{_FILES[arm]}_{data}", row, f"seed{seed}") if part
        )
        return Job(
            name=f"{self.scale}/{name}",
            commands=tuple(commands),
            dataset=data,
            row=row,
            arm=arm,
            seed=seed,
            steps=scale.steps[data],
            config=shlex.join(config),
        )

    def _scoring(self, arm: str, data: str) -> tuple[str, ...]:
        if arm == ROTATION_ONLY:
            # Its images are not scored in the paper.
            return ("--schedule=train",)
        scale = SCALES[self.scale]
        every = scale.scored.get(data, scale.steps[data])
        inception = ()
        if self.inception_path:
            inception = (f"--inception_path={self.inception_path}",)
        return (
            "--schedule=eval_after_train",
            "--metrics=fid",
            # The spread that counts is the one over runs.
            "--num_eval_averaging_runs=1",
            f"--eval_every_steps={every}",
            *inception,
        )

    def forget(self, arm: str, seed: int) -> Job:
        """The job of a classifier whose task changes."""
        scale = SCALES[self.scale]
        bindings = (*scale.forgetting, f"forgetting.seed={seed}")
        if arm == PLAIN:
            bindings = ("forgetting.weight_rotation_loss=0", *bindings)
        config = config_flags(("forgetting_cifar10.gin",), bindings)
        data = scale.data["cifar10"]
        kind = {PLAIN: "plain", WITH_ROTATION: "rotation"}[arm]
        return Job(
            name=f"{self.scale}/forgetting_{data}-{kind}-seed{seed}",
            commands=(command("forget", *config),),
            dataset=data,
            arm=arm,
            seed=seed,
            steps=scale.forgetting_steps,
            config=shlex.join(config),
        )


# --- Studies -------------------------------------------------------------------


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
    flags = [f"--scale={scale}", f"--seeds={','.join(map(str, seeds))}"]
    if inception_path:
        flags.append(f"--inception_path={inception_path}")
    parts = STUDIES[name](_Runs(scale, inception_path), seeds)
    parts["paper"] = tuple(
        dataclasses.replace(measurement, experiment=name, scale=scale)
        for measurement in parts["paper"]
    )
    parts["jobs"] = tuple(parts["jobs"])
    return Study(
        name=name,
        scale=scale,
        command=shlex.join(["ssgan", "reproduce", name, *flags]),
        **parts,
    )


def _paper(**fields) -> Measurement:
    return Measurement(experiment="", scale="", **fields)


def _table1(runs: _Runs, seeds) -> dict:
    scale = SCALES[runs.scale]
    pairs = [(data, arm) for data in scale.data for arm in TABLE1[data]]
    return {
        "title": "the best FID of each data set and method",
        "source": "scores",
        "jobs": [
            runs.train(arm, scale.data[data], seed)
            for data, arm in pairs
            for seed in seeds
        ],
        "paper": [
            _paper(
                dataset=scale.data[data],
                row=scale.row if data in TABLE2 else "",
                arm=arm,
                metric="fid",
                paper=TABLE1[data][arm],
            )
            for data, arm in pairs
        ],
        "differences": (
            *scale.differences,
            *_stand_ins(scale, scale.data),
            "The paper does not give the settings of Table 1: here they are those of "
            f"row {scale.row} of Table 2, if it has the data set.",
        ),
    }


def _table2(runs: _Runs, seeds) -> dict:
    scale = SCALES[runs.scale]
    datasets = [data for data in scale.data if data in TABLE2]
    cells = [
        (data, row, arm, number)
        for data in datasets
        for row, numbers in TABLE2[data].items()
        for arm, number in zip((UNCOND, SSGAN), numbers, strict=True)
    ]
    return {
        "title": "FID under nine settings of regularizer, Adam and D's steps",
        "source": "scores",
        "jobs": [
            runs.train(arm, scale.data[data], seed, row)
            for data, row, arm, _ in cells
            for seed in seeds
        ],
        "paper": [
            _paper(
                dataset=scale.data[data], row=row, arm=arm, metric="fid", paper=number
            )
            for data, row, arm, number in cells
        ],
        "differences": (*scale.differences, *_stand_ins(scale, datasets)),
    }


def _blocks(runs: _Runs, seeds, numbers: dict, data: str) -> dict:
    scale = SCALES[runs.scale]
    ours = scale.data.get(data, scale.data["cifar10"])
    return {
        "title": "top-1 accuracy of a linear classifier on each block of D",
        "source": "probe",
        "jobs": [
            runs.train(arm, ours, seed, probes=[scale.steps[ours]])
            for arm in (UNCOND, COND, ROTATION_ONLY, SSGAN, SSGAN_SBN)
            for seed in seeds
        ],
        "paper": [
            _paper(
                dataset=ours,
                row=scale.row,
                arm=arm,
                block=block,
                metric=results.PROBE,
                paper=number,
            )
            for arm, accuracies in numbers.items()
            for block, number in enumerate(accuracies)
        ],
        "differences": (
            *scale.differences,
            *_stand_ins(scale, [data]),
            "The recipe of the paper's classifier is not given; ours is in "
            "docs/probe.md.",
        ),
    }


def _table3(runs: _Runs, seeds) -> dict:
    return _blocks(runs, seeds, TABLE3, "cifar10")


def _table4(runs: _Runs, seeds) -> dict:
    return _blocks(runs, seeds, TABLE4, "imagenet128")


def _figure2(runs: _Runs, seeds) -> dict:
    scale = SCALES[runs.scale]
    # Below full scale the runs are those of Table 3.
    ours = "imagenet128" if runs.scale == "full" else scale.data["cifar10"]
    last = scale.steps[ours]
    differences = scale.differences
    if ours != "imagenet128":
        differences += (f"{ours} replaces ImageNet 128.",)
    return {
        "title": "accuracy of a linear classifier on D's last block, over training",
        "source": "last_block",
        "jobs": [
            runs.train(
                arm, ours, seed, probes=range(scale.probed, last + 1, scale.probed)
            )
            for arm in FIGURE2
            for seed in seeds
        ],
        "paper": [
            _paper(dataset=ours, row=scale.row, arm=arm, metric=metric, paper=number)
            for arm, numbers in FIGURE2.items()
            for metric, number in zip(
                (results.PROBE_PEAK, results.PROBE_END), numbers, strict=True
            )
        ],
        "differences": (*differences, _READ_OFF),
    }


def _figure3(runs: _Runs, seeds) -> dict:
    scale = SCALES[runs.scale]
    differences = scale.differences
    if runs.scale == "small":
        differences = ("The classifier has 32 channels instead of 128.",)
    return {
        "title": "a classifier whose task changes, with and without rotation loss",
        "source": "forgetting",
        "jobs": [runs.forget(arm, seed) for arm in FIGURE3 for seed in seeds],
        "paper": [
            _paper(dataset=scale.data["cifar10"], arm=arm, metric=metric, paper=number)
            for arm, numbers in FIGURE3.items()
            for metric, number in numbers.items()
        ],
        "differences": (
            *differences,
            "The paper does not give network, optimizer and sampling of the rest.",
            _READ_OFF,
        ),
    }


def _figure4(runs: _Runs, seeds) -> dict:
    scale = SCALES[runs.scale]
    ours = scale.data["cifar10"]
    return {
        "title": "FID over steps",
        "source": "scores",
        "jobs": [runs.train(arm, ours, seed) for arm in FIGURE4 for seed in seeds],
        "paper": [
            _paper(
                dataset=ours,
                row=scale.row,
                arm=arm,
                step=step,
                metric="fid",
                paper=number,
            )
            for arm, numbers in FIGURE4.items()
            for step, number in numbers.items()
        ],
        "differences": (*scale.differences, *_stand_ins(scale, ["cifar10"]), _READ_OFF),
    }


_READ_OFF = "The paper's values are read off a plot by eye."


def _stand_ins(scale: Scale, datasets) -> list[str]:
    """The data sets that replace others, one sentence each."""
    names = [(data, scale.data.get(data, scale.data["cifar10"])) for data in datasets]
    sentences = [
        f"{ours} replaces {data}: its numbers are not comparable with those of {data}."
        for data, ours in names
        if ours != data
    ]
    if len(scale.data) < len(TABLE1) and len(names) > 1:
        left_out = [data for data in TABLE1 if data not in scale.data]
        sentences.append(f"Left out at this scale: {', '.join(left_out)}.")
    return sentences


STUDIES = {
    "table1": _table1,
    "table2": _table2,
    "table3": _table3,
    "table4": _table4,
    "figure2": _figure2,
    "figure3": _figure3,
    "figure4": _figure4,
}
