"""`saved_model.json`: the facts of a module and the checksums of its files."""

import hashlib
import json
import os
import pathlib

METADATA, CARD = "saved_model.json", "README.md"
MOVING_MOMENTS = "moving moments"
_WHERE = "The modules of a run are in <model_dir>/tfhub/<step>."


def fingerprint(path: pathlib.Path) -> dict:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def seal(facts: dict) -> str:
    """The SHA-256 of the facts without `sha256`, whatever their layout as JSON."""
    sealed = {name: value for name, value in facts.items() if name != "sha256"}
    # Through JSON, which changes keys and tuples, and sorted: the order is free.
    sealed = json.loads(json.dumps(sealed))
    return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()


def check_target(path: str | os.PathLike) -> None:
    """Refuses to write a module over anything but a module or an empty folder.

    Raises:
        FileExistsError: `path` holds something else.
    """
    path = pathlib.Path(path)
    ours = (path / METADATA).is_file() or (path.is_dir() and not any(path.iterdir()))
    if path.exists() and not ours:
        raise FileExistsError(
            "A module replaces only an empty folder or another module, with "
            f"`{METADATA}` in it. Received: path={path}, which holds something else. "
            "Name another folder, or move its content away."
        )


def read_metadata(path: str | os.PathLike) -> dict:
    """Reads the facts in a module's `saved_model.json`, and no other files.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no module of this package, or the facts have been
            changed.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(
            f"There is no such folder. Received: module={path}. {_WHERE}"
        )
    for name in (METADATA, "saved_model.pb"):
        if not (path / name).is_file():
            raise ValueError(
                f"A module must be a folder exported by this package, with `{name}` in "
                f"it. Received: module={path}, which lacks that file. {_WHERE}"
            )
    try:
        metadata = json.loads((path / METADATA).read_text())
        whole = metadata["sha256"] == seal(metadata)
    # Not JSON, or other JSON.
    except (ValueError, LookupError, TypeError) as error:
        reason = f"{METADATA} fails with {type(error).__name__}: {error}"
        raise damaged(path, reason) from error
    if not whole:
        raise damaged(path, f"{METADATA} has been changed")
    return metadata


def check_files(path: str | os.PathLike) -> dict:
    """Checks that every file of a module is as `export` wrote it, bit by bit.

    Files that were added are ignored.

    Returns:
        The facts, as `read_metadata` does.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no module of this package, or a damaged one; the
            message names the file.
    """
    path = pathlib.Path(path)
    metadata = read_metadata(path)
    for name, expected in metadata["files"].items():
        try:
            actual = fingerprint(path / name)
        except OSError as error:
            raise damaged(path, f"{name} cannot be read: {error}") from error
        if actual != expected:
            raise damaged(path, f"{name} has {actual}, but was written with {expected}")
    return metadata


def damaged(path: pathlib.Path, reason: str) -> ValueError:
    """The error of a damaged module."""
    return ValueError(
        f"The module is damaged. Received: module={path}: {reason}. Export it again "
        "from its checkpoint."
    )
