"""Dense, convolution and transposed convolution against explicit sums in NumPy."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from ssgan_tf.layers import Conv2D, Conv2DTranspose, Dense


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(layer, input_shape):
    layer.build(input_shape)
    for seed, variable in enumerate(layer.variables, start=10):
        variable.assign(noise(*variable.shape, seed=seed))
    return layer


def padding(size, out_size, kernel_size, strides):
    """The padding of "SAME" before and after; the smaller half is before."""
    total = max((out_size - 1) * strides + kernel_size - size, 0)
    return total // 2, total - total // 2


def convolution(images, kernel, strides):
    """Every output position is the weighted sum of its window."""
    images, kernel = np.float64(images), np.float64(kernel)
    size = len(kernel)
    out = [-(-n // strides) for n in images.shape[1:3]]
    pads = [
        padding(n, o, size, strides)
        for n, o in zip(images.shape[1:3], out, strict=True)
    ]
    padded = np.pad(images, [(0, 0), *pads, (0, 0)])
    outputs = np.zeros((len(images), *out, kernel.shape[-1]))
    for i, j in itertools.product(*map(range, out)):
        window = padded[:, i * strides :, j * strides :][:, :size, :size]
        outputs[:, i, j] = np.tensordot(window, kernel, axes=3)
    return outputs


def transposed_convolution(images, kernel, strides, lacking=0):
    """Every input position adds a scaled kernel to its window of the output."""
    images, kernel = np.float64(images), np.float64(kernel)
    batch, height, width, _ = images.shape
    size = len(kernel)
    before, _ = padding(strides * height - lacking, height, size, strides)
    wide = np.zeros(
        (batch, strides * height + size, strides * width + size, kernel.shape[2])
    )
    for i, j in itertools.product(range(height), range(width)):
        wide[:, i * strides : i * strides + size, j * strides : j * strides + size] += (
            np.einsum("bi,hwoi->bhwo", images[:, i, j], kernel)
        )
    height, width = strides * height - lacking, strides * width - lacking
    return wide[:, before : before + height, before : before + width]


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense(use_bias):
    layer = built(Dense(4, use_bias=use_bias), (None, 6))
    inputs = noise(5, 6)
    bias = np.array(layer.bias) if use_bias else 0
    np.testing.assert_allclose(
        layer(inputs), inputs @ np.array(layer.kernel) + bias, atol=1e-5
    )
    assert [v.name for v in layer.variables] == ["kernel", "bias"][: 1 + use_bias]


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kernel_size", [1, 3, 4, 5])
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("size", [(6, 6), (5, 8)])
def test_convolution(kernel_size, strides, size, use_bias):
    layer = built(Conv2D(4, kernel_size, strides, use_bias=use_bias), (None, *size, 3))
    images = noise(2, *size, 3)
    bias = np.array(layer.bias) if use_bias else 0
    outputs = layer(images)
    np.testing.assert_allclose(
        outputs, convolution(images, layer.kernel, strides) + bias, atol=1e-4
    )


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kernel_size", [1, 3, 4, 5])
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("size", [(3, 3), (1, 4)])
def test_transposed_convolution(kernel_size, strides, size, use_bias):
    layer = built(
        Conv2DTranspose(4, kernel_size, strides, use_bias=use_bias), (None, *size, 3)
    )
    assert layer.kernel.shape == (kernel_size, kernel_size, 4, 3)
    images = noise(2, *size, 3)
    bias = np.array(layer.bias) if use_bias else 0
    outputs = layer(images)
    assert outputs.shape == (2, strides * size[0], strides * size[1], 4)
    np.testing.assert_allclose(
        outputs,
        transposed_convolution(images, layer.kernel, strides) + bias,
        atol=1e-4,
    )


@pytest.mark.parametrize("kernel_size", [1, 3, 4, 5])
def test_transposed_convolution_to_an_odd_size(kernel_size):
    layer = built(Conv2DTranspose(4, kernel_size, 2, output_size=7), (None, 4, 4, 3))
    images = noise(2, 4, 4, 3)
    expected = transposed_convolution(images, layer.kernel, 2, lacking=1)
    np.testing.assert_allclose(layer(images), expected + layer.bias, atol=1e-4)


@pytest.mark.parametrize("layer", [Conv2D(4, 5, 2), Conv2DTranspose(4, 5, 2)])
def test_dynamic_batch(layer):
    built(layer, (None, 6, 6, 3))
    traced = tf.function(layer, [tf.TensorSpec((None, 6, 6, 3))])
    for batch in (1, 3):
        images = noise(batch, 6, 6, 3)
        np.testing.assert_allclose(traced(images), layer(images), atol=1e-5)
    assert traced.experimental_get_tracing_count() == 1


def test_kernels_that_share_an_initializer_differ():
    initializer = keras.initializers.RandomNormal(stddev=0.02)
    for make in (
        lambda: Dense(9, kernel_initializer=initializer),
        lambda: Conv2D(9, kernel_initializer=initializer),
        lambda: Conv2DTranspose(9, 3, 2, kernel_initializer=initializer),
    ):
        layers = make(), make()
        for layer in layers:
            layer.build((None, *(9,) * (1 if isinstance(layer, Dense) else 3)))
        first, second = (np.array(layer.kernel) for layer in layers)
        assert np.abs(first - second).max() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 0}, "units=0"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"strides": -1}, "strides=-1"),
    ],
)
@pytest.mark.parametrize("make", [Conv2D, Conv2DTranspose])
def test_refuses_sizes_below_one(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**{"units": 4, "kernel_size": 3, "strides": 1} | options)


@pytest.mark.parametrize("resample", ["up", "down"])
@pytest.mark.parametrize(("size", "strides"), [(5, 1), (2, 1), (3, 2), (1, 2)])
def test_resampling_knows_small_kernels_and_no_strides(size, strides, resample):
    with pytest.raises(ValueError, match=f"kernel_size={size}, strides={strides}"):
        Conv2D(4, size, strides, resample=resample)
    with pytest.raises(ValueError, match="resample='half'"):
        Conv2D(4, resample="half")
