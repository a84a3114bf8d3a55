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
    """What the flag or the variable says; None if neither does.

    Raises:
        ValueError: the flag says nothing, as of an unset variable of the shell: scores
            would be others than asked for.
    """
    if _INCEPTION_PATH.value == "":
        raise ValueError(
            "`--inception_path` must name a folder, archive or address. Received: "
            "--inception_path=. Leave the flag out for scores by a small classifier."
        )
    return _INCEPTION_PATH.value or os.environ.get(_VARIABLE) or None
