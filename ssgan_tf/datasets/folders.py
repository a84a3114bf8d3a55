"""Folders of images: their files, classes and splits.

A folder holds images, or a folder of images per class; or it holds `train` and `test`
(or `val`, ...), which are such folders. Without `train` and `test` a hash of the file
name chooses the test images, so that an image stays in its split when others are added.
This module decodes no images.
"""

import collections
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
from typing import NamedTuple

PREFIX = "folder:"
# The TFDS builder of prepared folders. The version covers the rules that find, split,
# crop and convert images: with another version every folder is prepared again.
TFDS_NAME = "ssgan_folder"
VERSION = "1.0.0"

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# A folder with fewer images is probably a mistake.
MIN_IMAGES = 10
MIN_IMAGES_PER_CLASS = 3
_TEST_SHARE = 0.1
# In lower case.
_TRAINING = ("train", "training")
_HELD_OUT = ("test", "testing", "val", "valid", "validation")
# File systems allow 255 bytes; a shape and a hash follow the name.
_MAX_NAME_BYTES = 100


class Entry(NamedTuple):
    """An image file.

    Attributes:
        name: str. Path relative to the folder, with "/".
        label: int. Index of its class in `Listing.classes`; -1 without classes.
    """

    name: str
    label: int


@dataclasses.dataclass(frozen=True)
class Listing:
    """The content of a folder.

    Attributes:
        path: str. The folder.
        classes: names of its class folders, sorted; empty without labels.
        splits: "train" and "test" -> entries, sorted by name.
        others: suffix -> count of the files that are not images. Hidden files are not
            counted.
    """

    path: str
    classes: tuple[str, ...]
    splits: dict[str, list[Entry]]
    others: dict[str, int]

    @property
    def left_out(self) -> str:
        """The counts of `others` as text: "2 .gif, 1 .txt"."""
        return ", ".join(f"{num} {suffix}" for suffix, num in self.others.items())


def is_folder(name: str) -> bool:
    """Whether the name of a data set denotes a folder of images."""
    return isinstance(name, str) and name.startswith(PREFIX)


def dataset_name(folder: str | os.PathLike, size: int, colors: int) -> str:
    """The full name of a folder as a data set: `folder:/photos@64x64x3`.

    Args:
        folder: path with or without the prefix, absolute or relative to the working
            directory.
        size: int. Height and width of the resized images.
        colors: int. 1 for grey, 3 for RGB.

    Raises:
        ValueError: a value is out of range, or the path is empty.
    """
    path = os.path.expanduser(os.fspath(folder).removeprefix(PREFIX))
    if not path:
        raise ValueError(
            f"The name of a folder must contain a path. Received: name={folder!r}. "
            f"Write {PREFIX}DIR."
        )
    is_whole = type(size) is int and type(colors) is int
    if not is_whole or size < 1 or colors not in (1, 3):
        raise ValueError(
            "The `resolution` of a folder must be an integer of at least 1, as images "
            "become squares, and its `colors` 1 (grey) or 3 (RGB). Received: "
            f"resolution={size!r}, colors={colors!r}. Write resolution=64 and "
            "colors=3, for example."
        )
    return f"{PREFIX}{os.path.abspath(path)}@{size}x{size}x{colors}"


def parse(name: str) -> tuple[str, tuple[int, int, int]]:
    """Splits a name by `dataset_name` into path and image shape.

    Raises:
        ValueError: the name is invalid.
    """
    match = re.fullmatch(rf"{PREFIX}(.+)@(\d+)x\2x(\d+)", name, re.DOTALL)
    if not match:
        raise ValueError(
            "The name of a folder must end in the shape of the images, which must be "
            f"square. Received: name={name!r}. Write {PREFIX}DIR@64x64x3, for example; "
            "or pass --resolution=64 to `ssgan data`."
        )
    size, colors = int(match[2]), int(match[3])
    # Checks the numbers.
    dataset_name(match[1], size, colors)
    return os.path.abspath(os.path.expanduser(match[1])), (size, size, colors)


def short_name(name: str) -> str:
    """The name of a data set for use in file names. Two folders may share one.

    `folder:/home/me/my photos@64x64x3` becomes `my_photos_64x64x3`.
    """
    if not is_folder(name):
        return name
    path, image_shape = parse(name)
    shape = "x".join(map(str, image_shape))
    return f"{file_name(path)}_{shape}"


def file_name(path: str) -> str:
    """The last part of a folder's path, for use in file names."""
    name = re.sub(r"[^\w.-]+", "_", os.path.basename(path))
    return name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")


def printable(text: str) -> str:
    """Replaces bytes of file names that are not valid UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def classes(path: str) -> tuple[str, ...]:
    """Sorted names of the class folders; empty if there are fewer than two.

    Raises:
        FileNotFoundError: the folder does not exist.
        OSError: it, or a folder in it, cannot be read.
        ValueError: it holds no images, or both images and folders of images; or its
            `train` and `test` do not match.
    """
    files = _file_names(path)
    return _layout(path, {name: files[name] for name in filter(_is_image, files)})[0]


def read(path: str) -> Listing:
    """Lists the images of a folder, with their classes and splits.

    Raises:
        OSError, ValueError: as `classes`; or there are too few images.
    """
    images = {}
    others: collections.Counter[str] = collections.Counter()
    for name, is_new in _file_names(path).items():
        if _is_image(name):
            images[name] = is_new
        elif is_new:
            others[pathlib.PurePath(name).suffix.lower() or "without ending"] += 1
    class_names, parts = _layout(path, images)
    entries = [entry for part in parts for entry in part]
    _check_counts(path, entries, class_names)
    divided = len(parts) == 2
    splits = dict(zip(("train", "test"), parts)) if divided else _split(entries)
    return Listing(path, class_names, splits, dict(others.most_common()))


def fingerprint(listing: Listing, image_shape: tuple[int, int, int]) -> str:
    """Hashes path, files (names, sizes, times), image shape and `VERSION`."""
    header = (VERSION, os.path.realpath(listing.path), image_shape)
    digest = hashlib.sha256(repr(header).encode())
    for split, entries in listing.splits.items():
        for entry in entries:
            line = (split, entry.name)
            # A broken link is reported as unreadable when the files are read.
            with contextlib.suppress(OSError):
                stat = os.stat(os.path.join(listing.path, entry.name))
                # A copy can preserve the modification time, but not the change time.
                line += (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            digest.update(repr(line).encode())
    return digest.hexdigest()[:16]


def state(name: str) -> str:
    """The fingerprint of a folder, by its name as a data set."""
    path, image_shape = parse(name)
    return fingerprint(read(path), image_shape)


def _split(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Moves the entries with a low hash to the test split, but never a whole class."""
    ordered = sorted(entries, key=lambda entry: _hash(entry.name))
    # The entry of each class with the highest hash stays in the training split.
    kept = {entry.label: entry for entry in ordered}
    free = [entry for entry in ordered if entry != kept[entry.label]]
    held_out = {entry for entry in free if _hash(entry.name) < _TEST_SHARE}
    held_out |= set(free[:1])
    return {
        "train": [entry for entry in entries if entry not in held_out],
        "test": [entry for entry in entries if entry in held_out],
    }


def _hash(name: str) -> float:
    """Maps a name to a number in [0, 1), the same in every version."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _check_counts(path: str, entries: list[Entry], names: tuple[str, ...]) -> None:
    if len(entries) < MIN_IMAGES:
        raise ValueError(
            f"A folder of images must hold at least {MIN_IMAGES} of them. Received: "
            f"'{path}' with {len(entries)}. Add images, or name another folder."
        )
    counts = collections.Counter(entry.label for entry in entries)
    for label, name in enumerate(names):
        if counts[label] < MIN_IMAGES_PER_CLASS:
            raise ValueError(
                f"Every class must have at least {MIN_IMAGES_PER_CLASS} images of its "
                f"own. Received: '{path}' with {counts[label]} of {name!r}. Add images,"
                " or remove that folder."
            )


def _layout(
    path: str, images: dict[str, bool]
) -> tuple[tuple[str, ...], list[list[Entry]]]:
    """The classes, and the entries of the folder or of its `train` and its `test`.

    Args:
        path: str.
        images: names of images -> as in `_file_names`. Only new ones become entries.

    Raises:
        ValueError: as `classes`.
    """
    tops = _tops(path, images)
    # Class folder, or "" -> names of its images.
    groups = [_by_folder(images, top) for top in tops]
    for top, group in zip(tops, groups):
        folders = sorted(set(group) - {""})
        if folders and "" in group:
            holder, image = os.path.join(path, top), group[""][0].removeprefix(top)
            raise ValueError(
                "A folder must hold images, or one folder of images per class, not "
                f"both. Received: '{holder.rstrip('/')}' with {image!r} beside the "
                f"folder {folders[0]!r}. Move one of them away."
            )
    names = sorted(set().union(*groups) - {""})
    labels = {name: i for i, name in enumerate(names)} if len(names) > 1 else {}
    for top, group in zip(tops, groups):
        missing = [name for name in labels if name not in group]
        if missing:
            raise ValueError(
                f"Both splits must have the same class folders. Received: '{path}', "
                f"where '{top}' has no {missing[0]!r}. Add it, or remove it there."
            )
    return tuple(labels), [
        sorted(
            Entry(name, labels.get(folder, -1))
            for folder, in_folder in group.items()
            for name in in_folder
            if images[name]
        )
        for group in groups
    ]


def _tops(path: str, images: dict[str, bool]) -> list[str]:
    """`[""]`, or the training and the test folder with "/" at their ends.

    Raises:
        ValueError: there are no images; or the splits are not two.
    """
    if not images:
        raise ValueError(
            f"A folder of images must hold files {', '.join(EXTENSIONS)}. Received: "
            f"'{path}', which holds none. Name another folder."
        )
    holders = sorted(_by_folder(images, ""))
    training = [folder for folder in holders if folder.lower() in _TRAINING]
    held_out = [folder for folder in holders if folder.lower() in _HELD_OUT]
    # `train` beside `bus` is a class. `_layout` refuses images beside folders.
    if not training or not (held_out or len(holders) == 1) or "" in holders:
        return [""]
    if len(training) == len(held_out) == 1 and len(holders) == 2:
        return [f"{training[0]}/", f"{held_out[0]}/"]
    raise ValueError(
        "A folder with splits must hold `train`, one of "
        f"{', '.join(_HELD_OUT)}, and no other folder of images. Received: '{path}' "
        f"with {', '.join(map(repr, holders))}. Move the others away, or name "
        f"{PREFIX}{os.path.join(path, training[0])} to have test images chosen from it."
    )


def _by_folder(names: dict[str, bool], top: str) -> dict[str, list[str]]:
    """Groups the names that begin with `top` by the folder that follows, or ""."""
    groups = collections.defaultdict(list)
    for name in names:
        if name.startswith(top):
            folder, slash, _ = name.removeprefix(top).partition("/")
            groups[folder if slash else ""].append(name)
    return groups


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _file_names(path: str) -> dict[str, bool]:
    """Sorted names of the files at any depth that are not hidden, with "/".

    Follows links, but takes a folder once in each class of each split.

    Returns:
        name -> False if an earlier class of the split holds the file's folder too.

    Raises:
        FileNotFoundError: `path` is no folder.
        OSError: a folder cannot be read.
    """
    if not os.path.isdir(path):
        raise FileNotFoundError(
            f"'{path}' {'is a file' if os.path.exists(path) else 'does not exist'}. "
            "Name a folder of images."
        )
    names, visited, taken = {}, set(), set()
    for folder, subfolders, files in os.walk(path, onerror=_refuse, followlinks=True):
        parts = pathlib.PurePath(folder).relative_to(path).parts
        in_split = bool(parts) and parts[0].lower() in _TRAINING + _HELD_OUT
        real = os.path.realpath(folder)
        # A link back to the whole folder, or to the split, adds nothing.
        place, in_class = ((parts[:depth], real) for depth in (in_split, in_split + 1))
        if place in visited or in_class in visited:
            subfolders.clear()
            continue
        visited.add(in_class)
        is_new = place not in taken
        taken.add(place)
        # macOS writes "._photo.jpg" beside "photo.jpg" on other file systems.
        subfolders[:] = sorted(name for name in subfolders if name[0] != ".")
        names |= {"/".join((*parts, f)): is_new for f in files if f[0] != "."}
    return dict(sorted(names.items()))


def _refuse(error: OSError):
    raise OSError(
        f"Cannot read the folder '{error.filename}': {error.strerror}. Make it "
        "readable, or move it away."
    ) from error
