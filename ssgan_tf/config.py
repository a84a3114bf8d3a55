"""Gin: the names a config may bind, how files are parsed, what was in force.

The names are compare_gan's where they still make sense (`options.batch_size`,
`G.batch_norm_fn`, `SSGAN.rotated_batch_size`). Gin sits on the factories below and
on nothing else: the layers and the train step know nothing of it.
"""

import dataclasses
import difflib
import functools
import inspect
import os
import pathlib
from collections.abc import Callable, Sequence

import gin
import keras
from gin import config_parser

from ssgan_tf import datasets, layers, losses, networks
from ssgan_tf.gan import GAN
from ssgan_tf.latents import Latents
from ssgan_tf.ssgan import RotationTask

# compare_gan's names that have another name here.
ALIASES = {
    "tf.train.AdamOptimizer": "adam",
    "run_config.tf_random_seed": "run_config.seed",
    "tf.random.normal": "normal",
    "tf.random.uniform": "uniform",
}
VALUE_ALIASES = {"options.architecture": {"resnet_cifar_arch": "resnet_cifar"}}

_CONFIGURABLES: dict[str, Callable] = {}


def configurable(name: str, denylist: Sequence[str] = ()):
    """Registers a factory with gin and remembers it, for suggestions in errors."""

    def register(factory):
        _CONFIGURABLES[name] = factory
        return gin.configurable(name, denylist=list(denylist) or None)(factory)

    return register


class ConfigError(ValueError):
    """A config that cannot be used; the message names every line that is wrong."""


# --- What a config may bind ----------------------------------------------------


@configurable("dataset")
def dataset(name: str = gin.REQUIRED) -> str:
    """Name of the data set, a key of `datasets.DATASETS`."""
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
    disc_iters: int = 1
    z_dim: int = 128


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
    for name, value in (
        ("batch_size", batch_size),
        ("training_steps", training_steps),
        ("disc_iters", disc_iters),
    ):
        if not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"`options.{name}` must be a positive integer. Received: "
                f"{name}={value!r}."
            )
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

    seed: int = 0
    save_checkpoints_steps: int = 5000
    keep_checkpoint_max: int = 20
    save_summary_steps: int = 100
    iterations_per_loop: int = 10
    deterministic: bool = False


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
    for name, steps in (
        ("save_checkpoints_steps", save_checkpoints_steps),
        ("save_summary_steps", save_summary_steps),
    ):
        if steps < 1 or iterations_per_loop < 1 or steps % iterations_per_loop:
            raise ConfigError(
                f"`run_config.{name}` must be a positive multiple of "
                f"`run_config.iterations_per_loop`. Received: {name}={steps}, "
                f"iterations_per_loop={iterations_per_loop}."
            )
    if keep_checkpoint_max < 1:
        raise ConfigError(
            "`run_config.keep_checkpoint_max` must be positive. Received: "
            f"keep_checkpoint_max={keep_checkpoint_max}."
        )
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
    return keras.initializers.RandomNormal(stddev=stddev)


@configurable("standardize_batch")
def standardize_batch(decay: float = 0.9, epsilon: float = 1e-5) -> dict[str, float]:
    """Decay of the moving moments and epsilon, of every batch normalization."""
    return {"momentum": decay, "epsilon": epsilon}


@configurable("batch_norm", denylist=["name"])
def batch_norm(name: str) -> keras.layers.Layer:
    """Plain batch normalization."""
    return layers.BatchNorm(name=name, **standardize_batch())


@configurable("self_modulated_batch_norm", denylist=["name"])
def self_modulated_batch_norm(name: str, num_hidden: int = 32) -> keras.layers.Layer:
    """Batch normalization modulated by z."""
    return layers.SelfModulatedBatchNorm(
        name=name,
        hidden_units=num_hidden,
        kernel_initializer=weights(),
        **standardize_batch(),
    )


@configurable("G", denylist=["architecture", "latent_dim", "image_shape"])
def generator(
    architecture: str,
    latent_dim: int,
    image_shape: tuple[int, int, int],
    batch_norm_fn: Callable = batch_norm,
    width: int | None = None,
) -> keras.Model:
    """The generator."""
    return networks.build_generator(
        architecture,
        latent_dim=latent_dim,
        image_shape=image_shape,
        norm=batch_norm_fn,
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
    return distribution_fn(dim)


hinge = configurable("hinge")(losses.Hinge)
non_saturating = configurable("non_saturating")(losses.NonSaturating)
wasserstein = configurable("wasserstein")(losses.Wasserstein)
least_squares = configurable("least_squares")(losses.LeastSquares)


@configurable("loss")
def loss(
    fn: Callable[[], losses.AdversarialLoss] = non_saturating,
) -> losses.AdversarialLoss:
    """The adversarial loss."""
    return fn()


@configurable("adam", denylist=["learning_rate"])
def adam(
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> keras.optimizers.Optimizer:
    """Adam with TensorFlow 1's epsilon (Keras's own default is 1e-7)."""
    return keras.optimizers.Adam(
        learning_rate, beta_1=beta1, beta_2=beta2, epsilon=epsilon
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
    g_optimizer_fn: Callable = adam,
    d_optimizer_fn: Callable | None = None,
    g_use_ema: bool = False,
    ema_decay: float = 0.9999,
    ema_start_step: int = 40000,
) -> GAN:
    """A GAN, compiled; with a rotation task it is an SS-GAN.

    `d_lr` and `d_optimizer_fn` default to G's. Before `ema_start_step` the average
    equals the weights.
    """
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
        g_optimizer=g_optimizer_fn(g_lr),
        d_optimizer=(d_optimizer_fn or g_optimizer_fn)(g_lr if d_lr is None else d_lr),
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
    return modular_gan(
        options,
        image_shape,
        seed,
        steps_per_execution,
        rotation_task=RotationTask(
            rotated_batch_size, weight_rotation_loss_d, weight_rotation_loss_g
        ),
    )


# --- Parsing --------------------------------------------------------------------


def config_dir() -> pathlib.Path:
    """The folder of the shipped gin files: in the installed package or beside it."""
    package = pathlib.Path(__file__).resolve().parent
    installed = package / "gin_configs"
    return installed if installed.is_dir() else package.parent / "gin_configs"


def find_config(name: str) -> pathlib.Path:
    """A gin file by path, or a shipped one by name.

    Raises:
        ConfigError: there is neither.
    """
    for path in (pathlib.Path(name), config_dir() / name):
        if path.is_file():
            return path
    shipped = sorted(path.name for path in config_dir().glob("*.gin"))
    raise ConfigError(
        "`--gin_config` must be a file or the name of a shipped config. Received: "
        f"--gin_config={name}. Shipped: {', '.join(shipped)}."
    )


class _Text:
    """A reference or macro inside a value, kept as text."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self):
        return self.text


class _Renaming(config_parser.ParserDelegate):
    """Reads references without resolving them, and gives them our names."""

    def configurable_reference(self, scoped_configurable_name, evaluate):
        *scopes, name = scoped_configurable_name.split("/")
        name = "/".join([*scopes, ALIASES.get(name, name)])
        return _Text(f"@{name}()" if evaluate else f"@{name}")

    def macro(self, macro_name):
        return _Text(f"%{macro_name}")


def _renamed(statement: config_parser.BindingStatement) -> str:
    """The binding as a line of gin text, in our names."""
    selector = ALIASES.get(statement.selector, statement.selector)
    key = f"{selector}.{statement.arg_name}" if statement.arg_name else selector
    key = ALIASES.get(key, key)
    value = statement.value
    if isinstance(value, str):
        value = VALUE_ALIASES.get(key, {}).get(value, value)
    scope = f"{statement.scope}/" if statement.scope else ""
    return f"{scope}{key} = {value!r}"


def _legal_names() -> list[str]:
    return [
        f"{name}.{parameter}"
        for name, factory in _CONFIGURABLES.items()
        for parameter in inspect.signature(factory).parameters
    ]


def _explain(line: str, error: Exception) -> str:
    """One line of explanation for a binding that gin refuses."""
    key, _, value = (part.strip() for part in line.partition(" = "))
    reason = str(error).strip().splitlines()[0]
    candidates = _legal_names()
    wrong = key.split("/")[-1]
    if "reference" in reason or "No configurable matching '@" in reason:
        wrong, candidates = value.strip("@()"), list(_CONFIGURABLES)
    close = difflib.get_close_matches(wrong, candidates, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"{line}: {reason}{hint}"


def _statements(text: str, filename: str, errors: list[str]):
    """Yields `(line of gin text, place)`; imports and includes come along."""
    parser = config_parser.ConfigParser(text, _Renaming())
    statements = iter(parser)
    while True:
        try:
            statement = next(statements)
        except StopIteration:
            return
        except SyntaxError as error:
            # The parser cannot go on behind a syntax error.
            errors.append(f"{filename}:{error.lineno}: {error.msg}: {error.text!r}")
            return
        location = getattr(statement, "location", None)
        place = f"{filename}:{location.line_num}" if location else filename
        if isinstance(statement, config_parser.BindingStatement):
            yield _renamed(statement), place
        elif isinstance(statement, config_parser.ImportStatement):
            yield statement.format(), place
        elif isinstance(statement, config_parser.IncludeStatement):
            included = find_config(statement.filename)
            yield from _statements(included.read_text(), str(included), errors)


def parse(gin_configs: Sequence[str], gin_bindings: Sequence[str] = ()) -> None:
    """Replaces gin's configuration by these files and bindings, in this order.

    compare_gan's names are translated on the way.

    Args:
        gin_configs: paths, or names of shipped files.
        gin_bindings: lines such as `options.batch_size = 32`.

    Raises:
        ConfigError: lists every line that cannot be used, with its place, the reason
            and the nearest legal name.
    """
    gin.clear_config()
    sources = [(find_config(name).read_text(), name) for name in gin_configs]
    if gin_bindings:
        sources.append(("\n".join(gin_bindings), "--gin_bindings"))
    errors: list[str] = []
    for text, filename in sources:
        for line, place in _statements(text, filename, errors):
            try:
                gin.parse_config(line)
            except (ValueError, NameError, ImportError, SyntaxError) as error:
                errors.append(f"{place}: {_explain(line, error)}")
    if errors:
        raise ConfigError(
            "The configuration has lines that cannot be used:\n  " + "\n  ".join(errors)
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
        """
        keras.utils.set_random_seed(self.run.seed)
        return self.options.gan_class(
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
    try:
        name, opts, run = dataset(), options(), run_config()
    except RuntimeError as error:
        raise missing_parameter(error) from error
    if opts.training_steps % run.iterations_per_loop:
        raise ConfigError(
            "`options.training_steps` must be a multiple of "
            "`run_config.iterations_per_loop`. Received: training_steps="
            f"{opts.training_steps}, iterations_per_loop={run.iterations_per_loop}."
        )
    return Experiment(name, opts, run)


def missing_parameter(error: RuntimeError) -> ConfigError:
    """Gin's complaint about a required parameter, as one line with its cure."""
    return ConfigError(
        f"{str(error).strip().splitlines()[0]} Set it in the gin file or with "
        '--gin_bindings="name.parameter = value".'
    )


def operative_config() -> str:
    """Every parameter in force, defaults included, as gin text.

    Complete once the GAN is built. Parsing it again gives the same run.
    """
    return gin.operative_config_str()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file whole or not at all."""
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
