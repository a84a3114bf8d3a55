"""`saved_model.json`: what a module says of itself, and whether its files are whole."""

import hashlib
import json
import os
import pathlib

METADATA, CARD = "saved_model.json", "README.md"
MOVING_MOMENTS = "moving moments"
_WHERE = "Modules of a run lie in <model_dir>/tfhub/<step>."


def fingerprint(path: pathlib.Path) -> dict:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def seal(facts: dict) -> str:
    """The SHA-256 of the facts but for `sha256`, however they are laid out as JSON."""
    sealed = {name: value for name, value in facts.items() if name != "sha256"}
    # Read back, as keys and tuples are others there; sorted, as order says nothing.
    sealed = json.loads(json.dumps(sealed))
    return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()


def check_target(path: str | os.PathLike) -> None:
    """Refuses to write a module over anything but a module or an empty folder.

    Raises:
        FileExistsError: there is something else at `path`.
    """
    path = pathlib.Path(path)
    ours = (path / METADATA).is_file() or (path.is_dir() and not any(path.iterdir()))
    if path.exists() and not ours:
        raise FileExistsError(
            "A module must be written to a new folder, an empty one, or over a module "
            f"of ours, which holds `{METADATA}`. Received: path={path}, which holds "
            "something else. Name another folder, or move that away."
        )


def read_metadata(path: str | os.PathLike) -> dict:
    """The facts of a module's `saved_model.json`, without reading its other files.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no module of ours, or the facts are not as they
            were written.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(
            "A module must be a folder. Received: "
            f"module={path}, which is none. {_WHERE}"
        )
    for name in (METADATA, "saved_model.pb"):
        if not (path / name).is_file():
            raise ValueError(
                f"A module must be a folder that this package exported, with `{name}` "
                f"in it. Received: module={path}, where that is missing. {_WHERE}"
            )
    try:
        metadata = json.loads((path / METADATA).read_text())
        whole = metadata["sha256"] == seal(metadata)
    # No JSON; or JSON of something else.
    except (ValueError, LookupError, TypeError) as error:
        reason = f"{METADATA} fails with {type(error).__name__}: {error}"
        raise damaged(path, reason) from error
    if not whole:
        raise damaged(path, f"{METADATA} is not as it was written")
    return metadata


def check_files(path: str | os.PathLike) -> dict:
    """Compares every file of a module with what `export` wrote, bit by bit.

    Files that were added since are none of its business.

    Returns:
        What `read_metadata` does.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no module of ours, or a damaged one; the message
            names the file.
    """
    path = pathlib.Path(path)
    metadata = read_metadata(path)
    for name, expected in metadata["files"].items():
        try:
            found = fingerprint(path / name)
        except OSError as error:
            raise damaged(path, f"{name} cannot be read: {error}") from error
        if found != expected:
            raise damaged(path, f"{name} has {found}, and was written with {expected}")
    return metadata


def damaged(path: pathlib.Path, reason: str) -> ValueError:
    return ValueError(
        "A module must be as this package exported it. Received: "
        f"module={path}, which cannot be used: {reason}. Export it again from its "
        "checkpoint."
    )
