"""Dry run: sizes, work, memory and the plan of a run, and two steps on fake data."""

import math
import time

import numpy as np
import tensorflow as tf

from ssgan_tf import config
from ssgan_tf.training import loop
from ssgan_tf.utils.machine import memory
from ssgan_tf.utils.progress import clock

# Convolutions -> the kernel, and the small side: the output, or its gradient.
_CONVS = {
    "Conv2D": lambda op: (op.inputs[1], op.outputs[0]),
    "Conv2DBackpropInput": lambda op: (op.inputs[1], op.inputs[2]),
    "Conv2DBackpropFilter": lambda op: (op.outputs[0], op.inputs[2]),
}
# Matrix products -> the attribute for a transposed first factor.
_TRANSPOSED = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x"}


def count_flops(graph: tf.Graph) -> int:
    """Counts multiplications and additions of convolutions and matrix products.

    That is 2 x multiply-accumulates; other ops are negligible in these networks. Shapes
    must be static. Functions called by the graph are not entered.

    Args:
        graph: for example `function.get_concrete_function(...).graph`.
    """
    # TensorFlow adds both gradients of a convolution to the graph, and prunes unused
    # ones later.
    used, stack = set(), [tensor.op for tensor in graph.outputs]
    stack += graph.control_outputs
    while stack:
        op = stack.pop()
        if op not in used:
            used.add(op)
            stack += [tensor.op for tensor in op.inputs] + op.control_inputs
    flops = 0
    for op in used:
        if op.type in _CONVS:
            # Each position is visited once per kernel tap and input channel.
            kernel, positions = _CONVS[op.type](op)
            flops += 2 * math.prod(kernel.shape[:3]) * math.prod(positions.shape)
        elif op.type in _TRANSPOSED:
            *_, rows, inner = op.inputs[0].shape.as_list()
            if op.get_attr(_TRANSPOSED[op.type]):
                inner = rows
            flops += 2 * inner * math.prod(op.outputs[0].shape)
    return flops


def _params(variables) -> int:
    return sum(math.prod(v.shape) for v in variables)


def step_flops(plan: config.Plan) -> int:
    """Floating-point operations of one train step on the global batch.

    Args:
        plan: the configuration.
    """
    # Without a strategy one replica holds the whole batch.
    gan = plan.build_gan()
    shape = (plan.options.disc_iters * plan.options.batch_size, *plan.spec.image_shape)
    step = tf.function(lambda images, labels: gan.train_step((images, labels)))
    specs = tf.TensorSpec(shape, tf.uint8), tf.TensorSpec(shape[:1], tf.int32)
    return count_flops(step.get_concrete_function(*specs).graph)


def dry_run(
    plan: config.Plan, strategy: tf.distribute.Strategy, jit_compile: str = "auto"
) -> str:
    """Builds the run and takes two steps on fake data. Writes nothing.

    Args:
        plan: the configuration.
        strategy: the strategy of the run.
        jit_compile: see `strategies.jit_compiles`.

    Returns:
        Parameters, FLOPs, memory and plan of the run, as text.

    Raises:
        ValueError: the configuration cannot be run.
    """
    gan = loop.build(plan, strategy, jit_compile)
    replicas = strategy.num_replicas_in_sync
    compile_seconds, step_seconds, logs = _two_steps(gan, plan)
    peak = memory()
    lines = [
        *_sizes(gan),
        "",
        f"{step_flops(plan) / 1e9:,.2f} GFLOP per step of the whole batch, forward and "
        "backward",
        f"{step_seconds:.3g} s for one step here, after {compile_seconds:.1f} s to "
        "compile",
        peak,
        "",
        *_plan_in_words(plan, replicas, gan.jit_compile),
        f"time here     about {clock(step_seconds * plan.options.training_steps)}, "
        "if every step takes as long as that one",
        "",
        "second step: " + ", ".join(f"{k} {v:.4g}" for k, v in logs.items()),
        "Two steps on fake data done; nothing written.",
    ]
    return "\n".join(lines)


def _two_steps(gan, plan: config.Plan) -> tuple[float, float, dict[str, float]]:
    """Takes two steps: seconds of the first and the second, and logs of the second."""
    strategy = gan.distribute_strategy
    share = plan.options.batch_size // strategy.num_replicas_in_sync
    shape = (plan.options.disc_iters * share, *plan.spec.image_shape)
    fake_data = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def stream(_) -> tf.data.Dataset:
        labels = tf.zeros(shape[:1], tf.int32)
        return tf.data.Dataset.from_tensors((tf.constant(fake_data), labels)).repeat()

    gan.steps_per_execution = 1
    gan.make_train_function()
    iterator = iter(strategy.distribute_datasets_from_function(stream))
    start = time.monotonic()
    gan.train_function(iterator)
    compiled = time.monotonic()
    logs = {name: float(value) for name, value in gan.train_function(iterator).items()}
    return compiled - start, time.monotonic() - compiled, logs


def _sizes(gan) -> list[str]:
    """The table of parameters and bytes."""
    lines = [f"{'':<16}{'parameters':>14}{'trainable':>14}{'MiB':>10}"]
    optimizers = [*gan.g_optimizer.variables, *gan.d_optimizer.variables]
    average = [] if gan.average is None else gan.average.variables
    for name, variables, trainable in (
        ("generator", gan.generator.variables, gan.generator.trainable_variables),
        (
            "discriminator",
            gan.discriminator.variables,
            gan.discriminator.trainable_variables,
        ),
        ("optimizers", optimizers, []),
        ("average of G", average, []),
    ):
        num_bytes = sum(
            math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in variables
        )
        lines.append(
            f"{name:<16}{_params(variables):>14,}{_params(trainable):>14,}"
            f"{num_bytes / 2**20:>10.1f}"
        )
    return lines


def _plan_in_words(plan: config.Plan, replicas: int, jit_compile: bool) -> list[str]:
    options, settings = plan.options, plan.run
    share = options.batch_size // replicas
    d_updates = options.training_steps * options.disc_iters
    return [
        f"data set      {plan.dataset}, images {plan.spec.image_shape}",
        f"batch         {options.batch_size} on {replicas} replica(s), {share} each"
        + (f", in {options.accumulate} pieces" if options.accumulate > 1 else ""),
        f"precision     {options.precision}"
        + (", compiled by XLA" if jit_compile else ""),
        f"weights       of {settings.warm_start or f'seed {settings.seed}'}",
        f"steps         {options.training_steps:,} of G, {d_updates:,} of D",
        f"real images   {d_updates * options.batch_size:,}",
        f"checkpoints   every {settings.save_checkpoints_steps:,} steps, "
        f"the last {settings.keep_checkpoint_max} kept",
    ]
