"""Where a module lies: folders, archives and addresses on TF-Hub become folders.

And a folder becomes an archive, as TF-Hub and Kaggle Models take it.
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


def resolve(handle: str | os.PathLike) -> str:
    """Turns the handle of a module into the path of its folder.

    Args:
        handle: an address, "https://...", which TF-Hub looks up in its cache
            (`TFHUB_CACHE_DIR`) and else downloads now; an archive as it was
            downloaded, `*.tar.gz` or `*.tgz`, which is unpacked in
            `files.cache_dir()` once; or the folder itself, which is not looked at.

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

    The files lie at the archive's top. Equal files give an equal archive, bit by bit:
    they are sorted and have no dates and no owners.

    Args:
        folder: of the SavedModel.
        archive: the `.tar.gz` file.

    Raises:
        OSError: it cannot be written.
    """
    folder = pathlib.Path(folder)
    # Listed first: the archive may come to lie among them.
    paths = sorted(folder.rglob("*"))
    with files.atomic_write(archive) as partial:
        with (
            partial.open("wb") as file,
            # Without the file's name and date.
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
    import tensorflow_hub  # Slow to import, and only this branch needs it.

    try:
        return tensorflow_hub.resolve(address)
    # What is raised is up to TF-Hub, the network and the server.
    except Exception as error:
        raise ConnectionError(
            "TF-Hub must be able to resolve the address of a module. Received: "
            f"path={address!r}, which failed with {type(error).__name__}: {error}. "
            "Download the module by hand and give the path of its folder or of its "
            ".tar.gz archive."
        ) from error


def _unpacked(archive: pathlib.Path) -> pathlib.Path:
    """The folder of an archive's content, which is unpacked at its first use."""
    if not archive.is_file():
        raise FileNotFoundError(
            "An archive of a module must be a file. Received: "
            f"path={str(archive)!r}, which is none. Give the path of a .tar.gz file "
            "or of a module's folder."
        )
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # Named after the content: a newer archive of the same name is another folder.
    folder = files.cache_dir() / "modules" / digest[:32]
    with files.lock(folder.parent):
        if not folder.is_dir():
            with files.atomic_write(folder) as partial:
                _unpack(archive, partial)
    return folder


def _unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    try:
        with gzip.open(archive) as content, tarfile.open(fileobj=content) as members:
            _check_members(archive, members.getmembers())
            members.extractall(folder, filter="data")
            # The checksum is at the end, behind what the members needed.
            while content.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _unfit(archive, f"fails with {type(error).__name__}: {error}") from error


def _check_members(archive: pathlib.Path, members: list[tarfile.TarInfo]) -> None:
    """Refuses links too: a file could be written through one to anywhere."""
    paths = {pathlib.PurePosixPath(member.name): member for member in members}
    for path, member in paths.items():
        if path.is_absolute() or ".." in path.parts:
            raise _unfit(archive, f"would write {member.name!r}, outside its folder")
        if not (member.isfile() or member.isdir()):
            raise _unfit(archive, f"has {member.name!r}, no file and no folder")
        if any(paths[up].isfile() for up in path.parents if up in paths):
            raise _unfit(archive, f"has {member.name!r}, in a file instead of a folder")
    if pathlib.PurePosixPath("saved_model.pb") not in paths:
        raise _unfit(archive, "has no saved_model.pb at its top")


def _unfit(archive: pathlib.Path, reason: str) -> ValueError:
    return ValueError(
        "An archive of a module must be a whole .tar.gz file of plain files and "
        f"folders, with a file saved_model.pb. Received: path={str(archive)!r}, which "
        f"{reason}. Download it again, from its publisher."
    )
