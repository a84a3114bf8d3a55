"""A Keras model with a train step of its own, on one replica or many."""

import keras
import numpy as np
import tensorflow as tf

_CURE = (
    "Lower the learning rates, look at the data, or restore an earlier checkpoint "
    "and continue with other noise."
)


class Diverged(ValueError):
    """A loss or a weight is not a finite number."""


class StepModel(keras.Model):
    """A model whose `train_step` runs several times per call, on all replicas.

    `fit` raises `Diverged` after the first step with a log that is not finite. A
    subclass must be built before `fit`, and defines `train_step`, which returns a
    scalar for each of `log_names`, and the attributes or properties below.

    Attributes:
        log_names: names of the scalars that `train_step` returns.
        step: train steps taken so far.
        parts: all state of training by name: networks, optimizers, variables.
    """

    log_names: list[str]
    step: int
    parts: dict[str, keras.Model | keras.Optimizer | keras.Variable]

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: the model is built already.

        Keras would exchange a batch between the replicas to build it, which fails with
        several workers.
        """

    def make_train_function(self, force: bool = False):
        """Compiles `steps_per_execution` train steps on all replicas into one call.

        Keras's own loop supports neither several steps per execution under
        MirroredStrategy nor scalar logs under MultiWorkerMirroredStrategy.
        The logs are means over the replicas and over the steps of one call.
        """
        if self.train_function is not None and not force:
            return
        strategy = self.distribute_strategy
        num_steps = self.steps_per_execution
        step = self.train_step
        if self.jit_compile:
            step = tf.function(step, jit_compile=True)

        @tf.function
        def take_steps(iterator):
            totals = {name: tf.zeros([]) for name in self.log_names}
            finite_steps = tf.zeros([], tf.int32)
            for _ in tf.range(num_steps):
                logs = strategy.run(step, args=(next(iterator),))
                # The loop carries a name only if it is assigned: so a new dict.
                totals = {
                    name: total + strategy.reduce("MEAN", logs[name], axis=None)
                    for name, total in totals.items()
                }
                # Totals stay NaN or infinite after the first such log.
                finite = tf.math.is_finite([*totals.values()])
                finite_steps += tf.cast(tf.reduce_all(finite), tf.int32)
            logs = {name: total / num_steps for name, total in totals.items()}
            return logs, finite_steps

        def train_function(iterator):
            logs, finite_steps = take_steps(iterator)
            if finite_steps < num_steps:
                first_bad_step = self.step - num_steps + int(finite_steps) + 1
                values = {name: float(value) for name, value in logs.items()}
                bad = [f"{k}={v}" for k, v in values.items() if not np.isfinite(v)]
                raise Diverged(
                    f"Losses must be finite. Received: {', '.join(bad)} at step "
                    f"{first_bad_step}. {_CURE}"
                )
            return logs

        self.train_function = train_function

    def check_finite(self) -> None:
        """Checks that all variables of `parts` are finite.

        Weights can be NaN before a loss is: some kernels turn NaN into 0.

        Raises:
            Diverged: a variable is not finite; the message names it.
        """
        variables = [
            variable
            for part in self.parts.values()
            for variable in getattr(part, "variables", [part])
            if "float" in variable.dtype
        ]
        bad = [
            variable.path
            for variable in variables
            if not tf.reduce_all(tf.math.is_finite(variable.value))
        ]
        if bad:
            raise Diverged(
                f"Weights must be finite. Received: {len(bad)} of {len(variables)} "
                f"variables with NaN or infinity, such as {bad[0]}, at step "
                f"{self.step}. {_CURE}"
            )
