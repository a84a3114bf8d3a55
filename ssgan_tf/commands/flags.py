"""Flags that several commands share, one function per group.

A command calls the `define_...` functions of the groups that it takes when it is
imported. The other functions read the parsed flags.
"""

import os

from absl import app, flags
from absl.flags import FlagHolder

from ssgan_tf.utils import startup

# The flags then belong to the calling command, whose --help lists them.
flags.disclaim_key_flags()

_INCEPTION_VARIABLE = "SSGAN_INCEPTION_PATH"
_SCORING_FLAGS = (
    "metrics",
    "split",
    "num_fakes",
    "inception_path",
    "classifier_path",
    "extractor_hash",
)


# --- Runs ---------------------------------------------------------------------------


def define_model_dir_flag() -> FlagHolder:
    """Defines --model_dir, required."""
    return flags.DEFINE_string("model_dir", None, "Run directory.", required=True)


def define_step_flag() -> FlagHolder:
    """Defines --step, for commands that read a checkpoint."""
    return flags.DEFINE_integer(
        "step", None, "Step of the checkpoint. Default: latest."
    )


def define_score_filename_flag() -> FlagHolder:
    """Defines --score_filename."""
    return flags.DEFINE_string(
        "score_filename", "scores.csv", "Table of scores in the run directory."
    )


def define_gin_flags(default: tuple[str, ...] = ()) -> tuple[FlagHolder, FlagHolder]:
    """Defines --gin_config and --gin_bindings, both repeatable.

    Args:
        default: the gin files to read if none is given.
    """
    files = flags.DEFINE_multi_string(
        "gin_config",
        list(default),
        "Path of a gin file, or name of a shipped one. Later files override earlier "
        "ones.",
    )
    bindings = flags.DEFINE_multi_string(
        "gin_bindings",
        [],
        "A gin binding, such as options.batch_size=32. Overrides the gin files.",
    )
    return files, bindings


def define_config_change_flag() -> FlagHolder:
    """Defines --allow_config_change."""
    return flags.DEFINE_bool(
        "allow_config_change",
        False,
        "Continue a run that was started with another configuration.",
    )


def define_eval_every_steps_flag(default: int) -> FlagHolder:
    """Defines --eval_every_steps."""
    return flags.DEFINE_integer(
        "eval_every_steps",
        default,
        "Score checkpoints whose step is a multiple of this, and the last one. 0 "
        "scores all.",
        lower_bound=0,
    )


def define_study_flags() -> tuple[FlagHolder, FlagHolder]:
    """Defines --only and --print_commands, for commands that run many jobs."""
    only = flags.DEFINE_string(
        "only",
        None,
        "Run only the jobs whose names match this pattern, such as *seed0. The report "
        "lists the others as not run.",
    )
    print_commands = flags.DEFINE_bool(
        "print_commands",
        False,
        "Print one line per job, for a scheduler, and run nothing.",
    )
    return only, print_commands


def define_data_flag() -> FlagHolder:
    """Defines --tfds_data_dir."""
    return flags.DEFINE_string(
        "tfds_data_dir", None, "Folder of prepared TFDS data sets."
    )


# --- Devices ------------------------------------------------------------------------


def define_strategy_flags() -> None:
    """Defines --strategy and --tpu."""
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ["auto", "one_device", "mirrored", "multi_worker", "tpu"],
        "tf.distribute strategy. auto: tpu if --tpu is given, multi_worker if the "
        "environment variable TF_CONFIG names several workers, mirrored if there are "
        "several GPUs, else one_device. See docs/distributed.md.",
    )
    flags.DEFINE_string(
        "tpu", None, "Name or address of a TPU. local: the TPU of this machine."
    )


def get_strategy():
    """The `tf.distribute.Strategy` that the flags choose.

    Raises:
        ValueError, ConnectionError: see `strategies.get_strategy`.
    """
    startup.import_tensorflow()
    from ssgan_tf.utils import strategies

    return strategies.get_strategy(
        flags.FLAGS["strategy"].value, flags.FLAGS["tpu"].value
    )


# --- Modules ------------------------------------------------------------------------


def define_module_flags(*, required: bool = False) -> FlagHolder:
    """Defines --module, which is returned, --tags, --z_distribution, --num_classes."""
    module = flags.DEFINE_string(
        "module",
        None,
        "Module: folder, .tar.gz archive or TF-Hub address. Either exported by this "
        "package, or published in TensorFlow 1's format.",
        required=required,
    )
    flags.DEFINE_list(
        "tags",
        None,
        "Tags of the graph to load from a published module. Default: the first that "
        "fits.",
    )
    flags.DEFINE_enum(
        "z_distribution",
        None,
        ["uniform", "normal"],
        "Distribution of z, for a published module, which does not record it. "
        "Default: uniform.",
    )
    flags.DEFINE_integer(
        "num_classes",
        None,
        "Number of classes, for a published module that does not record it.",
        lower_bound=1,
    )
    return module


def load_module(strategy=None):
    """The `LoadedModule` that the flags describe.

    Raises:
        ConnectionError, FileNotFoundError, ValueError: see `reading.load`.
    """
    startup.import_tensorflow()
    from ssgan_tf.modules import reading

    names = ("tags", "z_distribution", "num_classes")
    options = {name: flags.FLAGS[name].value for name in names}
    return reading.load(flags.FLAGS["module"].value, strategy, **options)


# --- Scores -------------------------------------------------------------------------


def define_inception_flag() -> None:
    """Defines --inception_path."""
    flags.DEFINE_string(
        "inception_path",
        None,
        "Inception of TFGAN: SavedModel folder or TF-Hub address. Default: the "
        f"environment variable {_INCEPTION_VARIABLE}. Without either, a small "
        "classifier is trained on the data set's labels.",
    )


def inception_path() -> str | None:
    """The value of the flag, else of the environment variable; None without either.

    Raises:
        app.UsageError: the flag is empty, for example because a variable of the shell
            is unset. The scores would be others than those asked for.
    """
    path = flags.FLAGS["inception_path"].value
    if path == "":
        raise app.UsageError(
            "--inception_path must name a folder, archive or address. Received: "
            "--inception_path=. Leave the flag out for scores by a small classifier."
        )
    return path or os.environ.get(_INCEPTION_VARIABLE) or None


def define_scoring_flags() -> None:
    """Defines the flags of `scoring_options`, --inception_path among them."""
    flags.DEFINE_list(
        "metrics",
        ["fid", "is", "kid", "swd"],
        "Metrics to compute: fid, fid_interval, is, kid, swd, ms_ssim, prd, "
        "precision_recall, density_coverage, intra_fid, memorisation. See "
        "docs/scores.md.",
    )
    flags.DEFINE_enum("split", "test", ["test", "train"], "Split of the real images.")
    flags.DEFINE_integer(
        "num_fakes",
        None,
        "Generated images per set. Default: the number of real images.",
        lower_bound=2,
    )
    define_inception_flag()
    flags.DEFINE_string(
        "classifier_path",
        None,
        "SavedModel folder of another feature network than Inception.",
    )
    flags.DEFINE_string(
        "extractor_hash",
        None,
        "Expected hash of the feature network, as recorded in the protocol.",
    )


def given_scoring_flags() -> list[str]:
    """Names of the scoring flags on the command line."""
    return [name for name in _SCORING_FLAGS if flags.FLAGS[name].present]


def scoring_options(num_runs: int):
    """The `ScoringOptions` that the flags describe.

    Args:
        num_runs: int. Number of sets of fakes.

    Raises:
        app.UsageError: the flags contradict each other, or a metric is unknown.
    """
    startup.import_tensorflow()
    from ssgan_tf.evaluation.module_scorer import ScoringOptions

    names = ("num_fakes", "classifier_path", "extractor_hash")
    options = {name: flags.FLAGS[name].value for name in names}
    # --classifier_path overrides the environment variable, but not --inception_path.
    is_inception = (
        flags.FLAGS["inception_path"].present or not options["classifier_path"]
    )
    path = inception_path() if is_inception else None
    try:
        return ScoringOptions(
            metrics=tuple(flags.FLAGS["metrics"].value),
            split=flags.FLAGS["split"].value,
            num_runs=num_runs,
            inception_path=path,
            **options,
        )
    except ValueError as error:
        raise app.UsageError(str(error)) from error
