"""Augmentation against loops over images and pixels in NumPy, float64."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from oracles import finite_differences

from ssgan_tf import augmentation
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
    rng = np.random.default_rng(seed)
    size = sum(NOISE_SIZES[name] for name in policy)
    return rng.uniform(size=shape), rng.uniform(size=(shape[0], size))


policies = pytest.mark.parametrize(
    "policy",
    [("color",), ("translation",), ("cutout",), ALL, ("cutout", "color"), 2 * ALL],
    ids="-".join,
)


@policies
# Sizes divisible by 2 and 8 or not; even and odd sides of the square.
@pytest.mark.parametrize(
    "shape", [(5, 16, 16, 3), (4, 13, 13, 3), (3, 10, 10, 1), (2, 9, 9, 2)]
)
def test_images(policy, shape):
    for seed in range(4):
        images, noise = batch(policy, shape, seed)
        shown = Augmentation(policy)(tf.constant(images), tf.constant(noise))
        np.testing.assert_allclose(
            shown, expected(policy, images, noise), rtol=1e-12, atol=1e-13
        )


@pytest.mark.parametrize("policy", [("color",), ("cutout", "translation"), ALL])
def test_noise_size(policy):
    assert Augmentation(policy).noise_size == sum(NOISE_SIZES[p] for p in policy)


def test_the_default_is_everything():
    assert Augmentation() == Augmentation(ALL)


def test_colors_at_the_ends_of_their_ranges():
    image = np.zeros((1, 2, 2, 3))
    image[0, 0, 0, 0] = 1.0

    def adjust(function, u):
        return getattr(augmentation, function)(
            tf.constant(image), tf.constant([[u]], tf.float64)
        ).numpy()

    for u, moved in ((0.0, -0.25), (0.5, 0.0), (1.0, 0.25)):
        np.testing.assert_allclose(adjust("brightness", u), image + moved)
    np.testing.assert_allclose(adjust("saturation", 0.0)[0, 0, 0], [1 / 3] * 3)
    np.testing.assert_allclose(adjust("saturation", 0.5), image, atol=1e-15)
    np.testing.assert_allclose(
        adjust("saturation", 1.0)[0, 0, 0], [5 / 3, -1 / 3, -1 / 3]
    )
    for u, factor in ((0.0, 0.5), (0.5, 1.0), (1.0, 1.5)):
        np.testing.assert_allclose(adjust("contrast", u).std(), factor * image.std())
        np.testing.assert_allclose(adjust("contrast", u).mean(), 1 / 12)


@pytest.mark.parametrize("size", [8, 13, 32, 48])
def test_steps_are_uniform_on_their_range(size):
    # One bright pixel in the middle shows the shift of its image.
    most = size // 8
    num = 2 * most + 1
    grid = (np.arange(7 * num) + 0.5) / (7 * num)
    image = np.zeros((1, size, size, 1), np.float32)
    image[0, size // 2, size // 2] = 1.0
    for axis in (0, 1):
        noise = np.full((len(grid), 2), 0.5, np.float32)
        noise[:, axis] = grid
        shown = augmentation.translation(
            tf.repeat(image, len(grid), axis=0), tf.constant(noise)
        )
        peaks = np.argwhere(shown.numpy() == 1.0)
        np.testing.assert_array_equal(peaks[:, 2 - axis], size // 2)
        steps = peaks[:, 1 + axis] - size // 2
        np.testing.assert_array_equal(steps, np.arange(-most, most + 1).repeat(7))


@pytest.mark.parametrize("size", [8, 10, 13, 32])
def test_the_squares_centre_is_uniform(size):
    side = size // 2
    num = size + 1 - side % 2
    noise = np.full((num, 2), 0.5, np.float32)
    noise[:, 0] = (np.arange(num) + 0.5) / num
    shown = augmentation.cutout(tf.ones((num, size, size, 1)), tf.constant(noise))
    rows = (shown.numpy()[..., 0] == 0.5).any(axis=2)
    counts = rows.sum(axis=1)
    # At the border the square is cut, at most to half; elsewhere it is whole.
    assert counts.max() == side and counts[0] == side - side // 2
    assert counts[-1] == side // 2 + side % 2
    # Every pixel has the same frequency, except near borders, which cut the square.
    middle = rows.sum(axis=0)[side // 2 : size - side // 2]
    np.testing.assert_array_equal(middle, side)


def test_the_largest_noise_stays_in_range():
    largest = np.nextafter(np.float32(1), np.float32(0))
    for num in range(1, 1026):
        assert augmentation._integers(tf.constant([largest]), num) == num - 1


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
    atol = 1e-6 if dtype == "float32" else 0.03
    wanted = expected(policy, tf.cast(images, tf.float64).numpy(), noise.numpy())
    for jit_compile in (False, True):
        compiled = tf.function(augment, jit_compile=jit_compile)(images, noise)
        for result in (eager, compiled):
            np.testing.assert_allclose(tf.cast(result, tf.float64), wanted, atol=atol)


def test_each_image_by_its_own_noise_and_nothing_else():
    images, noise = batch(ALL)
    augment, order = Augmentation(ALL), [3, 1, 4, 0, 2]
    shown = augment(tf.constant(images), tf.constant(noise)).numpy()
    again = augment(tf.constant(images[order]), tf.constant(noise[order])).numpy()
    np.testing.assert_array_equal(again, shown[order])
    np.testing.assert_array_equal(
        augment(tf.constant(images), tf.constant(noise)), shown
    )
    noise[2] = 1 - noise[2]
    changed = augment(tf.constant(images), tf.constant(noise)).numpy() != shown
    np.testing.assert_array_equal(changed.any(axis=(1, 2, 3)), np.arange(5) == 2)


def test_images_are_not_clipped():
    images = tf.ones((1, 8, 8, 3))
    assert augmentation.brightness(images, tf.constant([[0.9]])).numpy().min() > 1.1


@pytest.mark.parametrize("policy", [(), ("colour",), ("color", "zoom"), "color", ""])
def test_rejects_a_policy(policy):
    with pytest.raises(ValueError, match="'color', 'translation', 'cutout'") as error:
        Augmentation(policy)
    assert f"policy={policy!r}" in str(error.value)


@pytest.mark.parametrize("shape", [(5, 6), (5, 8), (4, 7), (5,)])
def test_rejects_noise_of_another_shape(shape):
    images, _ = batch(ALL)
    with pytest.raises(ValueError, match=r"\(5, 7\)") as error:
        Augmentation(ALL)(tf.constant(images), tf.zeros(shape, tf.float64))
    assert f"noise.shape={shape}" in str(error.value)
