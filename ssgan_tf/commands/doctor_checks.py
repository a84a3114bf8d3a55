"""What `ssgan doctor` looks at: each thing by itself, in a process that may die.

This process imports nothing that may be broken, and starts no runtime: TensorFlow's
would take all memory of the GPUs, and the TPU, away from the others.
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TextIO

from absl import logging

import ssgan_tf
from ssgan_tf.utils.machine import memory_limit, nvidia_gpus
from ssgan_tf.utils.progress import colored

STEPS = 20
# The quick start, but at a tenth of its learning rate: at its own, the rounding that
# differs from machine to machine decides the losses after ten steps.
BINDINGS = (
    f"options.training_steps = {STEPS}",
    "ModularGAN.g_lr = 0.00005",
    "ModularGAN.lr_schedule = 'constant'",
    "run_config.iterations_per_loop = 1",
    "run_config.save_summary_steps = 1",
    f"run_config.save_checkpoints_steps = {STEPS}",
)
# How far from the recorded losses is right. Measured over the 20 steps: 0.0014 and
# 0.00001 between threads, strategies, TensorFlow 2.16 to 2.21, and oneDNN or not; 0.006
# and 0.0002 in bfloat16, which is coarser than the TF32 of GPUs. A learning rate that
# is 5 % off makes 0.04 and 0.002.
TOLERANCES = {
    "loss/d": 0.02,
    "loss/g": 0.02,
    "loss/rotation_real": 0.001,
    "loss/rotation_fake": 0.001,
}
_PACKAGE = "ssgan-tf"
# What to do where something is wrong.
_REINSTALL = "install this package anew, into an empty environment"
_TFGAN = (
    "pip install --upgrade tensorflow-gan tensorflow-hub tensorflow-probability "
    "tf-keras; under "
    'TensorFlow 2.16 and 2.17 "tensorflow-probability<0.25"'
)
_TENSORBOARD = "pip install --upgrade tensorboard"
_TRAIN = (
    "docs/troubleshooting.md has the message; else report it, with what `ssgan doctor "
    "--json` prints"
)
_OTHER_NUMBERS = (
    "this machine computes other numbers: try TF_ENABLE_ONEDNN_OPTS=0 on a CPU, "
    "NVIDIA_TF32_OVERRIDE=0 on a GPU, another version of TensorFlow, and report what "
    "`ssgan doctor --json` prints"
)
_HUB = 'pip install --upgrade tensorflow-hub tf-keras "setuptools<82"'
_SECONDS = 300
_PATIENCE = 20
_COLORS = {"ok": "green", "absent": "yellow", "wrong": "red"}
_TWO_LOGICAL_CPUS = (
    "import runpy, sys\n"
    "from ssgan_tf.utils import startup\n"
    "startup.import_tensorflow()\n"
    "import tensorflow as tf\n"
    "(cpu,) = tf.config.list_physical_devices('CPU')\n"
    "two = [tf.config.LogicalDeviceConfiguration()] * 2\n"
    "tf.config.set_logical_device_configuration(cpu, two)\n"
    "runpy.run_module('ssgan_tf.commands.train', run_name='__main__', alter_sys=True)\n"
)


class Failed(Exception):
    """Another process did not do what it should; the message says why."""


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: str. What it was.
        status: "ok"; "absent": not there, and only some commands need it; "wrong".
        said: str. What was found.
        cure: str. What to do, where something is not ok.
    """

    name: str
    status: str
    said: str
    cure: str = ""


class Training(NamedTuple):
    """20 steps of the quick start.

    Attributes:
        strategy: str. As `--strategy` takes it.
        replicas: int.
        seconds_per_step: float. Median, of one step per call from Python.
        losses: tag -> a number for each step.
    """

    strategy: str
    replicas: int
    seconds_per_step: float
    losses: dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class StrategyTrial:
    """A way of training that a machine offers.

    Attributes:
        strategy: str. As `--strategy` takes it.
        replicas: int. That the strategy has there.
        where: str. Its devices, in words.
        program: arguments of Python in front of the flags of `ssgan train`.
        gpus: int. How many of those that TensorFlow sees it may see; 0 for all.
    """

    strategy: str
    replicas: int
    where: str
    program: tuple[str, ...] = ("-m", "ssgan_tf", "train")
    gpus: int = 0


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All that was found.

    Attributes:
        facts: `environment.facts()`.
        packages: name -> version, of all that this package requires.
        checks: in the order of the table.
        trainings: of the strategies on which it went through.
    """

    facts: dict
    packages: dict[str, str | None]
    checks: list[Check]
    trainings: list[Training]

    @property
    def is_well(self) -> bool:
        return all(check.status != "wrong" for check in self.checks)

    def as_dict(self) -> dict:
        """For JSON."""
        return {
            "is_well": self.is_well,
            "facts": self.facts,
            "packages": self.packages,
            "checks": [check._asdict() for check in self.checks],
            "trainings": [
                # JSON has no number that is not finite.
                training._asdict()
                | {
                    "losses": {
                        tag: [each if math.isfinite(each) else None for each in values]
                        for tag, values in training.losses.items()
                    }
                }
                for training in self.trainings
            ],
        }


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """A folder that other processes run in and write to.

    Attributes:
        path: of the folder, absolute.
    """

    path: pathlib.Path

    def run(
        self, arguments: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> str:
        """Runs Python there.

        Returns:
            What it printed.

        Raises:
            Failed: its exit code is not 0, or it takes too long.
        """
        with subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.path,
            env=self._environment() | (environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A terminal's Ctrl-C comes to it through this process, once.
            start_new_session=True,
        ) as child:
            try:
                printed, said = child.communicate(timeout=_SECONDS)
            # Too slow, or this process was asked to end.
            except BaseException as error:
                _end(child)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                raise Failed(f"not done after {_SECONDS} seconds") from error
        if child.returncode:
            # Of workers everything comes on the standard output.
            reason = _reason(said.strip() or printed)
            raise Failed(f"exit code {child.returncode}: {reason}")
        return printed

    def ask(self, question: str, *arguments: str) -> dict:
        """The answer of `checkup_child`.

        Raises:
            Failed: there is none.
        """
        printed = self.run(
            ["-m", "ssgan_tf.commands.doctor_child", question, *arguments]
        )
        return json.loads(printed.splitlines()[-1])

    def _environment(self) -> dict[str, str]:
        """That of this process, but for where libraries leave files."""
        environment = dict(os.environ)
        # Of a cluster that this process is no part of.
        environment.pop("TF_CONFIG", None)
        for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "TMPDIR"):
            environment[name] = str(self.path)
        # What the user's says counts, if there is one.
        if not pathlib.Path("~/.keras").expanduser().exists():
            environment.setdefault("KERAS_HOME", str(self.path))
        return environment


def _end(child: subprocess.Popen) -> None:
    """Lets a process end those that it has started, and itself."""
    child.terminate()
    try:
        child.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()


def _reason(said: str) -> str:
    """Why a process failed: its message, or the last thing that it said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["nothing"]
    is_error = re.compile(r"(\[\d\] )?error: |[\w.]+(Error|Exception): ").match
    errors = [i for i, line in enumerate(lines) if is_error(line)]
    return textwrap.shorten(" ".join(lines[errors[-1] if errors else -1 :]), 500)


def examine(inception_path: str | None = None) -> Diagnosis:
    """Looks at everything; takes about two minutes, and leaves nothing behind.

    Args:
        inception_path: where TFGAN's Inception lies, or None.
    """
    trainings: list[Training] = []
    with tempfile.TemporaryDirectory(prefix="ssgan_doctor_") as folder:
        place = Sandbox(pathlib.Path(folder).resolve())
        checks = run_check("versions", _REINSTALL, check_packages)
        machine = {"facts": {}, "gpus": 0, "tpu_cores": 0}

        def devices() -> Iterator[Check]:
            machine.update(place.ask("machine"))
            yield from check_devices(machine["facts"])

        checks += run_check("devices", _REINSTALL, devices)
        checks += run_check("memory", "report it", check_memory)
        checks += run_check("TFGAN", _TFGAN, lambda: check_tfgan(place))
        checks += run_check(
            "TensorBoard", _TENSORBOARD, lambda: check_tensorboard(place)
        )
        checks += run_check(
            "Inception",
            "name the folder of TFGAN's SavedModel",
            lambda: check_inception(place, inception_path),
        )
        for trial in trials(machine["gpus"], machine["tpu_cores"]):
            logging.info("%d steps: %s, %s", STEPS, trial.strategy, trial.where)

            def training(trial=trial) -> Iterator[Check]:
                trainings.append(train(trial, place))
                yield check_training(trial, trainings[-1])

            checks += run_check(f"train {trial.strategy}", _TRAIN, training)
        module = place.path / "one_device" / "tfhub" / str(STEPS)
        checks += run_check("TF-Hub", _HUB, lambda: check_hub(place, module))
        checks += run_check("ssgan sample", _TRAIN, lambda: check_sample(place, module))
    return Diagnosis(machine["facts"], installed(), checks, trainings)


def run_check(name: str, cure: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks of a look; if it fails a wrong one, with a name and a cure."""
    try:
        return list(look())
    except Failed as error:
        return [Check(name, "wrong", str(error), cure)]
    # Whatever a broken package raises.
    except Exception as error:
        return [Check(name, "wrong", f"{type(error).__name__}: {error}", cure)]


def table(checks: Sequence[Check], stream: TextIO) -> str:
    """The checks as lines, each with its cure below it, and how many are wrong."""
    width = max(len(check.name) for check in checks)
    wrapper = textwrap.TextWrapper(
        max(shutil.get_terminal_size().columns - width - 10, 40),
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = []
    for check in checks:
        said = wrapper.wrap(check.said)
        said += wrapper.wrap(f"cure: {check.cure}") if check.cure else []
        heads = [(check.status, check.name), *[("", "")] * (len(said) - 1)]
        for (status, name), line in zip(heads, said, strict=True):
            status = colored(f"{status:<8}", _COLORS[check.status], stream)
            lines.append(f"{status}{name:<{width}}  {line}")
    wrong = [check.name for check in checks if check.status == "wrong"]
    if wrong:
        end = colored(f"wrong: {', '.join(wrong)}", "red", stream)
    else:
        end = colored("All is well.", "green", stream)
    return "\n".join([*lines, "", end])


def requirements() -> list:
    """What the installed package requires, without its extras, as `Requirement`s.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not installed.
    """
    from packaging.requirements import Requirement

    texts = importlib.metadata.requires(_PACKAGE) or []
    every = map(Requirement, texts)
    return [
        each
        for each in every
        if each.marker is None or each.marker.evaluate({"extra": ""})
    ]


def installed() -> dict[str, str | None]:
    """The versions of what this package requires; None of what is not installed."""
    try:
        names = [each.name for each in requirements()]
    except importlib.metadata.PackageNotFoundError:
        return {}
    return {name: _version(name) for name in names}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_packages() -> Iterator[Check]:
    """Whether every package is there, in a version that will do."""
    own = f"ssgan_tf {ssgan_tf.__version__}, Python {sys.version.split()[0]}"
    try:
        needed = requirements()
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            "versions",
            "wrong",
            f"{own}; the package is not installed",
            "pip install the wheel, or, in a checkout, run `make install`",
        )
        return
    unfit = [
        each
        for each in needed
        # A version that tells nothing, such as a nightly one, is taken as it is.
        if (found := _version(each.name)) is None
        or not each.specifier.contains(found, prereleases=True)
    ]
    if unfit:
        said = ", ".join(f"{each.name} {_version(each.name)}" for each in unfit)
        wanted = " ".join(f'"{each.name}{each.specifier}"' for each in unfit)
        yield Check("versions", "wrong", f"{own}; {said}", f"pip install {wanted}")
        return
    main = ", ".join(
        f"{name} {_version(name)}"
        for name in ("tensorflow", "keras", "tensorflow-datasets", "numpy")
    )
    yield Check("versions", "ok", f"{own}, {main}")


def check_devices(facts: dict) -> Iterator[Check]:
    """Whether TensorFlow sees the GPUs that the machine has.

    Args:
        facts: as `environment.facts` gives them.
    """
    seen = facts["devices"]
    yield Check("devices", "ok", ", ".join(seen))
    there = nvidia_gpus()
    if there and not any(each.startswith("GPU") for each in seen):
        version = facts["tensorflow"]
        yield Check(
            "GPU",
            "wrong",
            f"the driver sees {'; '.join(there)}; TensorFlow {version} none",
            'pip install "ssgan-tf[gpu]", which brings the CUDA libraries of this '
            "TensorFlow. If that is done: TF_CPP_MIN_LOG_LEVEL=0 python -c "
            '"import tensorflow as tf; tf.config.list_physical_devices()" names the '
            "library that does not load",
        )
    elif there:
        yield Check("GPU", "ok", "; ".join(there))


def check_memory() -> Iterator[Check]:
    """Memory, and room in the folder for temporary files."""
    memory = memory_limit() / 2**30
    disk = os.statvfs(tempfile.gettempdir())
    free = disk.f_bavail * disk.f_frsize / 2**30
    said = f"{memory:.1f} GiB; {free:.1f} GiB free in {tempfile.gettempdir()}"
    if memory < 2.5:
        # Peaks of 1.04 and 2 x 0.99 GiB were measured.
        cure = "the quick start takes 1.1 GiB, and two workers of it 2.1"
        yield Check("memory", "wrong", said, cure)
    elif free < 1:
        yield Check(
            "memory", "wrong", said, "free some, or let TMPDIR name another folder"
        )
    else:
        yield Check("memory", "ok", said)


def check_tfgan(place: Sandbox) -> Iterator[Check]:
    """Whether TFGAN's scores can be computed: its Frechet distance against ours."""
    found = place.ask("tfgan")
    said = f"Frechet distance {found['theirs']:.6f}, ours {found['ours']:.6f}"
    # TFGAN divides covariances by N and computes in float32.
    good = abs(found["theirs"] - found["ours"]) < 0.01 * found["ours"]
    yield Check("TFGAN", "ok" if good else "wrong", said, "" if good else _TFGAN)


def check_tensorboard(place: Sandbox) -> Iterator[Check]:
    """Whether TensorBoard's server starts, for whoever wants to watch."""
    place.run(["-m", "tensorboard.main", "--version"])
    yield Check("TensorBoard", "ok", f"{_version('tensorboard')}")


def check_inception(place: Sandbox, path: str | None) -> Iterator[Check]:
    """Whether the network of the FID is there and fits; never fetches it."""
    name = "Inception"
    cure = (
        "the FID needs TFGAN's network, "
        "https://tfhub.dev/tensorflow/tfgan/eval/inception/1, unpacked into a folder "
        "that --inception_path names"
    )
    if path is None:
        said = "no --inception_path; scores are by a small classifier, and no FID"
        yield Check(name, "absent", said, cure)
    elif "://" in path:
        yield Check(name, "absent", f"{path} is an address, and not fetched", cure)
    elif not os.path.exists(path):
        yield Check(name, "wrong", f"{path} is not there", cure)
    else:
        found = place.ask("inception", os.path.abspath(path))
        yield Check(name, "ok", f"{path}, hash {found['hash']}")


def trials(gpus: int, tpu_cores: int) -> list[StrategyTrial]:
    """Every way of training that a machine offers; one device comes first."""
    found = [StrategyTrial("one_device", 1, "the first GPU" if gpus else "the CPU")]
    if gpus > 1:
        # 64 images, and the 64 views of 16, are shared out to powers of two only.
        some = 2 ** (min(gpus, 16).bit_length() - 1)
        found.append(
            StrategyTrial("mirrored", some, f"{some} of {gpus} GPUs", gpus=some)
        )
    elif not gpus:
        two = ("-c", _TWO_LOGICAL_CPUS)
        found.append(StrategyTrial("mirrored", 2, "two halves of the CPU", two))
    two = ("-m", "ssgan_tf", "launch", "--num_workers=2", "--", "train")
    found.append(StrategyTrial("multi_worker", 2, "two processes on the CPU", two))
    if tpu_cores:
        found.append(StrategyTrial("tpu", tpu_cores, "the TPU"))
    return found


def recorded_losses() -> dict[str, list[float]]:
    """The losses of the 20 steps as they should be, by tag.

    They were computed in float32 on one CPU; the file says on which, when, and by
    which command.
    """
    file = pathlib.Path(__file__).with_name("recorded_losses.json")
    return json.loads(file.read_text())["losses"]


def train(trial: StrategyTrial, place: Sandbox) -> Training:
    """Trains in a folder named like the strategy, as `ssgan train` does it.

    Raises:
        Failed: it cannot.
    """
    environ = {}
    if trial.gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else map(str, range(trial.gpus))
        environ["CUDA_VISIBLE_DEVICES"] = ",".join([*names][: trial.gpus])
    place.run(
        [
            *trial.program,
            "--gin_config=quickstart.gin",
            *(f"--gin_bindings={line}" for line in BINDINGS),
            f"--strategy={trial.strategy}",
            f"--model_dir={trial.strategy}",
            "--tfds_data_dir=data",
        ],
        environ,
    )
    found = place.ask("training", trial.strategy)
    return Training(
        trial.strategy,
        trial.replicas,
        found["seconds_per_step"],
        {tag: found["curves"].get(tag, []) for tag in TOLERANCES},
    )


def check_training(trial: StrategyTrial, training: Training) -> Check:
    """Whether a strategy comes to the recorded losses."""
    tag, far = worst(training.losses, recorded_losses())
    is_right = far <= TOLERANCES[tag]
    return Check(
        f"train {trial.strategy}",
        "ok" if is_right else "wrong",
        f"{trial.where}: {training.seconds_per_step:.3f} s per step, {tag} within "
        f"{far:.2g} of the record ({TOLERANCES[tag]:g} allowed)",
        "" if is_right else _OTHER_NUMBERS,
    )


def worst(
    losses: dict[str, list[float]], recorded: dict[str, list[float]]
) -> tuple[str, float]:
    """The tag that is furthest from its record, for its tolerance; and how far.

    Losses that are missing or not finite are infinitely far.
    """
    far = {}
    for tag in TOLERANCES:
        ours, theirs = losses.get(tag, []), recorded[tag]
        far[tag] = math.inf
        if len(ours) == len(theirs) and all(map(math.isfinite, ours)):
            pairs = zip(ours, theirs, strict=True)
            far[tag] = max(abs(one - other) for one, other in pairs)
    tag = max(far, key=lambda each: far[each] / TOLERANCES[each])
    return tag, far[tag]


def check_hub(place: Sandbox, module: pathlib.Path) -> Iterator[Check]:
    """Whether an exported module samples, by TF-Hub alone."""
    _check_there(module)
    found = place.ask("hub", str(module))
    low, high = found["min"], found["max"]
    good = found["shape"] == [4, 32, 32, 1] and 0 <= low < high <= 1
    said = f"4 images in [{low:.3f}, {high:.3f}], without this package"
    yield Check("TF-Hub", "ok" if good else "wrong", said, "" if good else _HUB)


def check_sample(place: Sandbox, module: pathlib.Path) -> Iterator[Check]:
    """Whether `ssgan sample` draws samples of an exported module."""
    _check_there(module)
    out = place.path / "samples.png"
    sample = (
        "-m",
        "ssgan_tf",
        "sample",
        f"--module={module}",
        "--num=4",
        f"--out={out}",
    )
    place.run(sample)
    yield Check("ssgan sample", "ok", f"4 images, {out.stat().st_size:,} bytes")


def _check_there(module: pathlib.Path) -> None:
    if not module.exists():
        raise Failed("no module, as one_device did not train")
