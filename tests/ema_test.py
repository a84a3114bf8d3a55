"""The moving average of G against its closed form."""

import numpy as np
import tensorflow as tf
from oracles import randomize, tiny_generator, values

from ssgan_tf import optimizers


def test_closed_form_over_varying_weights():
    decays = [0.0, 0.9, 0.5, 0.99]
    average, model = tiny_generator(seed=1), tiny_generator(seed=2)
    history = [values(average.trainable_variables)]
    for step, decay in enumerate(decays):
        randomize(model, seed=10 + step)
        history.append(values(model.trainable_variables))
        optimizers.update_average(average, model, tf.constant(decay))
        for ours, theirs in zip(
            average.non_trainable_variables, model.non_trainable_variables, strict=True
        ):
            np.testing.assert_array_equal(np.array(ours), np.array(theirs))
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


def test_decay_0_copies():
    average, model = tiny_generator(seed=1), tiny_generator(seed=2)
    before = values(model)
    optimizers.update_average(average, model, 0.0)
    for ours, theirs, unchanged in zip(
        values(average), values(model), before, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(theirs, unchanged)


def test_decay_1_keeps_the_average():
    average, model = tiny_generator(seed=1), tiny_generator(seed=2)
    before = values(average.trainable_variables)
    optimizers.update_average(average, model, tf.constant(1.0))
    for ours, unchanged in zip(
        values(average.trainable_variables), before, strict=True
    ):
        np.testing.assert_array_equal(ours, unchanged)
