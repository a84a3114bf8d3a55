"""A cache of the features of real images, which are the same for every model.

A file's name holds a hash of all that its features depend on: the images, the network's
weights and the resizing before the network.
"""

import hashlib
import pathlib

import numpy as np

from ssgan_tf.evaluation import arrays
from ssgan_tf.evaluation.features import FeatureExtractor
from ssgan_tf.evaluation.metrics import batches_of
from ssgan_tf.utils import files
from ssgan_tf.utils.progress import track
from ssgan_tf.utils.strategies import Workers


def features_of(
    images: np.ndarray, extractor: FeatureExtractor, name: str, folder: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits of images, from the cache if it has them.

    Collective: every worker passes the same images. Workers that share a folder wait
    for each other to write it.

    Args:
        images: uint8, (N, H, W, C).
        extractor: computes the features.
        name: names the data and split in the file's name, such as "cifar10-test".
        folder: folder of the cache, made if absent; None caches nothing.

    Returns:
        float32, (N, d) and (N, k), in order.

    Raises:
        ValueError: the images do not suit the extractor.
        OSError: the folder cannot be written.
    """
    if folder is None:
        return _extract(images, extractor, name)
    path = pathlib.Path(folder) / f"{name}-{len(images)}-{_key(images, extractor)}.npz"
    widths = {"features": extractor.feature_dim, "logits": extractor.num_classes}
    cached = arrays.read(path, {n: (len(images), w) for n, w in widths.items()})
    # Extraction is collective: workers that have the file join those that lack it.
    workers = Workers(extractor.strategy)
    if workers.add(cached is not None) == workers.count:
        return tuple(cached)
    features, logits = _extract(images, extractor, name)
    with files.lock(folder):
        arrays.write(path, features=features, logits=logits)
    return features, logits


def _extract(
    images: np.ndarray, extractor: FeatureExtractor, name: str
) -> tuple[np.ndarray, np.ndarray]:
    parts = track(batches_of(images), len(images), f"features of {name}", size=len)
    features, logits = zip(*(extractor.extract(part) for part in parts), strict=True)
    return np.concatenate(features), np.concatenate(logits)


def _key(images: np.ndarray, extractor: FeatureExtractor) -> str:
    facts = (images.shape, extractor.name, extractor.fingerprint, extractor.resize)
    digest = hashlib.sha256(repr(facts).encode())
    digest.update(np.ascontiguousarray(images))
    return digest.hexdigest()[:16]
