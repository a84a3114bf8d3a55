"""The linear probe: accuracy of a linear classifier on a network's features.

Pooled feature maps in, accuracies out. The classifier is a softmax regression with a
fixed penalty. Its optimum is unique, so the optimizer is no part of the protocol.

Reference:
    - Zhang et al., 2016, section 3.2, https://arxiv.org/abs/1603.08511
    - Chen et al., 2019, tables 3 and 4, https://arxiv.org/abs/1811.11212
"""

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import threadpoolctl
from absl import logging
from scipy import linalg, optimize

# Both chosen on held-out images of CIFAR-10's training split: docs/probe.md.
GRID = 4
L2 = 1e-4
_MAX_ITERATIONS = 1000
# Largest derivative of the loss at the end, in the coordinates of `fit`.
_TOLERANCE = 1e-4
# A feature whose deviation is a smaller share of its mean varies by rounding only.
_CONSTANT = 1e-5
_CHUNK_BYTES = 2**22


def pool(maps: tf.Tensor, grid: int = GRID) -> tf.Tensor:
    """Means of feature maps over the cells of a grid.

    Cell (i, j) covers the rows floor(i h / g) to ceil((i + 1) h / g) - 1, and columns
    alike: equal squares if g divides h, else squares that overlap by one row or column.
    A side shorter than g has one cell per row or column.

    Args:
        maps: float tensor, `(batch, h, w, channels)`; all but the batch are static.
        grid: int. g.

    Returns:
        float32 `(batch, min(h, g) * min(w, g) * channels)`.
    """
    _, height, width, channels = maps.shape
    rows, columns = _cell_means(height, grid), _cell_means(width, grid)
    cells = tf.einsum("ih,bhwc,jw->bijc", rows, tf.cast(maps, tf.float32), columns)
    return tf.reshape(cells, (-1, len(rows) * len(columns) * channels))


def _cell_means(size: int, grid: int) -> np.ndarray:
    """float32 `(min(size, grid), size)`: row i averages cell i."""
    cells = min(size, grid)
    means = np.zeros((cells, size), np.float32)
    for i in range(cells):
        start, stop = i * size // cells, -(-(i + 1) * size // cells)
        means[i, start:stop] = 1 / (stop - start)
    return means


def protocol() -> dict[str, str]:
    """The protocol of the accuracies: all but the feature maps and the labels."""
    return {
        "pooling": f"mean_{GRID}x{GRID}",
        "standardized": "train_moments",
        "classifier": "softmax_regression",
        "l2": f"{L2:g}",
    }


def accuracies(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    num_classes: int,
) -> tuple[float, float]:
    """Fits a classifier to the training split and scores it on both.

    Args:
        train_features: float32 `(N, d)`; all features may be a `np.memmap` larger than
            the memory.
        train_labels: int `(N,)`, in [0, num_classes).
        test_features: float32 `(M, d)`.
        test_labels: int `(M,)`, in [0, num_classes).
        num_classes: int, 2 or more.

    Returns:
        Top-1 accuracies on the training and on the test split.

    Raises:
        ValueError: the arguments are not as described, or a feature is not finite.
    """
    _check(train_features, train_labels, num_classes, "train")
    _check(test_features, test_labels, num_classes, "test")
    classifier = fit(train_features, train_labels, num_classes)
    return (
        classifier.accuracy(train_features, train_labels),
        classifier.accuracy(test_features, test_labels),
    )


@dataclasses.dataclass(frozen=True)
class LinearClassifier:
    """Softmax regression on standardized features.

        logits = ((x - mean) * scale) W + b

    Attributes:
        mean: float64 `(d,)`.
        scale: float64 `(d,)`. 1 / standard deviation; 0 for a constant feature.
        weights: float64 `(d, classes)`. W.
        bias: float64 `(classes,)`. b.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float64 `(N, classes)` of float32 `(N, d)`."""
        return np.concatenate(
            [
                (features[rows] - self.mean) * self.scale @ self.weights + self.bias
                for rows in _chunks(features)
            ]
        )

    def accuracy(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Share of the rows whose most likely class is their label."""
        return float(np.mean(self.logits(features).argmax(axis=1) == labels))


def fit(
    features: np.ndarray, labels: np.ndarray, num_classes: int, l2: float = L2
) -> LinearClassifier:
    """Fits a softmax regression by L-BFGS on all rows.

        - 1/N sum_i log softmax(z_i W + b)[y_i] + l2/2 |W|^2

    z are the standardized features; b is not penalized. The features are read a few
    rows at a time, where scikit-learn's `LogisticRegression(C=1 / (l2 * N))` needs all
    of z in memory. Neighbouring places of a map are correlated, so L-BFGS optimizes
    V = L^T W instead of W, where L L^T = cov(z) / classes + l2 I is the initial
    curvature. That takes d x d numbers and far fewer passes: 8 s of CPU time on
    6,000 x 2,048 features, where scikit-learn takes 20 s to a loss as low.

    Args:
        features: float32 `(N, d)`.
        labels: int `(N,)`, in [0, num_classes).
        num_classes: int.
        l2: float. Strength of the penalty.
    """
    start_time = time.monotonic()
    mean, scale = _moments(features)
    num_rows, num_features = features.shape
    shape = (num_features + 1, num_classes)
    root = _curvature_root(features, mean, scale, num_classes=num_classes, l2=l2)
    chunk_loss = _make_chunk_loss(mean, scale, num_classes)

    def weights_and_bias(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parameters = flat.reshape(shape)
        weights = linalg.solve_triangular(root, parameters[:-1], trans=1, lower=True)
        return weights, parameters[-1]

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = weights_and_bias(flat)
        loss, gradient = 0.0, np.zeros(shape)
        for rows in _chunks(features):
            part, for_weights, for_bias = chunk_loss(
                features[rows], labels[rows], weights, bias
            )
            loss += part.numpy()
            gradient[:-1] += for_weights
            gradient[-1] += for_bias
        loss, gradient = loss / num_rows, gradient / num_rows
        gradient[:-1] += l2 * weights
        gradient[:-1] = linalg.solve_triangular(root, gradient[:-1], lower=True)
        return loss + l2 / 2 * np.sum(weights**2), gradient.ravel()

    # One thread: triangular solves with a column per class are too small to share.
    with threadpoolctl.threadpool_limits(1, "blas"):
        result = optimize.minimize(
            loss_and_gradient,
            np.zeros(np.prod(shape)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_ITERATIONS, "gtol": _TOLERANCE, "ftol": 0},
        )
    _report(result, time.monotonic() - start_time)
    return LinearClassifier(mean, scale, *weights_and_bias(result.x))


def _make_chunk_loss(
    mean: np.ndarray, scale: np.ndarray, num_classes: int
) -> Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Makes the function of a chunk: loss, and gradients of weights and bias."""

    @tf.function(reduce_retracing=True)
    def chunk_loss(inputs, targets, weights, bias):
        # In float64: L-BFGS compares losses that differ in their last digits.
        inputs = (tf.cast(inputs, tf.float64) - mean) * scale
        logits = inputs @ weights + bias
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        errors = tf.nn.softmax(logits) - tf.one_hot(
            targets, num_classes, dtype=tf.float64
        )
        gradient = tf.matmul(inputs, errors, transpose_a=True)
        return tf.reduce_sum(losses), gradient, tf.reduce_sum(errors, axis=0)

    return chunk_loss


def _curvature_root(
    features: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    *,
    num_classes: int,
    l2: float,
) -> np.ndarray:
    """Lower triangular float64 `(d, d)`: the L of `fit`."""

    @tf.function(reduce_retracing=True)
    def chunk_products(inputs):
        inputs = (tf.cast(inputs, tf.float64) - mean) * scale
        return tf.matmul(inputs, inputs, transpose_a=True)

    curvature = l2 * np.eye(len(mean))
    for rows in _chunks(features):
        curvature += chunk_products(features[rows]) / (len(features) * num_classes)
    return linalg.cholesky(curvature, lower=True, overwrite_a=True)


def _report(result: optimize.OptimizeResult, seconds: float) -> None:
    logging.info(
        "linear classifier: loss %.4f after %d passes, %.0f s",
        result.fun,
        result.nfev,
        seconds,
    )
    slope = np.abs(result.jac).max()
    if slope > _TOLERANCE:
        logging.warning(
            "The linear classifier has not converged: its loss still has a derivative "
            "of %.1g, more than %g. Its accuracies may be inexact.",
            slope,
            _TOLERANCE,
        )


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1 / standard deviation of every column, float64 `(d,)`."""
    num_rows = len(features)
    mean = sum(features[r].sum(axis=0, dtype=np.float64) for r in _chunks(features))
    mean /= num_rows
    squares = sum(np.square(features[r] - mean).sum(axis=0) for r in _chunks(features))
    deviation = np.sqrt(squares / num_rows)
    varies = deviation > _CONSTANT * np.abs(mean)
    return mean, np.divide(1, deviation, where=varies, out=np.zeros_like(mean))


def _chunks(features: np.ndarray) -> Iterator[slice]:
    """Yields slices of a few rows each, which cover all rows."""
    step = max(1, _CHUNK_BYTES // (4 * features.shape[1]))
    for start in range(0, len(features), step):
        yield slice(start, start + step)


def _check(
    features: np.ndarray, labels: np.ndarray, num_classes: int, split: str
) -> None:
    if (
        features.dtype != np.float32
        or features.ndim != 2
        or not features.size
        or features.shape[:1] != labels.shape
    ):
        raise ValueError(
            "Features must be float32 (N, d), N and d 1 or more, with a label per row. "
            f"Received: {split}_features.shape={features.shape}, dtype="
            f"{features.dtype}, {split}_labels.shape={labels.shape}."
        )
    if num_classes < 2 or not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            "A linear classifier needs two classes or more, and labels in [0, "
            f"num_classes). Received: num_classes={num_classes}, {split}_labels from "
            f"{labels.min()} to {labels.max()}. Use a data set with labels."
        )
    if not all(np.isfinite(features[rows]).all() for rows in _chunks(features)):
        raise ValueError(
            f"Features must be finite. Received: NaN or infinity in {split}_features. "
            "The network has diverged: take an earlier checkpoint."
        )
