"""Flags that several commands share, one function per group.

A command calls the `define_...` functions of the groups that it takes when it is
imported. The other functions read the parsed flags.
"""

import os

from absl import app, flags
from absl.flags import FLAGS, FlagHolder

# The flags then belong to the calling command, whose --help lists them.
flags.disclaim_key_flags()

_INCEPTION_VARIABLE = "SSGAN_INCEPTION_PATH"


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
    return flags.DEFINE_multi_string(
        "gin_config",
        list(default),
        "Path of a gin file, or name of a shipped one. Later files override earlier "
        "ones.",
    ), flags.DEFINE_multi_string(
        "gin_bindings",
        [],
        "A gin binding, such as options.batch_size=32. Overrides the gin files.",
    )


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
        "Score checkpoints at multiples of this step, and the last one. 0 scores all.",
        lower_bound=0,
    )


def define_study_flags() -> tuple[FlagHolder, FlagHolder]:
    """Defines --only and --print_commands, for commands that run many jobs."""
    return flags.DEFINE_string(
        "only",
        None,
        "Run only the jobs whose names match this pattern, such as *seed0.",
    ), flags.DEFINE_bool(
        "print_commands",
        False,
        "Print one line per job, for a scheduler, and run nothing.",
    )


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
        "tf.distribute strategy. auto: by --tpu, TF_CONFIG and the GPUs of this "
        "machine. See docs/distributed.md.",
    )
    flags.DEFINE_string(
        "tpu", None, "Name or address of a TPU. local: the TPU of this machine."
    )


def get_strategy():
    """The `tf.distribute.Strategy` that the flags choose.

    Raises:
        ValueError, ConnectionError: see `strategies.get_strategy`.
    """
    from ssgan_tf.utils import strategies

    return strategies.get_strategy(FLAGS.strategy, FLAGS.tpu)


# --- Modules ------------------------------------------------------------------------


def define_module_flags(*, required: bool = False) -> FlagHolder:
    """Defines --module, which is returned, --tags, --z_distribution, --num_classes."""
    module = flags.DEFINE_string(
        "module",
        None,
        "Module of this package or TensorFlow 1: folder, archive or TF-Hub address.",
        required=required,
    )
    flags.DEFINE_list(
        "tags",
        None,
        "Tags of the graph of a published module. Default: the first that fits.",
    )
    flags.DEFINE_enum(
        "z_distribution",
        None,
        ["uniform", "normal"],
        "Distribution of z of a published module. Default: uniform.",
    )
    flags.DEFINE_integer(
        "num_classes",
        None,
        "Number of classes of a published module that does not record it.",
        lower_bound=1,
    )
    return module


def load_module(strategy=None):
    """The `LoadedModule` that the flags describe.

    Raises:
        ConnectionError, FileNotFoundError, ValueError: see `reading.load`.
    """
    from ssgan_tf.modules import reading

    names = ("tags", "z_distribution", "num_classes")
    options = {name: FLAGS[name].value for name in names}
    return reading.load(FLAGS.module, strategy, **options)


# --- Scores -------------------------------------------------------------------------


def define_inception_flag() -> FlagHolder:
    """Defines --inception_path."""
    return flags.DEFINE_string(
        "inception_path",
        None,
        "TFGAN's Inception: SavedModel folder or TF-Hub address. Default: the variable "
        f"{_INCEPTION_VARIABLE}. Without either a small classifier is trained.",
    )


def inception_path() -> str | None:
    """The value of the flag, else of the environment variable; None without either.

    Raises:
        app.UsageError: the flag is empty, for example because a variable of the shell
            is unset. The scores would be others than those asked for.
    """
    if FLAGS.inception_path == "":
        raise app.UsageError(
            "--inception_path= must name a folder, archive or address. Leave it out to "
            "score by a small classifier."
        )
    return FLAGS.inception_path or os.environ.get(_INCEPTION_VARIABLE) or None


def define_scoring_flags() -> list[FlagHolder]:
    """Defines the flags of `scoring_options`, --inception_path among them."""
    return [
        flags.DEFINE_list(
            "metrics",
            ["fid", "is", "kid", "swd"],
            "Metrics to compute: fid, fid_interval, is, kid, swd, ms_ssim, prd, "
            "precision_recall, density_coverage, intra_fid, memorisation. See "
            "docs/scores.md.",
        ),
        flags.DEFINE_enum(
            "split", "test", ["test", "train"], "Split of the real images."
        ),
        flags.DEFINE_integer(
            "num_fakes",
            None,
            "Generated images per set. Default: the number of real images.",
            lower_bound=2,
        ),
        define_inception_flag(),
        flags.DEFINE_string(
            "classifier_path", None, "SavedModel folder of another feature network."
        ),
        flags.DEFINE_string(
            "extractor_hash", None, "Hash of the feature network, as in the protocol."
        ),
    ]


def scoring_options(num_runs: int):
    """The `ScoringOptions` that the flags describe.

    Args:
        num_runs: int. Number of sets of fakes.

    Raises:
        app.UsageError: the flags contradict each other, or a metric is unknown.
    """
    from ssgan_tf.evaluation.module_scorer import ScoringOptions

    # --classifier_path overrides the environment variable, but not --inception_path.
    is_inception = FLAGS["inception_path"].present or not FLAGS.classifier_path
    try:
        return ScoringOptions(
            metrics=tuple(FLAGS.metrics),
            split=FLAGS.split,
            num_runs=num_runs,
            num_fakes=FLAGS.num_fakes,
            inception_path=inception_path() if is_inception else None,
            classifier_path=FLAGS.classifier_path,
            extractor_hash=FLAGS.extractor_hash,
        )
    except ValueError as error:
        raise app.UsageError(str(error)) from error
