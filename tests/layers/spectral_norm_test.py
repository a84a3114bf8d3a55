"""Spectral normalization against NumPy's power iteration and SVD."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import conv3x3, power_iteration

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
def test_inference_repeats_itself_and_equals_the_next_training_call(vector):
    shape = (3, 3, 4, 5)
    kernel, layer = kernel_of(shape), layer_for(shape, vector)
    first = layer(tf.constant(kernel)).numpy()
    np.testing.assert_array_equal(layer(tf.constant(kernel), training=False), first)
    np.testing.assert_array_equal(layer(tf.constant(kernel), training=True), first)
    assert np.abs(layer(tf.constant(kernel), training=True) - first).max() > 1e-4


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


def test_rejects_a_vector():
    with pytest.raises(ValueError, match=r"kernel_shape=\(7,\)"):
        SpectralNorm().build((7,))


@pytest.mark.parametrize("vector", ["middle", True, None])
def test_rejects_an_unknown_vector(vector):
    with pytest.raises(
        ValueError, match=rf"\['auto', 'left', 'right'\].*vector={vector!r}"
    ):
        SpectralNorm(vector)


@pytest.mark.parametrize("training", [True, False])
class TestInLayers:
    """The stored kernel and the bias are not normalized; outputs are linear."""

    def built(self, layer, input_shape):
        layer.build(input_shape)
        for seed, variable in enumerate(layer.variables):
            variable.assign(kernel_of(tuple(variable.shape), seed))
        return layer

    def test_dense(self, training):
        layer = self.built(Dense(4, spectral_norm="left"), (None, 6))
        kernel, bias = np.array(layer.kernel), np.array(layer.bias)
        sigma, _, _ = power_iteration(kernel, layer.spectral_norm.u)
        inputs = kernel_of((5, 6), seed=9)
        outputs = layer(tf.constant(inputs), training=training)
        np.testing.assert_allclose(
            outputs, inputs @ (kernel / sigma) + bias, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_array_equal(np.array(layer.kernel), kernel)

    def test_convolution(self, training):
        layer = self.built(Conv2D(4, spectral_norm="left"), (None, 5, 5, 3))
        kernel, bias = np.array(layer.kernel), np.array(layer.bias)
        before = np.array(layer.spectral_norm.u)
        sigma, _, _ = power_iteration(kernel, before)
        images = kernel_of((2, 5, 5, 3), seed=9)
        outputs = layer(tf.constant(images), training=training)
        expected = conv3x3(tf.constant(images), tf.constant(kernel)) / sigma + bias
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(np.array(layer.kernel), kernel)
        moved = np.abs(np.array(layer.spectral_norm.u) - before).max() > 1e-3
        assert moved == training

    @pytest.mark.parametrize(
        ("make", "options"),
        [
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
    @every_vector
    def test_every_form_normalizes_the_stored_kernel(
        self, training, make, options, vector
    ):
        images = tf.constant(kernel_of((2, 4, 4, 3), seed=9))
        normalized = self.built(
            make(5, spectral_norm=vector, **options), (None, 4, 4, 3)
        )
        kernel, kept = np.array(normalized.kernel), normalized.spectral_norm.u
        sigma, _, _ = iteration(kernel, kept, vector)
        raw = self.built(make(5, **options), (None, 4, 4, 3))
        raw.kernel.assign(kernel / sigma)
        if raw.bias is not None:
            raw.bias.assign(np.array(normalized.bias))
        np.testing.assert_allclose(
            normalized(images, training=training), raw(images), atol=1e-5
        )
        np.testing.assert_array_equal(np.array(normalized.kernel), kernel)


def test_only_kernel_and_bias_are_trained():
    layer = Conv2D(4, spectral_norm="left")
    layer.build((None, 5, 5, 3))
    assert [v.name for v in layer.trainable_variables] == ["kernel", "bias"]
    assert [v.name for v in layer.non_trainable_variables] == ["u"]
