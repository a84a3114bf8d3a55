"""Data sets: what exists, how a split is read, how a train step is fed.

Importing this package registers the TFDS builders of our own, so that
`tfds.load("digits32")` works.

    specs.py     the table of data sets
    digits32.py  a small real data set that needs no download
    crops.py     how images of any size become squares
    folders.py   the files of a folder of images, and their split
    pictures.py  an image file of any kind as a square of 8-bit pixels
    prepared.py  TFDS builders of cropped and resized images
    labels.py    labels replaced, or only some of them kept
    stored.py    images that stay in their files until they are asked for
    loading.py   a split, decoded or left in its files
    pipeline.py  the training stream, a function of (seed, step)
"""

from ssgan_tf.datasets.digits32 import Digits32
from ssgan_tf.datasets.folders import dataset_name as folder_name
from ssgan_tf.datasets.folders import short_name
from ssgan_tf.datasets.labels import UNKNOWN_LABEL, keep_labels, read_labels
from ssgan_tf.datasets.loading import index_split, load_split, open_split
from ssgan_tf.datasets.pipeline import epoch_flips, epoch_order, training_dataset
from ssgan_tf.datasets.preparation import prepare
from ssgan_tf.datasets.specs import DATASETS, DatasetSpec, get_spec
from ssgan_tf.datasets.stored import StoredImages

__all__ = [
    "DATASETS",
    "DatasetSpec",
    "Digits32",
    "StoredImages",
    "UNKNOWN_LABEL",
    "epoch_flips",
    "epoch_order",
    "folder_name",
    "get_spec",
    "index_split",
    "keep_labels",
    "load_split",
    "open_split",
    "prepare",
    "read_labels",
    "short_name",
    "training_dataset",
]
