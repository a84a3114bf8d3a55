"""Feature extractors: uint8 images to the features and logits of a fixed classifier.

The only place that knows how images are resized and scaled for a classifier:

- `load_inception`: the 2015 Inception network, which the names FID, KID and
  Inception Score refer to;
- `load_classifier`: any other classifier in a SavedModel;
- `dataset_classifier`: a small network trained on the spot on the data set's own
  labels. Distances on its features need no download and rank the checkpoints of one
  data set; they are not FIDs and carry other names.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import re
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf import files, hub
from ssgan_tf.replicas import on_all_replicas

_INCEPTION_SIZE = 299
_INCEPTION_OUTPUTS = {"pool_3": 2048, "logits": 1008}

# Part of the cache key: raise it with every change of the network or its training.
_RECIPE_VERSION = 1
_TRAIN_BATCH_SIZE = 128
_EPOCHS = 8
_MIN_STEPS, _MAX_STEPS = 120, 4000
_MAX_SHIFT = 4
_PEAK_LEARNING_RATE = 4e-3


@dataclasses.dataclass(frozen=True)
class FeatureExtractor:
    """A classifier with fixed weights, seen as features and logits.

    Attributes:
        name: "inception" or "<dataset>_cnn"; part of the metrics' names.
        feature_dim: width d of the features.
        num_classes: number k of logits.
        image_shape: (height, width, channels) it takes; None means any.
        resize: what happens to the image size before the network, for the protocol.
        fingerprint: hash of the weights: equal fingerprints, equal networks.
        forward: traced function, uint8 (b, H, W, C) -> float32 (b, d), (b, k).
        batch_size: images per replica and call of `forward`; moves no score beyond
            rounding, nor do the replicas.
        test_accuracy: share of the data set's test images it classifies correctly,
            or None where that has no meaning.
        strategy: on whose replicas `forward` runs; by default that in scope, one
            device.
    """

    name: str
    feature_dim: int
    num_classes: int
    image_shape: tuple[int | None, int | None, int]
    resize: str
    fingerprint: str
    forward: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    batch_size: int = 64
    test_accuracy: float | None = None
    strategy: tf.distribute.Strategy = dataclasses.field(
        default_factory=tf.distribute.get_strategy
    )

    @functools.cached_property
    def _forward(self):
        return on_all_replicas(self.forward, self.strategy)

    def extract(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns features float32 (N, d) and logits float32 (N, k), in order.

        Several workers extract the same images in step with one another, and all get
        all the features.

        Args:
            images: uint8, (N, H, W, C), N >= 1. Grey images (C = 1) are tiled to
                three channels where the network takes three.

        Raises:
            ValueError: the images are not uint8 or not of the shape the network
                takes, or a feature or logit is not finite.
        """
        images = np.asarray(images)
        tile = 3 if images.shape[-1:] == (1,) and self.image_shape[-1] == 3 else 1
        shape = (*images.shape[1:-1], images.shape[-1] * tile)
        if (
            images.dtype != np.uint8
            or images.ndim != 4
            or not len(images)
            or any(
                e not in (None, s) for e, s in zip(self.image_shape, shape, strict=True)
            )
        ):
            raise ValueError(
                f"The extractor {self.name} takes uint8 images of shape (N, "
                f"{', '.join(str(s or 'any') for s in self.image_shape)}), N >= 1. "
                f"Received: images.shape={images.shape}, images.dtype="
                f"{images.dtype}. Float images in [0, 1] go through "
                "scores.to_uint8 first."
            )
        features = np.empty((len(images), self.feature_dim), np.float32)
        logits = np.empty((len(images), self.num_classes), np.float32)
        step = self.batch_size * self.strategy.num_replicas_in_sync
        for start in range(0, len(images), step):
            stop = min(start + step, len(images))
            batch = np.repeat(images[start:stop], tile, axis=-1)
            features[start:stop], logits[start:stop] = self._forward(batch)
        if not (np.isfinite(features).all() and np.isfinite(logits).all()):
            raise ValueError(
                "Features and logits must be finite. Received: NaN or infinity from "
                f"the extractor {self.name}. Its weights are damaged: load or train "
                "it again."
            )
        return features, logits


def load_inception(
    path: str,
    strategy: tf.distribute.Strategy | None = None,
    expected_hash: str | None = None,
) -> FeatureExtractor:
    """Loads the 2015 Inception network as TFGAN publishes it.

    The preprocessing is that of TFGAN's `preprocess_image`, which compare_gan (hence
    the paper) used: bilinear resize to 299 x 299 on TensorFlow 1's grid, where
    output pixel i samples input position i * H / 299, then (x - 128) / 128.

    Everything is checked here, so that a run that has its extractor cannot fail
    for want of it later.

    Args:
        path: folder of a SavedModel that maps float32 images (b, 299, 299, 3) in
            [-1, 1] to a dict with "pool_3" (b, 2048) and "logits" (b, 1008), by
            `__call__` or by its default signature; or an address or an archive of
            one, as `hub.resolve` takes it, which may download it now.
        strategy: on whose replicas the network runs; None: the one in scope, one
            device by default.
        expected_hash: what its `fingerprint` must be; None takes any.

    Raises:
        FileNotFoundError: there is no SavedModel at `path`.
        ConnectionError: TF-Hub could not resolve the address.
        ValueError: it is another network than expected, does not take such images or
            lacks such outputs.

    Reference:
        - Szegedy et al., 2015, https://arxiv.org/abs/1512.00567
        - https://tfhub.dev/tensorflow/tfgan/eval/inception/1
    """
    folder = hub.resolve(path)
    fingerprint = _fingerprint(folder, "The Inception network", path, expected_hash)
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = tf.saved_model.load(folder)
    classify, _ = _default_function(model, "The Inception network", path)
    _check_inception(classify, path)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def forward(images):
        resized = tf.compat.v1.image.resize(
            tf.cast(images, tf.float32), [_INCEPTION_SIZE] * 2, align_corners=False
        )
        outputs = classify((resized - 128.0) / 128.0)
        return tuple(
            tf.cast(tf.reshape(outputs[name], [-1, width]), tf.float32)
            for name, width in _INCEPTION_OUTPUTS.items()
        )

    # The variables live as long as the model object: the function only refers to
    # them weakly.
    forward.model = model
    return FeatureExtractor(
        name="inception",
        feature_dim=_INCEPTION_OUTPUTS["pool_3"],
        num_classes=_INCEPTION_OUTPUTS["logits"],
        image_shape=(None, None, 3),
        resize="tf1_bilinear_299",
        fingerprint=fingerprint,
        forward=forward,
        strategy=strategy,
    )


def load_classifier(
    path: str,
    strategy: tf.distribute.Strategy | None = None,
    expected_hash: str | None = None,
) -> FeatureExtractor:
    """Loads any classifier, for scores on its features.

    Args:
        path: folder of a SavedModel that maps float32 images (b, H, W, 3 or 1) in
            [0, 1] to a dict with `features` (b, d) and `logits` (b, k), by `__call__`
            or by its default signature. Images of another size than the signature
            says are resized to it, bilinearly, with antialiasing. The folder's name
            becomes part of the names of the scores.
        strategy: on whose replicas the network runs; None: the one in scope, one
            device by default.
        expected_hash: what its `fingerprint` must be; None takes any.

    Raises:
        FileNotFoundError: there is no SavedModel at `path`.
        ValueError: it is another network than expected, does not take such images or
            lacks such outputs.
    """
    what = "The classifier"
    name = re.sub(r"[^\w.-]", "_", os.path.basename(os.path.abspath(path)))
    if name == "inception" or name.endswith("_cnn"):
        raise ValueError(
            "A classifier must not be taken for another: its scores are named after "
            f"its folder. Received: path={path!r}. Rename the folder."
        )
    fingerprint = _fingerprint(path, what, path, expected_hash)
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = tf.saved_model.load(path)
    classify, spec = _default_function(model, what, path)
    shape = tuple(getattr(spec, "shape", None) or ())
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise ValueError(
            "The classifier must take images (b, H, W, 3 or 1). Received: "
            f"path={path!r}, which takes {spec}. Export it with such a signature."
        )
    size = shape[1:3]
    fixed = None not in size
    probe = tf.zeros((2, *(size if fixed else (32, 32)), shape[3]))
    try:
        outputs = classify(probe)
        widths = {
            name: tf.reshape(outputs[name], [2, -1]).shape[1]
            for name in ("features", "logits")
        }
    except (ValueError, TypeError, LookupError, tf.errors.OpError) as error:
        raise ValueError(
            "The classifier must return a dict with `features` (b, d) and `logits` "
            f"(b, k). Received: path={path!r}, which fails with: {error} Export it "
            "with these outputs."
        ) from error

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, shape[3]), tf.uint8)]
    )
    def forward(images):
        images = tf.cast(images, tf.float32) / 255.0
        if fixed:
            images = tf.image.resize(images, size, antialias=True)
        outputs = classify(images)
        return tuple(
            tf.cast(tf.reshape(outputs[name], [-1, width]), tf.float32)
            for name, width in widths.items()
        )

    # As above.
    forward.model = model
    return FeatureExtractor(
        name=name,
        feature_dim=widths["features"],
        num_classes=widths["logits"],
        image_shape=(None, None, shape[3]),
        resize="antialiased_bilinear_{}x{}".format(*size) if fixed else "none",
        fingerprint=fingerprint,
        forward=forward,
        strategy=strategy,
    )


def dataset_classifier(
    name: str,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    num_classes: int,
    cache_dir: str,
    seed: int = 0,
    strategy: tf.distribute.Strategy | None = None,
) -> FeatureExtractor:
    """Trains a small classifier on the data set's labels, or loads it from the cache.

    Six 3x3 convolutions with batch normalization, two of them of stride 2; the
    features are the global average of the last one's 64 channels. Adam with a
    one-cycle learning rate, eight epochs (at least 120 steps, at most 4,000) of
    batches of 128, each image shifted by up to four pixels. No flips: digits have a
    handedness.

    The weights are kept in `cache_dir` in a file whose name holds a hash of all that
    determines them. A file that cannot be read is replaced, with a warning.
    Training is a function of the seed up to the order in which the hardware adds
    floats; a cached network gives bit-identical features. So that scores of processes
    that run at a time compare, one of them trains and the others wait for its file.

    Training runs on one device. Of several workers each trains, or reads the file,
    which is written whole or not at all, so they may share a folder; then all take
    the chief's weights.

    Args:
        name: name of the data set, letters, digits, "_", "-" and "." only; the
            extractor is called "<name>_cnn".
        train_images: uint8, (N, H, W, C), H and W at least 8.
        train_labels: integers, (N,), in [0, num_classes).
        test_images: uint8, (M, H, W, C); only `test_accuracy` depends on them.
        test_labels: integers, (M,).
        num_classes: number of classes, at least 2.
        cache_dir: folder, made if absent.
        seed: of the initial weights, the order of the data and the shifts.
        strategy: on whose replicas the trained network runs; None: the one in scope,
            one device by default.

    Raises:
        ValueError: an argument is not as described.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(
            "The name of a data set becomes part of a file name and may hold only "
            f"letters, digits, '_', '-' and '.'. Received: name={name!r}. Replace "
            "the other characters."
        )
    train_images, train_labels = _check_labelled(
        train_images, train_labels, num_classes, "train"
    )
    test_images, test_labels = _check_labelled(
        test_images, test_labels, num_classes, "test"
    )
    image_shape = train_images.shape[1:]
    model = _build_classifier(image_shape, num_classes, seed)
    key = _hash_recipe(name, train_images, train_labels, num_classes, seed)
    cache_file = pathlib.Path(cache_dir) / f"{name}_cnn-{key}.npz"
    # A cache that can only be read does where the file is there.
    if not _load_weights(model, cache_file):
        with files.locked(cache_file.parent / "locks" / cache_file.stem):
            if not _load_weights(model, cache_file):
                start_time = time.monotonic()
                _train_classifier(model, train_images, train_labels, seed)
                seconds = time.monotonic() - start_time
                logging.info("%s_cnn: trained in %.0f s", name, seconds)
                _save_weights(model, cache_file)

    with (strategy or tf.distribute.get_strategy()).scope():
        extractor = _classifier_extractor(f"{name}_cnn", _copy_of_chief(model))
    # Measured even when the weights come from the cache: it is cheap, and a stored
    # number would outlive a change of the test images.
    _, logits = extractor.extract(test_images)
    accuracy = float(np.mean(np.argmax(logits, axis=1) == test_labels))
    logging.info("%s: test accuracy %.4f", extractor.name, accuracy)
    return dataclasses.replace(extractor, test_accuracy=accuracy)


def check_hash(found: str, expected: str | None) -> None:
    """Refuses another feature network than the one that is expected.

    Args:
        found: its fingerprint.
        expected: the fingerprint that it must have; None takes any.

    Raises:
        ValueError: they differ.
    """
    if expected is not None and found != expected:
        raise ValueError(
            "The feature network must be the one whose hash is --extractor_hash. "
            f"Received: --extractor_hash={expected}, and a network with {found}. Take "
            "that network, or leave the flag out: scores of two networks cannot be "
            "compared."
        )


def _fingerprint(folder: str, what: str, path: str, expected: str | None) -> str:
    """The hash of a SavedModel, which must be there and as expected."""
    if not tf.io.gfile.exists(os.path.join(folder, "saved_model.pb")):
        raise FileNotFoundError(
            f"{what} must be a SavedModel folder, with a file saved_model.pb in it. "
            f"Received: path={path!r}, of --inception_path or --classifier_path or the "
            "environment variable SSGAN_INCEPTION_PATH. TFGAN's Inception is at "
            "https://tfhub.dev/tensorflow/tfgan/eval/inception/1, to be unpacked."
        )
    fingerprint = _hash_folder(folder)
    check_hash(fingerprint, expected)
    return fingerprint


def _default_function(model, what: str, path: str):
    """`__call__` or the default signature as a function of images; the images' spec."""
    if callable(model):
        concrete = getattr(model.__call__, "concrete_functions", ())
        specs = [each.structured_input_signature[0] for each in concrete]
        return model, specs[0][0] if specs and specs[0] else None
    for key in ("serving_default", "default"):
        if key in model.signatures:
            signature = model.signatures[key]
            arguments = signature.structured_input_signature[1]
            if len(arguments) == 1:
                ((name, spec),) = arguments.items()
                return (lambda images: signature(**{name: images})), spec
    raise ValueError(
        f"{what} must be callable or have a default signature with one argument, the "
        f"images. Received: path={path!r} with signatures {sorted(model.signatures)}. "
        "Export it again with one of them."
    )


def _check_inception(classify: Callable[[tf.Tensor], dict], path: str) -> None:
    """Calls the network once and checks the names and widths of its outputs."""
    batch = 2
    needed = f"{ {n: (batch, w) for n, w in _INCEPTION_OUTPUTS.items()} }"
    shape = (batch, _INCEPTION_SIZE, _INCEPTION_SIZE, 3)
    try:
        outputs = classify(tf.zeros(shape))
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ValueError(
            f"The Inception network must take float32 images of shape {shape}. "
            f"Received: path={path!r}, which fails on them with: {error} Use the "
            "module that TFGAN publishes."
        ) from error
    if not isinstance(outputs, dict):
        found = f"no dict but {type(outputs).__name__}"
        fits = False
    else:
        found = f"{ {n: tuple(v.shape) for n, v in outputs.items()} }"
        fits = all(
            n in outputs and tuple(tf.reshape(outputs[n], [batch, -1]).shape)[1] == w
            for n, w in _INCEPTION_OUTPUTS.items()
        )
    if not fits:
        raise ValueError(
            f"For two images the Inception network must return {needed}. Received: "
            f"{found} from path={path!r}. Use the module that TFGAN publishes."
        )


def _check_labelled(
    images: np.ndarray, labels: np.ndarray, num_classes: int, split: str
) -> tuple[np.ndarray, np.ndarray]:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim != 4 or min(images.shape[1:3]) < 8:
        raise ValueError(
            "A classifier is trained on uint8 images (N, H, W, C), H and W at least "
            f"8. Received: {split}_images.shape={images.shape}, {split}_images.dtype="
            f"{images.dtype}. Convert or resize them."
        )
    if (
        not np.issubdtype(labels.dtype, np.integer)
        or labels.shape != images.shape[:1]
        or not labels.size
        or labels.min() < 0
        or labels.max() >= num_classes
    ):
        extent = f"{labels.min()} to {labels.max()}" if labels.size else "none"
        raise ValueError(
            "Every image needs an integer label in [0, num_classes). Received: "
            f"num_classes={num_classes}, {split}_images.shape={images.shape}, "
            f"{split}_labels.shape={labels.shape}, dtype={labels.dtype}, values="
            f"{extent}. A data set without labels has no classifier of its own: "
            "score it with Inception."
        )
    return images, labels.astype(np.int64)


def _build_classifier(
    image_shape: tuple[int, int, int], num_classes: int, seed: int
) -> keras.Model:
    """Maps uint8 images to [features, logits]; weights a function of the seed."""
    # Explicit types and seeds: neither the global mixed precision policy nor the
    # global seed of the run may change this network.
    seeds = iter(np.random.SeedSequence([seed, 0]).generate_state(7))

    def convolution(inputs, filters, strides=1):
        outputs = keras.layers.Conv2D(
            filters,
            3,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(seed=int(next(seeds))),
            dtype="float32",
        )(inputs)
        outputs = keras.layers.BatchNormalization(momentum=0.9, dtype="float32")(
            outputs
        )
        return keras.layers.ReLU(dtype="float32")(outputs)

    images = keras.Input(image_shape, dtype="uint8")
    hidden = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(images)
    hidden = convolution(hidden, 16)
    hidden = convolution(hidden, 48, strides=2)
    hidden = convolution(hidden, 48)
    hidden = convolution(hidden, 96, strides=2)
    hidden = convolution(hidden, 96)
    hidden = convolution(hidden, 64)
    features = keras.layers.GlobalAveragePooling2D(dtype="float32")(hidden)
    logits = keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.GlorotUniform(seed=int(next(seeds))),
        dtype="float32",
    )(features)
    return keras.Model(images, [features, logits])


def _copy_of_chief(model: keras.Model) -> keras.Model:
    """The model with variables of the strategy in scope, the same on every worker.

    Two trainings of one network differ by rounding and what becomes of it.
    """
    # A new variable has the chief's value on all workers.
    weights = [tf.Variable(value).numpy() for value in model.get_weights()]
    copy = keras.models.clone_model(model)
    copy.set_weights(weights)
    return copy


def _classifier_extractor(name: str, model: keras.Model) -> FeatureExtractor:
    """Runs on the replicas of the strategy in scope, as the model's variables do."""
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


def _train_classifier(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, seed: int
) -> None:
    steps = np.clip(_EPOCHS * len(images) // _TRAIN_BATCH_SIZE, _MIN_STEPS, _MAX_STEPS)
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
    batches = _shifted_batches(images, labels, int(steps), seed)
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


def _shifted_batches(
    images: np.ndarray, labels: np.ndarray, steps: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches epoch by epoch, each image shifted by its own few pixels."""
    rng = np.random.default_rng([seed, 1])
    height, width = images.shape[1:3]
    pad = _MAX_SHIFT
    order = np.empty((0,), np.int64)
    for _ in range(steps):
        while len(order) < _TRAIN_BATCH_SIZE:
            order = np.concatenate([order, rng.permutation(len(images))])
        batch, order = np.split(order, [_TRAIN_BATCH_SIZE])
        # Edge values, not black: a frame would tell the network the shift.
        padded = np.pad(
            images[batch], ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge"
        )
        top, left = rng.integers(0, 2 * pad + 1, size=(2, len(batch), 1))
        rows = (top + np.arange(height))[:, :, np.newaxis]
        columns = (left + np.arange(width))[:, np.newaxis, :]
        index = np.arange(len(batch))[:, np.newaxis, np.newaxis]
        yield padded[index, rows, columns], labels[batch]


def _load_weights(model: keras.Model, cache_file: pathlib.Path) -> bool:
    """Sets the weights from the file; False, with a warning, if it is damaged."""
    if not cache_file.exists():
        return False
    try:
        with np.load(cache_file, allow_pickle=False) as archive:
            weights = [archive[f"arr_{i}"] for i in range(len(archive.files))]
        model.set_weights(weights)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logging.warning(
            "The cached classifier %s cannot be read (%s); training it again.",
            cache_file,
            error,
        )
        return False
    logging.info("Loaded the classifier %s", cache_file)
    return True


def _save_weights(model: keras.Model, cache_file: pathlib.Path) -> None:
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    # Two machines that share the folder may number their processes alike.
    temporary = cache_file.with_name(f"{cache_file.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as stream:
            np.savez(stream, *model.get_weights())
        os.replace(temporary, cache_file)
    finally:
        temporary.unlink(missing_ok=True)


def _hash_recipe(
    name: str, images: np.ndarray, labels: np.ndarray, num_classes: int, seed: int
) -> str:
    digest = _hash_arrays([images, labels])
    recipe = f"{name} {digest} {num_classes} {_RECIPE_VERSION} {seed}"
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def _hash_arrays(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]


def _hash_folder(folder: str) -> str:
    """Hashes the graph and the variables of a SavedModel."""
    digest = hashlib.sha256()
    variables = tf.io.gfile.glob(os.path.join(folder, "variables", "*"))
    for file in [os.path.join(folder, "saved_model.pb"), *sorted(variables)]:
        digest.update(os.path.basename(file).encode())
        with tf.io.gfile.GFile(file, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]
