"""Spectral normalization against NumPy's power iteration and SVD."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import power_iteration

from ssgan_tf.layers import Conv2D, Conv2DTranspose, Dense, SpectralNorm
from ssgan_tf.layers.spectral_norm import vector_shape

SHAPES = [(7, 5), (4, 9), (6, 1), (3, 3, 4, 5), (3, 3, 2, 30)]
every_vector = pytest.mark.parametrize("vector", ["left", "right"])


def kernel_of(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def layer_for(shape, vector="left", seed=1):
    layer = SpectralNorm(vector)
    layer.build(shape)
    rows = int(np.prod(shape[:-1]))
    assert layer.u.shape == ((rows, 1) if vector == "left" else (1, shape[-1]))
    # Not of unit length, as the initial vector.
    layer.u.assign(3 * kernel_of(tuple(layer.u.shape), seed))
    return layer


def iteration(kernel, kept, vector):
    """One iteration in float64: sigma, left vector, right vector."""
    if vector == "left":
        return power_iteration(kernel, kept)
    # The right vector belongs to W^T W instead of W W^T.
    matrix = np.float64(kernel).reshape(-1, kernel.shape[-1])
    right = np.float64(kept).reshape(-1)
    left = matrix @ right / np.linalg.norm(matrix @ right)
    right = matrix.T @ left / np.linalg.norm(matrix.T @ left)
    return left @ matrix @ right, left, right


@every_vector
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_one_iteration(shape, training, vector):
    kernel, layer = kernel_of(shape), layer_for(shape, vector)
    for _ in range(3):
        before = np.array(layer.u)
        sigma, left, right = iteration(kernel, before, vector)
        outputs = layer(tf.constant(kernel), training=training).numpy()
        np.testing.assert_allclose(outputs, kernel / sigma, rtol=1e-5)
        if training:
            kept = left if vector == "left" else right
            np.testing.assert_allclose(np.array(layer.u).ravel(), kept, atol=1e-6)
        else:
            np.testing.assert_array_equal(np.array(layer.u), before)


@every_vector
@pytest.mark.parametrize("shape", SHAPES)
def test_sigma_converges_to_the_largest_singular_value(shape, vector):
    kernel, layer = kernel_of(shape), layer_for(shape, vector)
    for _ in range(200):
        outputs = layer(tf.constant(kernel), training=True)
    left, values, right = np.linalg.svd(
        kernel.astype("float64").reshape(-1, shape[-1]), full_matrices=False
    )
    np.testing.assert_allclose(outputs, kernel / values[0], rtol=1e-4)
    # The stored vector converges to the singular vector, up to the sign.
    kept = left[:, 0] if vector == "left" else right[0]
    assert abs(np.array(layer.u).ravel() @ kept) == pytest.approx(1, abs=1e-5)


@every_vector
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_gradient_passes_through_sigma_but_not_through_u_and_v(shape, training, vector):
    kernel, layer = kernel_of(shape), layer_for(shape, vector)
    upstream = kernel_of(shape, seed=2)
    sigma, left, right = iteration(kernel, layer.u, vector)
    matrix = kernel.astype("float64").reshape(-1, shape[-1])
    g = upstream.astype("float64").reshape(-1, shape[-1])
    outer = np.outer(left, right)
    expected = g / sigma - np.sum(g * matrix) / sigma**2 * outer
    variable = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(variable, training=training) * upstream)
    gradient = tape.gradient(loss, variable).numpy().reshape(expected.shape)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((4, 9), (4, 1)),
        ((9, 4), (1, 4)),
        ((6, 6), (6, 1)),
        ((3, 3, 2, 18), (18, 1)),
        ((3, 3, 2, 17), (1, 17)),
        ((3, 3, 2, 19), (18, 1)),
    ],
)
def test_auto_keeps_the_shorter_vector(shape, kept):
    kernel, layer = kernel_of(shape), SpectralNorm("auto")
    layer.build(shape)
    assert layer.u.shape == kept == vector_shape("auto", shape)
    rows = int(np.prod(shape[:-1]))
    assert vector_shape("left", shape) == (rows, 1)
    assert vector_shape("right", shape) == (1, shape[-1])
    layer.u.assign(kernel_of(kept, seed=1))
    sigma, *_ = iteration(kernel, layer.u, "left" if kept[1] == 1 else "right")
    np.testing.assert_allclose(layer(tf.constant(kernel)), kernel / sigma, rtol=1e-5)


@every_vector
def test_lengths_below_1e_6_count_as_1e_6(vector):
    kernel = kernel_of((7, 5))
    kernel *= 1e-6 / np.linalg.norm(kernel)
    layer = layer_for((7, 5), vector)
    matrix = np.float64(kernel if vector == "left" else kernel.T)
    v = matrix.T @ np.float64(layer.u).ravel()
    v /= np.sqrt(max(v @ v, 1e-12))
    u = matrix @ v
    assert u @ u < 1e-12
    u /= 1e-6
    outputs = layer(tf.constant(kernel), training=True)
    np.testing.assert_allclose(outputs, kernel / (u @ matrix @ v), rtol=1e-5)
    np.testing.assert_allclose(np.array(layer.u).ravel(), u, atol=1e-6)


@every_vector
def test_a_zero_kernel_leaves_the_vector_finite(vector):
    layer = layer_for((4, 3), vector)
    layer(tf.zeros((4, 3)), training=True)
    assert np.isfinite(np.array(layer.u)).all()


def test_refuses():
    with pytest.raises(ValueError, match=r"kernel_shape=\(7,\)"):
        SpectralNorm().build((7,))
    for make in (Dense, Conv2D, SpectralNorm):
        for vector in ("middle", True, False):
            arguments = (vector,) if make is SpectralNorm else (4,)
            options = {} if make is SpectralNorm else {"spectral_norm": vector}
            with pytest.raises(ValueError, match=f"vector={vector!r}"):
                make(*arguments, **options)


def filled(layer, input_shape):
    layer.build(input_shape)
    for seed, variable in enumerate(layer.variables):
        variable.assign(kernel_of(tuple(variable.shape), seed))
    return layer


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Dense, {}),
        (Conv2D, dict(kernel_size=3)),
        (Conv2D, dict(kernel_size=3, resample="up")),
        (Conv2D, dict(kernel_size=3, resample="down")),
        (Conv2D, dict(kernel_size=1, resample="up")),
        (Conv2D, dict(kernel_size=1, resample="down")),
        (Conv2D, dict(kernel_size=4, strides=2)),
        (Conv2D, dict(kernel_size=3, use_bias=False)),
        # The columns, its last axis, are the input channels.
        (Conv2DTranspose, dict(kernel_size=4, strides=2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False])
@every_vector
def test_layers_normalize_the_stored_kernel(training, make, options, vector):
    shape = (2, 4) if make is Dense else (2, 4, 4, 3)
    inputs = tf.constant(kernel_of(shape, seed=9))
    normalized = filled(make(5, spectral_norm=vector, **options), (None, *shape[1:]))
    kernel, kept = (
        np.array(v) for v in (normalized.kernel, normalized.spectral_norm.u)
    )
    sigma, _, _ = iteration(kernel, kept, vector)
    raw = filled(make(5, **options), (None, *shape[1:]))
    raw.kernel.assign(kernel / sigma)
    if raw.bias is not None:
        raw.bias.assign(np.array(normalized.bias))
    outputs = normalized(inputs, training=training)
    np.testing.assert_allclose(outputs, raw(inputs), atol=1e-5)
    np.testing.assert_array_equal(np.array(normalized.kernel), kernel)
    moved = np.abs(np.array(normalized.spectral_norm.u) - kept).max() > 1e-3
    assert moved == training
