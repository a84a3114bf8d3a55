"""What `ssgan doctor` looks at: each thing by itself, in a process that may die.

This process itself never starts TensorFlow's runtime, which would take all memory of
the GPUs away from those; and it imports other packages only inside the check that
says so if they are broken.
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TextIO

from absl import logging

import ssgan_tf
from ssgan_tf import cli
from ssgan_tf.resources import memory_limit, nvidia_gpus
from ssgan_tf.terminal import colored

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
_SECONDS = 300
_PATIENCE = 20
_COLORS = {"ok": "green", "absent": "yellow", "wrong": "red"}
_TWO_LOGICAL_CPUS = (
    "import runpy, sys\n"
    "from ssgan_tf import cli\n"
    "cli.import_tensorflow()\n"
    "import tensorflow as tf\n"
    "(cpu,) = tf.config.list_physical_devices('CPU')\n"
    "two = [tf.config.LogicalDeviceConfiguration()] * 2\n"
    "tf.config.set_logical_device_configuration(cpu, two)\n"
    "runpy.run_module('ssgan_tf.train', run_name='__main__', alter_sys=True)\n"
)
_SAMPLE_BY_HUB = (
    "import sys, tensorflow as tf, tensorflow_hub as hub\n"
    "module = hub.load(sys.argv[1])\n"
    "z = tf.random.stateless_uniform((4, 128), (0, 0), -1.0, 1.0)\n"
    "images = module(z).numpy()\n"
    "print(*images.shape, images.min(), images.max(), images.std())\n"
)


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
class Trial:
    """A way of training that a machine offers.

    Attributes:
        strategy: str. As `--strategy` takes it.
        replicas: int. That the strategy has there.
        where: str. Its devices, in words.
        program: arguments of Python in front of the flags of `ssgan train`.
        workers: int. Processes.
    """

    strategy: str
    replicas: int
    where: str
    program: tuple[str, ...] = ("-m", "ssgan_tf.train")
    workers: int = 1


@dataclasses.dataclass(frozen=True)
class Found:
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
            "trainings": [training._asdict() for training in self.trainings],
        }


def examine(inception_path: str | None = None) -> Found:
    """Looks at everything; takes about two minutes, and leaves nothing behind.

    Args:
        inception_path: where TFGAN's Inception lies, or None.
    """
    checks = [
        *guarded("versions", check_packages),
        *guarded("devices", check_devices),
        *check_memory(),
        check_tfgan(),
        check_tensorboard(),
        check_inception(inception_path),
    ]
    trainings = []
    with tempfile.TemporaryDirectory(prefix="ssgan_doctor_") as folder:
        place = pathlib.Path(folder)
        for trial in trials(*devices()):
            logging.info("%d steps: %s, %s", STEPS, trial.strategy, trial.where)
            check, training = check_training(trial, place)
            checks.append(check)
            if training is not None:
                trainings.append(training)
        checks += check_module(place / "one_device" / "tfhub" / str(STEPS))
    return Found(_facts(), installed(), checks, trainings)


def guarded(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks of a look; a wrong one where it fails, which a broken package may."""
    try:
        return list(look())
    # Whatever an import may raise.
    except Exception as error:
        cure = "install this package anew, into an empty environment"
        return [Check(name, "wrong", f"{type(error).__name__}: {error}", cure)]


def _facts() -> dict:
    """What is known of the machine; nothing where TensorFlow is broken."""
    try:
        cli.import_tensorflow()
        from ssgan_tf import environment

        return environment.facts()
    except Exception:
        return {}


def table(checks: Sequence[Check], stream: TextIO) -> str:
    """The checks as lines, each with its cure below it, and how many are wrong."""
    width = max(len(check.name) for check in checks)
    indent = " " * (8 + width + 2)
    lines = []
    for check in checks:
        status = colored(f"{check.status:<8}", _COLORS[check.status], stream)
        lines.append(f"{status}{check.name:<{width}}  {check.said}")
        if check.cure:
            lines.append(
                textwrap.fill(
                    f"cure: {check.cure}",
                    width=100,
                    initial_indent=indent,
                    subsequent_indent=indent,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
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


def check_devices() -> Iterator[Check]:
    """Whether TensorFlow sees the GPUs that the machine has."""
    cli.import_tensorflow()
    import tensorflow as tf

    from ssgan_tf import environment

    seen = environment.facts()["devices"]
    yield Check("devices", "ok", ", ".join(seen))
    there = nvidia_gpus()
    if there and not any(each.startswith("GPU") for each in seen):
        yield Check(
            "GPU",
            "wrong",
            f"the driver sees {'; '.join(there)}; TensorFlow {tf.__version__} none",
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
    if memory < 3:
        yield Check("memory", "wrong", said, "3 GiB are needed for the quick start")
    elif free < 1:
        yield Check(
            "memory", "wrong", said, "free some, or let TMPDIR name another folder"
        )
    else:
        yield Check("memory", "ok", said)


def _run(arguments: Sequence[str]) -> tuple[str, str]:
    """Runs Python.

    Returns:
        What it printed, and why it failed: "" if it did not.
    """
    with subprocess.Popen(
        [sys.executable, *arguments],
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
            return "", f"not done after {_SECONDS} seconds"
    if child.returncode == 0:
        return printed, ""
    # Of workers everything comes on the standard output.
    return printed, _reason(child.returncode, said.strip() or printed)


def _end(child: subprocess.Popen) -> None:
    """Lets a process end those that it has started, and itself."""
    child.terminate()
    try:
        child.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()


def _reason(code: int, said: str) -> str:
    """The last thing that a process which failed has said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["nothing"]
    errors = [line for line in lines if "error: " in line]
    return f"exit code {code}: {textwrap.shorten((errors or lines)[-1], 500)}"


def check_tfgan() -> Check:
    """Whether TFGAN's scores can be computed: its Frechet distance against ours."""
    printed, reason = _run(["-m", "ssgan_tf.checkup", "tfgan"])
    cure = (
        "pip install --upgrade tensorflow-gan tensorflow-probability tf-keras; under "
        'TensorFlow 2.16 and 2.17 "tensorflow-probability<0.25"'
    )
    if reason:
        return Check("TFGAN", "wrong", reason, cure)
    theirs, ours = map(float, printed.split())
    said = f"Frechet distance {theirs:.6f}, ours {ours:.6f}"
    # TFGAN divides covariances by N and computes in float32.
    good = abs(theirs - ours) < 0.01 * ours
    return Check("TFGAN", "ok" if good else "wrong", said, "" if good else cure)


def _compute_tfgan() -> None:
    import numpy as np

    from ssgan_tf.evaluation import frechet, tfgan

    draw = np.random.default_rng(0).normal
    real, fake = draw(size=(500, 8)), draw(0.5, 1.5, size=(500, 8))
    theirs = tfgan.import_eval().frechet_classifier_distance_from_activations(
        real.astype("float32"), fake.astype("float32")
    )
    ours = frechet.distance(frechet.moments([real]), frechet.moments([fake]))
    print(float(theirs), ours)


def check_tensorboard() -> Check:
    """Whether TensorBoard's server can be started, for whoever wants to watch."""
    _, reason = _run(["-m", "tensorboard.main", "--version"])
    if reason:
        cure = "pip install --upgrade tensorboard"
        return Check("TensorBoard", "wrong", reason, cure)
    return Check("TensorBoard", "ok", f"{_version('tensorboard')}")


def check_inception(path: str | None) -> Check:
    """Whether the network of the FID is there and fits; never fetches it."""
    name = "Inception"
    if path is None:
        return Check(
            name,
            "absent",
            "no --inception_path; scores are by a small classifier, and no FID",
            "the FID needs TFGAN's network, "
            "https://tfhub.dev/tensorflow/tfgan/eval/inception/1, unpacked into a "
            "folder that --inception_path names",
        )
    if not os.path.exists(path):
        return Check(
            name,
            "wrong",
            f"{path} is not there",
            "--inception_path must be a folder or archive on this machine; addresses "
            "are not fetched here",
        )
    printed, reason = _run(["-m", "ssgan_tf.checkup", "inception", path])
    if reason:
        return Check(name, "wrong", reason, "name the folder of TFGAN's SavedModel")
    return Check(name, "ok", f"{path}, hash {printed.strip()}")


def _compute_inception(path: str) -> None:
    from ssgan_tf.evaluation import features

    print(features.load_inception(path).fingerprint)


def devices() -> tuple[int, int]:
    """How many GPUs and TPU cores TensorFlow sees; none where it is broken."""
    try:
        cli.import_tensorflow()
        import tensorflow as tf
    except Exception:
        return 0, 0
    listed = tf.config.list_physical_devices
    return len(listed("GPU")), len(listed("TPU"))


def trials(gpus: int = 0, tpu_cores: int = 0) -> list[Trial]:
    """Every way of training that a machine offers; one device comes first."""
    found = [Trial("one_device", 1, "the first GPU" if gpus else "the CPU")]
    if gpus > 1:
        # The batch of 64 must be a multiple.
        if 16 % gpus == 0:
            found.append(Trial("mirrored", gpus, f"{gpus} GPUs"))
    elif not gpus:
        two = ("-c", _TWO_LOGICAL_CPUS)
        found.append(Trial("mirrored", 2, "two halves of the CPU", two))
    found.append(Trial("multi_worker", 2, "two processes on the CPU", workers=2))
    if tpu_cores:
        found.append(Trial("tpu", tpu_cores, "the TPU"))
    return found


def recorded_losses() -> dict[str, list[float]]:
    """The losses of the 20 steps as they should be, by tag.

    They were computed in float32 on one CPU; the file says on which, when, and by
    which command.
    """
    file = pathlib.Path(__file__).with_name("recorded_losses.json")
    return json.loads(file.read_text())["losses"]


def train(trial: Trial, folder: pathlib.Path) -> tuple[Training | None, str]:
    """Trains in `folder/<strategy>`, as `ssgan train` does it.

    Returns:
        What came of it, or None; and why it failed: "" if it did not.
    """
    model_dir = folder / trial.strategy
    arguments = [
        *trial.program,
        "--gin_config=quickstart.gin",
        *(f"--gin_bindings={line}" for line in BINDINGS),
        f"--strategy={trial.strategy}",
        f"--model_dir={model_dir}",
        f"--tfds_data_dir={folder / 'data'}",
    ]
    if trial.workers > 1:
        launch = ("ssgan_tf.launch", f"--num_workers={trial.workers}", "--", "train")
        arguments = ["-m", *launch, *arguments[len(trial.program) :]]
    _, reason = _run(arguments)
    if reason:
        return None, reason
    # Reads what TensorBoard shows.
    from ssgan_tf import curves

    found = curves.read(model_dir)
    losses = {tag: found[tag].values.tolist() for tag in TOLERANCES if tag in found}
    seconds = curves.step_seconds(model_dir)
    return Training(trial.strategy, trial.replicas, seconds, losses), ""


def check_training(trial: Trial, folder: pathlib.Path) -> tuple[Check, Training | None]:
    """Whether a strategy trains, and comes to the recorded losses."""
    name = f"train {trial.strategy}"
    training, reason = train(trial, folder)
    if training is None:
        return (
            Check(
                name,
                "wrong",
                f"{trial.where}: {reason}",
                "docs/troubleshooting.md has the message; else report it, with what "
                "`ssgan doctor --json` prints",
            ),
            None,
        )
    said = f"{trial.where}: {training.seconds_per_step:.3f} s per step"
    tag, far = worst(training.losses, recorded_losses())
    said += f", {tag} within {far:.2g} of the record ({TOLERANCES[tag]:g} allowed)"
    if far <= TOLERANCES[tag]:
        return Check(name, "ok", said), training
    return (
        Check(
            name,
            "wrong",
            said,
            "this machine computes other numbers: try TF_ENABLE_ONEDNN_OPTS=0 on a "
            "CPU, NVIDIA_TF32_OVERRIDE=0 on a GPU, another version of TensorFlow, "
            "and report what `ssgan doctor --json` prints",
        ),
        training,
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


def check_module(path: pathlib.Path) -> Iterator[Check]:
    """Whether an exported module loads and samples: by TF-Hub alone, and by us."""
    if not path.exists():
        said = "no module, as one_device did not train"
        yield Check("module", "wrong", said, "mend that first")
        return
    printed, reason = _run(["-c", _SAMPLE_BY_HUB, str(path)])
    cure = 'pip install --upgrade tensorflow-hub tf-keras "setuptools<82"'
    if reason:
        yield Check("TF-Hub", "wrong", reason, cure)
    else:
        *shape, low, high, deviation = map(float, printed.split())
        good = shape == [4, 32, 32, 1] and 0 <= low < high <= 1 and deviation > 0
        said = f"4 images in [{low:.3f}, {high:.3f}], without this package"
        yield Check("TF-Hub", "ok" if good else "wrong", said, "" if good else cure)
    out = path.parent / "samples.png"
    sample = "-m", "ssgan_tf.sample", f"--module={path}", "--num=4", f"--out={out}"
    _, reason = _run(sample)
    if reason or not out.exists():
        yield Check("ssgan sample", "wrong", reason or "no picture", "report it")
    else:
        yield Check("ssgan sample", "ok", f"4 images, {out.stat().st_size:,} bytes")


_COMPUTE: dict[str, Callable] = {
    "tfgan": _compute_tfgan,
    "inception": _compute_inception,
}

if __name__ == "__main__":
    _COMPUTE[sys.argv[1]](*sys.argv[2:])
