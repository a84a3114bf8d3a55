"""The flags that say on which devices, of every binary that computes much."""

from absl import flags

from ssgan_tf.utils import startup

_STRATEGY = flags.DEFINE_enum(
    "strategy",
    "auto",
    ["auto", "one_device", "mirrored", "multi_worker", "tpu"],
    "tf.distribute strategy. auto: tpu where --tpu is given, multi_worker where the "
    "environment variable TF_CONFIG names several workers, mirrored where there are "
    "several GPUs, else one_device. See docs/distributed.md.",
)
_TPU = flags.DEFINE_string(
    "tpu", None, "Name or address of a TPU; local: that of this machine."
)


def get_strategy():
    """The strategy that the flags describe.

    Raises:
        ValueError, ConnectionError: see `strategies.get_strategy`.
    """
    startup.import_tensorflow()
    from ssgan_tf.utils import strategies

    return strategies.get_strategy(_STRATEGY.value, _TPU.value)
