"""Adam and the moving average of weights against their equations."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import (
    NumpyAdam,
    assert_close,
    assert_equal,
    randomize,
    tiny_generator,
    values,
)

from ssgan_tf.optimizers import Adam, update_average

SHAPES = [(3, 2), (4,)]
# Five steps: gradients large and small, one of them zero.
GRADIENTS = [
    [
        np.random.default_rng((step, i)).normal(size=shape) * 10.0 ** (1 - 2 * step)
        for i, shape in enumerate(SHAPES)
    ]
    for step in range(4)
] + [[np.zeros(shape) for shape in SHAPES]]


def updated(strategy, betas, jit_compile=False):
    """The weights after every step, with the gradients split among the replicas."""
    with strategy.scope():
        weights = [keras.Variable(np.ones(shape, "float32")) for shape in SHAPES]
        optimizer = Adam(0.01, *betas, epsilon=1e-4)
        optimizer.build(weights)

    @tf.function(jit_compile=jit_compile)
    def step(*gradients):
        def replica():
            # A replica needs its own tensor, not one that the replicas share.
            optimizer.apply([tf.identity(g) for g in gradients], weights)

        strategy.run(replica)

    history = []
    for gradients in GRADIENTS:
        # Gradients of the replicas are added up.
        share = strategy.num_replicas_in_sync
        step(*(tf.constant(g / share, tf.float32) for g in gradients))
        history.append([weight.numpy() for weight in weights])
    assert optimizer.iterations.numpy() == len(GRADIENTS)
    return history


def expected(betas):
    adam = NumpyAdam(0.01, *betas, epsilon=1e-4)
    weights, history = [np.ones(shape) for shape in SHAPES], []
    for gradients in GRADIENTS:
        weights = adam.update(weights, gradients)
        history.append(weights)
    return history


def check(history, betas):
    for step, want in zip(history, expected(betas), strict=True):
        assert_close(step, want, rtol=0, atol=3e-7)


@pytest.mark.parametrize("betas", [(0.0, 0.9), (0.5, 0.999), (0.9, 0.9)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_steps_are_those_of_the_paper(betas, jit_compile):
    check(updated(tf.distribute.get_strategy(), betas, jit_compile), betas)


def test_defaults_matter_for_small_gradients():
    theirs = NumpyAdam(0.01, 0.9, 0.999, epsilon=1e-8)
    optimizer, weight = Adam(0.01), keras.Variable([1.0, -1.0])
    expected = [np.array([1.0, -1.0])]
    for gradient in ([1e-6, -3e-6], [2e-6, 1e-6]):
        optimizer.apply([tf.constant(gradient)], [weight])
        expected = theirs.update(expected, [np.array(gradient)])
        np.testing.assert_allclose(weight.numpy(), expected[0], rtol=0, atol=3e-7)


def test_replicas_add_their_gradients(two_replicas):
    check(updated(two_replicas, (0.5, 0.9)), (0.5, 0.9))


def test_the_rate_may_follow_a_schedule():
    weight = keras.Variable([1.0])
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.125])
    optimizer = Adam(rates, beta_1=0.0, beta_2=0.0)
    weights = []
    for _ in range(2):
        optimizer.apply([tf.constant([3.0])], [weight])
        weights.append(float(weight.numpy()[0]))
    # With both betas 0 a step is the rate, whatever the gradient.
    np.testing.assert_allclose(weights, [0.5, 0.375], atol=1e-6)


def test_average_has_its_closed_form():
    decays = [0.0, 0.9, 0.5, 0.99]
    average, model = tiny_generator(seed=1), tiny_generator(seed=2)
    history = [values(average.trainable_variables)]
    for step, decay in enumerate(decays):
        randomize(model, seed=10 + step)
        history.append(values(model.trainable_variables))
        update_average(average, model, tf.constant(decay))
        assert_equal(average.non_trainable_variables, model.non_trainable_variables)
    # average = sum_k (1 - d_k) prod_{l > k} d_l w_k, w_0 the start (weight prod d).
    shares = [np.prod(decays)] + [
        (1 - decay) * np.prod(decays[k + 1 :]) for k, decay in enumerate(decays)
    ]
    np.testing.assert_allclose(sum(shares), 1.0)
    for i, mean in enumerate(values(average.trainable_variables)):
        expected = sum(
            s * np.float64(w[i]) for s, w in zip(shares, history, strict=True)
        )
        np.testing.assert_allclose(mean, expected, atol=1e-6)
