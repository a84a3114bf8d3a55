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
        strategy: on whose replicas the module runs, each with weights of its own;
            None: the strategy in scope, one device by default. Every worker loads
            the module.
        tags: of a published module, as the other two: see `published.load`. Modules
            that `export` wrote say themselves.
        z_distribution: how z is drawn.
        num_classes: how many classes there are.

    Raises:
        ConnectionError: TF-Hub could not resolve the address.
        FileNotFoundError: there is no such folder or archive.
        ValueError: that is no module, or a damaged one; or it is not what the further
            arguments say, or takes none of them.
    """
    folder = pathlib.Path(hub.resolve(path))
    strategy = strategy or tf.distribute.get_strategy()
    choices = {
        "tags": tags,
        "z_distribution": z_distribution,
        "num_classes": num_classes,
    }
    ours = (folder / METADATA).is_file()
    if not ours and (folder / "saved_model.pb").is_file():
        return published.load(folder, strategy, **choices)
    # TensorFlow's own checksums are of the weights alone.
    metadata = check_files(folder)
    given = {name: value for name, value in choices.items() if value is not None}
    if given:
        raise ValueError(
            f"A module with `{METADATA}` says itself how it is used. Received: module="
            f"{folder}, {', '.join(f'{k}={v!r}' for k, v in given.items())}. Leave "
            "these out."
        )
    try:
        with strategy.scope():
            module = tf.saved_model.load(str(folder))
    # What files of another version of it raise is up to TensorFlow.
    except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
        raise damaged(folder, f"{type(error).__name__}: {error}") from error
    return LoadedModule(
        path=str(folder),
        latents=Latents(**metadata["latents"]),
        image_shape=tuple(metadata["image_shape"]),
        num_classes=metadata["num_classes"],
        metadata=metadata,
        _generator=_network(module, "generator"),
        _discriminator=_network(module, "discriminator"),
        _strategy=strategy,
    )


def _network(module, name: str) -> SavedFunction:
    signature = module.signatures[name]
    return SavedFunction(
        # The variables live as long as the module.
        load=lambda: module.signatures[name],
        inputs=frozenset(signature.structured_input_signature[1]),
        outputs=frozenset(signature.structured_outputs),
    )
