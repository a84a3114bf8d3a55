"""Handles of modules: folders, archives and addresses on TF-Hub.

`pack` makes an archive for TF-Hub or Kaggle Models.
"""

import gzip
import hashlib
import os
import pathlib
import tarfile
import zlib

from ssgan_tf.utils import files

ARCHIVES = (".tar.gz", ".tgz")
_ADDRESSES = ("https://", "http://")
# The last three: a member is a file in one place and a folder in another.
_UNREADABLE = (
    tarfile.TarError,
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    NotADirectoryError,
    FileExistsError,
    IsADirectoryError,
)


def resolve(handle: str | os.PathLike) -> str:
    """Turns the handle of a module into the path of its folder.

    Args:
        handle: an address, "https://...", which TF-Hub looks up in its cache
            (`TFHUB_CACHE_DIR`) or downloads now; an archive, `*.tar.gz` or `*.tgz`,
            which is unpacked in `files.cache_dir()` once; or a folder, which is
            returned unchecked.

    Raises:
        ConnectionError: TF-Hub could not resolve the address.
        FileNotFoundError: there is no such archive.
        OSError: the cache cannot be written.
        ValueError: the archive is damaged, holds no module, or would write outside
            its own folder. Nothing is unpacked then.
    """
    name = os.fspath(handle)
    if name.startswith(_ADDRESSES):
        return _download(name)
    if name.endswith(ARCHIVES) and not os.path.isdir(name):
        return str(_unpacked(pathlib.Path(name)))
    return name


def pack(folder: str | os.PathLike, archive: str | os.PathLike) -> None:
    """Writes a module as an archive, whole or not at all.

    The files are at the archive's top, sorted, without dates and owners: equal files
    give an equal archive, bit by bit.

    Args:
        folder: the SavedModel's folder.
        archive: the `.tar.gz` file.

    Raises:
        OSError: it cannot be written.
    """
    folder = pathlib.Path(folder)
    # Listed first: the archive may be written to the same folder.
    paths = sorted(folder.rglob("*"))
    with files.atomic_write(archive) as partial:
        with (
            partial.open("wb") as file,
            # Without the name and date of the file.
            gzip.GzipFile("", "wb", fileobj=file, mtime=0) as content,
            tarfile.open(fileobj=content, mode="w") as members,
        ):
            for path in paths:
                member = tarfile.TarInfo(path.relative_to(folder).as_posix())
                if path.is_dir():
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                    members.addfile(member)
                    continue
                member.size = path.stat().st_size
                with path.open("rb") as source:
                    members.addfile(member, source)


def _download(address: str) -> str:
    import tensorflow_hub  # Slow to import.

    try:
        return tensorflow_hub.resolve(address)
    # TF-Hub, the network and the server may raise anything.
    except Exception as error:
        raise ConnectionError(
            f"TF-Hub could not resolve the address of a module. Received: path="
            f"{address!r}, which failed with {type(error).__name__}: {error}. Download "
            "the module by hand and pass the path of its folder or .tar.gz archive."
        ) from error


def _unpacked(archive: pathlib.Path) -> pathlib.Path:
    """The folder with an archive's content, unpacked at the first use."""
    if not archive.is_file():
        raise FileNotFoundError(
            f"There is no such archive. Received: path={str(archive)!r}. Pass the path "
            "of a .tar.gz file or of a module's folder."
        )
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # Named after the content: a newer archive of the same name gets another folder.
    folder = files.cache_dir() / "modules" / digest[:32]
    with files.lock(folder.parent):
        if not folder.is_dir():
            with files.atomic_write(folder) as partial:
                _unpack(archive, partial)
    return folder


def _unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    try:
        with gzip.open(archive) as content, tarfile.open(fileobj=content) as members:
            if "saved_model.pb" not in map(os.path.normpath, members.getnames()):
                raise _unfit(archive, "has no saved_model.pb at its top")
            for member in members:
                if os.path.isabs(member.name) or ".." in member.name.split("/"):
                    raise _unfit(archive, f"would write outside: {member.name!r}")
                # Links have led the filter of some versions of Python astray.
                if not (member.isfile() or member.isdir()):
                    raise _unfit(archive, f"has a link or device: {member.name!r}")
            members.extractall(folder, filter="data")
            # The checksum follows the last member.
            while content.read(1 << 20):
                pass
    except _UNREADABLE as error:
        raise _unfit(archive, f"fails with {type(error).__name__}: {error}") from error


def _unfit(archive: pathlib.Path, reason: str) -> ValueError:
    return ValueError(
        "An archive of a module must be a complete .tar.gz file of plain files and "
        f"folders, with a file saved_model.pb. Received: path={str(archive)!r}, which "
        f"{reason}. Download it again from its publisher."
    )
