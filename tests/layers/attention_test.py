"""Self-attention against loops over positions in float64."""

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


def test_only_training_advances_every_vector():
    layer = built(spectral_norm="auto")
    images = noise(*SHAPE)
    assert len(layer.non_trainable_variables) == 4
    for training in (False, True):
        before = [np.array(v) for v in layer.non_trainable_variables]
        layer(images, training=training)
        for vector, value in zip(layer.non_trainable_variables, before, strict=True):
            moved = np.abs(np.array(vector) - value).max()
            assert moved > 1e-3 if training else moved == 0.0


def test_dynamic_batch():
    layer = built()
    traced = tf.function(layer, [tf.TensorSpec((None, *SHAPE[1:]))])
    for batch in (1, 3):
        images = noise(batch, *SHAPE[1:])
        np.testing.assert_allclose(traced(images), layer(images), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((None, 4, 4, 7), "channels=7"), ((None, 4, 1, 8), "height=4, width=1")],
)
def test_refuses_small_maps(shape, message):
    with pytest.raises(ValueError, match=message):
        SelfAttention().build(shape)
