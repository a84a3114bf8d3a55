"""The optimizer of the paper's experiments, in one kernel per variable."""

import keras
import tensorflow as tf


class Adam(keras.optimizers.Adam):
    """Keras's Adam, whose update is TensorFlow's fused kernel instead of a dozen ops.

        m <- m + (1 - beta_1) (g - m)
        v <- v + (1 - beta_2) (g^2 - v)
        w <- w - rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    Args:
        learning_rate: float, or a schedule of Keras's.
        beta_1: float in [0, 1). 0 in most of the paper's experiments.
        beta_2: float in [0, 1).
        epsilon: float. 1e-8 as in TensorFlow 1; Keras's own default is 1e-7.

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
        # A strategy hands over its own variable, of one replica, not Keras's.
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
    """Keras's dynamic loss scale for float16, which counts the steps it skips.

    The loss is multiplied by a scale that keeps its gradients above what float16
    rounds to zero. Where a gradient overflows, on any replica, the weights stay as
    they are and the scale is halved; after 2,000 steps without it is doubled. Keras
    does not count such a step, and looks at the gradients of the first replica only:
    but noise, data and checkpoints are functions of the step number.

    Args:
        optimizer: what takes the gradients, divided by the scale.

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
        overflows = replica.all_reduce(
            tf.distribute.ReduceOp.SUM,
            tf.cast(tf.logical_not(self.check_finite(grads)), tf.float32),
        )
        # All replicas skip, or none does.
        first, *others = grads
        first = tf.where(overflows > 0, tf.constant(float("nan"), first.dtype), first)
        super().apply([first, *others], trainable_variables)
        self._iterations.assign_add(1)


def update_average(average: keras.Model, model: keras.Model, decay: tf.Tensor) -> None:
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
