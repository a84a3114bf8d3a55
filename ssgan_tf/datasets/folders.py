"""Folders of images: their files, classes and splits.

A folder holds images, or a folder of images per class; or it holds `train` and `test`
(or `val`, ...), which are such folders. Without `train` and `test` a hash of the file
name chooses the test images, so that an image stays in its split when others are added.
This module decodes no images.
"""

import collections
import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator

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


@dataclasses.dataclass(frozen=True)
class Entry:
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
    if type(size) is not int or size < 1:
        raise ValueError(
            "The `resolution` of a folder must be an integer of at least 1: images are "
            "square, because they are rotated by quarter turns. Received: "
            f"resolution={size!r}. Write resolution=64, for example."
        )
    if type(colors) is not int or colors not in (1, 3):
        raise ValueError(
            "The `colors` of a folder must be 1 (grey) or 3 (RGB). Received: "
            f"colors={colors!r}. Choose one of them."
        )
    return f"{PREFIX}{os.path.abspath(path)}@{size}x{size}x{colors}"


def parse(name: str) -> tuple[str, tuple[int, int, int]]:
    """Splits a name by `dataset_name` into path and image shape.

    Raises:
        ValueError: the name is invalid.
    """
    match = re.fullmatch(rf"{PREFIX}(.+)@(\d+)x(\d+)x(\d+)", name, re.DOTALL)
    if not match:
        raise ValueError(
            "The name of a folder must end in the shape of the images. Received: "
            f"name={name!r}. Write {PREFIX}DIR@64x64x3, for example; or pass "
            "--resolution=64 to `ssgan data`."
        )
    height, width, colors = map(int, match.groups()[1:])
    if height != width:
        raise ValueError(
            "Images must be square, because they are rotated by quarter turns. "
            f"Received: name={name!r}. Make height and width equal."
        )
    # Checks the numbers.
    dataset_name(match[1], height, colors)
    return os.path.abspath(os.path.expanduser(match[1])), (height, width, colors)


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
    tops = _tops(path)
    names = {top.name: _classes_of(top) for top in tops}
    union = sorted(set().union(*names.values()))
    if len(union) < 2:
        return ()
    if any(set(classes_of_top) != set(union) for classes_of_top in names.values()):
        train, test = names
        few, many = sorted(names, key=lambda top: len(names[top]))
        differing = sorted(set(names[many]) - set(names[few]))
        raise ValueError(
            f"{train!r} and {test!r} must have the same class folders. Received: "
            f"'{path}', where {many!r} has {differing[0]!r} and {few!r} does not. Add "
            "or remove it."
        )
    return tuple(union)


def listing(path: str) -> Listing:
    """Lists the images of a folder, with their classes and splits.

    Raises:
        OSError, ValueError: as `classes`; or there are too few images.
    """
    labels = {name: label for label, name in enumerate(classes(path))}
    tops = _tops(path)
    splits: dict[str, list[Entry]] = {}
    others: collections.Counter[str] = collections.Counter()
    for split, top in zip(("train", "test"), tops):
        entries = []
        for file in _files_below(top):
            if _is_image(file.name):
                name = file.relative_to(path).as_posix()
                label = labels.get(file.relative_to(top).parts[0], -1)
                entries.append(Entry(name, label))
            else:
                others[file.suffix.lower() or "without ending"] += 1
        splits[split] = sorted(entries, key=lambda entry: entry.name)
    if len(tops) == 1:
        splits = _split(splits["train"])
    most_first = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    result = Listing(path, tuple(labels), splits, dict(most_first))
    _check_counts(result)
    return result


def fingerprint(listing: Listing, image_shape: tuple[int, int, int]) -> str:
    """Hashes path, files (names, sizes, times), image shape and `VERSION`."""
    header = (VERSION, os.path.realpath(listing.path), image_shape)
    digest = hashlib.sha256(repr(header).encode())
    for split, entries in listing.splits.items():
        for entry in entries:
            line = (split, entry.name, *_stat(os.path.join(listing.path, entry.name)))
            digest.update(repr(line).encode())
    return digest.hexdigest()[:16]


def state(name: str) -> str:
    """The fingerprint of a folder, by its name as a data set."""
    path, image_shape = parse(name)
    return fingerprint(listing(path), image_shape)


def _stat(path: str) -> tuple[int, ...]:
    try:
        stat = os.stat(path)
    # A broken link is reported as unreadable when the files are read.
    except OSError:
        return ()
    # A copy can preserve the modification time, but not the change time.
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


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


def _check_counts(listing: Listing) -> None:
    entries = [entry for split in listing.splits.values() for entry in split]
    if len(entries) < MIN_IMAGES:
        raise ValueError(
            f"A folder of images must hold at least {MIN_IMAGES} of them. Received: "
            f"'{listing.path}' with {len(entries)}. Add images, or name another folder."
        )
    for label, name in enumerate(listing.classes):
        count = sum(entry.label == label for entry in entries)
        if count < MIN_IMAGES_PER_CLASS:
            raise ValueError(
                f"Every class must have at least {MIN_IMAGES_PER_CLASS} images. "
                f"Received: '{listing.path}' with {count} of {name!r}. Add images, or "
                "remove that folder."
            )


def _tops(path: str) -> list[pathlib.Path]:
    """The folder, or its training and its test folder.

    Raises:
        As `classes`.
    """
    root = pathlib.Path(path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"'{path}' {'is a file' if root.exists() else 'does not exist'}. Name a "
            "folder of images."
        )
    holders = [folder for folder in _subfolders(root) if _has_images(folder)]
    if not holders and not any(_images_in(root)):
        raise ValueError(
            f"A folder of images must hold files {', '.join(EXTENSIONS)}. Received: "
            f"'{path}', which holds none. Name another folder."
        )
    training = [folder for folder in holders if folder.name.lower() in _TRAINING]
    held_out = [folder for folder in holders if folder.name.lower() in _HELD_OUT]
    # `train` beside `bus` is a class. `_classes_of` refuses images beside folders.
    if not training or not (held_out or len(holders) == 1) or any(_images_in(root)):
        return [root]
    if len(training) == len(held_out) == 1 and len(holders) == 2:
        return training + held_out
    names = [folder.name for folder in holders]
    raise ValueError(
        "A folder with splits must hold `train`, one of "
        f"{', '.join(_HELD_OUT)}, and no other folder of images. Received: '{path}' "
        f"with {', '.join(map(repr, names))}. Move the others away, or name "
        f"{PREFIX}{training[0]} to have test images chosen from it."
    )


def _classes_of(top: pathlib.Path) -> list[str]:
    names = [folder.name for folder in _subfolders(top) if _has_images(folder)]
    loose = next(_images_in(top), None)
    if names and loose:
        raise ValueError(
            "A folder must hold images, or one folder of images per class, not both. "
            f"Received: '{top}' with {loose.name!r} beside the folder {names[0]!r}. "
            "Move one of them away."
        )
    return names


def _subfolders(top: pathlib.Path) -> list[pathlib.Path]:
    _, names, _ = next(_walk(top))
    return [top / name for name in sorted(names) if not _is_hidden(name)]


def _is_hidden(name: str) -> bool:
    # macOS writes "._photo.jpg" beside "photo.jpg" on other file systems.
    return name.startswith(".")


def _is_image(name: str) -> bool:
    return not _is_hidden(name) and name.lower().endswith(EXTENSIONS)


def _images_in(top: pathlib.Path) -> Iterator[pathlib.Path]:
    _, _, names = next(_walk(top))
    return (top / name for name in names if _is_image(name))


def _has_images(top: pathlib.Path) -> bool:
    return any(_is_image(file.name) for file in _files_below(top))


def _walk(top: pathlib.Path) -> Iterator[tuple[str, list[str], list[str]]]:
    return os.walk(top, onerror=_refuse, followlinks=True)


def _refuse(error: OSError):
    raise OSError(
        f"Cannot read the folder '{error.filename}': {error.strerror}. Make it "
        "readable, or move it away."
    ) from error


def _files_below(top: pathlib.Path) -> Iterator[pathlib.Path]:
    """Files at any depth that are not hidden. Follows links, each folder once."""
    visited = set()
    for folder, subfolders, names in _walk(top):
        real = os.path.realpath(folder)
        subfolders[:] = sorted(
            name for name in subfolders if not _is_hidden(name) and real not in visited
        )
        if real in visited:
            continue
        visited.add(real)
        yield from (
            pathlib.Path(folder, name) for name in names if not _is_hidden(name)
        )
