"""TFDS builders that crop and resize images once, before training.

The data sets that they write are read like any other.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from ssgan_tf.datasets import folders, image_files
from ssgan_tf.datasets.specs import DATASETS, DatasetSpec
from ssgan_tf.utils import progress

# TFDS holds the encoded images of a file in memory while it writes the file.
MAX_SHARD_BYTES = 128 * 2**20
# Random crops depend on this seed and the number of the image: all runs share them.
CROP_SEED = 0x63726F70
# Unreadable files are left out, up to this number or this share.
MAX_UNREADABLE = 10
MAX_UNREADABLE_SHARE = 0.01
_NAMED_IN_ERRORS = 20
# Number of images in memory at a time.
_FILES_AT_ONCE = 256

# By default TFDS looks in Google's bucket for prepared copies, also of our data sets.
OFFLINE = tfds.download.DownloadConfig(try_download_gcs=False)
# Reads file after file, and keeps no images: TFDS's cache would double the memory.
IN_ORDER = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)

_Example = tuple[int, dict]


@dataclasses.dataclass(eq=False)
class SpecConfig(tfds.core.BuilderConfig):
    """Configuration of a TFDS builder for a data set of the table, or for a folder.

    Attributes:
        spec: `DatasetSpec`.
        listing: `folders.Listing` of a folder; None for a data set of the table.
    """

    spec: DatasetSpec | None = None
    # TFDS logs the configuration; a listing is long.
    listing: folders.Listing | None = dataclasses.field(default=None, repr=False)


class _Squares(tfds.core.ShardBasedBuilder):
    """Base of builders of square images, with the splits "train" and "test".

    Images keep the order of their source. `GeneratorBasedBuilder` would shuffle them,
    or sort the whole data set in memory.

    Attributes:
        in_parts: bool. Make the images of each file independently, as Beam needs it.
            Otherwise files are written one after another, with a progress bar.
    """

    in_parts = False

    @property
    def _spec(self) -> DatasetSpec:
        return self.builder_config.spec

    def _info_of(self, description: str, label, metadata=None) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=self._spec.image_shape, encoding_format="png")
        labels = {"label": label} if self._spec.num_classes else {}
        return tfds.core.DatasetInfo(
            builder=self,
            description=description,
            features=tfds.features.FeaturesDict({"image": image} | labels),
            disable_shuffling=True,
            metadata=metadata,
        )

    def _parts(self, num: int) -> list[tuple[int, int]]:
        """Divides images 0 to `num` - 1 among files: the first image and the end."""
        decoded_bytes = num * int(np.prod(self._spec.image_shape))
        num_shards = min(num, math.ceil(decoded_bytes / MAX_SHARD_BYTES))
        bounds = [num * i // num_shards for i in range(num_shards + 1)]
        return list(itertools.pairwise(bounds))

    def _shards(
        self, split: str, num: int, examples: Iterator[_Example]
    ) -> list[Callable[[], Iterator[_Example]]]:
        """Writes files one after another, with a progress bar that names the split."""
        task = f"preparing {self.builder_config.name}, {split}"
        stream = progress.track(examples, num, task)
        *parts, _ = self._parts(num)
        shards = [functools.partial(itertools.islice, stream, b - a) for a, b in parts]
        # The last file exhausts the stream, which completes the bar and runs the checks
        # at its end.
        return [*shards, functools.partial(iter, stream)]


def _as_list(examples, first: int, last: int) -> list[_Example]:
    return list(examples(first, last))


# --- Data sets of the table ----------------------------------------------------


class SsganPrepared(_Squares):
    """Data sets of the table whose images TFDS has in other sizes.

    `tfds.load("ssgan_prepared/imagenet128")` reads one. Preparing it needs TFDS's data
    set in the same folder, which may be deleted afterwards.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        SpecConfig(name=name, description=f"{spec.tfds_name} as {name}.", spec=spec)
        for name, spec in DATASETS.items()
        if spec.crop
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        spec = self._spec
        return self._info_of(
            f"{spec.tfds_name} {spec.tfds_version}, cropped and resized to "
            f"{spec.image_shape}; in compare_gan's way where it has the data set.",
            tfds.features.ClassLabel(num_classes=spec.num_classes or None),
        )

    def _shard_iterators_per_split(self, dl_manager):
        del dl_manager  # the source downloads by itself
        spec, data_dir = self._spec, os.fspath(self.data_dir_root)
        source = tfds.builder(
            f"{spec.tfds_name}:{spec.tfds_version}", data_dir=data_dir
        )
        source.download_and_prepare(download_config=OFFLINE)
        shards = {}
        splits = {"train": spec.train_split, "test": spec.eval_split}
        for split, tfds_split in splits.items():
            num = source.info.splits[tfds_split].num_examples
            crop = functools.partial(
                _cropped, spec, data_dir, tfds_split=tfds_split, random=split == "train"
            )
            if self.in_parts:
                parts = self._parts(num)
                shards[split] = [functools.partial(_as_list, crop, *p) for p in parts]
            else:
                shards[split] = self._shards(split, num, crop(0, num))
        return shards


def _cropped(
    spec: DatasetSpec,
    data_dir: str,
    first: int,
    last: int,
    *,
    tfds_split: str,
    random: bool,
) -> Iterator[_Example]:
    """Yields images `first` to `last` - 1 of a split, cropped on all cores."""
    source = tfds.builder(f"{spec.tfds_name}:{spec.tfds_version}", data_dir=data_dir)
    size = spec.image_shape[0]

    def crop(number: tf.Tensor, example: dict) -> tuple[tf.Tensor, dict]:
        seed = tf.stack([tf.constant(CROP_SEED, tf.int64), number]) if random else None
        square = tf.ensure_shape(
            spec.crop(example["image"], size, seed), spec.image_shape
        )
        label = {"label": example["label"]} if spec.num_classes else {}
        return number, {"image": tf.io.encode_png(square)} | label

    images = (
        source.as_dataset(
            split=part_of(source, tfds_split, first, last),
            shuffle_files=False,
            read_config=IN_ORDER,
        )
        .enumerate(first)
        .map(crop, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )
    for number, example in images.as_numpy_iterator():
        yield int(number), example


def part_of(
    source: tfds.core.DatasetBuilder, tfds_split: str, first: int, last: int
) -> tfds.core.ReadInstruction:
    """Images `first` to `last` - 1 of a split such as "train" or "train[:99%]"."""
    whole = tfds.core.ReadInstruction.from_spec(tfds_split)
    (absolute,) = whole.to_absolute(source.info.splits)
    start = absolute.from_ or 0
    return tfds.core.ReadInstruction(absolute.splitname, start + first, start + last)


# --- Folders of images ---------------------------------------------------------


class SsganFolder(_Squares):
    """A folder of images, read by `image_files.read_square`.

    `tfds.ImageFolder` requires split and class folders, reads only PNG and JPEG,
    decodes the files in every epoch, ignores EXIF orientations and fails at unreadable
    files.
    """

    name = folders.TFDS_NAME
    VERSION = tfds.core.Version(folders.VERSION)
    RELEASE_NOTES = {folders.VERSION: "First version."}

    def _info(self) -> tfds.core.DatasetInfo:
        listing = self.builder_config.listing
        return self._info_of(
            f"The images of {folders.printable(listing.path)}.",
            tfds.features.ClassLabel(
                names=list(map(folders.printable, listing.classes)) or None
            ),
            tfds.core.MetadataDict(),
        )

    def _shard_iterators_per_split(self, dl_manager):
        del dl_manager  # nothing is downloaded
        listing, unreadable = self.builder_config.listing, {}
        self.info.metadata["unreadable"] = unreadable
        read = functools.partial(_read, listing, self._spec.image_shape, unreadable)
        return {
            split: self._shards(split, len(entries), read(split))
            for split, entries in listing.splits.items()
        }


def _read(
    listing: folders.Listing,
    image_shape: tuple[int, int, int],
    unreadable: dict[str, str],
    split: str,
) -> Iterator[_Example]:
    """Yields the images of a split, and records the files that cannot be read.

    Args:
        listing: the folder.
        image_shape: `(size, size, 1 or 3)`.
        unreadable: takes the name of each unreadable file and its error.
        split: "train" or "test".

    Raises:
        ValueError: too many files are unreadable, or all of a split or a class.
    """
    entries = listing.splits[split]
    num_files = sum(map(len, listing.splits.values()))
    limit = max(MAX_UNREADABLE, int(MAX_UNREADABLE_SHARE * num_files))
    labels = set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(entries), _FILES_AT_ONCE):
            chunk = entries[start : start + _FILES_AT_ONCE]
            paths = [os.path.join(listing.path, entry.name) for entry in chunk]
            images = pool.map(_encoded, paths, itertools.repeat(image_shape))
            for number, (entry, image) in enumerate(zip(chunk, images), start):
                if isinstance(image, Exception):
                    name = folders.printable(entry.name)
                    reason = folders.printable(f"{type(image).__name__}: {image}")
                    unreadable[name] = reason
                    logging.warning("unreadable, left out: %s (%s)", name, reason)
                    if len(unreadable) > limit:
                        rule = f"At most {limit} of {num_files} files may be unreadable"
                        raise _unreadable(rule, listing.path, unreadable)
                    continue
                labels.add(entry.label)
                label = {"label": entry.label} if listing.classes else {}
                yield number, {"image": image} | label
    lost = {entry.label for entry in entries} - labels
    if lost and (split == "train" or not labels):
        rule = "Every class must have readable images"
        raise _unreadable(rule, listing.path, unreadable)


def _encoded(path: str, image_shape: tuple[int, int, int]) -> bytes | Exception:
    """The square image as PNG, or the error."""
    try:
        if not os.path.isfile(path):
            # Opening a pipe would block.
            return OSError("not a file, or a broken link")
        return image_files.png(image_files.read_square(path, image_shape))
    # Pillow raises many types of errors for damaged files.
    except Exception as error:
        return error


def _unreadable(rule: str, path: str, unreadable: dict[str, str]) -> ValueError:
    named = itertools.islice(unreadable.items(), _NAMED_IN_ERRORS)
    files = "; ".join(f"{name} ({reason})" for name, reason in named)
    return ValueError(
        f"{rule}. Received: '{path}', with at least these unreadable files: {files}. "
        "Repair or remove them."
    )
