"""The train step compiled as a whole by XLA against the same step uncompiled."""

import pytest
import tensorflow as tf
from objectives import (
    FEW_LABELS,
    MINIMAX,
    PLAIN,
    assert_same_logs,
    on_one_device,
    variables,
)
from oracles import assert_close

from ssgan_tf.utils import strategies


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "d_steps"),
    [(MINIMAX, 2), (FEW_LABELS, 1)],
    ids=["minimax", "few labels"],
)
def test_the_compiled_step_is_the_same_step(objective, d_steps):
    options = dict(adam=True, d_steps=d_steps, steps_per_execution=2)
    results = []
    for jit_compile in (False, True):
        compiled = objective._replace(
            options=objective.options | {"jit_compile": jit_compile}
        )
        gan, logs, _ = on_one_device(compiled, 4, 2, **options)
        assert gan.jit_compile is jit_compile
        results.append((gan, logs))
    (plain, expected), (ours, logs) = results
    assert_same_logs(logs, expected)
    assert_close(variables(ours), variables(plain), rtol=1e-4, atol=1e-5)


def test_xla_compiles_the_whole_step():
    # XLA refuses this graph, so the compiled step must fail.
    options = dict(adam=False, d_steps=1, steps_per_execution=1)
    task = FEW_LABELS.options["tasks"][0]

    class Host(type(task)):
        def g_loss(self, fake, step):
            loss, logs = super().g_loss(fake, step)
            hosted = tf.numpy_function(lambda value: value, [loss], tf.float32)
            return tf.reshape(hosted, ()), logs

    objective = PLAIN._replace(options={"tasks": [Host(24)], "jit_compile": True})
    with pytest.raises(tf.errors.InvalidArgumentError, match="PyFunc"):
        on_one_device(objective, 1, 1, **options)


@pytest.mark.parametrize(
    ("setting", "expected"), [("auto", False), ("true", True), ("false", False)]
)
def test_cpus_are_left_to_onednn(setting, expected):
    strategy = strategies.get_strategy("one_device")
    assert strategies.jit_compiles(setting, strategy) is expected


def test_neither_replicas_nor_pieces_are_compiled(two_replicas):
    assert not strategies.jit_compiles("auto", two_replicas)
    with pytest.raises(ValueError, match="replicas=2, accumulate=1"):
        strategies.jit_compiles("true", two_replicas)
    strategy = strategies.get_strategy("one_device")
    assert not strategies.jit_compiles("auto", strategy, accumulate=2)
    with pytest.raises(ValueError, match="replicas=1, accumulate=2"):
        strategies.jit_compiles("true", strategy, accumulate=2)
    with pytest.raises(ValueError, match="--jit_compile=yes"):
        strategies.jit_compiles("yes", two_replicas)
