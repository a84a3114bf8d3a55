"""Exponential moving average of a generator, kept as a second generator."""

import keras
import tensorflow as tf


def update(average: keras.Model, model: keras.Model, decay: tf.Tensor) -> None:
    """One step of the average, in place.

        average <- decay * average + (1 - decay) * weight

    Weights that are not trained (moments of batch norm, spectral-norm vectors) are
    averages already, or belong to the latest weights: they are copied. `decay = 0`
    copies everything.

    Args:
        average: model of the same architecture, built. Changed.
        model: the trained model.
        decay: scalar in [0, 1].
    """
    for mean, weight in zip(
        average.trainable_variables, model.trainable_variables, strict=True
    ):
        mean.assign(decay * mean + (1.0 - decay) * weight)
    for copy, weight in zip(
        average.non_trainable_variables, model.non_trainable_variables, strict=True
    ):
        copy.assign(weight)
