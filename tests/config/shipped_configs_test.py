"""The shipped configs: each parses, builds, is what it says, and steps."""

from typing import NamedTuple

import gin
import keras
import numpy as np
import pytest

from ssgan_tf import config, networks
from ssgan_tf.config import gan as config_gan
from ssgan_tf.gan import GAN
from ssgan_tf.latents import Latents

SWEEP = "table2.sweep"
# Not a GAN: see forgetting_test.py.
FORGETTING = "forgetting_cifar10.gin"
ROTATION, MINIMAX = ("RotationTask",), ("MinimaxRotationTask",)
AUGMENTED, FEW_LABELS = ("LabelAugmentedTask",), ("RotationTask", "ClassTask")
PLAIN, MODULATED, CONDITIONAL = (
    "BatchNorm",
    "SelfModulatedBatchNorm",
    "ConditionalBatchNorm",
)


class Facts(NamedTuple):
    """Expected values of a config; the defaults are those of most."""

    tasks: tuple[str, ...] = ()
    norm: str = PLAIN
    loss: str | None = "Hinge"
    architecture: str = "resnet_cifar"
    d_steps: int = 2
    rotated: int = 64
    alpha: float = 0.2
    batch_size: int = 64
    steps: int = 100_000
    label_fraction: float = 1.0
    standing: int = 0
    dataset: str = "cifar10"
    latents: Latents = Latents(128, "uniform")
    g_lr: float = 2e-4
    d_lr: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.9)
    g_spectral_norm: bool = False
    d_spectral_norm: bool = True
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    beta: float = 1.0
    penalty: None = None
    # Decay and first step of the moving average.
    average: tuple[float, int] | None = None


RESNET5 = {"architecture": "resnet5"}
LSUN = RESNET5 | {"dataset": "lsun_bedroom"}
CELEB_A_HQ = RESNET5 | {"dataset": "celeb_a_hq"}
IMAGENET = RESNET5 | {"dataset": "imagenet128", "steps": 1_000_000}
BIGGAN = {
    "dataset": "imagenet128",
    "architecture": "resnet_biggan",
    "steps": 250_000,
    "batch_size": 2048,
    "rotated": 512,
    "standing": 204_800,
    "latents": Latents(120, "normal"),
    "g_lr": 1e-4,
    "d_lr": 5e-4,
    "betas": (0.0, 0.999),
    "g_spectral_norm": True,
    "average": (0.9999, 40_000),
}
CONFIGS = {
    "quickstart.gin": Facts(
        ROTATION,
        d_steps=1,
        steps=1600,
        dataset="digits32",
        g_lr=5e-4,
        d_lr=5e-4,
        average=(0.99, 0),
    ),
    "uncond_cifar10.gin": Facts(),
    "cond_cifar10.gin": Facts(norm=CONDITIONAL),
    "ssgan_cifar10.gin": Facts(ROTATION),
    "ssgan_sbn_cifar10.gin": Facts(ROTATION, MODULATED),
    "rotation_only_cifar10.gin": Facts(ROTATION, loss=None),
    "ssgan_ms_cifar10.gin": Facts(MINIMAX),
    "ssgan_la_cifar10.gin": Facts(AUGMENTED, loss=None, rotated=256, alpha=1.0),
    "s3gan_cifar10.gin": Facts(FEW_LABELS, CONDITIONAL, label_fraction=0.1),
    "uncond_imagenet128.gin": Facts(**IMAGENET),
    "cond_imagenet128.gin": Facts(norm=CONDITIONAL, **IMAGENET),
    "ssgan_imagenet128.gin": Facts(ROTATION, **IMAGENET),
    "ssgan_sbn_imagenet128.gin": Facts(ROTATION, MODULATED, **IMAGENET),
    "ssgan_biggan_imagenet128.gin": Facts(ROTATION, MODULATED, **BIGGAN),
    "s3gan_imagenet128.gin": Facts(
        FEW_LABELS, CONDITIONAL, label_fraction=0.1, **BIGGAN
    ),
    "uncond_lsun_bedroom.gin": Facts(**LSUN),
    "ssgan_lsun_bedroom.gin": Facts(ROTATION, **LSUN),
    "ssgan_sbn_lsun_bedroom.gin": Facts(ROTATION, MODULATED, **LSUN),
    "uncond_celeb_a_hq.gin": Facts(**CELEB_A_HQ),
    "ssgan_celeb_a_hq.gin": Facts(ROTATION, **CELEB_A_HQ),
    "ssgan_sbn_celeb_a_hq.gin": Facts(ROTATION, MODULATED, **CELEB_A_HQ),
}
FORGETTING_FACTS = {
    "dataset": "cifar10",
    "architecture": "resnet_cifar",
    "batch_size": 64,
    "training_steps": 20_000,
    "steps_per_task": 1000,
    "eval_every_steps": 50,
    "weight_rotation_loss": 1.0,
    "rotated_batch_size": 64,
    "lr": 1e-3,
    "seed": 0,
}
# The paper's Table 2: penalty weight or None, betas, D steps.
ROWS = {
    "gp_1_0_0.9_1": (1, (0.0, 0.9), 1),
    "gp_1_0_0.9_2": (1, (0.0, 0.9), 2),
    "gp_1_0.5_0.999_1": (1, (0.5, 0.999), 1),
    "gp_10_0_0.9_1": (10, (0.0, 0.9), 1),
    "gp_10_0_0.9_2": (10, (0.0, 0.9), 2),
    "gp_10_0.5_0.999_1": (10, (0.5, 0.999), 1),
    "sn_0_0.9_1": (None, (0.0, 0.9), 1),
    "sn_0_0.9_2": (None, (0.0, 0.9), 2),
    "sn_0.5_0.999_1": (None, (0.5, 0.999), 1),
}
BASES = ("uncond_cifar10.gin", "ssgan_cifar10.gin")


def reduced(facts: Facts) -> list[str]:
    """Bindings that shrink a config to what a test can step."""
    lines = ["G.width = 4", "D.width = 4", "options.batch_size = 8"]
    # Deep and narrow without spectral norm: gradients would vanish.
    lines.append("weights.stddev = 0.2")
    if facts.architecture == "resnet_biggan":
        # Self-attention needs eight channels.
        lines.append("D.width = 8")
    if facts.tasks and facts.tasks != FEW_LABELS:
        rotated = min(32, 8 * facts.rotated // facts.batch_size // 4 * 4)
        lines.append(f"SSGAN.rotated_batch_size = {max(4, rotated)}")
    if facts.tasks == FEW_LABELS:
        lines.append("S3GAN.rotated_batch_fraction = 2")
    return lines


def step_twice(gan, plan) -> None:
    """Two steps on fake data; everything that learns must move."""
    networks = (gan.generator, gan.discriminator)
    kernels = [v for net in networks for v in net.variables if v.name == "kernel"]
    before = [kernel.numpy() for kernel in kernels]
    num_images = gan.d_steps * plan.options.batch_size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_images, *plan.spec.image_shape), np.uint8)
    labels = rng.integers(0, max(1, plan.spec.num_classes), num_images)
    if plan.data.label_fraction < 1:
        labels[::2] = -1
    for step in range(2):
        assert gan.step == step
        logs = gan.train_step((images, labels.astype("int32")))
    assert set(logs) == set(gan.log_names)
    assert all(np.isfinite(value) for value in logs.values()), logs
    for old, kernel in zip(before, kernels, strict=True):
        assert np.isfinite(kernel.numpy()).all()
        # Without an adversarial loss nothing looks at this head.
        if gan.adversarial_loss is not None or "disc_final_fc" not in kernel.path:
            assert (old != kernel.numpy()).any(), kernel.path


def header(name: str) -> list[str]:
    lines = []
    for line in config.find_config(name).read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line)
    return lines


def test_every_config_has_a_test():
    shipped = sorted(path.name for path in config.config_dir().glob("*"))
    assert shipped == sorted([*CONFIGS, FORGETTING, SWEEP])
    assert list(config.sweep_rows(SWEEP)) == list(ROWS)


@pytest.mark.parametrize("name", [*CONFIGS, FORGETTING, SWEEP])
def test_header(name):
    lines = header(name)
    assert len(lines) >= 4
    for start in ("# Run: ", "# Expected: ", "# Departs from the paper in: "):
        assert sum(line.startswith(start) for line in lines) == 1
    assert any(name in line or "make quickstart" in line for line in lines)
    assert name == "quickstart.gin" or "Paper" in "".join(lines)
    assert name == "quickstart.gin" or any("not yet run" in line for line in lines)


class Recorder(GAN):
    """Records the arguments of a GAN, whose networks are specs: building takes long."""

    def __init__(self, generator, discriminator, *, latents, seed, average):
        keras.Model.__init__(self)
        self.specs = {"g": generator, "d": discriminator, "average": average}
        self.latents = latents

    def compile(self, **settings):
        self.settings = settings


@pytest.fixture
def recorded(monkeypatch):
    """Makes the recorder of a config."""
    monkeypatch.setattr(config_gan, "GAN", Recorder)
    for player in ("generator", "discriminator"):
        monkeypatch.setattr(networks, f"build_{player}", lambda name, spec: spec)

    def record(*files):
        config.parse(files)
        plan = config.plan()
        return plan, plan.build_gan()

    return record


def check_optimizer(optimizer, rate: float, betas, epsilon=1e-8) -> None:
    """The rate is that of the first step, if it follows a schedule."""
    assert float(optimizer.learning_rate) == pytest.approx(rate)
    assert (optimizer.beta_1, optimizer.beta_2) == betas
    assert optimizer.epsilon == epsilon


def kind_of(thing) -> str | None:
    return None if thing is None else type(thing).__name__


@pytest.mark.parametrize("name", CONFIGS)
def test_says_what_its_name_says(name, recorded):
    facts = CONFIGS[name]
    plan, gan = recorded(name)
    options, settings, specs = plan.options, gan.settings, gan.specs
    assert options.architecture == facts.architecture
    assert options.batch_size == facts.batch_size
    assert options.training_steps == facts.steps
    assert settings["d_steps"] == options.disc_iters == facts.d_steps
    assert plan.data.label_fraction == facts.label_fraction
    assert plan.standing_examples == facts.standing
    assert plan.dataset == facts.dataset
    assert name == "quickstart.gin" or name.endswith(f"_{facts.dataset}.gin")
    check_optimizer(settings["g_optimizer"], facts.g_lr, facts.betas)
    check_optimizer(settings["d_optimizer"], facts.d_lr, facts.betas)
    assert gan.latents == facts.latents
    assert specs["g"].latent_dim == facts.latents.dim
    assert kind_of(settings["adversarial_loss"]) == facts.loss
    assert settings["penalty"] is facts.penalty
    for player, normalized in (
        ("g", facts.g_spectral_norm),
        ("d", facts.d_spectral_norm),
    ):
        assert (specs[player].spectral_norm is not None) == normalized
        classes = plan.spec.num_classes if facts.norm == CONDITIONAL else 0
        assert specs[player].num_classes == classes
        assert specs[player].image_shape == plan.spec.image_shape
    norm = specs["g"].norm("norm")
    assert type(norm).__name__ == facts.norm
    assert (norm.momentum, norm.epsilon) == (facts.norm_momentum, facts.norm_epsilon)
    assert (specs["average"] is not None) == bool(facts.average)
    if facts.average:
        assert (settings["ema_decay"], settings["ema_start_step"]) == facts.average
    tasks = settings["tasks"]
    assert tuple(map(kind_of, tasks)) == facts.tasks
    if tasks:
        assert tasks[0].rotated_batch_size == facts.rotated
        assert (tasks[0].d_weight, tasks[0].g_weight) == (facts.beta, facts.alpha)


# One config for every architecture, set of tasks, norm and loss.
KINDS = {
    (facts.architecture, facts.tasks, facts.norm, facts.loss): name
    for name, facts in reversed(CONFIGS.items())
}


@pytest.mark.parametrize(
    "name",
    [
        # Images of 128 x 128 are slow.
        pytest.param(
            name, marks=[pytest.mark.slow] if kind[0] != "resnet_cifar" else []
        )
        for kind, name in KINDS.items()
    ],
)
def test_builds_and_steps(name):
    config.parse([name], reduced(CONFIGS[name]))
    plan = config.plan()
    gan = plan.build_gan()
    assert isinstance(gan, GAN) and gan.step == 0
    step_twice(gan, plan)


def test_values_of_the_forgetting_run():
    config.parse([FORGETTING], ["D.width = 4"])
    settings = config.forgetting()
    assert {name: getattr(settings, name) for name in FORGETTING_FACTS} == (
        FORGETTING_FACTS
    )
    network, optimizer = settings.build()
    check_optimizer(optimizer, 1e-3, (0.9, 0.999))
    assert not any(v.name == "u" for v in network.variables)
    assert gin.query_parameter("weights.initializer") == "orthogonal"


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("base", BASES)
def test_table_2(base, row, recorded):
    weight, betas, d_steps = ROWS[row]
    _, gan = recorded(base, f"{SWEEP}#{row}")
    settings = gan.settings
    assert settings["d_steps"] == d_steps
    for player in "gd":
        check_optimizer(settings[f"{player}_optimizer"], 2e-4, betas)
    assert (gan.specs["d"].spectral_norm is None) == (weight is not None)
    assert kind_of(settings["penalty"]) == (None if weight is None else "WganGP")
    if weight is not None:
        assert settings["penalty_weight"] == weight


def test_a_row_with_a_penalty_steps():
    config.parse([BASES[1], f"{SWEEP}#gp_10_0_0.9_1"], reduced(CONFIGS[BASES[1]]))
    plan = config.plan()
    step_twice(plan.build_gan(), plan)


def test_kernels_start_independent_normal_and_for_labels_zero():
    config.parse(["cond_cifar10.gin"], ["G.width = 32", "D.width = 32"])
    gan = config.plan().build_gan()
    kernels, zeros = [], []
    for net in (gan.generator, gan.discriminator):
        for variable in net.variables:
            if variable.name == "kernel":
                value = variable.numpy().ravel()
                (kernels if value.any() else zeros).append((variable.path, value))
    # Only modulations by labels start at zero.
    assert len(zeros) == 14
    assert all("/gamma/" in path or "/beta/" in path for path, _ in zeros)
    for path, kernel in kernels:
        if kernel.size > 5000:
            assert abs(kernel.std() / 0.02 - 1) < 0.05, path
            assert abs(kernel.mean()) < 0.002, path
    for i, (path, kernel) in enumerate(kernels):
        for other_path, other in kernels[:i]:
            size = min(kernel.size, other.size)
            if size > 100:
                correlation = np.corrcoef(kernel[:size], other[:size])[0, 1]
                assert abs(correlation) < 6 / np.sqrt(size), (path, other_path)
