"""Gin: the names a config may bind, and what a parsed config says.

The names are compare_gan's where they still make sense (`options.batch_size`,
`G.batch_norm_fn`, `SSGAN.rotated_batch_size`). Gin sits on the factories below and
on nothing else: the layers and the train step know nothing of it.
"""

import contextlib
import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterator

import gin
import keras

from ssgan_tf import datasets, layers, losses, networks
from ssgan_tf.gan import GAN
from ssgan_tf.gin_parser import ConfigError, configurable
from ssgan_tf.gin_parser import parse as parse  # noqa: F401  (registered names only)
from ssgan_tf.latents import Latents
from ssgan_tf.ssgan import RotationTask

# --- Checks of values -----------------------------------------------------------


def _check_integer(parameter: str, value, at_least: int) -> None:
    if type(value) is not int or value < at_least:
        raise ConfigError(
            f"`{parameter}` must be an integer, at least {at_least}. "
            f"{_received(parameter, value)}"
        )


def _check_number(parameter: str, value, below: float = math.inf) -> None:
    if type(value) not in (int, float) or not 0 <= value < below:
        extent = f"in [0, {below:g})" if below < math.inf else "at least 0"
        raise ConfigError(
            f"`{parameter}` must be a number {extent}. {_received(parameter, value)}"
        )


def _check_flag(parameter: str, value) -> None:
    if type(value) is not bool:
        raise ConfigError(
            f"`{parameter}` must be True or False. {_received(parameter, value)}"
        )


def _received(parameter: str, value) -> str:
    return f"Received: {parameter.split('.')[-1]}={value!r}."


def _made_by(parameter: str, factory, kind: type, *args):
    """What a reference in a config makes, after checking that it makes that."""
    made, reason = None, _unfit(factory, len(args))
    if not reason:
        made = factory(*args)
        reason = f"it makes {type(made).__name__}"
    if isinstance(made, kind):
        return made
    # As the config has it; a default of ours is never wrong.
    received = _received(parameter, gin.query_parameter(parameter))
    raise ConfigError(
        f"`{parameter}` must be a reference, @name without brackets or quotes, to "
        f"what makes {kind.__name__}. {received} Reason: {reason}."
    )


def _unfit(factory, num_args: int) -> str | None:
    """Why a factory cannot be called with so many arguments; None if it can."""
    if not callable(factory):
        return "it is no reference"
    named = [
        parameter
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if len(named) < num_args:
        return f"it takes {len(named)} arguments, not {num_args}"
    bound = gin.get_bindings(factory, resolve_references=False)
    missing = [
        parameter.name
        for parameter in named[num_args:]
        if parameter.default is parameter.empty and parameter.name not in bound
    ]
    return f"it needs {', '.join(missing)}" if missing else None


# --- What a config may bind ----------------------------------------------------


@configurable("dataset")
def dataset(name: str = gin.REQUIRED) -> str:
    """Name of the data set, a key of `datasets.DATASETS`."""
    if not isinstance(name, str):
        raise ConfigError(
            f"`dataset.name` must be a name in quotes. Received: name={name!r}. Legal "
            f"names: {', '.join(sorted(datasets.DATASETS))}."
        )
    datasets.get_spec(name)
    return name


@dataclasses.dataclass(frozen=True)
class Options:
    """What is trained, on how much, for how long.

    Attributes:
        architecture: str. A key of `networks.ARCHITECTURES`.
        gan_class: the factory of the GAN: `@SSGAN` or `@ModularGAN`.
        batch_size: int. Real images per update of D, over all replicas.
        training_steps: int. Generator steps.
        disc_iters: int. Updates of D per generator step.
        z_dim: int. Size of z.
    """

    architecture: str
    gan_class: Callable[..., GAN]
    batch_size: int
    training_steps: int
    disc_iters: int
    z_dim: int


@configurable("options")
def options(
    architecture: str = gin.REQUIRED,
    gan_class: Callable[..., GAN] = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    training_steps: int = gin.REQUIRED,
    disc_iters: int = 1,
    z_dim: int = 128,
) -> Options:
    """The options of a run; see `Options`."""
    if not isinstance(architecture, str):
        raise ConfigError(
            f"`options.architecture` must be one of {sorted(networks.ARCHITECTURES)}. "
            f"Received: architecture={architecture!r}."
        )
    _check_integer("options.batch_size", batch_size, at_least=1)
    _check_integer("options.training_steps", training_steps, at_least=1)
    _check_integer("options.disc_iters", disc_iters, at_least=1)
    _check_integer("options.z_dim", z_dim, at_least=1)
    return Options(
        architecture, gan_class, batch_size, training_steps, disc_iters, z_dim
    )


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How a run is kept.

    Attributes:
        seed: int. Of the weights, the noise and the order of the data.
        save_checkpoints_steps: int. Generator steps between checkpoints.
        keep_checkpoint_max: int. How many of the latest checkpoints stay.
        save_summary_steps: int. Generator steps between points in TensorBoard.
        iterations_per_loop: int. Generator steps per call from Python; divides the
            two intervals above and the number of training steps.
        deterministic: bool. Only deterministic kernels, so that two runs are equal
            bit for bit; slower on accelerators.
    """

    seed: int
    save_checkpoints_steps: int
    keep_checkpoint_max: int
    save_summary_steps: int
    iterations_per_loop: int
    deterministic: bool


def _check_divided(parameter: str, steps: int, iterations_per_loop: int) -> None:
    if steps % iterations_per_loop:
        raise ConfigError(
            f"`{parameter}` must be a multiple of `run_config.iterations_per_loop`. "
            f"Received: {parameter.split('.')[-1]}={steps}, iterations_per_loop="
            f"{iterations_per_loop}. Set one of them so that it is."
        )


@configurable("run_config")
def run_config(
    seed: int = 0,
    save_checkpoints_steps: int = 5000,
    keep_checkpoint_max: int = 20,
    save_summary_steps: int = 100,
    iterations_per_loop: int = 10,
    deterministic: bool = False,
) -> RunConfig:
    """How a run is kept; see `RunConfig`."""
    _check_integer("run_config.seed", seed, at_least=0)
    if seed >= 2**63:
        raise ConfigError(
            f"`run_config.seed` must be below 2**63. {_received('seed', seed)}"
        )
    _check_integer("run_config.keep_checkpoint_max", keep_checkpoint_max, at_least=1)
    _check_integer("run_config.iterations_per_loop", iterations_per_loop, at_least=1)
    _check_flag("run_config.deterministic", deterministic)
    for name, steps in (
        ("save_checkpoints_steps", save_checkpoints_steps),
        ("save_summary_steps", save_summary_steps),
    ):
        _check_integer(f"run_config.{name}", steps, at_least=1)
        _check_divided(f"run_config.{name}", steps, iterations_per_loop)
    return RunConfig(
        seed,
        save_checkpoints_steps,
        keep_checkpoint_max,
        save_summary_steps,
        iterations_per_loop,
        deterministic,
    )


@configurable("weights")
def weights(
    initializer: str = "normal", stddev: float = 0.02
) -> keras.initializers.Initializer:
    """The initializer of every kernel: "normal" with deviation `stddev`."""
    if initializer != "normal":
        raise ConfigError(
            "`weights.initializer` must be 'normal'. Received: "
            f"initializer={initializer!r}."
        )
    _check_number("weights.stddev", stddev)
    return keras.initializers.RandomNormal(stddev=stddev)


@configurable("standardize_batch")
def standardize_batch(decay: float = 0.9, epsilon: float = 1e-5) -> dict[str, float]:
    """Decay of the moving moments and epsilon, of every batch normalization."""
    _check_number("standardize_batch.decay", decay, below=1.0)
    _check_number("standardize_batch.epsilon", epsilon)
    return {"momentum": decay, "epsilon": epsilon}


@configurable("batch_norm", denylist=["name"])
def batch_norm(name: str) -> keras.layers.Layer:
    """Plain batch normalization."""
    return layers.BatchNorm(name=name, **standardize_batch())


@configurable("self_modulated_batch_norm", denylist=["name"])
def self_modulated_batch_norm(name: str, num_hidden: int = 32) -> keras.layers.Layer:
    """Batch normalization modulated by z."""
    _check_integer("self_modulated_batch_norm.num_hidden", num_hidden, at_least=1)
    return layers.SelfModulatedBatchNorm(
        name=name,
        hidden_units=num_hidden,
        kernel_initializer=weights(),
        **standardize_batch(),
    )


def _norm(factory, name: str) -> keras.layers.Layer:
    return _made_by("G.batch_norm_fn", factory, keras.layers.Layer, name)


@configurable("G", denylist=["architecture", "latent_dim", "image_shape"])
def generator(
    architecture: str,
    latent_dim: int,
    image_shape: tuple[int, int, int],
    batch_norm_fn: Callable = batch_norm,
    width: int | None = None,
) -> keras.Model:
    """The generator."""
    if width is not None:
        _check_integer("G.width", width, at_least=1)
    return networks.build_generator(
        architecture,
        latent_dim=latent_dim,
        image_shape=image_shape,
        norm=functools.partial(_norm, batch_norm_fn),
        width=width,
        kernel_initializer=weights(),
    )


@configurable("D", denylist=["architecture", "image_shape", "rotation_head"])
def discriminator(
    architecture: str,
    image_shape: tuple[int, int, int],
    rotation_head: bool,
    spectral_norm: bool = False,
    width: int | None = None,
) -> keras.Model:
    """The discriminator."""
    _check_flag("D.spectral_norm", spectral_norm)
    if width is not None:
        _check_integer("D.width", width, at_least=1)
    return networks.build_discriminator(
        architecture,
        image_shape=image_shape,
        rotation_head=rotation_head,
        width=width,
        spectral_norm=spectral_norm,
        kernel_initializer=weights(),
    )


@configurable("uniform", denylist=["dim"])
def uniform(dim: int) -> Latents:
    """z uniform on [-1, 1)."""
    return Latents(dim, "uniform")


@configurable("normal", denylist=["dim"])
def normal(dim: int) -> Latents:
    """z normal with mean 0 and deviation 1."""
    return Latents(dim, "normal")


@configurable("z", denylist=["dim"])
def z(dim: int, distribution_fn: Callable[[int], Latents] = uniform) -> Latents:
    """The distribution of z, in training and in evaluation."""
    return _made_by("z.distribution_fn", distribution_fn, Latents, dim)


hinge = configurable("hinge")(losses.Hinge)
non_saturating = configurable("non_saturating")(losses.NonSaturating)
wasserstein = configurable("wasserstein")(losses.Wasserstein)
least_squares = configurable("least_squares")(losses.LeastSquares)


@configurable("loss")
def loss(
    fn: Callable[[], losses.AdversarialLoss] = non_saturating,
) -> losses.AdversarialLoss:
    """The adversarial loss."""
    return _made_by("loss.fn", fn, losses.AdversarialLoss)


@configurable("adam", denylist=["learning_rate"])
def adam(
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> keras.optimizers.Optimizer:
    """Adam with TensorFlow 1's epsilon (Keras's own default is 1e-7)."""
    _check_number("adam.beta1", beta1, below=1.0)
    _check_number("adam.beta2", beta2, below=1.0)
    _check_number("adam.epsilon", epsilon)
    return keras.optimizers.Adam(
        learning_rate, beta_1=beta1, beta_2=beta2, epsilon=epsilon
    )


def _scheduled(rate: float, schedule: str, num_updates: int):
    """The learning rate as Keras's optimizers take it."""
    if schedule == "constant":
        return rate
    if schedule == "linear":
        return keras.optimizers.schedules.PolynomialDecay(
            rate, num_updates, end_learning_rate=0.0
        )
    raise ConfigError(
        "`ModularGAN.lr_schedule` must be 'constant' or 'linear'. "
        f"{_received('lr_schedule', schedule)}"
    )


@configurable(
    "ModularGAN",
    denylist=["options", "image_shape", "seed", "rotation_task", "steps_per_execution"],
)
def modular_gan(
    options: Options,
    image_shape: tuple[int, int, int],
    seed: int,
    steps_per_execution: int = 1,
    rotation_task: RotationTask | None = None,
    g_lr: float = 2e-4,
    d_lr: float | None = None,
    lr_schedule: str = "constant",
    g_optimizer_fn: Callable = adam,
    d_optimizer_fn: Callable | None = None,
    g_use_ema: bool = False,
    ema_decay: float = 0.9999,
    ema_start_step: int = 40000,
) -> GAN:
    """A GAN, compiled; with a rotation task it is an SS-GAN.

    `d_lr` and `d_optimizer_fn` default to G's. With `lr_schedule = "linear"` both
    rates fall to zero over the training steps. Before `ema_start_step` the average
    equals the weights.
    """
    d_lr = g_lr if d_lr is None else d_lr
    d_optimizer_fn = g_optimizer_fn if d_optimizer_fn is None else d_optimizer_fn
    _check_number("ModularGAN.g_lr", g_lr)
    _check_number("ModularGAN.d_lr", d_lr)
    _check_flag("ModularGAN.g_use_ema", g_use_ema)
    _check_number("ModularGAN.ema_decay", ema_decay, below=1.0)
    _check_integer("ModularGAN.ema_start_step", ema_start_step, at_least=0)
    build = functools.partial(
        generator, options.architecture, options.z_dim, image_shape
    )
    gan = GAN(
        build(),
        discriminator(options.architecture, image_shape, rotation_task is not None),
        latents=z(options.z_dim),
        seed=seed,
        average=build() if g_use_ema else None,
    )
    gan.compile(
        g_optimizer=_made_by(
            "ModularGAN.g_optimizer_fn",
            g_optimizer_fn,
            keras.Optimizer,
            _scheduled(g_lr, lr_schedule, options.training_steps),
        ),
        d_optimizer=_made_by(
            "ModularGAN.d_optimizer_fn",
            d_optimizer_fn,
            keras.Optimizer,
            _scheduled(d_lr, lr_schedule, options.training_steps * options.disc_iters),
        ),
        adversarial_loss=loss(),
        rotation_task=rotation_task,
        d_steps=options.disc_iters,
        ema_decay=ema_decay,
        ema_start_step=ema_start_step,
        steps_per_execution=steps_per_execution,
    )
    return gan


@configurable(
    "SSGAN", denylist=["options", "image_shape", "seed", "steps_per_execution"]
)
def ss_gan(
    options: Options,
    image_shape: tuple[int, int, int],
    seed: int,
    steps_per_execution: int = 1,
    rotated_batch_size: int = gin.REQUIRED,
    weight_rotation_loss_d: float = 1.0,
    weight_rotation_loss_g: float = 0.2,
) -> GAN:
    """An SS-GAN, compiled: a `ModularGAN` with the rotation task."""
    _check_integer("SSGAN.rotated_batch_size", rotated_batch_size, at_least=4)
    _check_number("SSGAN.weight_rotation_loss_d", weight_rotation_loss_d)
    _check_number("SSGAN.weight_rotation_loss_g", weight_rotation_loss_g)
    return modular_gan(
        options,
        image_shape,
        seed,
        steps_per_execution,
        rotation_task=RotationTask(
            rotated_batch_size, weight_rotation_loss_d, weight_rotation_loss_g
        ),
    )


# --- From config to objects -----------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that a config says, checked."""

    dataset: str
    options: Options
    run: RunConfig

    @property
    def spec(self) -> datasets.DatasetSpec:
        """The data set's row in the table."""
        return datasets.get_spec(self.dataset)

    def build_gan(self) -> GAN:
        """The GAN with freshly drawn weights, a function of the seed.

        Must run under the strategy's scope. Sets the global seeds of Python, NumPy
        and TensorFlow.

        Raises:
            ConfigError: a value cannot be used.
        """
        keras.utils.set_random_seed(self.run.seed % 2**32)
        with _config_errors():
            return _made_by(
                "options.gan_class",
                self.options.gan_class,
                GAN,
                self.options,
                self.spec.image_shape,
                self.run.seed,
                self.run.iterations_per_loop,
            )


def experiment() -> Experiment:
    """Reads the parsed configuration.

    Raises:
        ConfigError: a required parameter is missing, or values do not fit together.
    """
    with _config_errors():
        name, opts, run = dataset(), options(), run_config()
    _check_divided(
        "options.training_steps", opts.training_steps, run.iterations_per_loop
    )
    return Experiment(name, opts, run)


@contextlib.contextmanager
def _config_errors() -> Iterator[None]:
    """Turns what factories and gin raise into a ConfigError with one clear message."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(_without_calls(error)) from error
    except RuntimeError as error:
        missing = re.match(r"Required bindings for `(.*)` .*: \[(.*)\]", str(error))
        if not missing:
            raise
        names = [f"{missing[1]}.{name[1:-1]}" for name in missing[2].split(", ")]
        raise ConfigError(
            f"The configuration must set {', '.join(names)}. Received: no value. Set "
            f'it in the gin file or with --gin_bindings="{names[0]} = ...".'
        ) from error


def _without_calls(error: Exception) -> str:
    """The message without gin's list of the calls that it passed through."""
    lines = str(error).splitlines()
    return "\n".join(
        li for li in lines if not li.startswith("  In call to configurable")
    )


def operative_config() -> str:
    """Every parameter in force, defaults included, as gin text.

    Complete once the GAN is built. Parsing it again gives the same run.
    """
    return gin.operative_config_str()
