"""Batch norms against NumPy in float64, and two replicas against one."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import copy_weights, randomize, values

from ssgan_tf.layers import BatchNorm, SelfModulatedBatchNorm
from ssgan_tf.layers.batch_norm import cross_replica_moments

SHAPE, LATENT_DIM = (8, 3, 5, 4), 6
CALLS = {
    "plain": lambda: BatchNorm(name="plain"),
    "self_modulated": lambda: SelfModulatedBatchNorm(
        hidden_units=7, name="self_modulated"
    ),
    "self_modulated_sn": lambda: SelfModulatedBatchNorm(
        hidden_units=7, spectral_norm=True, name="self_modulated"
    ),
}
every_norm = pytest.mark.parametrize("kind", CALLS)


def inputs_and_latents(seed=0):
    rng = np.random.default_rng(seed)
    # Every channel has a mean and a spread of its own.
    images = rng.normal(size=SHAPE) * [0.3, 1.0, 2.0, 4.0] + [2.0, -1.0, 0.0, 5.0]
    return images.astype("float32"), rng.normal(size=(8, LATENT_DIM)).astype("float32")


def built(kind, seed=3):
    layer = CALLS[kind]()
    layer.build(SHAPE, (None, LATENT_DIM))
    randomize(layer, seed)
    return layer


def normalized(kernel):
    """Kernel and bias of a Dense layer without spectral norm, in float64."""
    return np.float64(kernel.kernel), np.float64(kernel.bias)


def expected_outputs(layer, images, latents, mean, variance):
    standard = (images - mean) / np.sqrt(variance + 1e-5)
    if isinstance(layer, BatchNorm):
        return standard * np.float64(layer.gamma) + np.float64(layer.beta)
    rows = []
    for image, latent in zip(standard, latents, strict=True):
        kernel, bias = normalized(layer.hidden)
        hidden = np.maximum(latent @ kernel + bias, 0)
        (w_gain, b_gain), (w_bias, b_bias) = (
            normalized(layer.gamma),
            normalized(layer.beta),
        )
        rows.append(image * (hidden @ w_gain + b_gain) + (hidden @ w_bias + b_bias))
    return np.stack(rows)


def moments(images):
    flat = images.astype("float64").reshape(-1, images.shape[-1])
    return flat.mean(axis=0), ((flat - flat.mean(axis=0)) ** 2).mean(axis=0)


@pytest.mark.parametrize("kind", ["plain", "self_modulated"])
def test_training_uses_and_stores_the_moments_of_the_batch(kind):
    layer = built(kind)
    stored = np.float64(layer.moving_mean), np.float64(layer.moving_variance)
    for seed in range(3):
        images, latents = inputs_and_latents(seed)
        batch = moments(images)
        outputs = layer(images, latents, training=True)
        np.testing.assert_allclose(
            outputs, expected_outputs(layer, images, latents, *batch), atol=3e-5
        )
        # Biased variance: N / (N - 1) is 1 + 1 / 119 here, far outside the tolerance.
        stored = [0.9 * old + 0.1 * new for old, new in zip(stored, batch, strict=True)]
        np.testing.assert_allclose(np.array(layer.moving_mean), stored[0], atol=1e-5)
        np.testing.assert_allclose(
            np.array(layer.moving_variance), stored[1], rtol=1e-5
        )


@pytest.mark.parametrize("kind", ["plain", "self_modulated"])
def test_inference_uses_and_keeps_the_moving_moments(kind):
    layer = built(kind)
    images, latents = inputs_and_latents()
    before = values(layer)
    outputs = layer(images, latents, training=False)
    stored = np.float64(layer.moving_mean), np.float64(layer.moving_variance)
    np.testing.assert_allclose(
        outputs,
        expected_outputs(layer, images.astype("float64"), latents, *stored),
        atol=3e-5,
    )
    for now, then in zip(values(layer), before, strict=True):
        np.testing.assert_array_equal(now, then)
    # So an image's output does not depend on its company.
    alone = layer(images[2:3], latents[2:3], training=False)
    np.testing.assert_allclose(alone, outputs[2:3], atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "self_modulated"])
@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_momentum_and_epsilon_are_the_callers(kind, momentum):
    layer = type(CALLS[kind]())(momentum=momentum, epsilon=0.5)
    layer.build(SHAPE, (None, LATENT_DIM))
    images, latents = inputs_and_latents()
    mean, variance = moments(images)
    outputs = layer(images, latents * 0, training=True)
    np.testing.assert_allclose(
        outputs, (images - mean) / np.sqrt(variance + 0.5), atol=1e-5
    )
    np.testing.assert_allclose(
        np.array(layer.moving_mean), (1 - momentum) * mean, atol=1e-5
    )
    np.testing.assert_allclose(
        np.array(layer.moving_variance),
        momentum + (1 - momentum) * variance,
        rtol=1e-5,
    )


def test_row_i_modulates_image_i():
    layer = built("self_modulated")
    images, latents = inputs_and_latents()
    first = layer(images, latents, training=True).numpy()
    latents[5] += 1.0
    changed = np.abs(layer(images, latents, training=True) - first).max(axis=(1, 2, 3))
    assert changed[5] > 0.1
    np.testing.assert_array_equal(np.delete(changed, 5), 0.0)


def test_self_modulation_starts_as_plain_normalization():
    plain = BatchNorm()
    modulated = SelfModulatedBatchNorm(kernel_initializer="zeros")
    for layer in (plain, modulated):
        layer.build(SHAPE, (None, LATENT_DIM))
    assert modulated.hidden.units == 32
    images, latents = inputs_and_latents()
    np.testing.assert_allclose(
        modulated(images, latents, training=True),
        plain(images, training=True),
        atol=1e-6,
    )


def run_on_two_replicas(strategy, layer, images, latents, weights):
    """Outputs, and gradients of the sum over both replicas of weights * outputs."""

    def half(array):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                np.split(array, 2)[context.replica_id_in_sync_group]
            )
        )

    @tf.function
    def step(images, latents, weights):
        return strategy.run(gradients, args=(layer, images, latents, weights))

    return [
        strategy.experimental_local_results(value)
        for value in step(half(images), half(latents), half(weights))
    ]


def gradients(layer, images, latents, weights):
    with tf.GradientTape() as tape:
        tape.watch([images, latents])
        outputs = layer(images, latents, training=True)
        loss = tf.reduce_sum(weights * outputs)
    points = [images, latents, *[v.value for v in layer.trainable_variables]]
    return [
        outputs,
        *tape.gradient(loss, points, unconnected_gradients="zero"),
    ]


@every_norm
def test_two_replicas_with_half_the_batch_equal_one_with_the_whole(kind, two_replicas):
    images, latents = inputs_and_latents()
    # The halves differ: moments of a replica's own share would be wrong.
    images[4:] = 2 * images[4:] + 1
    weights = np.random.default_rng(5).normal(size=SHAPE).astype("float32")
    single = built(kind)
    with two_replicas.scope():
        layer = built(kind)
    copy_weights(single, layer)
    shared = run_on_two_replicas(two_replicas, layer, images, latents, weights)
    whole = gradients(
        single, tf.constant(images), tf.constant(latents), tf.constant(weights)
    )
    for i, (parts, expected) in enumerate(zip(shared, whole, strict=True)):
        assert len(parts) == 2
        # Outputs and gradients by image are cut, those by weight add up.
        joined = np.concatenate(parts) if i < 3 else parts[0] + parts[1]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(joined, expected, rtol=1e-4, atol=2e-5 * scale)
    for ours, expected in zip(layer.variables, single.variables, strict=True):
        copies = two_replicas.experimental_local_results(ours.value)
        assert len(copies) == 2
        np.testing.assert_array_equal(copies[0], copies[1])
        np.testing.assert_allclose(copies[0], np.array(expected), rtol=1e-5, atol=1e-6)


def test_moments_across_replicas_survive_a_large_mean(two_replicas):
    # E[x^2] - E[x]^2 loses every digit here, and may turn negative.
    rng = np.random.default_rng(0)
    images = (300 + 0.01 * rng.normal(size=(8, 4, 4, 3))).astype("float32")
    images[..., 2] = 77.7  # a dead channel
    shares = two_replicas.experimental_distribute_values_from_function(
        lambda c: tf.constant(np.split(images, 2)[c.replica_id_in_sync_group])
    )
    mean, variance = two_replicas.run(
        tf.function(lambda x: cross_replica_moments(x, [0, 1, 2])), args=(shares,)
    )
    expected = moments(images)
    for copy in two_replicas.experimental_local_results(mean):
        np.testing.assert_allclose(copy, expected[0], rtol=1e-6)
    for copy in two_replicas.experimental_local_results(variance):
        np.testing.assert_allclose(copy, expected[1], rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("norm", [BatchNorm, SelfModulatedBatchNorm])
class TestErrors:
    @pytest.mark.parametrize("momentum", [-0.1, 1.0])
    def test_momentum(self, norm, momentum):
        with pytest.raises(ValueError, match=f"momentum={momentum}"):
            norm(momentum=momentum)

    @pytest.mark.parametrize("epsilon", [0.0, -1.0])
    def test_epsilon(self, norm, epsilon):
        with pytest.raises(ValueError, match=f"epsilon={epsilon}"):
            norm(epsilon=epsilon)
