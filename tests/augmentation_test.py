"""Augmentation against loops over images and pixels in NumPy, float64."""

import itertools
import math
import re

import numpy as np
import pytest
import tensorflow as tf
from oracles import finite_differences

from ssgan_tf.augmentation import Augmentation

ALL = ("color", "translation", "cutout")
NOISE_SIZES = {"color": 3, "translation": 2, "cutout": 2}


def pixels(image):
    return itertools.product(range(image.shape[0]), range(image.shape[1]))


def colored(image, u):
    """Converts to the paper's range, [-1, 1], and back."""
    signed = 2 * image - 1 + (u[0] - 0.5)
    for i, j in pixels(image):
        grey = sum(signed[i, j]) / image.shape[2]
        signed[i, j] = [grey + 2 * u[1] * (value - grey) for value in signed[i, j]]
    factor = 0.5 + u[2]
    return (factor * signed + (1 - factor) * signed.mean() + 1) / 2


def step_of(u, size):
    """Divides [0, 1) into one equal part per step."""
    steps = list(range(-(size // 8), size // 8 + 1))
    return steps[
        int(np.searchsorted(np.arange(1, len(steps)) / len(steps), u, "right"))
    ]


def translated(image, u):
    down, right = (step_of(u[axis], image.shape[axis]) for axis in (0, 1))
    moved = np.full_like(image, 0.5)
    for i, j in pixels(image):
        if 0 <= i + down < image.shape[0] and 0 <= j + right < image.shape[1]:
            moved[i + down, j + right] = image[i, j]
    return moved


def cut(image, u):
    """The official square, of half the size, around a centre on the image."""
    spans = []
    for axis in (0, 1):
        size = image.shape[axis]
        side = size // 2
        # The centre of an even side is between pixels, at one more position.
        centres = range(size + 1 if side % 2 == 0 else size)
        centre = centres[math.floor(u[axis] * len(centres))]
        first = centre - side // 2
        spans.append(slice(max(first, 0), first + side))
    painted = image.copy()
    painted[tuple(spans)] = 0.5
    return painted


OPERATIONS = {"color": colored, "translation": translated, "cutout": cut}


def expected(policy, images, noise):
    results = []
    for image, numbers in zip(images, noise, strict=True):
        for name in policy:
            image = OPERATIONS[name](image, numbers[: NOISE_SIZES[name]])
            numbers = numbers[NOISE_SIZES[name] :]
        results.append(image)
    return np.stack(results)


def batch(policy, shape=(5, 16, 16, 3), seed=0):
    """Images and noise; the first two rows of the noise are its extremes."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(size=(shape[0], sum(NOISE_SIZES[name] for name in policy)))
    noise[0], noise[1] = 0.0, np.nextafter(np.float32(1), np.float32(0))
    return rng.uniform(size=shape), noise


policies = pytest.mark.parametrize(
    "policy",
    [("color",), ("translation",), ("cutout",), ALL, ("cutout", "color"), 2 * ALL],
    ids="-".join,
)


@policies
# Sizes divisible by 2 and 8 or not; even and odd sides of the square.
@pytest.mark.parametrize(
    "shape", [(5, 16, 16, 3), (4, 13, 13, 3), (3, 48, 48, 1), (4, 10, 10, 1)]
)
def test_images(policy, shape):
    for seed in range(4):
        images, noise = batch(policy, shape, seed)
        shown = Augmentation(policy)(tf.constant(images), tf.constant(noise))
        np.testing.assert_allclose(
            shown, expected(policy, images, noise), rtol=1e-12, atol=1e-13
        )


def test_the_default_is_everything():
    assert Augmentation() == Augmentation(ALL) and Augmentation().noise_size == 7


@policies
def test_gradient(policy):
    images, noise = batch(policy, (2, 8, 8, 3))
    weights = np.random.default_rng(1).normal(size=images.shape)
    point = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(point)
        shown = Augmentation(policy)(point, tf.constant(noise))
        loss = tf.reduce_sum(weights * shown)
    # All operations are affine in the image, so a long step is exact.
    differences = finite_differences(
        lambda x: np.sum(weights * expected(policy, x, noise)), images, step=0.5
    )
    assert np.abs(differences).max() > 0.1
    np.testing.assert_allclose(tape.gradient(loss, point), differences, atol=1e-9)


@pytest.mark.parametrize("compilation", ["eager", "graph", "xla"])
def test_gradient_penalties_reach_through(compilation):
    # d/dw of |d/dx sum(w * A(x)^2)|^2 needs the gradient of the gradient.
    images, noise = [tf.constant(x) for x in batch(ALL, (2, 8, 8, 3))]

    def penalty(weights):
        with tf.GradientTape() as tape:
            tape.watch(images)
            shown = Augmentation(ALL)(images, noise)
            loss = tf.reduce_sum(weights * tf.square(shown))
        return tf.reduce_sum(tf.square(tape.gradient(loss, images)))

    def gradient(weights):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = penalty(weights)
        return tape.gradient(value, weights)

    weights = np.random.default_rng(1).normal(size=(2, 8, 8, 3))
    compiled = gradient
    if compilation != "eager":
        compiled = tf.function(gradient, jit_compile=compilation == "xla")
    # The penalty is quadratic in the weights: <gradient, w> is twice its value.
    slope = np.vdot(compiled(tf.constant(weights)), weights)
    np.testing.assert_allclose(slope, 2 * penalty(tf.constant(weights)), rtol=1e-9)


@policies
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_images_equal_eager_ones(policy, dtype):
    images, noise = batch(policy)
    images = tf.cast(images, dtype)
    noise = tf.constant(noise, tf.float32)
    augment = Augmentation(policy)
    eager = augment(images, noise)
    assert eager.dtype == images.dtype and eager.shape == images.shape
    tolerance = 1e-5 if dtype == "float32" else 0.03
    wanted = expected(policy, tf.cast(images, tf.float64).numpy(), noise.numpy())
    for jit_compile in (False, True):
        compiled = tf.function(augment, jit_compile=jit_compile)(images, noise)
        for result in (eager, compiled):
            result = tf.cast(result, tf.float64)
            np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("policy", [(), ("colour",), ("color", "zoom"), "color", ""])
def test_rejects_a_policy(policy):
    with pytest.raises(ValueError, match=re.escape(f"policy={policy!r}")):
        Augmentation(policy)


@pytest.mark.parametrize("shape", [(5, 6), (5, 8), (4, 7), (5,)])
def test_rejects_noise_of_another_shape(shape):
    images, _ = batch(ALL)
    with pytest.raises(ValueError, match=re.escape(f"noise.shape={shape}")):
        Augmentation(ALL)(tf.constant(images), tf.zeros(shape, tf.float64))
