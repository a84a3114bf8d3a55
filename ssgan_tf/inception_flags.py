"""The flag that says where Inception lies."""

import os

from absl import flags

_VARIABLE = "SSGAN_INCEPTION_PATH"
_INCEPTION_PATH = flags.DEFINE_string(
    "inception_path",
    None,
    "Inception of TFGAN: SavedModel folder or TF-Hub handle; default: the environment "
    f"variable {_VARIABLE}. Without either a small classifier is trained on the data "
    "set's labels.",
)


def path() -> str | None:
    """What the flag or the variable says; None if neither does."""
    if _INCEPTION_PATH.value is not None:
        return _INCEPTION_PATH.value or None
    return os.environ.get(_VARIABLE) or None
