"""The whole experiment: what is trained on what, for how long, how it is kept."""

import dataclasses
from collections.abc import Callable

import gin
import keras

from ssgan_tf import datasets, networks
from ssgan_tf.config import training as training  # noqa: F401  (registers names)
from ssgan_tf.config.checks import (
    ConfigError,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    config_errors,
    made_by,
    received,
)
from ssgan_tf.config.networks import standardize_batch
from ssgan_tf.config.parser import configurable
from ssgan_tf.gan import GAN

ON_NAN = ("stop", "rollback")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

# --- What a config may bind ----------------------------------------------------


@configurable("dataset")
def dataset(name: str = gin.REQUIRED, label_fraction: float = 1.0) -> tuple[str, float]:
    """The data set, a key of `datasets.DATASETS`, and the share of labels that is kept.

    Which labels are kept is a function of `run_config.seed`.
    """
    if not isinstance(name, str):
        raise ConfigError(
            f"`dataset.name` must be a name in quotes. {received('name', name)} Legal "
            f"names: {', '.join(sorted(datasets.DATASETS))}."
        )
    datasets.get_spec(name)
    if type(label_fraction) not in (int, float) or not 0 < label_fraction <= 1:
        raise ConfigError(
            "`dataset.label_fraction` must be a number in (0, 1]. "
            f"{received('label_fraction', label_fraction)}"
        )
    return name, label_fraction


@dataclasses.dataclass(frozen=True)
class Options:
    """What is trained, on how much, for how long.

    Attributes:
        architecture: str. A key of `networks.ARCHITECTURES`.
        gan_class: the factory of the GAN: `@SSGAN`, `@S3GAN` or `@ModularGAN`.
        batch_size: int. Real images per update of D, over all replicas.
        lamba: float. Weight of D's penalty, spelt as in compare_gan.
        training_steps: int. Generator steps.
        disc_iters: int. Updates of D per generator step.
        z_dim: int. Size of z.
        precision: str. "float32"; "mixed_bfloat16"; or "mixed_float16", with a loss
            scale, where the device has no bfloat16. Weights, norms, moments, losses and
            penalties stay float32.
        accumulate: int. Pieces of a replica's batch that run one after another, for
            batches that do not fit; see `GAN.compile`.
    """

    architecture: str
    gan_class: Callable[["Experiment"], GAN]
    batch_size: int
    lamba: float
    training_steps: int
    disc_iters: int
    z_dim: int
    precision: str
    accumulate: int


@configurable("options")
def options(
    architecture: str = gin.REQUIRED,
    gan_class: Callable[["Experiment"], GAN] = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    lamba: float = 1.0,
    training_steps: int = gin.REQUIRED,
    disc_iters: int = 1,
    z_dim: int = 128,
    precision: str = "float32",
    accumulate: int = 1,
) -> Options:
    """The options of a run; see `Options`."""
    if not isinstance(architecture, str):
        raise ConfigError(
            f"`options.architecture` must be one of {sorted(networks.ARCHITECTURES)}. "
            f"{received('architecture', architecture)}"
        )
    check_integer("options.batch_size", batch_size, at_least=1)
    check_number("options.lamba", lamba)
    check_integer("options.training_steps", training_steps, at_least=1)
    check_integer("options.disc_iters", disc_iters, at_least=1)
    check_integer("options.z_dim", z_dim, at_least=1)
    check_choice("options.precision", precision, PRECISIONS)
    check_integer("options.accumulate", accumulate, at_least=1)
    return Options(
        architecture,
        gan_class,
        batch_size,
        lamba,
        training_steps,
        disc_iters,
        z_dim,
        precision,
        accumulate,
    )


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How a run is kept.

    Attributes:
        seed: int. Of the weights, the noise and the order of the data.
        save_checkpoints_steps: int. Generator steps between checkpoints.
        keep_checkpoint_max: int. How many of the latest checkpoints stay.
        keep_checkpoint_every_steps: int, or None. Those of its multiples stay too.
        save_summary_steps: int. Generator steps between points in TensorBoard.
        iterations_per_loop: int. Generator steps per call from Python; divides the
            two intervals above and the number of training steps.
        deterministic: bool. Only deterministic kernels, so that two runs are equal
            bit for bit; slower on accelerators.
        on_nan: str. What follows a loss or weight that is not finite: "stop"; or
            "rollback", to the last checkpoint, with other noise and another order of
            the data from there, three times in a row at most.
    """

    seed: int
    save_checkpoints_steps: int
    keep_checkpoint_max: int
    keep_checkpoint_every_steps: int | None
    save_summary_steps: int
    iterations_per_loop: int
    deterministic: bool
    on_nan: str


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
    save_checkpoints_steps: int | None = None,
    keep_checkpoint_max: int = 20,
    keep_checkpoint_every_steps: int | None = None,
    save_summary_steps: int | None = None,
    iterations_per_loop: int = 10,
    deterministic: bool = False,
    on_nan: str = "stop",
) -> RunConfig:
    """How a run is kept; see `RunConfig`.

    Where they are not set, checkpoints are saved every 5,000 steps and summaries every
    100, or at the next multiple of `iterations_per_loop`.
    """
    check_integer("run_config.seed", seed, at_least=0)
    check_integer("run_config.keep_checkpoint_max", keep_checkpoint_max, at_least=1)
    if keep_checkpoint_every_steps is not None:
        check_integer(
            "run_config.keep_checkpoint_every_steps",
            keep_checkpoint_every_steps,
            at_least=1,
        )
    check_integer("run_config.iterations_per_loop", iterations_per_loop, at_least=1)
    check_choice("run_config.on_nan", on_nan, ON_NAN)
    check_flag("run_config.deterministic", deterministic)
    if save_checkpoints_steps is None:
        save_checkpoints_steps = -(-5000 // iterations_per_loop) * iterations_per_loop
    if save_summary_steps is None:
        save_summary_steps = -(-100 // iterations_per_loop) * iterations_per_loop
    for name, steps in (
        ("save_checkpoints_steps", save_checkpoints_steps),
        ("save_summary_steps", save_summary_steps),
    ):
        check_integer(f"run_config.{name}", steps, at_least=1)
        _check_divided(f"run_config.{name}", steps, iterations_per_loop)
    return RunConfig(
        seed,
        save_checkpoints_steps,
        keep_checkpoint_max,
        keep_checkpoint_every_steps,
        save_summary_steps,
        iterations_per_loop,
        deterministic,
        on_nan,
    )


# --- From config to objects -----------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that a config says, checked.

    Attributes:
        dataset: str. A key of `datasets.DATASETS`.
        label_fraction: float in (0, 1]. Share of the training labels that is kept.
        standing_examples: int. Samples that an export's batch-norm moments are
            averaged over; 0 for the moving moments of training.
        options: `Options`.
        run: `RunConfig`.
    """

    dataset: str
    label_fraction: float
    standing_examples: int
    options: Options
    run: RunConfig

    @property
    def spec(self) -> datasets.DatasetSpec:
        """The data set's row in the table."""
        return datasets.get_spec(self.dataset)

    def build_gan(self, precision: str | None = None) -> GAN:
        """The GAN with freshly drawn weights, a function of the seed.

        Must run under the strategy's scope. Sets the global seeds of Python, NumPy
        and TensorFlow.

        Args:
            precision: of the networks; None is `options.precision`.

        Raises:
            ConfigError: a value cannot be used.
        """
        keras.utils.set_random_seed(self.run.seed % 2**32)
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(precision or self.options.precision)
        try:
            with config_errors():
                return made_by("options.gan_class", self.options.gan_class, GAN, self)
        finally:
            keras.config.set_dtype_policy(before)


def experiment() -> Experiment:
    """Reads the parsed configuration.

    Raises:
        ConfigError: a required parameter is missing, or values do not fit together.
    """
    with config_errors():
        name, label_fraction = dataset()
        opts, run = options(), run_config()
        standing_examples = standardize_batch().standing_examples
    _check_divided(
        "options.training_steps", opts.training_steps, run.iterations_per_loop
    )
    return Experiment(name, label_fraction, standing_examples, opts, run)


def bindings() -> str:
    """What files and flags have bound, as gin text."""
    return gin.config_str()


def operative_config() -> str:
    """Every number and name in force, defaults included, as gin text.

    Complete once the GAN is built. Parsing it again gives the same run.
    """
    return gin.operative_config_str()
