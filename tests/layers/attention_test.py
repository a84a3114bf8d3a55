"""Self-attention against loops over positions in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import power_iteration

from ssgan_tf.layers import SelfAttention

SHAPE = (2, 4, 6, 16)
NAMES = ["conv2d_theta", "conv2d_phi", "conv2d_g", "conv2d_attn_g"]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(shape=SHAPE, **kwargs):
    layer = SelfAttention(name="non_local_block", **kwargs)
    layer.build((None, *shape[1:]))
    for seed, variable in enumerate(layer.variables, start=10):
        scale = np.sqrt(np.prod(variable.shape[:-1])) if variable.shape else 1
        variable.assign(noise(*variable.shape, seed=seed) / scale)
    layer.sigma.assign(0.7)
    return layer


def kernels(layer):
    """The four effective kernels as matrices, by name."""
    matrices = {}
    for conv in (layer.theta, layer.phi, layer.g, layer.attn_g):
        sigma = 1.0
        if conv.spectral_norm is not None:
            sigma, _, _ = power_iteration(conv.kernel, conv.spectral_norm.u)
        matrices[conv.name] = np.float64(conv.kernel)[0, 0] / sigma
    return matrices


def expected_outputs(layer, images):
    theta, phi, g, attn_g = (kernels(layer)[name] for name in NAMES)
    images = np.float64(images)
    outputs = images.copy()
    batch, height, width, _ = images.shape
    for b in range(batch):
        keys, contents = [], []
        for i in range(0, height - 1, 2):
            for j in range(0, width - 1, 2):
                window = images[b, i : i + 2, j : j + 2].reshape(4, -1)
                keys.append((window @ phi).max(axis=0))
                contents.append((window @ g).max(axis=0))
        for i in range(height):
            for j in range(width):
                query = images[b, i, j] @ theta
                weights = np.exp([query @ key for key in keys])
                weights /= weights.sum()
                mixed = sum(w * c for w, c in zip(weights, contents, strict=True))
                outputs[b, i, j] += np.float64(layer.sigma) * (mixed @ attn_g)
    return outputs


@pytest.mark.parametrize("spectral_norm", [None, "left"])
@pytest.mark.parametrize("shape", [SHAPE, (1, 5, 3, 8), (2, 2, 2, 24)])
def test_values(shape, spectral_norm):
    layer = built(shape, spectral_norm=spectral_norm)
    images = 2 * noise(*shape)
    expected = expected_outputs(layer, images)
    np.testing.assert_allclose(layer(images), expected, atol=1e-4)
    # Attention changes the inputs noticeably.
    assert np.abs(expected - images).max() > 0.1


def test_starts_as_the_identity_and_can_leave_it():
    layer = SelfAttention()
    layer.build(SHAPE)
    images = tf.constant(noise(*SHAPE))
    with tf.GradientTape() as tape:
        outputs = layer(images, training=True)
        loss = tf.reduce_sum(outputs * noise(*SHAPE, seed=1))
    np.testing.assert_array_equal(outputs, images)
    assert abs(tape.gradient(loss, layer.sigma.value)) > 1e-3


def test_names_and_shapes_are_those_of_compare_gan():
    layer = built(spectral_norm="left")
    shapes = {v.path: tuple(v.shape) for v in layer.trainable_variables}
    assert shapes == {
        "non_local_block/sigma": (),
        "non_local_block/conv2d_theta/kernel": (1, 1, 16, 2),
        "non_local_block/conv2d_phi/kernel": (1, 1, 16, 2),
        "non_local_block/conv2d_g/kernel": (1, 1, 16, 8),
        "non_local_block/conv2d_attn_g/kernel": (1, 1, 8, 16),
    }
    assert len(layer.non_trainable_variables) == 4


def test_only_training_advances_every_vector():
    layer = built(spectral_norm="auto")
    images = noise(*SHAPE)
    before = [np.array(v) for v in layer.non_trainable_variables]
    layer(images)
    for vector, value in zip(layer.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(np.array(vector), value)
    layer(images, training=True)
    for vector, value in zip(layer.non_trainable_variables, before, strict=True):
        assert np.abs(np.array(vector) - value).max() > 1e-3


def test_dynamic_batch():
    layer = built()
    traced = tf.function(layer, [tf.TensorSpec((None, *SHAPE[1:]))])
    for batch in (1, 3):
        images = noise(batch, *SHAPE[1:])
        np.testing.assert_allclose(traced(images), layer(images), atol=1e-5)


def test_kernels_differ_though_they_share_an_initializer():
    layer = SelfAttention(kernel_initializer=keras.initializers.RandomNormal())
    layer.build(SHAPE)
    theta, phi = np.array(layer.theta.kernel), np.array(layer.phi.kernel)
    assert np.abs(theta - phi).max() > 0.01


def test_errors():
    with pytest.raises(ValueError, match="8 channels.*channels=7"):
        SelfAttention().build((None, 4, 4, 7))
    with pytest.raises(ValueError, match="2x2.*height=4, width=1"):
        SelfAttention().build((None, 4, 1, 8))
    with pytest.raises(ValueError, match="vector=True"):
        SelfAttention(spectral_norm=True).build(SHAPE)
