"""Data sets: what exists, how a split is read, how a train step is fed.

Importing this package registers the TFDS builders of our own, so that
`tfds.load("digits32")` works.

    specs.py     the table of data sets
    digits32.py  a small real data set that needs no download
    labels.py    which labels are kept
    stored.py    images that stay in their files until they are asked for
    loading.py   a split, decoded or left in its files
    pipeline.py  the training stream, a function of (seed, step)
"""

from ssgan_tf.datasets.digits32 import Digits32
from ssgan_tf.datasets.labels import UNKNOWN_LABEL, keep_labels
from ssgan_tf.datasets.loading import index_split, load_split, open_split
from ssgan_tf.datasets.pipeline import epoch_order, training_dataset
from ssgan_tf.datasets.specs import DATASETS, DatasetSpec, get_spec
from ssgan_tf.datasets.stored import StoredImages

__all__ = [
    "DATASETS",
    "DatasetSpec",
    "Digits32",
    "StoredImages",
    "UNKNOWN_LABEL",
    "epoch_order",
    "get_spec",
    "index_split",
    "keep_labels",
    "load_split",
    "open_split",
    "training_dataset",
]
