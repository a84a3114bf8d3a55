"""Data sets: the table, preparing them, reading a split, feeding a train step.

Importing this package registers our TFDS builders, so that `tfds.load("digits32")`
works.

    specs.py        the table of data sets
    digits32.py     a small real data set that needs no download
    crops.py        rules that crop and resize images to squares
    folders.py      the files of a folder of images, and their split
    image_files.py  reads an image file as a square of 8-bit pixels
    builders.py     TFDS builders that store cropped and resized images
    preparation.py  prepares a data set once, on disk
    loading.py      opens a split of a prepared data set
    stored.py       images that are read from their files one by one
    labels.py       replaces labels, or keeps some of them
    pipeline.py     the training stream, a function of (seed, step)
    inspection.py   a data set as text and pictures
"""

from ssgan_tf.datasets.digits32 import Digits32
from ssgan_tf.datasets.folders import dataset_name as folder_name
from ssgan_tf.datasets.folders import short_name
from ssgan_tf.datasets.labels import UNKNOWN_LABEL, keep_labels, read_labels
from ssgan_tf.datasets.loading import index_split, load_split, open_split
from ssgan_tf.datasets.pipeline import epoch_order, training_dataset
from ssgan_tf.datasets.preparation import prepare
from ssgan_tf.datasets.specs import DATASETS, DatasetSpec, get_spec
from ssgan_tf.datasets.stored import StoredImages

__all__ = [
    "DATASETS",
    "DatasetSpec",
    "Digits32",
    "StoredImages",
    "UNKNOWN_LABEL",
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
