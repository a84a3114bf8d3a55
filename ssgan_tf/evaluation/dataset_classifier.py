"""A small classifier, trained on a data set's labels where no Inception is given."""

import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf.evaluation import arrays
from ssgan_tf.evaluation.features import FeatureExtractor
from ssgan_tf.utils import files

MIN_STEPS, MAX_STEPS = 120, 4000
# Part of the cache key: raise it with every change of the network or its training.
_RECIPE_VERSION = 1
_TRAIN_BATCH_SIZE = 128
_EPOCHS = 8
_MAX_SHIFT = 4
_PEAK_LEARNING_RATE = 4e-3

Labelled = tuple[np.ndarray, np.ndarray]


def dataset_classifier(
    name: str,
    train: Labelled,
    test: Labelled,
    *,
    num_classes: int,
    cache_dir: str,
    seed: int = 0,
    strategy: tf.distribute.Strategy | None = None,
) -> FeatureExtractor:
    """Trains a small classifier on the data set's labels, or loads it from the cache.

    The network is that of `build_classifier`. Adam with a one-cycle learning rate,
    eight epochs (at least 120 steps, at most 4,000) of batches of 128, each image
    shifted by up to four pixels. No flips: digits have a handedness.

    The weights are cached in a file whose name holds a hash of all that determines
    them. Training is a function of the seed up to the order in which the hardware adds
    floats; cached weights give bit-identical features. If several processes need the
    same classifier, one trains it and the others wait for its file: their scores are
    comparable. A damaged file is replaced, with a warning.

    Training runs on one device. With several workers, each trains or reads the file,
    and all continue with the chief's weights.

    Args:
        name: `short_name` of the data set; the extractor is called "<name>_cnn".
        train: images, uint8 (N, H, W, C), and their labels, integers (N,) in
            [0, num_classes), as data sets are read.
        test: images and labels alike, (M, ...); only `test_accuracy` depends on them.
        num_classes: number of classes, at least 2.
        cache_dir: folder, made if absent.
        seed: seeds the initial weights, the order of the data and the shifts.
        strategy: the trained network runs on its replicas; None: on those of the
            strategy in scope, one device by default.

    Raises:
        ValueError: the labels are not as described.
    """
    for title, (images, labels) in {"train_labels": train, "test_labels": test}.items():
        arrays.check(title, labels, images.shape[:1], np.integer, 0, num_classes - 1)
    train = train[0], train[1].astype(np.int64)
    model = build_classifier(train[0].shape[1:], num_classes, seed)
    key = _hash_recipe(name, train, num_classes=num_classes, seed=seed)
    _load_or_train(
        model, train, seed, pathlib.Path(cache_dir) / f"{name}_cnn-{key}.npz"
    )
    with (strategy or tf.distribute.get_strategy()).scope():
        extractor = classifier_extractor(f"{name}_cnn", _copy_of_chief(model))
    # Measured for cached weights too: it is cheap, and a stored number would outlive a
    # change of the test images.
    _, logits = extractor.extract(test[0])
    accuracy = float(np.mean(np.argmax(logits, axis=1) == test[1]))
    logging.info("%s: test accuracy %.4f", extractor.name, accuracy)
    return dataclasses.replace(extractor, test_accuracy=accuracy)


def build_classifier(
    image_shape: tuple[int, int, int], num_classes: int, seed: int
) -> keras.Model:
    """Builds the untrained network: uint8 images to [features, logits].

    Six 3x3 convolutions with batch normalization, two of them of stride 2. The
    features are the global average of the last one's 64 channels. The initial weights
    are a function of the seed.
    """
    # Explicit types and seeds: neither the global mixed precision policy nor the
    # global seed of the run may change this network.
    seeds = iter(np.random.SeedSequence([seed, 0]).generate_state(7))

    def convolution(inputs, filters, strides):
        outputs = keras.layers.Conv2D(
            filters,
            3,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(seed=int(next(seeds))),
            dtype="float32",
        )(inputs)
        norm = keras.layers.BatchNormalization(momentum=0.9, dtype="float32")
        return keras.layers.ReLU(dtype="float32")(norm(outputs))

    images = keras.Input(image_shape, dtype="uint8")
    hidden = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(images)
    for width, strides in ((16, 1), (48, 2), (48, 1), (96, 2), (96, 1), (64, 1)):
        hidden = convolution(hidden, width, strides)
    features = keras.layers.GlobalAveragePooling2D(dtype="float32")(hidden)
    logits = keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.GlorotUniform(seed=int(next(seeds))),
        dtype="float32",
    )(features)
    return keras.Model(images, [features, logits])


def classifier_extractor(name: str, model: keras.Model) -> FeatureExtractor:
    """Makes an extractor of a model that was built in the strategy in scope."""
    features, logits = model.outputs
    image_shape = model.input_shape[1:]

    @tf.function(input_signature=[tf.TensorSpec((None, *image_shape), tf.uint8)])
    def forward(images):
        return tuple(model(images, training=False))

    return FeatureExtractor(
        name=name,
        feature_dim=features.shape[-1],
        num_classes=logits.shape[-1],
        image_shape=image_shape,
        resize="none",
        fingerprint=_hash_arrays(model.get_weights()),
        forward=forward,
        batch_size=256,
    )


def train_classifier(model: keras.Model, data: Labelled, seed: int) -> None:
    """Trains on images and labels, as `dataset_classifier` describes."""
    images, labels = data
    steps = np.clip(_EPOCHS * len(images) // _TRAIN_BATCH_SIZE, MIN_STEPS, MAX_STEPS)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=_PEAK_LEARNING_RATE / 20,
        warmup_target=_PEAK_LEARNING_RATE,
        warmup_steps=int(steps) // 5,
        decay_steps=int(steps) - int(steps) // 5,
    )
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(model.trainable_variables)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, *images.shape[1:]), tf.uint8),
            tf.TensorSpec((None,), tf.int64),
        ]
    )
    def train_step(batch_images, batch_labels):
        with tf.GradientTape() as tape:
            _, logits = model(batch_images, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(batch_labels, logits)
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
        return loss

    start_time = time.monotonic()
    batches = shifted_batches(data, steps=int(steps), seed=seed)
    for step, (batch_images, batch_labels) in enumerate(batches, start=1):
        loss = train_step(batch_images, batch_labels)
        logging.log_every_n_seconds(
            logging.INFO,
            "Data set classifier: step %d of %d, loss %.3f, %.0f s left",
            30,
            step,
            steps,
            loss,
            (steps - step) * (time.monotonic() - start_time) / step,
        )


def shifted_batches(data: Labelled, *, steps: int, seed: int) -> Iterator[Labelled]:
    """Yields batches epoch by epoch; every image is shifted by its own few pixels."""
    images, labels = data
    rng = np.random.default_rng([seed, 1])
    height, width = images.shape[1:3]
    pad = _MAX_SHIFT
    order = np.empty((0,), np.int64)
    for _ in range(steps):
        while len(order) < _TRAIN_BATCH_SIZE:
            order = np.concatenate([order, rng.permutation(len(images))])
        batch, order = np.split(order, [_TRAIN_BATCH_SIZE])
        # Edge values, not black: a frame would show the network the shift.
        padded = np.pad(
            images[batch], ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge"
        )
        top, left = rng.integers(0, 2 * pad + 1, size=(2, len(batch), 1))
        rows = (top + np.arange(height))[:, :, np.newaxis]
        columns = (left + np.arange(width))[:, np.newaxis, :]
        index = np.arange(len(batch))[:, np.newaxis, np.newaxis]
        yield padded[index, rows, columns], labels[batch]


def _copy_of_chief(model: keras.Model) -> keras.Model:
    """Returns the model with the chief's weights, made in the strategy in scope.

    Workers that train the same network end with different rounding errors.
    """
    # A new variable takes the chief's value on all workers.
    weights = [tf.Variable(value).numpy() for value in model.get_weights()]
    copy = keras.models.clone_model(model)
    copy.set_weights(weights)
    return copy


def _load_or_train(
    model: keras.Model, data: Labelled, seed: int, cache_file: pathlib.Path
) -> None:
    """Sets the model's weights to those of the cache file, which is made if absent."""
    # Without the lock first: a cache that exists may be read-only.
    if _load_weights(model, cache_file):
        return
    with files.lock(cache_file.parent / "locks" / cache_file.stem):
        if _load_weights(model, cache_file):
            return
        start_time = time.monotonic()
        train_classifier(model, data, seed)
        seconds = time.monotonic() - start_time
        logging.info("%s: trained in %.0f s", cache_file.name, seconds)
        arrays.write(cache_file, *model.get_weights())


def _load_weights(model: keras.Model, cache_file: pathlib.Path) -> bool:
    """Sets the weights from the file; False if it is missing or damaged."""
    shapes = {f"arr_{i}": w.shape for i, w in enumerate(model.get_weights())}
    weights = arrays.read(cache_file, shapes)
    if weights is not None:
        model.set_weights(weights)
    return weights is not None


def _hash_recipe(name: str, data: Labelled, *, num_classes: int, seed: int) -> str:
    digest = _hash_arrays(data)
    recipe = f"{name} {digest} {num_classes} {_RECIPE_VERSION} {seed}"
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def _hash_arrays(values: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in values:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]
