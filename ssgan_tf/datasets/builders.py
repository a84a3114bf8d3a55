"""TFDS builders of our own for images that have to be cropped and resized.

That is done once, before training: what they write is read as any other data set.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from ssgan_tf.datasets import folders, image_files
from ssgan_tf.datasets.specs import DATASETS, DatasetSpec
from ssgan_tf.utils import progress

# TFDS holds the encoded images of one file in memory while it writes it.
_MAX_SHARD_BYTES = 128 * 2**20
# Random crops are drawn once for all runs: by this seed, and the number of the image.
_CROP_SEED = 0x63726F70
# Files that cannot be read are left out, up to this many or this share of them.
MAX_UNREADABLE = 10
MAX_UNREADABLE_SHARE = 0.01
_NAMED_IN_ERRORS = 20
# Files whose images are in memory at a time.
_FILES_AT_ONCE = 256

# TFDS asks Google's storage for a prepared copy unless told not to, also for data sets
# that it cannot have.
OFFLINE = tfds.download.DownloadConfig(try_download_gcs=False)

_Example = tuple[int, dict]


@dataclasses.dataclass(eq=False)
class SpecConfig(tfds.core.BuilderConfig):
    """A row of the table, or a folder, as configuration of a TFDS builder.

    Attributes:
        spec: `DatasetSpec`.
        listing: `folders.Listing` of a folder; None for a row.
    """

    spec: DatasetSpec | None = None
    # TFDS logs configurations.
    listing: folders.Listing | None = dataclasses.field(default=None, repr=False)


class _Squares(tfds.core.ShardBasedBuilder):
    """Splits "train" and "test" of square images, in the order of their source.

    Attributes:
        in_parts: bool. Whether the files are written apart from one another, which is
            how Beam wants them; otherwise one after another, with a progress bar.
    """

    # `GeneratorBasedBuilder` would shuffle, or, told not to, sort the whole data set in
    # memory.
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

    def _shards(
        self, split: str, num: int, examples: Callable[[int, int], Iterator[_Example]]
    ) -> Sequence[Callable[[], Iterator[_Example]]]:
        """Divides images 0 to `num` - 1 among files.

        Args:
            split: str. For the progress bar.
            num: int.
            examples: makes those from one number up to another.
        """
        decoded_bytes = num * int(np.prod(self._spec.image_shape))
        num_shards = min(num, math.ceil(decoded_bytes / _MAX_SHARD_BYTES))
        bounds = [num * i // num_shards for i in range(num_shards + 1)]
        parts = list(itertools.pairwise(bounds))
        if self.in_parts:
            return [functools.partial(_as_list, examples, *part) for part in parts]
        what = f"preparing {self.builder_config.name}, {split}"
        stream = progress.track(examples(0, num), num, what)
        shards = [functools.partial(itertools.islice, stream, b - a) for a, b in parts]
        # To the end, where the bar is completed and the last checks are.
        return [*shards[:-1], functools.partial(iter, stream)]


def _as_list(examples, first: int, last: int) -> list[_Example]:
    return list(examples(first, last))


# ---------------------------------------------------------------- rows of the table


class SsganPrepared(_Squares):
    """The rows whose images TFDS has in other sizes, cropped and resized.

    `tfds.load("ssgan_prepared/imagenet128")` reads one. Making it needs TFDS's own data
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
        del dl_manager  # the source has its own
        spec, data_dir = self._spec, os.fspath(self.data_dir_root)
        source = tfds.builder(
            f"{spec.tfds_name}:{spec.tfds_version}", data_dir=data_dir
        )
        source.download_and_prepare(download_config=OFFLINE)
        return {
            split: self._shards(
                split,
                source.info.splits[tfds_split].num_examples,
                functools.partial(_cropped, spec, data_dir, tfds_split, random),
            )
            for split, tfds_split, random in (
                ("train", spec.train_split, True),
                ("test", spec.eval_split, False),
            )
        }


def _cropped(
    spec: DatasetSpec,
    data_dir: str,
    tfds_split: str,
    random: bool,
    first: int,
    last: int,
) -> Iterator[_Example]:
    """Images `first` to `last` - 1 of a split, decoded and cropped by all cores."""
    source = tfds.builder(f"{spec.tfds_name}:{spec.tfds_version}", data_dir=data_dir)
    size = spec.image_shape[0]

    def crop(number: tf.Tensor, example: dict) -> tuple[tf.Tensor, ...]:
        seed = tf.stack([tf.constant(_CROP_SEED, tf.int64), number]) if random else None
        square = tf.ensure_shape(
            spec.crop(example["image"], size, seed), spec.image_shape
        )
        label = example["label"] if spec.num_classes else tf.constant(-1, tf.int64)
        return number, tf.io.encode_png(square), label

    options = tf.data.Options()
    options.deterministic = True
    images = (
        source.as_dataset(
            split=_part(source, tfds_split, first, last),
            shuffle_files=False,
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        .enumerate(first)
        .map(crop, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )
    for number, image, label in images.as_numpy_iterator():
        example = {"image": image}
        if spec.num_classes:
            example["label"] = int(label)
        yield int(number), example


def _part(
    source: tfds.core.DatasetBuilder, tfds_split: str, first: int, last: int
) -> tfds.core.ReadInstruction:
    """Images `first` to `last` - 1 of a split that may itself be a part."""
    whole = tfds.core.ReadInstruction.from_spec(tfds_split)
    (absolute,) = whole.to_absolute(source.info.splits)
    start = absolute.from_ or 0
    return tfds.core.ReadInstruction(absolute.splitname, start + first, start + last)


# ---------------------------------------------------------------- folders of images


class SsganFolder(_Squares):
    """A folder of images, cropped, resized and converted by `image_files.read_square`.

    `tfds.ImageFolder` wants split and class folders, takes PNG and JPEG only, reads the
    files anew every epoch, and knows neither EXIF orientations nor files that cannot
    be read.
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
        reader = _Reader(self.builder_config.listing, self._spec.image_shape)
        self.info.metadata["unreadable"] = reader.unreadable
        return {
            split: self._shards(
                split, len(entries), functools.partial(reader.read, split)
            )
            for split, entries in self.builder_config.listing.splits.items()
        }


class _Reader:
    """Reads the files of a folder; remembers those that it cannot read.

    Attributes:
        unreadable: names of files and what is wrong with them.
    """

    def __init__(self, listing: folders.Listing, image_shape: tuple[int, int, int]):
        self._listing = listing
        self._image_shape = image_shape
        self._num_files = sum(map(len, listing.splits.values()))
        self._limit = max(MAX_UNREADABLE, int(MAX_UNREADABLE_SHARE * self._num_files))
        self.unreadable: dict[str, str] = {}

    def read(self, split: str, first: int, last: int) -> Iterator[_Example]:
        """Images of the files `first` to `last` - 1 of a split.

        Raises:
            ValueError: too many cannot be read, or all of a split or a class.
        """
        entries = self._listing.splits[split][first:last]
        labels = set()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(entries), _FILES_AT_ONCE):
                chunk = entries[start : start + _FILES_AT_ONCE]
                images = pool.map(self._encoded, chunk)
                for number, (entry, image) in enumerate(zip(chunk, images), start):
                    if isinstance(image, Exception):
                        self._note(entry.name, image)
                        continue
                    labels.add(entry.label)
                    example = {"image": image}
                    if self._listing.classes:
                        example["label"] = entry.label
                    yield first + number, example
        lost = {entry.label for entry in entries} - labels
        if lost and (split == "train" or not labels):
            raise self._error("Every class must have images that can be read")

    def _encoded(self, entry: folders.Entry) -> bytes | Exception:
        path = os.path.join(self._listing.path, entry.name)
        try:
            if not os.path.isfile(path):
                # Opening a pipe would wait for ever.
                return OSError("no file, or a link to nothing")
            return image_files.png(image_files.read_square(path, self._image_shape))
        # What a damaged file raises is up to Pillow.
        except Exception as error:
            return error

    def _note(self, name: str, error: Exception) -> None:
        name = folders.printable(name)
        why = folders.printable(f"{type(error).__name__}: {error}")
        self.unreadable[name] = why
        logging.warning("cannot be read, left out: %s (%s)", name, why)
        if len(self.unreadable) > self._limit:
            raise self._error(
                f"Of {self._num_files} files at most {self._limit} may be unreadable"
            )

    def _error(self, rule: str) -> ValueError:
        named = [f"{name} ({why})" for name, why in self.unreadable.items()]
        if len(named) > _NAMED_IN_ERRORS:
            named[_NAMED_IN_ERRORS:] = ["..."]
        return ValueError(
            f"{rule}. Received: '{self._listing.path}', where these and maybe more "
            f"cannot be read: {'; '.join(named)}. Mend or remove them."
        )
