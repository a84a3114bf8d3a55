"""Features of real images, computed once and kept: they are the same for every model.

A file's name holds a hash of all that they depend on: the images themselves, hence
their number and resolution, the network's weights, and what happens to the image size
before it.
"""

import hashlib
import pathlib
import zipfile

import numpy as np
from absl import logging

from ssgan_tf.evaluation.features import FeatureExtractor
from ssgan_tf.evaluation.metrics import batches_of
from ssgan_tf.utils import files
from ssgan_tf.utils.progress import track
from ssgan_tf.utils.strategies import Workers


def features_of(
    images: np.ndarray, extractor: FeatureExtractor, name: str, folder: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits of images, from the cache if they are there.

    Several workers call this in step with one another; those that share a folder wait
    for each other to write it.

    Args:
        images: uint8, (N, H, W, C).
        extractor: whose features.
        name: of the data and split, such as "cifar10-test", for whoever looks into the
            folder; moves nothing.
        folder: of the cache, made if absent; None keeps nothing.

    Returns:
        float32, (N, d) and (N, k), in order.

    Raises:
        ValueError: the images do not suit the extractor.
        OSError: the folder cannot be written.
    """
    if folder is None:
        return _extract(images, extractor, name)
    path = pathlib.Path(folder) / f"{name}-{len(images)}-{_key(images, extractor)}.npz"
    found = _read(path, len(images), extractor)
    # Extraction takes all workers: those that have the file join those that have not.
    workers = Workers(extractor.strategy)
    if workers.add(found is not None) < workers.count:
        found = _extract(images, extractor, name)
        with files.lock(folder), files.atomic_write(path) as partial:
            # Told a name, NumPy would append its own ending.
            with partial.open("wb") as stream:
                np.savez(stream, features=found[0], logits=found[1])
    return found


def _extract(images, extractor, name) -> tuple[np.ndarray, np.ndarray]:
    parts = track(batches_of(images), len(images), f"features of {name}", size=len)
    features, logits = zip(*(extractor.extract(part) for part in parts), strict=True)
    return np.concatenate(features), np.concatenate(logits)


def _key(images: np.ndarray, extractor: FeatureExtractor) -> str:
    facts = (images.shape, extractor.name, extractor.fingerprint, extractor.resize)
    digest = hashlib.sha256(repr(facts).encode())
    digest.update(np.ascontiguousarray(images))
    return digest.hexdigest()[:16]


def _read(path: pathlib.Path, count: int, extractor: FeatureExtractor):
    """What a file holds; None, with a warning, of one that is damaged."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            features, logits = archive["features"], archive["logits"]
        shapes = (features.shape, logits.shape)
        if shapes != ((count, extractor.feature_dim), (count, extractor.num_classes)):
            raise ValueError(f"arrays of shapes {shapes}")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logging.warning("%s cannot be read (%s); made again", path, error)
        return None
    logging.info("features of %s", path)
    return features, logits
