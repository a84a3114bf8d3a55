"""Feature extractors: uint8 images to the features and logits of a fixed classifier.

- `load_inception`: the 2015 Inception network, on which FID, KID and Inception Score
  are defined;
- `load_classifier`: any other classifier in a SavedModel;
- `dataset_classifier.dataset_classifier`: a small network, trained on the data set's
  own labels. Distances on its features need no download and rank the checkpoints of
  one data set; they are not FIDs and have other names.

An extractor resizes and scales the images for its network.
"""

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ssgan_tf.evaluation import arrays
from ssgan_tf.modules import hub
from ssgan_tf.utils.replicas import on_all_replicas

_INCEPTION_SIZE = 299
_INCEPTION_OUTPUTS = {"pool_3": 2048, "logits": 1008}


@dataclasses.dataclass(frozen=True)
class FeatureExtractor:
    """A classifier with fixed weights that returns features and logits.

    Attributes:
        name: "inception" or "<dataset>_cnn"; part of the metrics' names.
        feature_dim: width d of the features.
        num_classes: number k of logits.
        image_shape: (height, width, channels) of its input; None means any.
        resize: how images are resized for the network; a field of the protocol.
        fingerprint: hash of the weights.
        forward: traced function, uint8 (b, H, W, C) -> float32 (b, d), (b, k).
        batch_size: images per replica and call of `forward`. Neither it nor the number
            of replicas changes a score beyond rounding.
        test_accuracy: share of the data set's test images that it classifies correctly;
            None for a network of other classes.
        strategy: `forward` runs on its replicas; by default the strategy in scope, one
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

        Collective: every worker passes the same images and gets all features.

        Args:
            images: uint8, (N, H, W, C), N >= 1. Grey images (C = 1) are tiled to
                three channels where the network takes three.

        Raises:
            ValueError: the images are not uint8 or not of the shape the network
                takes, or a feature or logit is not finite.
        """
        images = np.asarray(images)
        tile = 3 if images.shape[-1:] == (1,) and self.image_shape[-1] == 3 else 1
        *sides, channels = self.image_shape
        shape = (None, *sides, channels if tile == 1 else 1)
        arrays.check("images", images, shape, np.uint8)
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

    A network that does not fit fails here, before anything is trained.

    Args:
        path: folder of a SavedModel that maps float32 images (b, 299, 299, 3) in
            [-1, 1] to a dict with "pool_3" (b, 2048) and "logits" (b, 1008), by
            `__call__` or by its default signature; or its address or archive, as
            `hub.resolve` takes it, which may download it now.
        strategy: the network runs on its replicas; None: on those of the strategy in
            scope, one device by default.
        expected_hash: expected `fingerprint` of the network; None takes any.

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
    fingerprint = _fingerprint(folder, path, expected_hash)
    strategy = strategy or tf.distribute.get_strategy()
    model, classify, _ = _load(folder, path, strategy)
    shape = (_INCEPTION_SIZE, _INCEPTION_SIZE, 3)
    widths = _output_widths(classify, shape, tuple(_INCEPTION_OUTPUTS), path)
    if widths != _INCEPTION_OUTPUTS:
        raise ValueError(
            f"The Inception network must return {_INCEPTION_OUTPUTS}. Received: "
            f"{widths} from path={path!r}. Use the module that TFGAN publishes."
        )

    def preprocess(images):
        resized = tf.compat.v1.image.resize(
            tf.cast(images, tf.float32), [_INCEPTION_SIZE] * 2, align_corners=False
        )
        return (resized - 128.0) / 128.0

    return _make_extractor(
        model,
        lambda images: classify(preprocess(images)),
        _INCEPTION_OUTPUTS,
        name="inception",
        image_shape=(None, None, 3),
        resize="tf1_bilinear_299",
        fingerprint=fingerprint,
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
            or by its default signature. Images of another size than the signature's
            are resized to it, bilinearly, with antialiasing. The folder's name
            becomes part of the names of the scores.
        strategy: the network runs on its replicas; None: on those of the strategy in
            scope, one device by default.
        expected_hash: expected `fingerprint` of the network; None takes any.

    Raises:
        FileNotFoundError: there is no SavedModel at `path`.
        ValueError: it is another network than expected, does not take such images or
            lacks such outputs.
    """
    name = _name_of_folder(path)
    fingerprint = _fingerprint(path, path, expected_hash)
    strategy = strategy or tf.distribute.get_strategy()
    model, classify, spec = _load(path, path, strategy)
    shape = tuple(getattr(spec, "shape", None) or ())
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise ValueError(
            "The classifier must take images (b, H, W, 3 or 1). Received: "
            f"path={path!r}, which takes {spec}. Export it with such a signature."
        )
    _, height, width, channels = shape
    size = (height, width) if height and width else None
    widths = _output_widths(
        classify, (*(size or (32, 32)), channels), ("features", "logits"), path
    )

    def preprocess(images):
        images = tf.cast(images, tf.float32) / 255.0
        return tf.image.resize(images, size, antialias=True) if size else images

    return _make_extractor(
        model,
        lambda images: classify(preprocess(images)),
        widths,
        name=name,
        image_shape=(None, None, channels),
        resize="antialiased_bilinear_{}x{}".format(*size) if size else "none",
        fingerprint=fingerprint,
        strategy=strategy,
    )


def check_hash(fingerprint: str, expected: str | None) -> None:
    """Refuses a feature network whose hash is not the expected one.

    Args:
        fingerprint: hash of the network's weights.
        expected: expected hash; None takes any.

    Raises:
        ValueError: they differ.
    """
    if expected is not None and fingerprint != expected:
        raise ValueError(
            "The feature network must be the one whose hash is --extractor_hash. "
            f"Received: --extractor_hash={expected}, and a network with {fingerprint}. "
            "Use that network, or omit the flag: scores of two networks cannot be "
            "compared."
        )


def _make_extractor(
    model, run: Callable[[tf.Tensor], dict], widths: dict[str, int], **attributes
) -> FeatureExtractor:
    """Makes an extractor of a SavedModel.

    Args:
        model: the SavedModel.
        run: runs it on uint8 images.
        widths: its outputs, features first and then logits, with their widths.
        **attributes: further attributes of the extractor.
    """
    shape = (None, *attributes["image_shape"])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])
    def forward(images):
        outputs = run(images)
        return tuple(
            tf.cast(tf.reshape(outputs[name], [-1, width]), tf.float32)
            for name, width in widths.items()
        )

    # A function holds its variables weakly: the model must live as long.
    forward.model = model
    feature_dim, num_classes = widths.values()
    return FeatureExtractor(
        feature_dim=feature_dim, num_classes=num_classes, forward=forward, **attributes
    )


def _name_of_folder(path: str) -> str:
    name = re.sub(r"[^\w.-]", "_", os.path.basename(os.path.abspath(path)))
    if name == "inception" or name.endswith("_cnn"):
        raise ValueError(
            "The folder of a classifier names its scores and must not be called "
            f"`inception` or `*_cnn`. Received: path={path!r}. Rename the folder."
        )
    return name


def _fingerprint(folder: str, path: str, expected: str | None) -> str:
    """Returns the hash of a SavedModel, after checking it."""
    if not tf.io.gfile.exists(os.path.join(folder, "saved_model.pb")):
        raise FileNotFoundError(
            "A feature network must be a SavedModel folder, with a file saved_model.pb "
            f"in it. Received: path={path!r}, from --inception_path, --classifier_path "
            "or the environment variable SSGAN_INCEPTION_PATH. Download and unpack "
            "TFGAN's Inception: https://tfhub.dev/tensorflow/tfgan/eval/inception/1"
        )
    fingerprint = _hash_folder(folder)
    check_hash(fingerprint, expected)
    return fingerprint


def _load(folder: str, path: str, strategy: tf.distribute.Strategy):
    """Returns a model, its `__call__` or default signature, the spec of its images."""
    with strategy.scope():
        model = tf.saved_model.load(folder)
    if callable(model):
        concrete = getattr(model.__call__, "concrete_functions", ())
        specs = [graph.structured_input_signature[0] for graph in concrete]
        return model, model, specs[0][0] if specs and specs[0] else None
    for key in ("serving_default", "default"):
        if key in model.signatures:
            signature = model.signatures[key]
            arguments = signature.structured_input_signature[1]
            if len(arguments) == 1:
                ((name, spec),) = arguments.items()
                return model, (lambda images: signature(**{name: images})), spec
    raise ValueError(
        "A feature network must be callable or have a default signature with one "
        f"argument, the images. Received: path={path!r} with signatures "
        f"{sorted(model.signatures)}. Export it again with one of them."
    )


def _output_widths(
    classify: Callable[[tf.Tensor], dict],
    image_shape: tuple[int, ...],
    names: tuple[str, str],
    path: str,
) -> dict[str, int]:
    """Calls a network once and returns the widths of its outputs."""
    try:
        outputs = classify(tf.zeros((2, *image_shape)))
        return {name: tf.reshape(outputs[name], [2, -1]).shape[1] for name in names}
    except (ValueError, TypeError, LookupError, tf.errors.OpError) as error:
        shape = f"(batch, {', '.join(map(str, image_shape))})"
        raise ValueError(
            f"A feature network must take float32 images {shape} and return a "
            f"dict with {names}, each (batch, width). Received: path={path!r}, "
            f"which fails with: {error} Use another network, or export it again."
        ) from error


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
