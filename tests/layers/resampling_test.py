"""The cheap forms of resampled convolutions against the plain forms."""

import numpy as np
import oracles
import pytest
import tensorflow as tf

from ssgan_tf.layers import Conv2D, resampling

FORMS = [
    (resampling.conv, oracles.conv3x3),
    (resampling.upsample_conv, oracles.upsample_conv),
    (resampling.conv_downsample, oracles.conv_downsample),
]
SIZES = [(1, 1), (2, 2), (3, 3), (4, 4), (7, 7), (8, 8), (4, 6), (5, 4), (6, 3)]
KERNEL_SIZES = [1, 3]
every_form = pytest.mark.parametrize(
    ("form", "plain"), FORMS, ids=lambda f: f.__module__ + "." + f.__name__
)


def noise(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape))


def as_3x3(kernel):
    """The oracles need 3x3 kernels: a 1x1 kernel gets a border of zeros."""
    margin = (3 - kernel.shape[0]) // 2
    return tf.pad(kernel, [[margin, margin], [margin, margin], [0, 0], [0, 0]])


def test_the_plain_forms_are_those_of_compare_gan():
    # The oracles against TensorFlow's operations.
    images, kernel = noise(2, 5, 6, 3), noise(3, 3, 3, 4, seed=1)
    conv = tf.nn.conv2d(images, kernel, 1, "SAME")
    np.testing.assert_allclose(oracles.conv3x3(images, kernel), conv, atol=1e-12)
    pooled = tf.nn.avg_pool2d(conv, 2, 2, "SAME")
    np.testing.assert_allclose(
        oracles.conv_downsample(images, kernel), pooled, atol=1e-12
    )
    spread = np.zeros((2, 10, 12, 3))
    spread[:, ::2, ::2] = images
    for insert_zeros in (oracles.insert_zeros, resampling.insert_zeros):
        np.testing.assert_array_equal(insert_zeros(images), spread)
    np.testing.assert_allclose(
        resampling.average_pool(images), oracles.average_pool(images), atol=1e-12
    )


@every_form
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("in_channels", "out_channels"), [(3, 2), (1, 4)])
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
def test_values_and_gradients(
    form, plain, height, width, in_channels, out_channels, kernel_size
):
    points = (
        noise(2, height, width, in_channels),
        noise(kernel_size, kernel_size, in_channels, out_channels, seed=1),
    )
    results = []
    for function in (form, lambda x, kernel: plain(x, as_3x3(kernel))):
        with tf.GradientTape() as tape:
            tape.watch(points)
            outputs = function(*points)
            # Unequal weights show exchanged outputs.
            loss = tf.reduce_sum(outputs * noise(*outputs.shape, seed=2))
        results.append((outputs, *tape.gradient(loss, points)))
    for ours, expected in zip(*results, strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, atol=1e-12)


@every_form
@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
def test_dynamic_batch(form, plain, size, kernel_size):
    kernel = noise(kernel_size, kernel_size, 3, 4, seed=1)
    signature = [tf.TensorSpec((None, size, size, 3), tf.float64)]

    @tf.function(input_signature=signature)
    def function(images):
        return form(images, kernel)

    for batch in (1, 3):
        images = noise(batch, size, size, 3)
        np.testing.assert_allclose(
            function(images), plain(images, as_3x3(kernel)), atol=1e-12
        )


def multiplications(function, *shapes):
    """Multiplications of the convolutions in a traced function, from their shapes."""
    specs = [tf.TensorSpec(shape) for shape in shapes]
    graph = tf.function(function).get_concrete_function(*specs).graph
    total = 0
    for op in graph.get_operations():
        if op.type == "Conv2D":
            places, kernel = op.outputs[0].shape, op.inputs[1].shape
        elif op.type == "Conv2DBackpropInput":
            places, kernel = op.inputs[2].shape, op.inputs[1].shape
        else:
            continue
        total += np.prod(places[:3]) * np.prod(kernel)
    return total


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
def test_resampling_takes_a_quarter_of_the_multiplications(kernel_size):
    kernel = (kernel_size, kernel_size, 3, 4)
    taps = kernel_size**2 * 3 * 4
    small, large = (2, 4, 4, 3), (2, 8, 8, 3)
    assert multiplications(resampling.conv, large, kernel) == 2 * 8 * 8 * taps
    for form, shape in (("upsample_conv", small), ("conv_downsample", large)):
        cost = multiplications(getattr(resampling, form), shape, kernel)
        assert cost == 2 * 4 * 4 * taps


@pytest.mark.parametrize("resample", ["none", "up", "down"])
@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
def test_layer_adds_the_bias_to_every_place(resample, kernel_size):
    # Inserted zeros get the bias too; no convolution changes it.
    plain = dict(zip(("none", "up", "down"), (p for _, p in FORMS), strict=True))
    layer = Conv2D(4, kernel_size, resample=resample)
    layer.build((None, 6, 6, 3))
    layer.bias.assign(tf.cast(noise(4, seed=4), tf.float32))
    images = tf.cast(noise(2, 6, 6, 3, seed=3), tf.float32)
    expected = plain[resample](images, as_3x3(tf.convert_to_tensor(layer.kernel)))
    np.testing.assert_allclose(
        layer(images), expected + np.array(layer.bias), atol=1e-5
    )
