"""Images that stay in their TFRecord files and are decoded one by one."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

# A TFRecord adds to its data their length (8 bytes) and two checksums (4 bytes each).
_FRAME_BYTES = 16
# Number of records whose lengths and labels are read at a time.
_CHUNK = 1024
PREPARE_AGAIN = "Delete the data set's folder and prepare it again."


@dataclasses.dataclass(frozen=True, eq=False)
class StoredImages:
    """The images of a split, each read and decoded when it is looked up.

    Takes 12 bytes of memory per image, for the place of its record. A look-up is one
    random read, so the files should be on an SSD or fit into the page cache: a hard
    disk or a bucket allows about 100 reads per second and thread. With TensorFlow's op
    determinism images are decoded one at a time.

    Attributes:
        name: str. Name of the images in error messages.
        paths: string tensor `(files,)`. Uncompressed TFRecord files.
        files: int32 tensor `(N,)`. Index in `paths` of the file of each image.
        offsets: int64 tensor `(N,)`. Byte of the file at which its record starts.
        feature: TFDS feature that decodes an image.
        image_shape: `(height, width, channels)` of every image.
    """

    name: str
    paths: tf.Tensor
    files: tf.Tensor
    offsets: tf.Tensor
    feature: tfds.features.Image
    image_shape: tuple[int, int, int]

    @property
    def shape(self) -> tf.TensorShape:
        """`(N, height, width, channels)`, as of one tensor."""
        return self.offsets.shape + self.image_shape

    @property
    def dtype(self) -> tf.DType:
        """uint8, as of one tensor."""
        return tf.uint8

    @property
    def index_bytes(self) -> int:
        """Bytes of memory that the images take."""
        return self.files.numpy().nbytes + self.offsets.numpy().nbytes

    def look_up(self, index: tf.Tensor) -> tf.Tensor:
        """Reads and decodes one image as TFDS does. Made for `tf.data` maps.

        Args:
            index: int64 scalar in `[0, N)`.

        Returns:
            uint8 `(height, width, channels)`.

        Raises:
            tf.errors.InvalidArgumentError: when run, for an image that cannot be
                read or decoded, or has another shape. The message names the image.
        """
        path = tf.gather(self.paths, tf.gather(self.files, index))
        offset = tf.gather(self.offsets, index)
        # A data set can ignore errors, a graph cannot. A failed image becomes one
        # without pixels, so that the error below can name it. The file is opened within
        # the map, because a data set of records would retry a missing file for ever.
        nothing = tf.data.Dataset.from_tensors(tf.zeros([0, 0, 0], tf.uint8))
        image = (
            tf.data.Dataset.from_tensors((path, offset))
            .map(lambda path, offset: self._decode(_read(path, offset)))
            .ignore_errors()
            .concatenate(nothing)
            .take(1)
            .get_single_element()
        )
        shape = tf.shape(image)
        rule = (
            f"Every image of {self.name} must decode to the shape {self.image_shape}."
        )
        place = tf.strings.format(
            " Received: image {}, at byte {} of ", (index, offset)
        )
        end = ", of shape {} ([0 0 0] if it cannot be read or decoded). "
        cure = "Prepare the data set again, or remove the image."
        parts = [rule, place, path, tf.strings.format(end, shape), cure]
        message = tf.strings.join(parts)
        with tf.control_dependencies(
            [tf.debugging.Assert(tf.reduce_all(shape == self.image_shape), [message])]
        ):
            return tf.ensure_shape(image, self.image_shape)

    def _decode(self, record: tf.Tensor) -> tf.Tensor:
        features = tfds.features.FeaturesDict({"image": self.feature})
        return features.deserialize_example(record)["image"]


def _read(path: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Reads the record that starts at a byte of a file and checks its checksums."""
    records = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path],
        compression_type="",
        # Unbuffered, to read no further than the record.
        buffer_size=0,
        byte_offsets=[offset],
    )
    records = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
    return records.take(1).get_single_element()


def index_files(
    instructions: Sequence[tfds.core.utils.shard_utils.FileInstruction],
    *,
    labelled: bool,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, np.ndarray | None]:
    """Finds the place of each record of a split, without decoding images.

    Args:
        instructions: the records of each file that belong to the split.
        labelled: bool. Whether the records have a `label`.

    Returns:
        `paths`, `files` and `offsets` as `StoredImages` takes them, in the order of
        the files; int64 labels `(N,)`, or None.

    Raises:
        ValueError: a file is missing, damaged, too short or too long.
    """
    files, offsets, labels = [], [], []
    for place, instruction in enumerate(instructions):
        lengths, file_labels = _scan(instruction, labelled)
        starts = np.cumsum(lengths + _FRAME_BYTES) - lengths - _FRAME_BYTES
        wanted = slice(instruction.skip, instruction.skip + instruction.take)
        files.append(np.full(instruction.take, place, np.int32))
        offsets.append(starts[wanted])
        labels.append(file_labels[wanted])
    # On the host, where they are looked up.
    with tf.device("CPU:0"):
        return (
            tf.constant([str(instruction.filename) for instruction in instructions]),
            tf.constant(np.concatenate(files)),
            tf.constant(np.concatenate(offsets)),
            np.concatenate(labels) if labelled else None,
        )


def _scan(instruction, labelled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Lengths in bytes and labels (0 without labels) of all records of a file."""
    path, expected = str(instruction.filename), instruction.examples_in_shard

    def measure(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        lengths = tf.cast(tf.strings.length(records), tf.int64)
        if not labelled:
            return lengths, tf.zeros_like(lengths)
        # TFDS's parser takes records one by one, which is four times as slow.
        label = {"label": tf.io.FixedLenFeature([], tf.int64)}
        return lengths, tf.io.parse_example(records, label)["label"]

    records = tf.data.TFRecordDataset(path)
    chunks = records.batch(_CHUNK).map(measure, num_parallel_calls=tf.data.AUTOTUNE)
    try:
        measured = list(chunks.as_numpy_iterator())
    except tf.errors.OpError as error:
        raise ValueError(
            f"Cannot read the records of '{path}': {reason(error)}. {PREPARE_AGAIN}"
        ) from error
    num_records = sum(len(lengths) for lengths, _ in measured)
    if num_records != expected:
        raise ValueError(
            f"'{path}' holds {num_records} records instead of {expected}. "
            f"{PREPARE_AGAIN}"
        )
    lengths, labels = map(np.concatenate, zip(*measured, strict=True))
    return lengths, labels


def reason(error: tf.errors.OpError) -> str:
    """The message of a TensorFlow error, without the names of ops."""
    return re.sub(r"\{\{.*?\}\} ?|\s*\[Op:.*", "", error.message)
