"""The sliced Wasserstein distance against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from sklearn.datasets import load_sample_images

from ssgan_tf.evaluation import sliced_wasserstein


def noise_images(count, size):
    shape = (count, size, size, 3)
    return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


def crops(photo, count, seed):
    rng = np.random.default_rng(seed)
    top = rng.integers(0, photo.shape[0] - 32, count)
    left = rng.integers(0, photo.shape[1] - 32, count)
    return np.stack(
        [photo[t : t + 32, c : c + 32] for t, c in zip(top, left, strict=True)]
    )


@pytest.fixture(scope="module")
def photos():
    return load_sample_images().images


def test_orders_blur_and_noise(photos):
    # The lower half of the picture: the upper half is flat sky.
    real, more = (crops(photos[0][200:], 200, seed) for seed in (0, 1))
    blurred = {
        sigma: np.stack([ndimage.gaussian_filter(i, (sigma, sigma, 0)) for i in more])
        for sigma in (1, 3)
    }
    same = sliced_wasserstein.distance(real, real, 0)
    alike = sliced_wasserstein.distance(real, more, 0)
    blurry = sliced_wasserstein.distance(real, blurred[1], 0)
    blurrier = sliced_wasserstein.distance(real, blurred[3], 0)
    noise = sliced_wasserstein.distance(real, noise_images(200, 32), 0)
    assert 0 < same < alike < blurry < blurrier < noise
    assert same < 0.1 * noise


def test_matches_numpy(photos):
    """A second pyramid, with its own patches and projections: statistically equal."""
    real, fake = crops(photos[0], 150, 0), crops(photos[1], 150, 1)
    rng = np.random.default_rng(0)
    taps = np.array([1, 4, 6, 4, 1]) / 16

    def smooth(images, gain=1.0):
        for axis in (1, 2):
            images = ndimage.correlate1d(images, taps, axis, mode="mirror")
        return images * gain

    def pyramid(images):
        images = images.astype(np.float64)
        small = smooth(images)[:, ::2, ::2]
        upsampled = np.zeros_like(images)
        upsampled[:, ::2, ::2] = small
        return images - smooth(upsampled, 4.0), small

    def patches(level):
        windows = np.lib.stride_tricks.sliding_window_view(level, (7, 7), (1, 2))
        # TFGAN's upper end is exclusive: it never draws the last row and column.
        rows = rng.integers(0, windows.shape[1] - 1, len(level) * 64)
        columns = rng.integers(0, windows.shape[2] - 1, len(level) * 64)
        drawn = windows[np.repeat(np.arange(len(level)), 64), rows, columns]
        drawn = drawn.reshape(len(drawn), -1)
        drawn = drawn - drawn.mean(axis=1, keepdims=True)
        deviation = drawn.std(axis=1, keepdims=True)
        return drawn / np.maximum(deviation, 1e-9)

    expected = []
    for real_level, fake_level in zip(pyramid(real), pyramid(fake), strict=True):
        directions = rng.normal(size=(147, 147))
        directions /= np.linalg.norm(directions, axis=0)
        sides = [np.sort(patches(s) @ directions, 0) for s in (real_level, fake_level)]
        expected.append(np.abs(sides[0] - sides[1]).mean())
    actual = sliced_wasserstein.distance(real, fake, 0)
    assert actual == pytest.approx(1000 * np.mean(expected), rel=0.05)


def test_is_a_function_of_the_seed(photos):
    real, fake = (crops(photo, 32, 0) for photo in photos)
    values = [sliced_wasserstein.distance(real, fake, seed) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert values[2] == pytest.approx(values[0], rel=0.1)


def test_leaves_global_random_states_alone(photos):
    images = crops(photos[0], 8, 0)
    draws = []
    for disturb in (False, True):
        np.random.seed(3)
        tf.random.set_seed(3)
        drawn = [tf.random.normal((2,)).numpy(), np.random.rand(2)]
        if disturb:
            sliced_wasserstein.distance(images, images, 0)
        draws.append([*drawn, tf.random.normal((2,)).numpy(), np.random.rand(2)])
    np.testing.assert_array_equal(draws[0], draws[1])


def test_flat_patches_are_finite():
    # White squares on black: most 7 x 7 patches have no contrast at all.
    squares = np.zeros((64, 32, 32, 1), np.uint8)
    squares[:, 8:24, 8:24] = 255
    same = sliced_wasserstein.distance(squares, squares, 0)
    black = sliced_wasserstein.distance(squares, np.zeros_like(squares), 0)
    assert 0 < 3 * same < black < 1000


def test_grey_is_tiled(photos):
    grey = crops(photos[0], 16, 0)[..., :1]
    other = crops(photos[1], 16, 0)[..., :1]
    actual = sliced_wasserstein.distance(grey, other, 0)
    tiled = sliced_wasserstein.distance(np.tile(grey, 3), np.tile(other, 3), 0)
    assert actual == pytest.approx(tiled, rel=0.02)


@pytest.mark.parametrize("size", [8, 28, 48])
def test_other_sizes(size):
    images = noise_images(8, size)
    assert 0 < sliced_wasserstein.distance(images, images[::-1], 0) < 1000
