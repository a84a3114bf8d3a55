"""Files and folders that appear whole or not at all."""

import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a path to write to, which takes the place of `path` at the end.

    Parent folders are made. A block that fails leaves `path` as it was. A file
    replaces a file, a folder a folder.

    Args:
        path: the file or folder.

    Raises:
        OSError: it cannot be written; the message names it.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.partial")
    former = path.with_name(f".{path.name}.former")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        yield partial
        if path.is_dir() and partial.is_dir():
            # A folder cannot take the place of a full one: that steps aside first.
            _remove(former)
            path.rename(former)
        partial.replace(path)
        _remove(former)
    except OSError as error:
        raise OSError(
            f"An output must be writable. Received: path={path}, which fails with: "
            f"{error.strerror or error}. Name another place, or make this one writable."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            _remove(partial)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file whole or not at all, making its folder."""
    with replacing(path) as partial:
        partial.write_text(text)


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps other processes that ask for the same lock waiting, for a block.

    The folder is made. The lock ends with the process, however that ends.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        # Some network file systems have no locks; there it is as without one.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
