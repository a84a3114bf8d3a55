"""The count of floating-point operations against counting by hand."""

import pytest
import tensorflow as tf

from ssgan_tf.layers import resampling
from ssgan_tf.training import dry_run


def flops(function, *shapes):
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    return dry_run.count_flops(
        tf.function(function).get_concrete_function(*specs).graph
    )


def with_gradients(function, wanted):
    def differentiated(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(*inputs)
        return tape.gradient(outputs, [inputs[i] for i in wanted])

    return differentiated


IMAGES, KERNEL = (2, 8, 8, 3), (3, 3, 3, 5)


def test_convolution():
    assert flops(resampling.conv, IMAGES, KERNEL) == 2 * (2 * 8 * 8 * 5) * (9 * 3)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_matrix_products(batch):
    once = 2 * 3 * 4 * 5 * (batch or (1,))[0]
    assert flops(tf.matmul, (*batch, 3, 4), (*batch, 4, 5)) == once
    for wanted in ([0], [1]):
        squared = with_gradients(lambda x, y: tf.square(tf.matmul(x, y)), wanted)
        assert flops(squared, (*batch, 3, 4), (*batch, 4, 5)) == 2 * once


def test_transposed_convolution():
    # A quarter of the multiplications at the 16 x 16 places of the output.
    plain = 2 * (2 * 16 * 16 * 5) * (9 * 3)
    assert flops(resampling.upsample_conv, IMAGES, KERNEL) == plain // 4


def test_strided_convolution():
    plain = 2 * (2 * 8 * 8 * 5) * (9 * 3)
    assert flops(resampling.conv_downsample, IMAGES, KERNEL) == plain // 4


@pytest.mark.parametrize(
    "function",
    [resampling.conv, resampling.upsample_conv, resampling.conv_downsample],
)
def test_each_gradient_costs_as_much_as_the_convolution(function):
    # TensorFlow writes down both gradients of a convolution; one that nobody asked
    # for is pruned and never runs.
    once = flops(function, IMAGES, KERNEL)
    for wanted in ([0], [1], [0, 1]):
        # The gradient of a square needs the forward pass too.
        total = flops(
            with_gradients(lambda x, k: tf.square(function(x, k)), wanted),
            IMAGES,
            KERNEL,
        )
        assert total == (1 + len(wanted)) * once


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matrix_product(transpose_a, transpose_b):
    left = (7, 4) if transpose_a else (4, 7)
    right = (5, 7) if transpose_b else (7, 5)

    def product(a, b):
        outputs = tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
        return tf.square(outputs)

    once = 2 * 4 * 7 * 5
    assert flops(product, left, right) == once
    assert flops(with_gradients(product, [0, 1]), left, right) == 3 * once


def test_everything_else_is_free():
    assert flops(lambda x: tf.reduce_sum(tf.nn.relu(x) + 1), IMAGES) == 0
