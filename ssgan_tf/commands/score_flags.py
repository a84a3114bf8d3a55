"""The flags that say how to score, of every binary that does."""

from absl import flags

from ssgan_tf.commands import inception_flags
from ssgan_tf.utils import startup

# Shown by --help.
flags.adopt_module_key_flags(inception_flags)
_TFDS_DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir", None, "Folder of prepared TFDS data sets."
)
_METRICS = flags.DEFINE_list(
    "metrics",
    ["fid", "is", "kid", "swd"],
    "What to compute: fid, fid_interval, is, kid, swd, ms_ssim, prd, precision_recall, "
    "density_coverage, intra_fid, memorisation. See docs/scores.md.",
)
_SPLIT = flags.DEFINE_enum(
    "split", "test", ["test", "train"], "Split of the real images."
)
_NUM_FAKES = flags.DEFINE_integer(
    "num_fakes", None, "Fakes per set; default: as many as real images.", lower_bound=2
)
_CLASSIFIER_PATH = flags.DEFINE_string(
    "classifier_path",
    None,
    "Another feature network than Inception: SavedModel folder.",
)
_EXTRACTOR_HASH = flags.DEFINE_string(
    "extractor_hash",
    None,
    "What the hash of the feature network must be, as protocols have it.",
)
_OF_SCORES = (
    "metrics",
    "split",
    "num_fakes",
    "inception_path",
    "classifier_path",
    "extractor_hash",
)


def given() -> list[str]:
    """The flags that say how to score and were given."""
    return [name for name in _OF_SCORES if flags.FLAGS[name].present]


def scoring(num_runs: int):
    """The `ScoringOptions` that the flags describe.

    Args:
        num_runs: int. Sets of fakes.

    Raises:
        ValueError: they contradict each other, or a metric is unknown.
    """
    startup.import_tensorflow()
    from ssgan_tf.evaluation.module_scorer import ScoringOptions

    # Of the variable another network takes the place, of the flag none does.
    by_flag = flags.FLAGS["inception_path"].present
    is_meant = by_flag or not _CLASSIFIER_PATH.value
    return ScoringOptions(
        metrics=tuple(_METRICS.value),
        split=_SPLIT.value,
        num_fakes=_NUM_FAKES.value,
        num_runs=num_runs,
        inception_path=inception_flags.path() if is_meant else None,
        classifier_path=_CLASSIFIER_PATH.value,
        extractor_hash=_EXTRACTOR_HASH.value,
    )


def data_dir() -> str | None:
    """The folder of prepared TFDS data sets; None for TFDS's default."""
    return _TFDS_DATA_DIR.value
