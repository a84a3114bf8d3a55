"""Batches in pieces against whole batches."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from objectives import (
    BATCH,
    PLAIN,
    SHARE,
    WITHOUT_MOMENTS,
    assert_same_logs,
    build,
    on_one_device,
    on_replicas,
    variables,
)
from oracles import assert_close, values

from ssgan_tf.gan import Step, accumulate
from ssgan_tf.randomness import Share


def in_pieces(objective, count):
    return objective._replace(options=objective.options | {"accumulate": count})


def test_pieces_start_from_the_same_state_and_leave_its_mean():
    state = keras.Variable(3.0)

    @tf.function
    def run():
        def compute(piece):
            state.assign(2.0 * state + piece)
            return [state + 1.0, tf.constant([10.0**piece])], {"loss": state * 1.0}

        return accumulate(compute, 3, [state])

    gradients, logs = run()
    # The pieces leave 6, 7 and 8.
    np.testing.assert_array_equal(gradients[0], 7 + 8 + 9)
    np.testing.assert_array_equal(gradients[1], [111.0])
    np.testing.assert_array_equal(logs["loss"], 7.0)
    np.testing.assert_array_equal(state.numpy(), 7.0)


def test_pieces_run_one_after_another():
    running, most = [0], []

    def work(piece):
        running[0] += 1
        # Pieces that run at once meet here.
        time.sleep(0.01)
        most.append((int(piece), running[0]))
        running[0] -= 1
        return np.float32(0.0)

    @tf.function
    def run():
        def compute(piece):
            return [tf.numpy_function(work, [piece], tf.float32)], {}

        return accumulate(compute, 4, [])

    run()
    assert most == [(piece, 1) for piece in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "d_steps"), [(2, 2), (4, 1)])
def test_without_moments_pieces_equal_the_batch(count, d_steps):
    options = dict(adam=True, d_steps=d_steps, steps_per_execution=1)
    whole, expected_logs, _ = on_one_device(WITHOUT_MOMENTS, 3, 3, **options)
    ours, logs, _ = on_one_device(in_pieces(WITHOUT_MOMENTS, count), 3, 3, **options)
    assert_same_logs(logs, expected_logs)
    assert_close(variables(ours), variables(whole), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_pieces_of_replicas_equal_the_batch(two_replicas):
    options = dict(adam=True, d_steps=1, steps_per_execution=2)
    _, expected_logs, _ = on_one_device(WITHOUT_MOMENTS, 2, 1, **options)
    pieces = in_pieces(WITHOUT_MOMENTS, 2)
    _, logs = on_replicas(two_replicas, pieces, 2, 1, **options)
    assert_same_logs(logs, expected_logs)


def test_moving_moments_are_means_over_the_pieces():
    options = dict(adam=False, d_steps=2, steps_per_execution=1)
    gan = build(in_pieces(PLAIN, 2), **options)
    before = build(PLAIN, **options)
    norms = _moving(gan)
    starts = values(norms)
    images = np.random.default_rng(0).random((2 * BATCH, 8, 8, 3), np.float32)
    gan.train_step(tf.constant(images))
    # Two passes through G change the moments: one for each update of D. G's own update
    # reuses the fakes of the second.
    expected = starts
    for d_step in (0, 1):
        left = []
        for piece in (0, 1):
            for variable, value in zip(_moving(before), expected, strict=True):
                variable.assign(value)
            step = Step(before, Share(0, 1).piece(piece, 2))
            latents = step.latents(SHARE, d_step)
            before.generator(latents, training=True)
            left.append(values(_moving(before)))
        expected = [np.mean(pair, axis=0) for pair in zip(*left, strict=True)]
    assert_close(norms, expected)
    assert all(np.abs(value).max() > 1e-3 for value in values(norms))


def _moving(gan):
    return [v for v in gan.generator.non_trainable_variables if "moving" in v.path]
