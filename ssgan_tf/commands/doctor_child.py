"""The checks of `ssgan doctor` that import TensorFlow and may crash.

    python -m ssgan_tf.commands.doctor_child INCEPTION_PATH

Runs in a folder of its own and appends lines of JSON to report.jsonl there: before a
check its name and cure, so that the parent knows which one crashed, then its results.
"""

import json
import math
import os
import pathlib
import sys

from absl import flags

from ssgan_tf.commands.doctor_checks import REINSTALL, Check
from ssgan_tf.utils import startup
from ssgan_tf.utils.machine import nvidia_gpus

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
_IMPORTS = (
    "pip install --upgrade tensorboard tensorflow-gan tensorflow-hub "
    "tensorflow-probability tf-keras; for TensorFlow 2.16 and 2.17 "
    '"tensorflow-probability<0.25"'
)
_GPU = (
    'pip install "ssgan-tf[gpu]" for the CUDA libraries of this TensorFlow. If that is '
    'done: TF_CPP_MIN_LOG_LEVEL=0 python -c "import tensorflow as tf; '
    'tf.config.list_physical_devices()" names the library that does not load'
)
_INCEPTION = (
    "the FID needs https://tfhub.dev/tensorflow/tfgan/eval/inception/1, unpacked into "
    "the folder of --inception_path"
)
_TRAINING = (
    "docs/troubleshooting.md may have the message; else report it with the output of "
    "`ssgan doctor --json`"
)
_NUMBERS = (
    "this machine computes other numbers: try TF_ENABLE_ONEDNN_OPTS=0 on a CPU, "
    "NVIDIA_TF32_OVERRIDE=0 on a GPU or another version of TensorFlow, and report the "
    "output of `ssgan doctor --json`"
)
_HUB = 'pip install --upgrade tensorflow-hub tf-keras "setuptools<82"'


def main(inception_path: str) -> None:
    """Runs all checks; an exception is a result, too."""
    for name, cure, check in (
        ("TensorFlow", REINSTALL, check_tensorflow),
        ("imports", _IMPORTS, check_imports),
        ("Inception", _INCEPTION, lambda: check_inception(inception_path)),
        ("training", _TRAINING, check_training),
        ("TF-Hub", _HUB, check_hub),
    ):
        _report({"running": [name, cure]})
        try:
            results = check()
        # A broken package may raise any exception.
        except Exception as error:
            results = _result(name, f"{type(error).__name__}: {error}", cure)
        _report(results)


def _report(record: dict) -> None:
    with open("report.jsonl", "a") as file:
        file.write(json.dumps(record) + "\n")


def _result(name: str, message: str, cure: str = "", status: str = "wrong") -> dict:
    """The record of one check; without a cure its status is "ok"."""
    return {"checks": [Check(name, status if cure else "ok", message, cure)]}


def check_tensorflow() -> dict:
    """Checks that TensorFlow imports and sees the GPUs of the machine."""
    startup.import_tensorflow()
    import tensorflow as tf

    from ssgan_tf.utils import environment

    facts = environment.facts()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        # Batches of 64 images can be divided among powers of two only.
        num_visible = 2 ** (min(len(gpus), 16).bit_length() - 1)
        tf.config.set_visible_devices(gpus[:num_visible], "GPU")
    return {"facts": facts} | compare_devices(facts)


def compare_devices(facts: dict) -> dict:
    """Compares TensorFlow's devices, in `environment.facts()`, with the driver's."""
    devices = ", ".join(facts["devices"])
    gpus = "; ".join(nvidia_gpus())
    if gpus and "GPU" not in devices:
        message = f"{devices}; TensorFlow {facts['tensorflow']} does not see {gpus}"
        return _result("devices", message, _GPU)
    return _result("devices", f"{devices}; {gpus}" if gpus else devices)


def check_imports() -> dict:
    """Imports TensorBoard, and compares TFGAN's Frechet distance with ours."""
    import numpy as np
    from tensorboard import default, program

    from ssgan_tf.evaluation import frechet
    from ssgan_tf.evaluation.tfgan import import_eval

    program.TensorBoard(default.get_plugins())
    draw = np.random.default_rng(0).normal
    real, fake = draw(size=(500, 8)), draw(0.5, 1.5, size=(500, 8))
    theirs = import_eval().frechet_classifier_distance_from_activations(
        real.astype("float32"), fake.astype("float32")
    )
    ours = frechet.distance(frechet.moments([real]), frechet.moments([fake]))
    message = f"TensorBoard; TFGAN's Frechet distance {theirs:.6f}, ours {ours:.6f}"
    # TFGAN divides covariances by N and computes in float32.
    return _result(
        "imports", message, "" if abs(theirs / ours - 1) < 0.01 else _IMPORTS
    )


def check_inception(path: str) -> dict:
    """Loads the network of the FID; never downloads it."""
    if not path or "://" in path:
        message = f"--inception_path={path} is no folder: no FID, other scores only"
        return _result("Inception", message, _INCEPTION, status="absent")
    if not os.path.exists(path):
        return _result("Inception", f"{path} does not exist", _INCEPTION)
    from ssgan_tf.evaluation import features

    return _result("Inception", f"hash {features.load_inception(path).fingerprint}")


def check_training() -> dict:
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
    tag, distance = worst_loss(losses)
    message = (
        f"{seconds:.3f} s per step, {tag} within {distance:.2g} of the record "
        f"({TOLERANCES[tag]:g} allowed)"
    )
    # JSON has no numbers that are not finite.
    finite = {
        tag: [value if math.isfinite(value) else None for value in values]
        for tag, values in losses.items()
    }
    result = _result(
        "training", message, "" if distance <= TOLERANCES[tag] else _NUMBERS
    )
    return {"training": {"seconds_per_step": seconds, "losses": finite}} | result


def recorded_losses() -> dict[str, list[float]]:
    """The expected losses by tag, computed in float32 on one CPU."""
    file = pathlib.Path(__file__).with_name("recorded_losses.json")
    return json.loads(file.read_text())["losses"]


def worst_loss(losses: dict[str, list[float]]) -> tuple[str, float]:
    """Compares losses with the recorded ones.

    Returns:
        The tag with the largest distance for its tolerance, and the distance: infinite
        if a value is missing or not finite.
    """
    distances = {}
    for tag, expected in recorded_losses().items():
        differences = [abs(a - b) for a, b in zip(losses[tag], expected, strict=False)]
        is_good = len(losses[tag]) == STEPS and all(map(math.isfinite, differences))
        distances[tag] = max(differences) if is_good else math.inf
    worst = max(distances, key=lambda tag: distances[tag] / TOLERANCES[tag])
    return worst, distances[worst]


def check_hub() -> dict:
    """Samples from the exported module by TF-Hub alone."""
    import tensorflow as tf
    import tensorflow_hub

    latents = tf.random.stateless_uniform((4, 128), (0, 0), -1.0, 1.0)
    images = tensorflow_hub.load(f"run/tfhub/{STEPS}")(latents).numpy()
    low, high = float(images.min()), float(images.max())
    message = f"images {images.shape} in [{low:.3f}, {high:.3f}]"
    is_good = images.shape == (4, 32, 32, 1) and 0 <= low < high <= 1
    return _result("TF-Hub", message, "" if is_good else _HUB)


if __name__ == "__main__":
    main(sys.argv[1])
