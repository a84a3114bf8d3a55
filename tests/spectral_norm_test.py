"""Spectral normalization against NumPy's power iteration and SVD."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import conv3x3, power_iteration

from ssgan_tf.layers import Conv2D, Dense, SpectralNorm

SHAPES = [(7, 5), (4, 9), (6, 1), (3, 3, 4, 5), (3, 3, 2, 30)]


def kernel_of(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def layer_for(shape, seed=1):
    layer = SpectralNorm()
    layer.build(shape)
    rows = int(np.prod(shape[:-1]))
    assert layer.u.shape == (rows, 1)
    # Not of unit length: the first iteration must cope with the raw draw.
    layer.u.assign(3 * kernel_of((rows, 1), seed))
    return layer


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_one_iteration(shape, training):
    kernel, layer = kernel_of(shape), layer_for(shape)
    for _ in range(3):
        before = np.array(layer.u)
        sigma, u, _ = power_iteration(kernel, before)
        outputs = layer(tf.constant(kernel), training=training).numpy()
        np.testing.assert_allclose(outputs, kernel / sigma, rtol=1e-5)
        if training:
            np.testing.assert_allclose(np.array(layer.u)[:, 0], u, atol=1e-6)
        else:
            np.testing.assert_array_equal(np.array(layer.u), before)


@pytest.mark.parametrize("shape", SHAPES)
def test_sigma_converges_to_the_largest_singular_value(shape):
    kernel, layer = kernel_of(shape), layer_for(shape)
    for _ in range(200):
        outputs = layer(tf.constant(kernel), training=True)
    largest = np.linalg.svd(
        kernel.astype("float64").reshape(-1, shape[-1]), compute_uv=False
    )[0]
    np.testing.assert_allclose(outputs, kernel / largest, rtol=1e-4)


def test_inference_repeats_itself_and_equals_the_next_training_call():
    kernel, layer = kernel_of((3, 3, 4, 5)), layer_for((3, 3, 4, 5))
    first = layer(tf.constant(kernel)).numpy()
    np.testing.assert_array_equal(layer(tf.constant(kernel), training=False), first)
    np.testing.assert_array_equal(layer(tf.constant(kernel), training=True), first)
    assert np.abs(layer(tf.constant(kernel), training=True) - first).max() > 1e-4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_gradient_passes_through_sigma_but_not_through_u_and_v(shape, training):
    kernel, layer = kernel_of(shape), layer_for(shape)
    upstream = kernel_of(shape, seed=2)
    sigma, u, v = power_iteration(kernel, layer.u)
    matrix = kernel.astype("float64").reshape(-1, shape[-1])
    g = upstream.astype("float64").reshape(-1, shape[-1])
    expected = g / sigma - np.sum(g * matrix) / sigma**2 * np.outer(u, v)
    variable = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(variable, training=training) * upstream)
    gradient = tape.gradient(loss, variable).numpy().reshape(expected.shape)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_a_zero_kernel_leaves_the_vector_finite():
    layer = layer_for((4, 3))
    layer(tf.zeros((4, 3)), training=True)
    assert np.isfinite(np.array(layer.u)).all()


def test_rejects_a_vector():
    with pytest.raises(ValueError, match=r"kernel_shape=\(7,\)"):
        SpectralNorm().build((7,))


@pytest.mark.parametrize("training", [True, False])
class TestInLayers:
    """The stored kernel stays raw, the bias is left alone, outputs are linear."""

    def built(self, layer, input_shape):
        layer.build(input_shape)
        for seed, variable in enumerate(layer.variables):
            variable.assign(kernel_of(tuple(variable.shape), seed))
        return layer

    def test_dense(self, training):
        layer = self.built(Dense(4, spectral_norm=True), (None, 6))
        kernel, bias = np.array(layer.kernel), np.array(layer.bias)
        sigma, _, _ = power_iteration(kernel, layer.spectral_norm.u)
        inputs = kernel_of((5, 6), seed=9)
        outputs = layer(tf.constant(inputs), training=training)
        np.testing.assert_allclose(
            outputs, inputs @ (kernel / sigma) + bias, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_array_equal(np.array(layer.kernel), kernel)

    def test_convolution(self, training):
        layer = self.built(Conv2D(4, spectral_norm=True), (None, 5, 5, 3))
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

    def test_the_resampling_forms_normalize_the_stored_kernel(self, training):
        images = tf.constant(kernel_of((2, 4, 4, 3), seed=9))
        for resample in ("up", "down"):
            normalized = self.built(
                Conv2D(4, spectral_norm=True, resample=resample), (None, 4, 4, 3)
            )
            raw = self.built(Conv2D(4, resample=resample), (None, 4, 4, 3))
            sigma, _, _ = power_iteration(normalized.kernel, normalized.spectral_norm.u)
            raw.kernel.assign(np.array(normalized.kernel) / sigma)
            raw.bias.assign(np.array(normalized.bias))
            np.testing.assert_allclose(
                normalized(images, training=training), raw(images), atol=1e-5
            )


def test_only_kernel_and_bias_are_trained():
    layer = Conv2D(4, spectral_norm=True)
    layer.build((None, 5, 5, 3))
    assert [v.name for v in layer.trainable_variables] == ["kernel", "bias"]
    assert [v.name for v in layer.non_trainable_variables] == ["u"]


def test_rejects_an_unknown_resampling():
    with pytest.raises(ValueError, match="resample='half'"):
        Conv2D(4, resample="half")
