"""The whole experiment: what is trained on what, for how long, how it is kept."""

import dataclasses
import os
from collections.abc import Callable

import gin
import keras

from ssgan_tf import datasets, networks
from ssgan_tf.config import gan as training  # noqa: F401  (registers names)
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
from ssgan_tf.datasets import folders
from ssgan_tf.gan import GAN

ON_NAN = ("stop", "rollback")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

# --- What a config may bind ----------------------------------------------------


@configurable("dataset")
def dataset(
    name: str = gin.REQUIRED,
    resolution: int | None = None,
    colors: int | None = None,
    label_fraction: float = 1.0,
    label_file: str | None = None,
    flip: bool = False,
) -> tuple[str, float, str | None, bool]:
    """The data set and its labels; docs/data.md has the table of the names.

    Args:
        name: str. A data set of that table, or "folder:DIR", a folder of images.
        resolution: int >= 1, or None. Height and width that the images of a folder are
            brought to; None for all others.
        colors: 1, 3, or None. Channels of the images of a folder, grey or RGB; None for
            all others.
        label_fraction: float in (0, 1]. Share of each class's training labels that is
            kept, chosen by `run_config.seed`; 1 unless `ModularGAN.conditional`.
        label_file: str or None. A file of `np.save` whose labels replace those of the
            training split; None unless `ModularGAN.conditional`.
        flip: bool. Whether images are mirrored, each half of the time.

    Returns:
        The first four attributes of `Plan`.
    """
    if not isinstance(name, str):
        raise ConfigError(
            f"`dataset.name` must be a name in quotes. {received('name', name)} Legal "
            f"names: {', '.join(sorted(datasets.DATASETS))}."
        )
    if folders.is_folder(name):
        name = datasets.folder_name(name, resolution, colors)
    elif not (resolution is None and colors is None):
        raise ConfigError(
            "`dataset.resolution` and `dataset.colors` are of folders of images: other "
            f"data sets have their own. Received: name={name!r}, resolution="
            f"{resolution!r}, colors={colors!r}. Leave them out."
        )
    try:
        num_classes = datasets.get_spec(name).num_classes
    except OSError as error:
        # To others gin adds where they were raised.
        raise ConfigError(str(error)) from error
    if type(label_fraction) not in (int, float) or not 0 < label_fraction <= 1:
        raise ConfigError(
            "`dataset.label_fraction` must be a number in (0, 1]. "
            f"{received('label_fraction', label_fraction)}"
        )
    if label_file is not None and not (isinstance(label_file, str) and label_file):
        raise ConfigError(
            "`dataset.label_file` must be the name of a file in quotes, or None. "
            f"{received('label_file', label_file)}"
        )
    if label_file and not num_classes:
        raise ConfigError(
            "`dataset.label_file` replaces labels, and this data set has none. "
            f"Received: label_file={label_file!r}, name={name!r}. Leave it out."
        )
    check_flag("dataset.flip", flip)
    return name, label_fraction, label_file, flip


@dataclasses.dataclass(frozen=True)
class Options:
    """What `options` was given, checked."""

    architecture: str
    gan_class: Callable[["Plan"], GAN]
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
    gan_class: Callable[["Plan"], GAN] = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    lamba: float = 1.0,
    training_steps: int = gin.REQUIRED,
    disc_iters: int = 1,
    z_dim: int = 128,
    precision: str = "float32",
    accumulate: int = 1,
) -> Options:
    """What is trained, on how much, for how long.

    Args:
        architecture: str. Of both networks: a row of `networks.ARCHITECTURES`.
        gan_class: reference. Makes the GAN.
        batch_size: int >= 1. Real images per update of D, over all replicas.
        lamba: float >= 0. Weight of D's penalty, spelt as in compare_gan.
        training_steps: int >= 1. Generator steps; a multiple of
            `run_config.iterations_per_loop`.
        disc_iters: int >= 1. Updates of D per generator step.
        z_dim: int >= 1. Size of z.
        precision: "float32", "mixed_bfloat16" or "mixed_float16". Of convolutions and
            dense layers; weights, norms, moments, losses and penalties stay float32.
            "mixed_float16", with a loss scale, is for devices without bfloat16.
        accumulate: int >= 1. Pieces of a replica's batch that run one after another,
            for batches that do not fit into memory. Each takes batch-norm moments of
            its own.
    """
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
    """What `run_config` was given, checked; intervals are filled in."""

    seed: int
    warm_start: str | None
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
    warm_start: str | None = None,
    save_checkpoints_steps: int | None = None,
    keep_checkpoint_max: int = 20,
    keep_checkpoint_every_steps: int | None = None,
    save_summary_steps: int | None = None,
    iterations_per_loop: int = 10,
    deterministic: bool = False,
    on_nan: str = "stop",
) -> RunConfig:
    """How a run begins and how it is kept. Steps are generator steps.

    Args:
        seed: int >= 0. Of the weights, the noise and the order of the data.
        warm_start: str or None. The exported module whose weights both networks start
            from: a folder, an archive, an address on TF-Hub. None: weights drawn from
            the seed, as are those of heads that the module lacks.
        save_checkpoints_steps: int >= 1, or None. Steps between checkpoints, a multiple
            of `iterations_per_loop`; None: 5,000, or the next multiple.
        keep_checkpoint_max: int >= 1. How many of the latest checkpoints stay.
        keep_checkpoint_every_steps: int >= 1, or None. Those of its multiples stay too;
            None: no others.
        save_summary_steps: int >= 1, or None. Steps between points in TensorBoard, a
            multiple of `iterations_per_loop`; None: 100, or the next multiple.
        iterations_per_loop: int >= 1. Steps per call from Python; divides
            `options.training_steps`. More saves time on accelerators.
        deterministic: bool. Only deterministic kernels, so that two runs are equal bit
            for bit; slower on accelerators.
        on_nan: "stop" or "rollback". What follows a loss or weight that is not finite.
            "rollback": back to the last checkpoint, and other noise and another order
            of the data from there, three times in a row at most.
    """
    check_integer("run_config.seed", seed, at_least=0)
    if warm_start is not None and not (isinstance(warm_start, str) and warm_start):
        raise ConfigError(
            "`run_config.warm_start` must be the place of a module in quotes, or None. "
            f"{received('warm_start', warm_start)}"
        )
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
        warm_start,
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
class Plan:
    """All that a config says, checked.

    Attributes:
        dataset: str. A key of `datasets.DATASETS`, or a folder's name as
            `datasets.folder_name` has it.
        label_fraction: float in (0, 1]. Share of the training labels that is kept.
        label_file: str, or None. Where the training labels come from instead.
        flip: bool. Whether images are mirrored half of the time.
        standing_examples: int. Samples that an export's batch-norm moments are
            averaged over; 0 for the moving moments of training.
        options: `Options`.
        run: `RunConfig`.
    """

    dataset: str
    label_fraction: float
    label_file: str | None
    flip: bool
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


def plan(warm_start: str | None = None, image_folder: str | None = None) -> Plan:
    """Reads the parsed configuration.

    Args:
        warm_start: what `run_config.warm_start` is bound to first; None leaves it.
        image_folder: takes the place of the data set that is bound, whose size and
            colours it keeps where none are bound; None leaves it.

    Raises:
        ConfigError: a required parameter is missing, or values do not fit together; the
            configuration starts from another module than `warm_start`.
    """
    with config_errors():
        if warm_start is not None:
            _bind_warm_start(warm_start)
        if image_folder is not None:
            _bind_image_folder(image_folder)
        _bind_absolute("dataset.label_file")
        data = dataset()
        opts, run = options(), run_config()
        standing_examples = standardize_batch().standing_examples
    _check_divided(
        "options.training_steps", opts.training_steps, run.iterations_per_loop
    )
    return Plan(*data, standing_examples, opts, run)


def _bind_warm_start(module: str) -> None:
    bound = run_config().warm_start
    if bound not in (None, module):
        raise ConfigError(
            "`--warm_start` is short for a binding of `run_config.warm_start`: there "
            f"can be one of them. Received: --warm_start={module}, and in the "
            f"configuration warm_start={bound!r}. Leave one of them out."
        )
    gin.bind_parameter("run_config.warm_start", module)


def _bind_image_folder(folder: str) -> None:
    path = folder.removeprefix(folders.PREFIX)
    if not path:
        raise ConfigError(
            "`--image_folder` must name a folder. Received: "
            f"--image_folder={folder}. Write --image_folder=DIR; `.` is this one."
        )
    named = _bound("dataset.name")
    if named is not None and not folders.is_folder(named):
        size, _, colors = datasets.get_spec(named).image_shape
        for parameter, value in (("resolution", size), ("colors", colors)):
            if _bound(f"dataset.{parameter}") is None:
                gin.bind_parameter(f"dataset.{parameter}", value)
    gin.bind_parameter("dataset.name", folders.PREFIX + _absolute(path))


def _bind_absolute(parameter: str) -> None:
    """So that the operative config names the same file from anywhere."""
    path = _bound(parameter)
    if isinstance(path, str) and path:
        gin.bind_parameter(parameter, _absolute(path))


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _bound(parameter: str):
    """What a parameter is bound to; None if it is not."""
    try:
        return gin.query_parameter(parameter)
    except ValueError:
        return None


def bindings() -> str:
    """What files and flags have bound, as gin text."""
    return gin.config_str()


def operative_config() -> str:
    """Every number and name in force, defaults included, as gin text.

    Complete once the GAN is built. Parsing it again gives the same run.
    """
    return gin.operative_config_str()
