"""The parameters of a whole run: `dataset`, `options` and `run_config`, and `Plan`.

A configurable is a checked dataclass: gin binds its fields. Constructed in Python it
takes from gin the fields that it is not passed, and their defaults where gin binds
nothing; `dataclasses.replace` passes all fields, and so reads nothing from gin.
"""

import dataclasses
import functools
import os
from collections.abc import Callable

import gin
import keras

from ssgan_tf import datasets
from ssgan_tf.config import checks
from ssgan_tf.config import gan as training  # noqa: F401  (registers names)
from ssgan_tf.config.networks import standardize_batch
from ssgan_tf.config.parser import configurable
from ssgan_tf.datasets import folders
from ssgan_tf.gan import GAN

# --- What a config may bind ----------------------------------------------------


@configurable("dataset")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """The data set and its labels; docs/data.md has the table of the names.

    Attributes:
        name: str. A data set of that table, or "folder:DIR", a folder of images.
        resolution: int >= 1, or None. Height and width that the images of a folder are
            resized to; None for all others.
        colors: 1, 3, or None. Channels of the images of a folder, grey or RGB; None for
            all others.
        label_fraction: float in (0, 1]. Share of each class's training labels that is
            kept, chosen by `run_config.seed`; 1 unless `ModularGAN.conditional`.
        label_file: str or None. A file of `np.save` whose labels replace those of the
            training split; None unless `ModularGAN.conditional`.
        flip: bool. Whether to mirror each image half of the time.
    """

    name: checks.Text = gin.REQUIRED
    resolution: int | None = None
    colors: int | None = None
    label_fraction: checks.number("(0, 1]", lambda value: 0 < value <= 1) = 1.0
    label_file: checks.Text | None = None
    flip: checks.Flag = False

    def __post_init__(self):
        is_folder = folders.is_folder(self.name)
        if not is_folder and not (self.resolution is None and self.colors is None):
            raise checks.ConfigError(
                "`dataset.resolution` and `dataset.colors` must be None unless "
                "`dataset.name` is a folder of images. Received: "
                f"name={self.name!r}, resolution={self.resolution!r}, "
                f"colors={self.colors!r}. Leave them out."
            )
        try:
            datasets.get_spec(self.full_name)
        except OSError as error:
            # Gin appends the place of the call to other exceptions.
            raise checks.ConfigError(str(error)) from error

    @functools.cached_property
    def full_name(self) -> str:
        """A key of `datasets.DATASETS`, or a folder's name with its image shape."""
        if not folders.is_folder(self.name):
            return self.name
        return datasets.folder_name(self.name, self.resolution, self.colors)


@configurable("options")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The networks, the batch and the length of a run.

    Attributes:
        architecture: str. A row of `networks.ARCHITECTURES`, for both networks.
        gan_class: reference. Makes the GAN.
        batch_size: int >= 1. Real images per update of D, over all replicas.
        lamba: float >= 0. Weight of D's penalty, spelt as in compare_gan.
        training_steps: int >= 1. Generator steps; a multiple of
            `run_config.iterations_per_loop`.
        disc_iters: int >= 1. Updates of D per generator step.
        z_dim: int >= 1. Size of z.
        precision: "float32", "mixed_bfloat16" or "mixed_float16". Precision of
            convolutions and dense layers; weights, norms, moments, losses and penalties
            stay float32. "mixed_float16", with a loss scale, is for devices without
            bfloat16.
        accumulate: int >= 1. Pieces of a replica's batch that run one after another,
            for batches that do not fit into memory. Each piece has its own batch-norm
            moments.
    """

    architecture: checks.Text = gin.REQUIRED
    gan_class: Callable[["Plan"], GAN] = gin.REQUIRED
    batch_size: checks.Count = gin.REQUIRED
    lamba: checks.NonNegative = 1.0
    training_steps: checks.Count = gin.REQUIRED
    disc_iters: checks.Count = 1
    z_dim: checks.Count = 128
    precision: checks.choice(["float32", "mixed_bfloat16", "mixed_float16"]) = "float32"
    accumulate: checks.Count = 1


@configurable("run_config")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The start of a run and its files. Steps are generator steps.

    An interval that is None is replaced by its default.

    Attributes:
        seed: int >= 0. Seed of the weights, the noise and the order of the data.
        warm_start: str or None. The exported module whose weights both networks start
            from: a folder, an archive, an address on TF-Hub. None: weights drawn from
            the seed, as are those of heads that the module lacks.
        save_checkpoints_steps: int >= 1, or None. Steps between checkpoints, a multiple
            of `iterations_per_loop`; None: 5,000, or the next multiple.
        keep_checkpoint_max: int >= 1. Number of latest checkpoints to keep.
        keep_checkpoint_every_steps: int >= 1, or None. Also keep the checkpoints at its
            multiples; None: no others.
        save_summary_steps: int >= 1, or None. Steps between points in TensorBoard, a
            multiple of `iterations_per_loop`; None: 100, or the next multiple.
        iterations_per_loop: int >= 1. Steps per call from Python; divides
            `options.training_steps`. More saves time on accelerators.
        deterministic: bool. Only deterministic kernels, so that two runs are equal bit
            for bit; slower on accelerators.
        on_nan: "stop" or "rollback". Reaction to a loss or weight that is not finite.
            "rollback": back to the last checkpoint, and other noise and another order
            of the data from there, three times in a row at most.
    """

    seed: checks.Natural = 0
    warm_start: checks.Text | None = None
    save_checkpoints_steps: checks.Count | None = None
    keep_checkpoint_max: checks.Count = 20
    keep_checkpoint_every_steps: checks.Count | None = None
    save_summary_steps: checks.Count | None = None
    iterations_per_loop: checks.Count = 10
    deterministic: checks.Flag = False
    on_nan: checks.choice(["stop", "rollback"]) = "stop"

    def __post_init__(self):
        loop = self.iterations_per_loop
        for name, default in (
            ("save_checkpoints_steps", 5000),
            ("save_summary_steps", 100),
        ):
            if getattr(self, name) is None:
                # The next multiple. The class is frozen to everybody else.
                object.__setattr__(self, name, -(-default // loop) * loop)
            _check_divided(f"run_config.{name}", getattr(self, name), loop)


def _check_divided(parameter: str, steps: int, iterations_per_loop: int) -> None:
    if steps % iterations_per_loop:
        raise checks.ConfigError(
            f"`{parameter}` must be a multiple of `run_config.iterations_per_loop`. "
            f"Received: {parameter.split('.')[-1]}={steps}, iterations_per_loop="
            f"{iterations_per_loop}. Change one of them."
        )


# --- From config to objects -----------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole config, checked.

    Attributes:
        data: the `DatasetOptions`.
        options: the `Options`.
        run: the `RunConfig`.
        standing_examples: int. Samples over which an export averages batch-norm
            moments; 0 for the moving moments of training.
        jit_compile: bool. Whether XLA compiles the train step. It is a flag of
            `ssgan train`, not in the config. A `gan_class` passes it to `GAN.compile`.
    """

    data: DatasetOptions
    options: Options
    run: RunConfig
    standing_examples: int = 0
    jit_compile: bool = False

    @property
    def dataset(self) -> str:
        """A key of `datasets.DATASETS`, or a folder's name with its image shape."""
        return self.data.full_name

    @functools.cached_property
    def spec(self) -> datasets.DatasetSpec:
        """The data set's row in the table. A folder of images is read once."""
        return datasets.get_spec(self.dataset)

    def build_gan(self, precision: str | None = None) -> GAN:
        """Makes the GAN with freshly drawn weights, a function of the seed.

        Must run under the strategy's scope. Sets the global seeds of Python, NumPy
        and TensorFlow.

        Args:
            precision: of the networks; None is `options.precision`.

        Raises:
            ConfigError: a value cannot be used.
        """
        keras.utils.set_random_seed(self.run.seed % 2**32)
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(precision or self.options.precision)
        try:
            with checks.config_errors():
                return checks.made_by(
                    "options.gan_class", self.options.gan_class, GAN, (self,)
                )
        finally:
            keras.config.set_dtype_policy(policy)


def plan(warm_start: str | None = None, image_folder: str | None = None) -> Plan:
    """Reads the parsed configuration.

    Args:
        warm_start: binds `run_config.warm_start`; None leaves it.
        image_folder: replaces the data set of the config, whose size and colours it
            keeps where none are bound; None leaves it.

    Raises:
        ConfigError: a required parameter is missing, or values do not fit together; the
            configuration starts from another module than `warm_start`.
    """
    with checks.config_errors():
        if warm_start is not None:
            _bind_warm_start(warm_start)
        if image_folder is not None:
            _bind_image_folder(image_folder)
        label_file = _bound("dataset.label_file")
        if label_file and isinstance(label_file, str):
            # So that the operative config names the same file from anywhere.
            gin.bind_parameter("dataset.label_file", _absolute(label_file))
        result = Plan(
            data=DatasetOptions(),
            options=Options(),
            run=RunConfig(),
            standing_examples=standardize_batch().standing_examples,
        )
    _check_divided(
        "options.training_steps",
        result.options.training_steps,
        result.run.iterations_per_loop,
    )
    return result


def _bind_warm_start(module: str) -> None:
    bound = RunConfig().warm_start
    if bound not in (None, module):
        raise checks.ConfigError(
            "`--warm_start` must be the module that the configuration binds, or the "
            f"configuration none. Received: --warm_start={module}, and in the "
            f"configuration warm_start={bound!r}. Leave one of them out."
        )
    gin.bind_parameter("run_config.warm_start", module)


def _bind_image_folder(folder: str) -> None:
    path = folder.removeprefix(folders.PREFIX)
    if not path:
        raise checks.ConfigError(
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


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _bound(parameter: str):
    """The value that gin binds to a parameter, or None."""
    try:
        return gin.query_parameter(parameter)
    except ValueError:
        return None


def bindings() -> str:
    """The bindings of all files and flags, as gin text."""
    return gin.config_str()


def operative_config() -> str:
    """Every parameter in force, defaults included, as gin text.

    Complete once the GAN is built. Parsing it again gives the same run.
    """
    return gin.operative_config_str()
