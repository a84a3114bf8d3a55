"""Layer normalization against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import finite_differences

from ssgan_tf.layers import LayerNorm

SHAPES = [(3, 4, 5, 6), (4, 7)]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(shape, **kwargs):
    layer = LayerNorm(**kwargs)
    layer.build((None, *shape[1:]))
    layer.gamma.assign(1 + 0.3 * noise(shape[-1], seed=1))
    layer.beta.assign(noise(shape[-1], seed=2))
    return layer


def expected_outputs(layer, inputs, epsilon=1e-12):
    rows = []
    for example in np.float64(inputs):
        variance = np.mean((example - np.mean(example)) ** 2)
        standard = (example - np.mean(example)) / np.sqrt(variance + epsilon)
        rows.append(standard * np.float64(layer.gamma) + np.float64(layer.beta))
    return np.stack(rows)


def spread(shape):
    """The examples and the channels differ in mean and deviation."""
    examples = np.arange(1, 1 + shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    channels = np.linspace(0.5, 3, shape[-1])
    return (noise(*shape) * examples * channels + examples - channels).astype("float32")


@pytest.mark.parametrize("shape", SHAPES)
def test_values(shape):
    layer, inputs = built(shape), spread(shape)
    outputs = layer(inputs)
    np.testing.assert_allclose(outputs, expected_outputs(layer, inputs), atol=2e-5)
    # The outputs depend neither on other examples nor on `training`.
    alone = layer(inputs[1:2], None, None, training=True)
    np.testing.assert_allclose(alone, outputs[1:2], atol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-12, 1e-3])
def test_epsilon(epsilon):
    # The variance is about as large as epsilon.
    shape = (3, 4, 5, 6)
    inputs = np.float32(np.sqrt(epsilon)) * noise(*shape)
    layer = built(shape) if epsilon == 1e-12 else built(shape, epsilon=epsilon)
    np.testing.assert_allclose(
        layer(inputs), expected_outputs(layer, inputs, epsilon), atol=1e-5
    )


def test_gradient():
    shape = (1, 2, 2, 3)
    layer, inputs, weights = built(shape), spread(shape), noise(*shape, seed=3)
    with tf.GradientTape() as tape:
        variable = tf.Variable(inputs)
        loss = tf.reduce_sum(layer(variable) * weights)
    expected = finite_differences(
        lambda x: np.sum(expected_outputs(layer, x) * weights), np.float64(inputs)
    )
    np.testing.assert_allclose(tape.gradient(loss, variable), expected, atol=1e-4)


def test_weights():
    layer = LayerNorm()
    layer.build((None, 4, 4, 6), (None, 5), (None, 3))
    assert [v.name for v in layer.trainable_variables] == ["gamma", "beta"]
    assert layer.non_trainable_variables == []
    np.testing.assert_array_equal(np.array(layer.gamma), np.ones(6))
    np.testing.assert_array_equal(np.array(layer.beta), np.zeros(6))


def test_errors():
    with pytest.raises(ValueError, match="epsilon=0"):
        LayerNorm(epsilon=0)
    with pytest.raises(ValueError, match=r"inputs_shape=\(5,\)"):
        LayerNorm().build((5,))
