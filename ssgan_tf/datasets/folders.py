"""Folders of images: which files there are, of which class, in which split.

Nothing is decoded here. A folder holds images, or a folder of images per class; or
`train` and `test` (or `val`, ...), each of them like that. Where the folder does not
say which images are held out, a hash of the file name does, so that an image stays
where it is when others are added.
"""

import collections
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
# In lower case.
_TRAINING = ("train", "training")
_HELD_OUT = ("test", "testing", "val", "valid", "validation")
# A file system takes 255 bytes, and shapes and hashes follow.
_MAX_NAME_BYTES = 100


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
        others: ending -> count of the files that are no images, hidden ones apart.
    """

    path: str
    classes: tuple[str, ...]
    splits: dict[str, list[Entry]]
    others: dict[str, int]

    @property
    def left_out(self) -> str:
        """Files that are no images by their endings: "2 .gif, 1 .txt"."""
        return ", ".join(f"{num} {ending}" for ending, num in self.others.items())


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
            f"Received: name={name!r}. Write it as {PREFIX}DIR@64x64x3, for example; "
            "or give `ssgan data` the size: --resolution=64."
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
    return f"{file_name(path)}_{shape}"


def file_name(path: str) -> str:
    """The last part of a folder's path, with what file names may hold, not too long."""
    name = re.sub(r"[^\w.-]+", "_", os.path.basename(path))
    return name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")


def printable(text: str) -> str:
    """Text with names of files, some of which may be no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def classes(path: str) -> tuple[str, ...]:
    """Sorted names of the class folders. One alone says nothing: it is as none.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: it, or a folder in it, cannot be read.
        ValueError: it holds no images, or both images and folders of images; or parts
            that do not belong together.
    """
    tops = _tops(path)
    names = {top.name: _classes_of(top) for top in tops}
    found = sorted(set().union(*names.values()))
    if len(found) < 2:
        return ()
    if any(set(each) != set(found) for each in names.values()):
        train, test = names
        few, many = sorted(names, key=lambda top: len(names[top]))
        differing = sorted(set(names[many]) - set(names[few]))
        raise ValueError(
            f"{train!r} and {test!r} must have the same class folders. Received: "
            f"'{path}', where {many!r} has {differing[0]!r} and {few!r} has none of "
            "that name. Add or remove it."
        )
    return tuple(found)


def listing(path: str) -> Listing:
    """Finds the images and says which split each of them is in.

    Raises:
        OSError, ValueError: as `classes`; or there are too few images.
    """
    labels = {name: label for label, name in enumerate(classes(path))}
    tops = _tops(path)
    found: dict[str, list[Entry]] = {}
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
        found[split] = sorted(entries, key=lambda entry: entry.name)
    if len(tops) == 1:
        found = _split(found["train"])
    most_first = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    result = Listing(path, tuple(labels), found, dict(most_first))
    _check_counts(result)
    return result


def fingerprint(found: Listing, image_shape: tuple[int, int, int]) -> str:
    """A hash that changes with folder, files (names, sizes, times), shape and rules."""
    what = (VERSION, os.path.realpath(found.path), image_shape)
    digest = hashlib.sha256(repr(what).encode())
    for split, entries in found.splits.items():
        for entry in entries:
            line = (split, entry.name, *_stat(os.path.join(found.path, entry.name)))
            digest.update(repr(line).encode())
    return digest.hexdigest()[:16]


def state(name: str) -> str:
    """The fingerprint of a folder as a data set, by its name."""
    path, image_shape = parse(name)
    return fingerprint(listing(path), image_shape)


def _stat(path: str) -> tuple[int, ...]:
    try:
        stat = os.stat(path)
    # A dangling link: it counts as unreadable when it is read.
    except OSError:
        return ()
    # A copy may be given the second time of another file, but not the third.
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


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


def _tops(path: str) -> list[pathlib.Path]:
    """The folder itself; or its training and its test folder.

    Raises:
        As `classes`.
    """
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
    training = [each for each in holders if each.name.lower() in _TRAINING]
    held_out = [each for each in holders if each.name.lower() in _HELD_OUT]
    # `train` and `bus` are classes; images beside them are an error of their own.
    if not training or not (held_out or len(holders) == 1) or any(_images_in(root)):
        return [root]
    if len(training) == len(held_out) == 1 and len(holders) == 2:
        return training + held_out
    names = [each.name for each in holders]
    raise ValueError(
        "A folder that is divided already must hold `train`, one of "
        f"{', '.join(_HELD_OUT)}, and no other folder of images. Received: '{path}' "
        f"with {', '.join(map(repr, names))}. Move others away, or leave the division "
        f"to this program: {PREFIX}{training[0]}"
    )


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
    _, names, _ = next(_walk(top))
    return [top / name for name in sorted(names) if not _is_hidden(name)]


def _is_hidden(name: str) -> bool:
    # macOS keeps a "._photo.jpg" beside "photo.jpg" on foreign disks.
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
        "A folder of images, and those in it, must be readable. Received: "
        f"'{error.filename}', which fails with: {error.strerror}. Make it readable, or "
        "move it away."
    ) from error


def _files_below(top: pathlib.Path) -> Iterator[pathlib.Path]:
    """At any depth, through links, each folder once; hidden ones apart."""
    seen = set()
    for folder, subfolders, names in _walk(top):
        real = os.path.realpath(folder)
        subfolders[:] = sorted(
            name for name in subfolders if not _is_hidden(name) and real not in seen
        )
        if real in seen:
            continue
        seen.add(real)
        yield from (
            pathlib.Path(folder, name) for name in names if not _is_hidden(name)
        )
