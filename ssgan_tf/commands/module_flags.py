"""The flags that name a module, of every binary that takes one."""

from absl import flags

from ssgan_tf.utils import startup

MODULE = flags.DEFINE_string(
    "module",
    None,
    "The module: folder, .tar.gz archive or TF-Hub address; ours, or a published one "
    "in TensorFlow 1's format.",
)
_TAGS = flags.DEFINE_list(
    "tags", None, "Of a published module: which of its graphs; default: one that fits."
)
_Z_DISTRIBUTION = flags.DEFINE_enum(
    "z_distribution",
    None,
    ["uniform", "normal"],
    "Of a published module, which does not say how z is drawn; default: uniform.",
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", None, "Of a published module that does not say.", lower_bound=1
)


def load(strategy=None):
    """The `LoadedModule` that the flags describe.

    Raises:
        ConnectionError, FileNotFoundError, ValueError: see `reading.load`.
    """
    startup.import_tensorflow()
    from ssgan_tf.modules import reading

    return reading.load(
        MODULE.value,
        strategy,
        tags=_TAGS.value,
        z_distribution=_Z_DISTRIBUTION.value,
        num_classes=_NUM_CLASSES.value,
    )
