"""Adam in one kernel per variable, loss scaling, and the moving average of weights."""

import keras
import tensorflow as tf


class Adam(keras.optimizers.Adam):
    """Keras's Adam with TensorFlow's fused kernel instead of a dozen operations.

        m <- m + (1 - beta_1) (g - m)
        v <- v + (1 - beta_2) (g^2 - v)
        w <- w - rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    Args:
        learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`.
        beta_1: float in [0, 1). 0 in most of the paper's experiments.
        beta_2: float in [0, 1).
        epsilon: float. 1e-8 as in TensorFlow 1; Keras's default is 1e-7.

    Reference:
        - Kingma and Ba, 2015, section 2 (epsilon as just before section 2.1),
          https://arxiv.org/abs/1412.6980
    """

    def __init__(
        self,
        learning_rate,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
    ):
        super().__init__(learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        moments = self._momentums[index], self._velocities[index]
        step = tf.cast(self.iterations.value + 1, tf.float32)
        # Inside a strategy `variable` is the replica's TensorFlow variable.
        weights = variable if isinstance(variable, tf.Variable) else variable.value
        tf.raw_ops.ResourceApplyAdam(
            var=weights.handle,
            m=moments[0].value.handle,
            v=moments[1].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class LossScaled(keras.optimizers.LossScaleOptimizer):
    """Keras's dynamic loss scale for float16, with skipped steps counted.

    The loss is multiplied by a scale, so that float16 does not round small gradients to
    zero. If a gradient overflows on any replica, the step leaves the weights unchanged
    and halves the scale; 2,000 steps without overflow double it. Keras does not count a
    skipped step and checks the first replica only. Noise, data and checkpoints are
    functions of the step number, so here every step counts.

    Args:
        optimizer: the optimizer that applies the unscaled gradients.

    Reference:
        - Micikevicius et al., 2018, section 3.2, https://arxiv.org/abs/1710.03740
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        super().__init__(optimizer)

    @property
    def iterations(self):
        return self._iterations

    def apply(self, grads, trainable_variables=None):
        replica = tf.distribute.get_replica_context()
        overflow = tf.logical_not(self.check_finite(grads))
        overflows = replica.all_reduce("SUM", tf.cast(overflow, tf.float32))
        # NaN makes Keras skip the step on all replicas.
        first, *others = grads
        first = tf.where(overflows > 0, tf.constant(float("nan"), first.dtype), first)
        super().apply([first, *others], trainable_variables)
        self._iterations.assign_add(1)


def update_average(average: keras.Model, model: keras.Model, decay: tf.Tensor) -> None:
    """One step of a moving average of weights, in place.

        average <- decay * average + (1 - decay) * weight

    Variables that are not trained (moments of batch norm, spectral-norm vectors) are
    copied.

    Args:
        average: built model of the same architecture. Changed.
        model: the trained model.
        decay: scalar in [0, 1]. 0 copies everything.
    """
    means, weights = average.trainable_variables, model.trainable_variables
    for mean, weight in zip(means, weights, strict=True):
        mean.assign(decay * mean + (1.0 - decay) * weight)
    copies, weights = average.non_trainable_variables, model.non_trainable_variables
    for copy, weight in zip(copies, weights, strict=True):
        copy.assign(weight)
