"""Loads a module: one of ours, or a published one in TensorFlow 1's format."""

import os
import pathlib
from collections.abc import Collection

import tensorflow as tf

from ssgan_tf.latents import Latents
from ssgan_tf.modules import hub, published
from ssgan_tf.modules.metadata import METADATA, check_files, damaged
from ssgan_tf.modules.module import LoadedModule, SavedFunction


def load(
    path: str | os.PathLike,
    strategy: tf.distribute.Strategy | None = None,
    *,
    tags: Collection[str] | None = None,
    z_distribution: str | None = None,
    num_classes: int | None = None,
) -> LoadedModule:
    """Loads a module that `export` wrote, or a published one of TensorFlow 1.

    Args:
        path: the SavedModel's folder, its .tar.gz archive, or its address on TF-Hub,
            which may be downloaded now.
        strategy: the module runs on its replicas, each with its own weights; None: on
            those of the strategy in scope, one device by default. Every worker loads
            the module.
        tags, z_distribution, num_classes: for published modules only, see
            `published.load`.

    Raises:
        ConnectionError: TF-Hub could not resolve the address.
        FileNotFoundError: there is no such folder or archive.
        ValueError: it is not a module, or a damaged one, or does not fit the further
            arguments.
    """
    folder = pathlib.Path(hub.resolve(path))
    strategy = strategy or tf.distribute.get_strategy()
    choices = {
        "tags": tags,
        "z_distribution": z_distribution,
        "num_classes": num_classes,
    }
    is_exported = (folder / METADATA).is_file()
    if not is_exported and (folder / "saved_model.pb").is_file():
        return published.load(folder, strategy, **choices)
    # TensorFlow has checksums of the weights only.
    metadata = check_files(folder)
    passed = [f"{k}={value!r}" for k, value in choices.items() if value is not None]
    if passed:
        raise ValueError(
            f"The `{METADATA}` of an exported module determines its use. Received: "
            f"module={folder}, {', '.join(passed)}. Omit these arguments."
        )
    try:
        with strategy.scope():
            module = tf.saved_model.load(str(folder))
    # TensorFlow may raise any of these for files of another version.
    except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
        raise damaged(folder, f"{type(error).__name__}: {error}") from error
    return LoadedModule(
        path=str(folder),
        latents=Latents(**metadata["latents"]),
        image_shape=tuple(metadata["image_shape"]),
        num_classes=metadata["num_classes"],
        metadata=metadata,
        generator=_network(module, "generator"),
        discriminator=_network(module, "discriminator"),
        strategy=strategy,
    )


def _network(module, name: str) -> SavedFunction:
    signature = module.signatures[name]
    return SavedFunction(
        # The variables live as long as the module.
        load=lambda: module.signatures[name],
        inputs=frozenset(signature.structured_input_signature[1]),
        outputs=frozenset(signature.structured_outputs),
    )
