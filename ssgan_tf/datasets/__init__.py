"""Data sets: what exists, how a split is read, how a train step is fed.

Importing this package registers the TFDS builders of our own, so that
`tfds.load("digits32")` works.

    specs.py     the table of data sets
    digits32.py  a small real data set that needs no download
    labels.py    which labels are kept
    loading.py   a whole split as NumPy arrays
    pipeline.py  the training stream, a function of (seed, step)
"""

from ssgan_tf.datasets.digits32 import Digits32
from ssgan_tf.datasets.labels import UNKNOWN_LABEL, keep_labels
from ssgan_tf.datasets.loading import load_split
from ssgan_tf.datasets.pipeline import epoch_order, training_dataset
from ssgan_tf.datasets.specs import DATASETS, DatasetSpec, get_spec

__all__ = [
    "DATASETS",
    "DatasetSpec",
    "Digits32",
    "UNKNOWN_LABEL",
    "epoch_order",
    "get_spec",
    "keep_labels",
    "load_split",
    "training_dataset",
]
