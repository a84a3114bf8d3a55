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
import re
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ssgan_tf.modules import hub
from ssgan_tf.utils.replicas import on_all_replicas

_INCEPTION_SIZE = 299
_INCEPTION_OUTPUTS = {"pool_3": 2048, "logits": 1008}


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
