"""Batch norms against NumPy in float64, and two replicas against one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import (
    assert_close,
    assert_equal,
    copy_weights,
    halves,
    power_iteration,
    randomize,
    values,
)

from ssgan_tf.layers import (
    BatchNorm,
    ConditionalBatchNorm,
    Dense,
    SelfModulatedBatchNorm,
    standing_statistics,
)
from ssgan_tf.layers.batch_norm import cross_replica_moments

SHAPE, LATENT_DIM, LABEL_DIM = (8, 3, 5, 4), 6, 3
CALLS = {
    "plain": lambda **k: BatchNorm(name="plain", **k),
    "self_modulated": lambda **k: SelfModulatedBatchNorm(
        hidden_units=7, name="self_modulated", **k
    ),
    "self_modulated_sn": lambda **k: SelfModulatedBatchNorm(
        hidden_units=7, spectral_norm="left", name="self_modulated", **k
    ),
    "conditional": lambda **k: ConditionalBatchNorm(name="conditional", **k),
    "conditional_sn": lambda **k: ConditionalBatchNorm(
        spectral_norm="auto", kernel_initializer="orthogonal", name="conditional", **k
    ),
    "conditional_uncentered": lambda **k: ConditionalBatchNorm(
        center_gain=False, name="conditional", **k
    ),
}
every_norm = pytest.mark.parametrize("kind", CALLS)
# Features or images.
every_rank = pytest.mark.parametrize("rank", [2, 4])


def arguments(seed=0, rank=4):
    """Inputs, latents, label vectors."""
    rng = np.random.default_rng(seed)
    shape = SHAPE if rank == 4 else (SHAPE[0], SHAPE[-1])
    # The channels differ in mean and deviation.
    inputs = rng.normal(size=shape) * [0.3, 1.0, 2.0, 4.0] + [2.0, -1.0, 0.0, 5.0]
    others = [rng.normal(size=(8, n)) for n in (LATENT_DIM, LABEL_DIM)]
    return [array.astype("float32") for array in (inputs, *others)]


def shapes(rank=4):
    inputs = (None, *SHAPE[1:]) if rank == 4 else (None, SHAPE[-1])
    return inputs, (None, LATENT_DIM), (None, LABEL_DIM)


def built(kind, seed=3, rank=4, **kwargs):
    layer = CALLS[kind](**kwargs)
    layer.build(*shapes(rank))
    randomize(layer, seed)
    return layer


def linear(dense):
    """Kernel and bias in the next call of a Dense layer, in float64."""
    kernel = np.float64(dense.kernel)
    if dense.spectral_norm is not None:
        # "auto" keeps the left vector too: the labels are fewer than the channels.
        kernel /= power_iteration(kernel, dense.spectral_norm.u)[0]
    return kernel, 0 if dense.bias is None else np.float64(dense.bias)


def expected_outputs(layer, inputs, latents, label_vectors, mean, variance):
    """One example after another, with its own gain and bias."""
    standard = (np.float64(inputs) - mean) / np.sqrt(variance + 1e-5)
    rows = []
    for example, latent, label in zip(standard, latents, label_vectors, strict=True):
        if isinstance(layer, BatchNorm):
            gain, bias = np.float64(layer.gamma), np.float64(layer.beta)
        else:
            (w_gain, b_gain), (w_bias, b_bias) = linear(layer.gamma), linear(layer.beta)
            if isinstance(layer, SelfModulatedBatchNorm):
                kernel, offset = linear(layer.hidden)
                code = np.maximum(latent @ kernel + offset, 0)
            else:
                code, b_gain = label, float(layer.center_gain)
            gain, bias = code @ w_gain + b_gain, code @ w_bias + b_bias
        rows.append(example * gain + bias)
    return np.stack(rows)


def moments(images):
    flat = images.astype("float64").reshape(-1, images.shape[-1])
    return flat.mean(axis=0), ((flat - flat.mean(axis=0)) ** 2).mean(axis=0)


@every_norm
@every_rank
def test_training_uses_and_stores_the_moments_of_the_batch(kind, rank):
    layer = built(kind, rank=rank)
    stored = np.float64(layer.moving_mean), np.float64(layer.moving_variance)
    for seed in range(3):
        inputs, *codes = arguments(seed, rank)
        batch = moments(inputs)
        expected = expected_outputs(layer, inputs, *codes, *batch)
        outputs = layer(inputs, *codes, training=True)
        assert outputs.shape == inputs.shape
        np.testing.assert_allclose(outputs, expected, atol=1e-4)
        # Biased variance: N / (N - 1) is at least 1 + 1 / 119 here, far outside the
        # tolerance.
        stored = [0.9 * old + 0.1 * new for old, new in zip(stored, batch, strict=True)]
        np.testing.assert_allclose(np.array(layer.moving_mean), stored[0], atol=1e-5)
        np.testing.assert_allclose(
            np.array(layer.moving_variance), stored[1], rtol=1e-5
        )


@every_norm
@every_rank
def test_inference_uses_and_keeps_the_moving_moments(kind, rank):
    layer = built(kind, rank=rank)
    inputs, *codes = arguments(rank=rank)
    before = values(layer)
    outputs = layer(inputs, *codes, training=False)
    stored = np.float64(layer.moving_mean), np.float64(layer.moving_variance)
    np.testing.assert_allclose(
        outputs, expected_outputs(layer, inputs, *codes, *stored), atol=1e-4
    )
    assert_equal(layer, before)
    # An example's output does not depend on the others.
    alone = layer(inputs[2:3], *(c[2:3] for c in codes), training=False)
    np.testing.assert_allclose(alone, outputs[2:3], atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "self_modulated", "conditional"])
@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_momentum_and_epsilon_are_the_callers(kind, momentum):
    layer = CALLS[kind](momentum=momentum, epsilon=0.5)
    layer.build(*shapes())
    inputs, latents, label_vectors = arguments()
    mean, variance = moments(inputs)
    outputs = layer(inputs, latents * 0, label_vectors, training=True)
    np.testing.assert_allclose(
        outputs, (inputs - mean) / np.sqrt(variance + 0.5), atol=1e-5
    )
    np.testing.assert_allclose(
        np.array(layer.moving_mean), (1 - momentum) * mean, atol=1e-5
    )
    np.testing.assert_allclose(
        np.array(layer.moving_variance),
        momentum + (1 - momentum) * variance,
        rtol=1e-5,
    )


@every_rank
@pytest.mark.parametrize("norm", [SelfModulatedBatchNorm, ConditionalBatchNorm])
def test_modulation_starts_as_plain_normalization(norm, rank):
    # The conditional norm does so by default.
    options = {} if norm is ConditionalBatchNorm else {"kernel_initializer": "zeros"}
    plain, modulated = BatchNorm(), norm(**options)
    for layer in (plain, modulated):
        layer.build(*shapes(rank))
    for training in (True, False):
        np.testing.assert_allclose(
            modulated(*arguments(rank=rank), training=training),
            plain(*arguments(rank=rank), training=training),
            atol=1e-6,
        )
    np.testing.assert_allclose(
        np.array(modulated.moving_variance), np.array(plain.moving_variance), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "count"), [("self_modulated_sn", 3), ("conditional_sn", 2)]
)
def test_training_advances_the_vector_of_every_kernel(kind, count):
    layer = built(kind)
    vectors = [v for v in layer.non_trainable_variables if v.name == "u"]
    assert len(vectors) == count
    for training in (False, True):
        before = values(vectors)
        layer(*arguments(), training=training)
        for vector, value in zip(vectors, before, strict=True):
            moved = np.abs(np.array(vector) - value).max()
            assert moved > 1e-3 if training else moved == 0.0


@pytest.mark.parametrize("norm", [SelfModulatedBatchNorm, ConditionalBatchNorm])
def test_the_initializer_reaches_every_kernel_with_numbers_of_its_own(norm):
    layer = norm(kernel_initializer=keras.initializers.RandomNormal(stddev=0.5))
    layer.build(*shapes())
    gamma, beta = np.array(layer.gamma.kernel), np.array(layer.beta.kernel)
    for difference in (gamma, beta, gamma - beta):
        assert np.abs(difference).max() > 0.1


def gradients(layer, inputs, latents, label_vectors, weights):
    """Outputs, and gradients of the sum of weights * outputs."""
    with tf.GradientTape() as tape:
        tape.watch([inputs, latents, label_vectors])
        outputs = layer(inputs, latents, label_vectors, training=True)
        loss = tf.reduce_sum(weights * outputs)
    points = [inputs, latents, label_vectors]
    points += [v.value for v in layer.trainable_variables]
    return [outputs, *tape.gradient(loss, points, unconnected_gradients="zero")]


@every_norm
@every_rank
def test_two_replicas_with_half_the_batch_equal_one_with_the_whole(
    kind, rank, two_replicas
):
    inputs, *codes = arguments(rank=rank)
    # The halves differ, so moments of one share would be wrong.
    inputs[4:] = 2 * inputs[4:] + 1
    weights = np.random.default_rng(5).normal(size=inputs.shape).astype("float32")
    single = built(kind, rank=rank)
    with two_replicas.scope():
        layer = built(kind, rank=rank)
    copy_weights(single, layer)

    @tf.function
    def step(*shares):
        return two_replicas.run(gradients, args=(layer, *shares))

    shares = [halves(two_replicas, array) for array in (inputs, *codes, weights)]
    shared = map(two_replicas.experimental_local_results, step(*shares))
    whole = gradients(single, *map(tf.constant, (inputs, *codes, weights)))
    for i, (parts, expected) in enumerate(zip(shared, whole, strict=True)):
        assert len(parts) == 2
        # Outputs and gradients by example are split, gradients by weight are summed.
        joined = np.concatenate(parts) if i < 4 else parts[0] + parts[1]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(joined, expected, rtol=1e-4, atol=2e-5 * scale)
    for ours, expected in zip(layer.variables, single.variables, strict=True):
        copies = two_replicas.experimental_local_results(ours.value)
        assert len(copies) == 2
        np.testing.assert_array_equal(copies[0], copies[1])
        np.testing.assert_allclose(copies[0], np.array(expected), rtol=1e-5, atol=1e-6)


def test_moments_across_replicas_survive_a_large_mean(two_replicas):
    # E[a^2] - E[a]^2 loses all digits here and may be negative.
    rng = np.random.default_rng(0)
    images = (300 + 0.01 * rng.normal(size=(8, 4, 4, 3))).astype("float32")
    images[..., 2] = 77.7  # a dead channel
    mean, variance = two_replicas.run(
        tf.function(lambda x: cross_replica_moments(x, [0, 1, 2])),
        args=(halves(two_replicas, images),),
    )
    expected = moments(images)
    for copy in two_replicas.experimental_local_results(mean):
        np.testing.assert_allclose(copy, expected[0], rtol=1e-6)
    for copy in two_replicas.experimental_local_results(variance):
        np.testing.assert_allclose(copy, expected[1], rtol=1e-2, atol=1e-6)


class SmallNet(keras.Model):
    """Three norms in a row, two of them in a list, with spectral norm between."""

    def __init__(self):
        super().__init__()
        self.first = Dense(5, spectral_norm="left")
        self.middle = [
            SelfModulatedBatchNorm(momentum=0.5, spectral_norm="right"),
            Dense(4, spectral_norm="auto"),
            ConditionalBatchNorm(momentum=0.99),
        ]
        self.last = BatchNorm()
        self.norms = [self.middle[0], self.middle[2], self.last]
        # The inputs of all norms, for every call.
        self.norm_inputs = []

    def call(self, latents, label_vectors, training=False):
        # All batches have different means at all norms.
        hidden = self.first(latents, training=training)
        norm_inputs = []
        for layer in (*self.middle, self.last):
            if layer in self.norms:
                norm_inputs.append(hidden)
                hidden = layer(hidden, latents, label_vectors, training=training)
                hidden = tf.nn.relu(hidden) + 0.1 * hidden
            else:
                hidden = layer(hidden, training=training)
        if tf.executing_eagerly():
            self.norm_inputs.append([np.array(inputs) for inputs in norm_inputs])
        return hidden


def small_net(seed=0):
    net = SmallNet()
    net(tf.zeros((2, LATENT_DIM)), tf.zeros((2, LABEL_DIM)))
    randomize(net, seed)
    net.norm_inputs.clear()
    return net


def codes_of(i):
    """Latents and label vectors of batch i, with different means."""
    _, latents, label_vectors = arguments(seed=i)
    return latents * (1 + i) + i, label_vectors - i


def moving_moments(net):
    return [np.array(m) for n in net.norms for m in (n.moving_mean, n.moving_variance)]


class TestStandingStatistics:
    @pytest.mark.parametrize("num_batches", [1, 3])
    def test_averages_over_batches(self, num_batches):
        net = small_net()
        calls = []

        def call(i):
            calls.append(i)
            net(*codes_of(i), training=True)

        standing_statistics(net, call, num_batches)
        assert calls == list(range(num_batches))
        expected = [
            np.mean([moments(batch[k])[which] for batch in net.norm_inputs], axis=0)
            for k in range(3)
            for which in (0, 1)
        ]
        assert_close(moving_moments(net), expected, rtol=1e-4, atol=1e-5)

    def test_only_the_moments_change(self):
        net = small_net()
        before = {v.path: np.array(v) for v in net.variables}
        standing_statistics(net, lambda i: net(*codes_of(i), training=True), 2)
        names = {v.path for n in net.norms for v in (n.moving_mean, n.moving_variance)}
        assert len(names) == 6
        for variable in net.variables:
            same = np.array_equal(np.array(variable), before[variable.path])
            assert same == (variable.path not in names), variable.path
        assert any(variable.name == "u" for variable in net.variables)
        assert [norm.momentum for norm in net.norms] == [0.5, 0.99, 0.9]

    def test_a_new_traced_function_gives_the_same(self):
        eager, traced = small_net(), small_net()
        standing_statistics(eager, lambda i: eager(*codes_of(i), training=True), 3)
        run = tf.function(lambda *codes: traced(*codes, training=True))
        standing_statistics(traced, lambda i: run(*map(tf.constant, codes_of(i))), 3)
        assert_close(traced, eager, rtol=1e-4, atol=1e-5)

    def test_two_replicas(self, two_replicas):
        single = small_net()
        standing_statistics(single, lambda i: single(*codes_of(i), training=True), 2)
        with two_replicas.scope():
            net = small_net()

        @tf.function
        def run(*codes):
            two_replicas.run(lambda *share: net(*share, training=True), args=codes)

        standing_statistics(
            net, lambda i: run(*(halves(two_replicas, c) for c in codes_of(i))), 2
        )
        for ours, expected in zip(net.variables, single.variables, strict=True):
            for copy in two_replicas.experimental_local_results(ours.value):
                np.testing.assert_allclose(copy, np.array(expected), 1e-4, 1e-5)

    def test_an_error_leaves_everything_as_it_was(self):
        net = small_net()
        before = values(net)

        def call(i):
            net(*codes_of(i), training=True)
            if i == 1:
                raise RuntimeError("out of batches")

        with pytest.raises(RuntimeError, match="out of batches"):
            standing_statistics(net, call, 3)
        assert_equal(net, before)
        assert [norm.momentum for norm in net.norms] == [0.5, 0.99, 0.9]

    def test_rejects_a_function_that_was_traced_before(self):
        net = small_net()
        run = tf.function(lambda *codes: net(*codes, training=True))
        run(*map(tf.constant, codes_of(0)))
        before = values(net)
        with pytest.raises(ValueError, match=r"call\(0\)"):
            standing_statistics(net, lambda i: run(*map(tf.constant, codes_of(i))), 2)
        assert_equal(net, before)

    def test_rejects_inference_and_no_batches(self):
        net = small_net()
        with pytest.raises(ValueError, match=r"moving_mean after call\(0\)"):
            standing_statistics(net, lambda i: net(*codes_of(i)), 2)
        with pytest.raises(ValueError, match="num_batches=0"):
            standing_statistics(net, lambda i: None, 0)


@pytest.mark.parametrize(
    "norm", [BatchNorm, SelfModulatedBatchNorm, ConditionalBatchNorm]
)
def test_refuses_numbers_and_shapes(norm):
    for name, value in (("momentum", -0.1), ("momentum", 1.0), ("epsilon", 0.0)):
        with pytest.raises(ValueError, match=f"{name}={value}"):
            norm(**{name: value})
    for shape in ((None,), (None, 4, 4), (None, 2, 4, 4, 4)):
        with pytest.raises(ValueError, match="inputs_shape="):
            norm().build(shape, *shapes()[1:])


def test_refuses_calls_without_latents_or_labels():
    inputs, latents, label_vectors = arguments()
    for layer in (built("self_modulated"), SelfModulatedBatchNorm()):
        with pytest.raises(ValueError, match="latents=None"):
            layer(inputs, None, label_vectors)
    for layer in (built("conditional"), ConditionalBatchNorm()):
        with pytest.raises(ValueError, match="label_vectors=None"):
            layer(inputs, latents)
    with pytest.raises(ValueError, match=r"label_vectors_shape=\(8,\)"):
        ConditionalBatchNorm().build(SHAPE, None, (8,))


@pytest.mark.parametrize(
    "zeros", [{}, {"kernel_initializer": keras.initializers.Zeros()}]
)
def test_a_zero_kernel_cannot_be_normalized(zeros):
    with pytest.raises(ValueError, match="spectral_norm='left'"):
        ConditionalBatchNorm(spectral_norm="left", **zeros)
