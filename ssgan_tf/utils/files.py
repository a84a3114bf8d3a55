"""Files and folders that appear whole or not at all."""

import contextlib
import fcntl
import os
import pathlib
import platform
import shutil
from collections.abc import Iterator
from typing import TextIO

from absl import logging

# What is being written, and what it takes the place of.
_KINDS = ("partial", "former")


def cache_dir() -> pathlib.Path:
    """Where what can be made again is kept, for all runs: classifiers, modules."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "ssgan_tf"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a path to write to, which takes the place of `path` at the end.

    Parent folders are made. A block that fails leaves `path` as it was. A file
    replaces a file, a folder a folder. Of processes that write the same, each writes
    all of it; what a killed one has left is removed.

    Args:
        path: the file or folder.

    Raises:
        OSError: it cannot be written; the message names it.
    """
    path = pathlib.Path(path)
    if not path.name:
        # The folder that one is in.
        path = pathlib.Path(os.path.abspath(path))
    partial, former = (
        path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.{kind}")
        for kind in _KINDS
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        yield partial
        if path.is_dir() and partial.is_dir():
            # A folder cannot take the place of a full one: that steps aside first.
            _remove(former)
            path.rename(former)
        partial.replace(path)
        _remove(former)
    except OSError as error:
        raise _not_writable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            _remove(partial)


def _remove_left(path: pathlib.Path) -> None:
    """Removes what processes of this host have left that write no more."""
    prefix = f".{path.name}.{platform.node()}-"
    for left in path.parent.iterdir():
        number, _, kind = left.name.removeprefix(prefix).partition(".")
        if left.name.startswith(prefix) and kind in _KINDS and number.isdecimal():
            if int(number) == os.getpid() or not _is_alive(int(number)):
                _remove(left)


def _is_alive(process: int) -> bool:
    try:
        # One of another user may not be asked, but is there.
        with contextlib.suppress(PermissionError):
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _not_writable(path: pathlib.Path, error: OSError) -> OSError:
    return OSError(
        f"An output must be writable. Received: path={path}, which fails with: "
        f"{error.strerror or error}. Name another place, or make this one writable."
    )


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file whole or not at all, making its folder."""
    with atomic_write(path) as partial:
        partial.write_text(text)


@contextlib.contextmanager
def lock(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps other processes that ask for the same lock waiting, for a block.

    The folder is made. The lock ends with the process, however that ends.

    Raises:
        OSError: the folder cannot be written; the message names it.
    """
    path = pathlib.Path(folder) / ".lock"
    with _opened(path, "w") as file:
        # Some network file systems have no locks; there it is as without one.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logging.info("waiting for another process to leave %s", path.parent)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def try_lock(path: str | os.PathLike) -> Iterator[str | None]:
    """Claims a file for a block, if no other process has.

    The file stays, but the claim ends with the process, however that ends.

    Yields:
        None if the claim holds; else who has it, as "process <number> on <host>".

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    path = pathlib.Path(path)
    with _opened(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            yield file.read().strip() or "another process"
            return
        except OSError as error:
            # Some network file systems have no locks.
            logging.warning(
                "%s cannot be locked (%s): nothing keeps a second training away",
                path,
                error.strerror,
            )
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
        except OSError as error:
            raise _not_writable(path, error) from error
        yield None


def _opened(path: pathlib.Path, mode: str) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open(mode)
    except OSError as error:
        raise _not_writable(path, error) from error


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
