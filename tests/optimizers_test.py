"""Adam in one kernel against Kingma and Ba's equations, on one device and on two."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import NumpyAdam

from ssgan_tf.optimizers import Adam

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
    """The weights after every step."""
    with strategy.scope():
        weights = [keras.Variable(np.ones(shape, "float32")) for shape in SHAPES]
        optimizer = Adam(0.01, *betas, epsilon=1e-4)
        optimizer.build(weights)

    @tf.function(jit_compile=jit_compile)
    def step(*gradients):
        def replica():
            # A tensor that the replicas share is no value of a replica.
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
        for ours, theirs in zip(step, want, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-7)


@pytest.mark.parametrize("betas", [(0.0, 0.9), (0.5, 0.999), (0.9, 0.9)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_steps_are_those_of_the_paper(betas, jit_compile):
    check(updated(tf.distribute.get_strategy(), betas, jit_compile), betas)


def test_replicas_add_their_gradients(two_replicas):
    check(updated(two_replicas, (0.5, 0.9)), (0.5, 0.9))


def test_the_rate_may_follow_a_schedule():
    weight = keras.Variable([1.0])
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.125])
    optimizer = Adam(rates, beta_1=0.0, beta_2=0.0)
    seen = []
    for _ in range(2):
        optimizer.apply([tf.constant([3.0])], [weight])
        seen.append(float(weight.numpy()[0]))
    # With both betas 0 a step is the rate, whatever the gradient.
    np.testing.assert_allclose(seen, [0.5, 0.375], atol=1e-6)
