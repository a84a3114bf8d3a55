"""The checks of `ssgan doctor`.

    python -m ssgan_tf.commands.doctor_checks

runs those that import TensorFlow: a broken one may end that child process, but not
`ssgan doctor`. The child runs in a folder of its own and appends a line of JSON to
report.jsonl there after each check, so that the parent knows which one crashed.
"""

import importlib.metadata
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple, TextIO

from absl import flags

import ssgan_tf
from ssgan_tf.utils import startup
from ssgan_tf.utils.machine import memory_limit, nvidia_gpus
from ssgan_tf.utils.progress import colored

_INCEPTION = "SSGAN_INCEPTION_PATH"
REINSTALL = "reinstall this package in an empty environment"
STEPS = 20
# A tenth of the quick start's learning rate: at the full rate rounding errors, which
# differ between machines, decide the losses after ten steps.
BINDINGS = (
    f"options.training_steps = {STEPS}",
    "ModularGAN.g_lr = 0.00005",
    "ModularGAN.lr_schedule = 'constant'",
    "run_config.iterations_per_loop = 1",
    "run_config.save_summary_steps = 1",
    f"run_config.save_checkpoints_steps = {STEPS}",
)
# Largest differences from the recorded losses. Measured: 0.0014 and 0.00001 between
# threads, strategies, TensorFlow 2.16 to 2.21, with and without oneDNN; 0.006 and
# 0.0002 in bfloat16, which is coarser than the TF32 of GPUs. A learning rate that is
# off by 5 % gives 0.04 and 0.002.
TOLERANCES = {
    "loss/d": 0.02,
    "loss/g": 0.02,
    "loss/rotation_real": 0.001,
    "loss/rotation_fake": 0.001,
}
_COLORS = {"ok": "green", "absent": "yellow", "wrong": "red"}


class Check(NamedTuple):
    """A row of the table.

    Attributes:
        name: str.
        status: "ok", "wrong", or "absent" for a part that only some commands need.
        message: str. The result.
        cure: str. Empty if the status is "ok".
    """

    name: str
    status: str
    message: str
    cure: str = ""


def examine(inception_path: str | None = None, time_limit: float = 600) -> dict:
    """Runs all checks; takes about a minute and leaves no files.

    Args:
        inception_path: folder of TFGAN's Inception network, or None.
        time_limit: seconds for the child process.

    Returns:
        The object of `ssgan doctor --json`: `is_well`; `checks`, a list of `Check`;
        `packages`, the versions of the required ones by name; `facts`, those of
        `environment.facts()`, empty if TensorFlow does not import; `training`, seconds
        per step and losses by tag, None if training failed.
    """
    checks = [check_packages(), check_memory()]
    results = {"facts": {}, "training": None}
    pending = {name: cure for name, (_, cure) in CHECKS.items()}
    with tempfile.TemporaryDirectory(prefix="ssgan_doctor_") as name:
        folder = pathlib.Path(name).resolve()
        failure = _run_child(folder, inception_path or "", time_limit)
        # A child that crashes may leave an incomplete last line.
        complete, _, _ = (folder / "report.jsonl").read_text().rpartition("\n")
    for line in complete.splitlines():
        # JSON has no numbers that are not finite: losses may be null.
        record = json.loads(line, parse_constant=lambda constant: None)
        if "check" in record:
            name, status, message = record["check"]
            cure = pending.pop(name)
            checks.append(Check(name, status, message, "" if status == "ok" else cure))
        else:
            results |= record
    if failure:
        name, cure = next(iter(pending.items()), ("exit", REINSTALL))
        message = f"{failure}. The checks after it did not run."
        checks.append(Check(name, "wrong", message, cure))
    return {
        "is_well": all(check.status != "wrong" for check in checks),
        "checks": checks,
        "packages": {needed.name: _version(needed.name) for needed in requirements()},
        **results,
    }


def _run_child(folder: pathlib.Path, inception: str, time_limit: float) -> str | None:
    """Runs the child in a folder; returns why it failed, or None."""
    (folder / "report.jsonl").touch()
    # Modules of the user must not hide Python's; the child is no worker of a cluster.
    environment = dict(os.environ, PYTHONSAFEPATH="1", TF_CONFIG="")
    # Libraries must not leave files.
    for variable in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "TMPDIR"):
        environment[variable] = str(folder)
    if not pathlib.Path("~/.keras").expanduser().exists():
        environment.setdefault("KERAS_HOME", str(folder))
    is_folder = inception and "://" not in inception
    environment[_INCEPTION] = os.path.abspath(inception) if is_folder else ""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ssgan_tf.commands.doctor_checks"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=time_limit,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {time_limit:.0f} seconds"
    if code := done.returncode:
        code = code if code > 0 else 128 - code
        end = " ".join(done.stdout.split())[-500:]
        return f"exit code {code}: {end or 'no output'}"
    return None


def requirements() -> list:
    """The `packaging.Requirement`s of this package, without its extras.

    Empty if pip did not install the package.
    """
    from packaging.requirements import Requirement

    try:
        needed = map(Requirement, importlib.metadata.requires("ssgan-tf") or [])
    except importlib.metadata.PackageNotFoundError:
        return []
    return [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_packages() -> Check:
    """Checks that every required package is installed in a version that fits."""
    own = f"ssgan_tf {ssgan_tf.__version__}, Python {sys.version.split()[0]}"
    needed = {requirement: _version(requirement.name) for requirement in requirements()}
    if not needed:
        return Check("versions", "wrong", f"{own}; not installed by pip", REINSTALL)
    unfit = [
        r
        for r, version in needed.items()
        if version is None or not r.specifier.contains(version, prereleases=True)
    ]
    if unfit:
        actual = ", ".join(f"{r.name} {needed[r]}" for r in unfit)
        wanted = " ".join(f'"{r.name}{r.specifier}"' for r in unfit)
        return Check("versions", "wrong", f"{own}; {actual}", f"pip install {wanted}")
    return Check("versions", "ok", f"{own}, {len(needed)} required packages")


def check_memory() -> Check:
    """Checks memory, and free space in the folder of temporary files."""
    memory = memory_limit() / 2**30
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    message = f"{memory:.1f} GiB; {free:.1f} GiB free in {tempfile.gettempdir()}"
    # The quick start had a peak of 1.04 GiB.
    if memory < 1.5 or free < 1:
        cure = "the quick start needs 1.1 GiB of memory, and 1 GiB free in TMPDIR"
        return Check("memory", "wrong", message, cure)
    return Check("memory", "ok", message)


def table(checks: list[Check], stream: TextIO) -> str:
    """The checks as text, with cures below their checks and a summary at the end."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        status = colored(f"{check.status:<8}", _COLORS[check.status], stream)
        lines.append(f"{status}{check.name:<{width}}  {check.message}")
        if check.cure:
            lines.append(f"{'':<{width + 10}}cure: {check.cure}")
    wrong = ", ".join(check.name for check in checks if check.status == "wrong")
    summary, color = (f"wrong: {wrong}", "red") if wrong else ("All is well.", "green")
    return "\n".join([*lines, "", colored(summary, color, stream)])


def _report(**record) -> None:
    with open("report.jsonl", "a") as file:
        file.write(json.dumps(record) + "\n")


def check_tensorflow() -> tuple[str, str]:
    """Imports TensorFlow, which must see the GPUs of the machine."""
    startup.import_tensorflow()
    import tensorflow as tf

    from ssgan_tf.utils import environment

    facts = environment.facts()
    _report(facts=facts)
    if gpus := tf.config.list_physical_devices("GPU"):
        # Batches of 64 images can be divided among powers of two only.
        num_visible = 2 ** (len(gpus).bit_length() - 1)
        tf.config.set_visible_devices(gpus[:num_visible], "GPU")
    return compare_devices(facts)


def compare_devices(facts: dict) -> tuple[str, str]:
    """Compares TensorFlow's devices, in `environment.facts()`, with the driver's."""
    devices, gpus = ", ".join(facts["devices"]), nvidia_gpus()
    message = "; ".join([facts["tensorflow"], devices, *gpus])
    return "wrong" if gpus and "GPU" not in devices else "ok", message


def check_imports() -> tuple[str, str]:
    """Imports TensorBoard and TFGAN, which are imported late elsewhere."""
    from tensorboard import default, program

    from ssgan_tf.evaluation.tfgan import import_eval

    program.TensorBoard(default.get_plugins())
    import_eval()
    return "ok", "TensorBoard, TFGAN"


def check_inception() -> tuple[str, str]:
    """Loads the network of the FID; never downloads it."""
    if not (path := os.environ[_INCEPTION]):
        return "absent", "no folder of --inception_path: no FID, other scores only"
    from ssgan_tf.evaluation import features

    return "ok", f"hash {features.load_inception(path).fingerprint}"


def check_training() -> tuple[str, str]:
    """Takes 20 steps of the quick start and compares their losses with the record."""
    from ssgan_tf.commands import train
    from ssgan_tf.training import events

    bindings = [f"--gin_bindings={binding}" for binding in BINDINGS]
    paths = ["--gin_config=quickstart.gin", "--model_dir=run", "--tfds_data_dir=data"]
    flags.FLAGS(["ssgan train", *paths, *bindings])
    train.main(["ssgan train"])
    curves = events.read("run")
    losses = {tag: curves[tag].values.tolist() for tag in TOLERANCES}
    seconds = events.step_seconds("run")
    _report(training={"seconds_per_step": seconds, "losses": losses})
    tag, distance = worst_loss(losses)
    message = (
        f"{seconds:.3f} s per step, {tag} within {distance:.2g} of the record "
        f"({TOLERANCES[tag]:g} allowed)"
    )
    return "ok" if distance <= TOLERANCES[tag] else "wrong", message


def recorded_losses() -> dict[str, list[float]]:
    """The expected losses by tag, computed in float32 on one CPU."""
    file = pathlib.Path(__file__).with_name("recorded_losses.json")
    return json.loads(file.read_text())["losses"]


def worst_loss(losses: dict[str, list[float]]) -> tuple[str, float]:
    """Compares losses with the recorded ones.

    Returns:
        The tag with the largest distance for its tolerance, and the distance: infinite
        if a value is not finite.
    """
    distances = {}
    for tag, expected in recorded_losses().items():
        differences = [abs(a - b) for a, b in zip(losses[tag], expected, strict=True)]
        is_good = all(map(math.isfinite, differences))
        distances[tag] = max(differences) if is_good else math.inf
    worst = max(distances, key=lambda tag: distances[tag] / TOLERANCES[tag])
    return worst, distances[worst]


def check_hub() -> tuple[str, str]:
    """Samples from the exported module by TF-Hub alone."""
    import tensorflow as tf
    import tensorflow_hub

    latents = tf.random.stateless_uniform((4, 128), (0, 0), -1.0, 1.0)
    images = tensorflow_hub.load(f"run/tfhub/{STEPS}")(latents).numpy()
    low, high = images.min(), images.max()
    is_good = images.shape == (4, 32, 32, 1) and 0 <= low < high <= 1
    message = f"images {images.shape} in [{low:.3f}, {high:.3f}]"
    return "ok" if is_good else "wrong", message


# The checks of the child by name, with their cures. They return status and message.
CHECKS = {
    "TensorFlow": (
        check_tensorflow,
        f"{REINSTALL}; for the CUDA libraries of a GPU `pip install 'ssgan-tf[gpu]'`. "
        'If that is done: TF_CPP_MIN_LOG_LEVEL=0 python -c "import tensorflow as tf; '
        'tf.config.list_physical_devices()" names the library that does not load',
    ),
    "imports": (
        check_imports,
        "pip install --upgrade tensorboard tensorflow-gan tensorflow-hub "
        "tensorflow-probability tf-keras; for TensorFlow 2.16 and 2.17 "
        '"tensorflow-probability<0.25"',
    ),
    "Inception": (
        check_inception,
        "the FID needs https://tfhub.dev/tensorflow/tfgan/eval/inception/1, unpacked "
        "into the folder of --inception_path",
    ),
    "training": (
        check_training,
        "try TF_ENABLE_ONEDNN_OPTS=0 on a CPU, NVIDIA_TF32_OVERRIDE=0 on a GPU or "
        "another version of TensorFlow, or report the output of `ssgan doctor --json`",
    ),
    "TF-Hub": (
        check_hub,
        'pip install --upgrade tensorflow-hub tf-keras "setuptools<82"',
    ),
}


if __name__ == "__main__":
    for name, (check, _) in CHECKS.items():
        try:
            status, message = check()
        # A broken package may raise any exception.
        except Exception as error:
            status, message = "wrong", f"{type(error).__name__}: {error}"
        _report(check=[name, status, message])
