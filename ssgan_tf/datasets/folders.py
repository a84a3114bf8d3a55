"""Folders of images: which files there are, of which class, in which split.

Nothing is decoded here. A folder holds images, or a folder of images per class; or
`train` and `test` (or `val`, `validation`), each of them like that. Where the folder
does not say which images are held out, a hash of the file name does, so that an image
stays where it is when others are added.
"""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator

PREFIX = "folder:"
# The TFDS builder of prepared folders, and the version of the rules by which images are
# found, split, cropped and converted: another one prepares every folder again.
TFDS_NAME = "ssgan_folder"
VERSION = "1.0.0"

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# Fewer are more likely a mistake than a data set.
MIN_IMAGES = 10
MIN_IMAGES_PER_CLASS = 3
_TEST_SHARE = 0.1
_HELD_OUT = ("test", "val", "valid", "validation")


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image file.

    Attributes:
        name: str. Its path below the folder, with "/".
        label: int. Place of its class among the sorted ones; -1 without classes.
    """

    name: str
    label: int


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        path: str. The folder.
        classes: names of its class folders, sorted; empty for a set without labels.
        splits: "train" and "test" -> entries, ordered by name.
    """

    path: str
    classes: tuple[str, ...]
    splits: dict[str, list[Entry]]


def is_folder(name: str) -> bool:
    """Whether a name of a data set means a folder of images."""
    return isinstance(name, str) and name.startswith(PREFIX)


def dataset_name(folder: str | os.PathLike, size: int, colors: int) -> str:
    """The name that says all about a folder: `folder:/photos@64x64x3`.

    Args:
        folder: with or without the prefix; a relative one counts from the working
            directory.
        size: int. Height and width that the images are brought to.
        colors: int. 1 for grey, 3 for colour.

    Raises:
        ValueError: a value is out of range, or no folder is named.
    """
    path = os.path.expanduser(os.fspath(folder).removeprefix(PREFIX))
    if not path:
        raise ValueError(
            f"A folder of images must be named. Received: name={folder!r}. Write "
            f"{PREFIX}DIR."
        )
    if type(size) is not int or size < 1:
        raise ValueError(
            "The `resolution` of a folder must be one whole number, 1 or more: images "
            "are square, because they are rotated by quarter turns. Received: "
            f"resolution={size!r}. Write resolution=64, for example."
        )
    if type(colors) is not int or colors not in (1, 3):
        raise ValueError(
            "The `colors` of a folder must be 1 (grey) or 3. Received: "
            f"colors={colors!r}. Choose one of them."
        )
    return f"{PREFIX}{os.path.abspath(path)}@{size}x{size}x{colors}"


def parse(name: str) -> tuple[str, tuple[int, int, int]]:
    """Path and image shape of what `dataset_name` returned.

    Raises:
        ValueError: it is no such name.
    """
    match = re.fullmatch(rf"{PREFIX}(.+)@(\d+)x(\d+)x(\d+)", name, re.DOTALL)
    if not match:
        raise ValueError(
            "A folder's name as a data set must end in the shape of the images. "
            f"Received: name={name!r}. Write it as {PREFIX}DIR@64x64x3, for example."
        )
    height, width, colors = map(int, match.groups()[1:])
    if height != width:
        raise ValueError(
            "Images must be square, because they are rotated by quarter turns. "
            f"Received: name={name!r}. Give them one height and width."
        )
    # Checks the numbers, and makes the path absolute.
    dataset_name(match[1], height, colors)
    return os.path.abspath(os.path.expanduser(match[1])), (height, width, colors)


def short_name(name: str) -> str:
    """The name of any data set with what file names may hold; not always another one.

    `folder:/home/me/my photos@64x64x3` is `my_photos_64x64x3`.
    """
    if not is_folder(name):
        return name
    path, image_shape = parse(name)
    shape = "x".join(map(str, image_shape))
    return re.sub(r"[^\w.-]+", "_", f"{os.path.basename(path)}_{shape}")


def classes(path: str) -> tuple[str, ...]:
    """Sorted names of the class folders. One alone says nothing: it is as none.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images, or both images and folders of images.
    """
    names = sorted({name for top in _tops(path) for name in _classes_of(top)})
    return tuple(names) if len(names) > 1 else ()


def listing(path: str) -> Listing:
    """Finds the images and says which split each of them is in.

    Raises:
        FileNotFoundError, ValueError: as `classes`; or there are too few images.
    """
    labels = {name: label for label, name in enumerate(classes(path))}
    tops = _tops(path)
    found: dict[str, list[Entry]] = {}
    for split, top in zip(("train", "test"), tops):
        entries = (
            Entry(
                file.relative_to(path).as_posix(),
                labels.get(file.relative_to(top).parts[0], -1),
            )
            for file in _images_below(top)
        )
        found[split] = sorted(entries, key=lambda entry: entry.name)
    if len(tops) == 1:
        found = _split(found["train"])
    result = Listing(path, tuple(labels), found)
    _check_counts(result)
    return result


def fingerprint(found: Listing, image_shape: tuple[int, int, int]) -> str:
    """A hash that changes with the files (names, sizes, times), shape and rules."""
    digest = hashlib.sha256(repr((VERSION, image_shape)).encode())
    for split, entries in found.splits.items():
        for entry in entries:
            stat = os.stat(os.path.join(found.path, entry.name))
            line = (split, entry.name, stat.st_size, stat.st_mtime_ns)
            digest.update(repr(line).encode())
    return digest.hexdigest()[:16]


def _split(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Holds out those whose names have a low hash, and never all of a class."""
    ordered = sorted(entries, key=lambda entry: _hash(entry.name))
    # Of each class the highest hash, which is hardly ever a low one.
    kept = {entry.label: entry for entry in ordered}
    free = [entry for entry in ordered if entry != kept[entry.label]]
    held_out = {entry for entry in free if _hash(entry.name) < _TEST_SHARE}
    held_out |= set(free[:1])
    return {
        "train": [entry for entry in entries if entry not in held_out],
        "test": [entry for entry in entries if entry in held_out],
    }


def _hash(name: str) -> float:
    """A number in [0, 1), the same for ever."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _check_counts(found: Listing) -> None:
    entries = [entry for split in found.splits.values() for entry in split]
    if len(entries) < MIN_IMAGES:
        raise ValueError(
            f"A folder of images must hold at least {MIN_IMAGES} of them. Received: "
            f"'{found.path}' with {len(entries)}. Add images, or name another folder."
        )
    for label, name in enumerate(found.classes):
        count = sum(entry.label == label for entry in entries)
        if count < MIN_IMAGES_PER_CLASS:
            raise ValueError(
                f"Every class must have at least {MIN_IMAGES_PER_CLASS} images. "
                f"Received: '{found.path}' with {count} of {name!r}. Add images, or "
                "remove that folder."
            )
        if not any(entry.label == label for entry in found.splits["train"]):
            raise ValueError(
                "Every class must have images to train on. Received: "
                f"'{found.path}' with none of {name!r} in its training folder. Add "
                "some, or remove the class."
            )
    for split, name in (("train", "to train on"), ("test", "held out")):
        if not found.splits[split]:
            raise ValueError(
                f"A folder must have images {name}. Received: '{found.path}' with "
                "none. Add some, or leave the division to this program: images, or a "
                "folder of them per class, and nothing else."
            )


def _tops(path: str) -> list[pathlib.Path]:
    """The folder itself; or its training and its test folder."""
    root = pathlib.Path(path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"A folder of images must be there. Received: '{path}', which is "
            f"{'a file' if root.exists() else 'not'}. Name another one."
        )
    holders = [each for each in _subfolders(root) if _has_images(each)]
    if not holders and not any(_images_in(root)):
        raise ValueError(
            f"A folder of images must hold some: {', '.join(EXTENSIONS)}. Received: "
            f"'{path}' with none. Name another folder."
        )
    names = [each.name for each in holders]
    if len(names) == 2 and "train" in names and not any(_images_in(root)):
        (other,) = (name for name in names if name != "train")
        if other in _HELD_OUT:
            return [root / "train", root / other]
    return [root]


def _classes_of(top: pathlib.Path) -> list[str]:
    names = [each.name for each in _subfolders(top) if _has_images(each)]
    loose = next(_images_in(top), None)
    if names and loose:
        raise ValueError(
            "A folder must hold images, or folders of images that name their classes, "
            f"not both. Received: '{top}' with {loose.name!r} beside the folder "
            f"{names[0]!r}. Move one of them away."
        )
    return names


def _subfolders(top: pathlib.Path) -> list[pathlib.Path]:
    # `os.scandir` asks the file system once; `Path.iterdir` for every file.
    with os.scandir(top) as found:
        names = [each.name for each in found if each.is_dir()]
    return [top / name for name in sorted(names) if not _is_hidden(name)]


def _is_hidden(name: str) -> bool:
    # macOS keeps a "._photo.jpg" beside "photo.jpg" on foreign disks.
    return name.startswith(".")


def _is_image(name: str) -> bool:
    return not _is_hidden(name) and name.lower().endswith(EXTENSIONS)


def _images_in(top: pathlib.Path) -> Iterator[pathlib.Path]:
    with os.scandir(top) as found:
        for each in found:
            if _is_image(each.name) and each.is_file():
                yield top / each.name


def _has_images(top: pathlib.Path) -> bool:
    return next(_images_below(top), None) is not None


def _images_below(top: pathlib.Path) -> Iterator[pathlib.Path]:
    """At any depth, through links, each folder once."""
    seen = set()
    for folder, subfolders, names in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = sorted(
            name for name in subfolders if not _is_hidden(name) and real not in seen
        )
        if real in seen:
            continue
        seen.add(real)
        yield from (pathlib.Path(folder, name) for name in names if _is_image(name))
