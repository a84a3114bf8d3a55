"""A model with its own train step, without any network of ours."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ssgan_tf.utils.step_model import Diverged, StepModel


class Counter(StepModel):
    """Reports its data and counts its steps."""

    log_names = ["value", "one"]

    def __init__(self):
        super().__init__()
        self.steps = keras.Variable(0, dtype="int64", trainable=False)
        self.mean = keras.Variable(0.0, trainable=False, name="mean")
        self.built = True

    @property
    def step(self):
        return int(self.steps.numpy())

    @property
    def parts(self):
        return {"steps": self.steps, "model": self}

    def train_step(self, data):
        self.steps.assign_add(1)
        return {"value": data, "one": 1.0}


def compiled(steps_per_execution):
    model = Counter()
    model.compile(loss=None, steps_per_execution=steps_per_execution)
    return model


def stream(values):
    return tf.data.Dataset.from_tensor_slices(np.float32(values))


def test_logs_are_means_over_the_steps_of_a_call():
    model = compiled(3)
    history = model.fit(stream([1, 2, 6, 1, 1, 4]), epochs=2, steps_per_epoch=1)
    np.testing.assert_allclose(history.history["value"], [3.0, 2.0])
    np.testing.assert_allclose(history.history["one"], [1.0, 1.0])
    assert model.step == 6


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_log_that_is_not_finite_ends_training(value):
    model = compiled(3)
    with pytest.raises(Diverged, match=f"Received: value={value} at step 5"):
        model.fit(stream([1, 2, 6, 1, value, 2]), epochs=2, steps_per_epoch=1)
    # The call runs to its end.
    assert model.step == 6


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_variables_must_be_finite(value):
    model = Counter()
    model.check_finite()
    model.mean.assign(value)
    with pytest.raises(Diverged, match="1 of 1 variables.*mean.*step 0"):
        model.check_finite()
