"""MS-SSIM against float64 windows, and the choice of pairs."""

import collections

import numpy as np
import pytest

from ssgan_tf.evaluation import ms_ssim

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def factors(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Means of l cs and of cs over all windows of (H, W) images in [0, 255]."""
    offsets = np.arange(11) - 5
    gauss = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(gauss, gauss) / gauss.sum() ** 2
    windows_a, windows_b = (
        np.lib.stride_tricks.sliding_window_view(image, (11, 11)) for image in (a, b)
    )
    mean_a, mean_b = (
        np.einsum("hwij,ij->hw", windows, weights) for windows in (windows_a, windows_b)
    )
    # Squared deviations from the mean; TensorFlow subtracts squares.
    away_a = windows_a - mean_a[..., np.newaxis, np.newaxis]
    away_b = windows_b - mean_b[..., np.newaxis, np.newaxis]
    var_a = np.einsum("hwij,ij->hw", away_a**2, weights)
    var_b = np.einsum("hwij,ij->hw", away_b**2, weights)
    cov = np.einsum("hwij,ij->hw", away_a * away_b, weights)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * cov + c2) / (var_a + var_b + c2)
    return (luminance * structure).mean(), structure.mean()


def halve(image: np.ndarray) -> np.ndarray:
    """2x2 means; the last row or column of an odd number counts twice."""
    height, width = image.shape
    image = np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge")
    return (
        image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]
    ) / 4


def oracle(first: np.ndarray, second: np.ndarray, scales: int) -> float:
    """MS-SSIM of two uint8 images (H, W, C)."""
    weights = WEIGHTS[:scales] / WEIGHTS[:scales].sum()
    values = []
    for channel in range(first.shape[-1]):
        a, b = (image[..., channel].astype(np.float64) for image in (first, second))
        value = 1.0
        for scale in range(scales):
            if scale:
                a, b = halve(a), halve(b)
            whole, structure = factors(a, b)
            factor = whole if scale == scales - 1 else structure
            value *= max(factor, 0.0) ** weights[scale]
        values.append(value)
    return float(np.mean(values))


def pictures(size: int, channels: int) -> np.ndarray:
    """Images with common details at every scale, and the negative of one."""
    rng = np.random.default_rng(size + channels)
    image = np.zeros((size, size, channels))
    for block in (1, 2, 4, 8, 16):
        shape = (-(-size // block),) * 2
        noise = rng.normal(size=(*shape, channels))
        image += np.kron(noise, np.ones((block, block, 1)))[:size, :size]
    others = [
        image + amount * rng.normal(size=image.shape) + light
        for amount, light in ((0.0, 0), (0.5, 1), (2.0, -1), (6.0, 0))
    ]
    images = 128 + 15 * np.stack([*others, -image])
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "size, channels, scales",
    [(11, 3, 1), (16, 1, 1), (32, 1, 2), (32, 3, 2), (45, 3, 3), (64, 3, 3)],
)
def test_values(size, channels, scales, num_pairs=12):
    images = pictures(size, channels)
    pairs = ms_ssim.random_pairs(len(images), num_pairs, seed=0)
    expected = [oracle(images[i], images[j], scales) for i, j in pairs]
    assert np.ptp(expected) > 0.3
    value = ms_ssim.ms_ssim_diversity(images, num_pairs=num_pairs, seed=0)
    assert value == pytest.approx(np.mean(expected), abs=1e-5)


def test_values_of_all_scales():
    test_values(176, 1, 5, num_pairs=2)


def test_negative_factors_count_as_zero():
    images = pictures(32, 3)[[0, -1]]
    # A negative factor has no real power.
    assert factors(*images[..., 0].astype(float))[1] < -0.2
    assert ms_ssim.ms_ssim_diversity(images, num_pairs=3, seed=0) == 0


@pytest.mark.parametrize("size, channels", [(11, 1), (32, 3)])
def test_equal_images_score_one(size, channels):
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, channels))
    images = np.repeat(image.astype(np.uint8), 4, axis=0)
    value = ms_ssim.ms_ssim_diversity(images, num_pairs=5, seed=0)
    assert type(value) is float and value == pytest.approx(1, abs=1e-5)


def test_number_of_scales():
    sizes = (11, 16, 21, 22, 32, 43, 44, 64, 87, 88, 128, 175, 176, 512)
    actual = [ms_ssim.num_scales(size) for size in sizes]
    assert actual == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5]


def test_all_pairs_are_equally_likely():
    pairs = ms_ssim.random_pairs(5, 20_000, seed=3)
    assert pairs.shape == (20_000, 2)
    counts = collections.Counter(map(tuple, pairs.tolist()))
    assert set(counts) == {(i, j) for i in range(5) for j in range(5) if i != j}
    # 1,000 of each pair, with a deviation of 31.
    assert max(abs(count - 1000) for count in counts.values()) < 150


def test_pairs_of_a_class():
    # Class 9 has a single image, and the classes are shuffled.
    labels = np.random.default_rng(0).permutation([4] * 2 + [-1] * 3 + [7] * 40 + [9])
    pairs = ms_ssim.random_pairs(len(labels), 9_000, seed=1, labels=labels)
    first, second = pairs.T
    assert np.all(first != second)
    np.testing.assert_array_equal(labels[first], labels[second])
    assert set(pairs.ravel()) == set(np.flatnonzero(labels != 9))
    counts = collections.Counter(labels[first].tolist())
    assert set(counts) == {4, -1, 7}
    # 3,000 of each class, with a deviation of 45.
    assert max(abs(count - 3000) for count in counts.values()) < 200


def test_a_class_is_compared_with_itself():
    rng = np.random.default_rng(0)
    two = rng.integers(0, 256, (2, 16, 16, 1), dtype=np.uint8)
    labels = np.array([0, 1, 1, 0, 0, 1])
    images = two[labels]
    # Every class has collapsed; the mean over all pairs hides that.
    value = ms_ssim.ms_ssim_diversity(images, num_pairs=50, seed=0, labels=labels)
    assert value == pytest.approx(1, abs=1e-6)
    assert ms_ssim.ms_ssim_diversity(images, num_pairs=50, seed=0) < 0.6


def test_a_function_of_its_arguments(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    kept = images.copy()
    np.random.seed(1)
    state = np.random.get_state()[1].copy()

    def score(seed=0):
        return ms_ssim.ms_ssim_diversity(images, num_pairs=10, seed=seed)

    value = score()
    assert score() == value != score(seed=1)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    np.testing.assert_array_equal(images, kept)
    # Four pairs at a time, the last two by themselves.
    monkeypatch.setattr(ms_ssim, "VALUES_PER_BATCH", 4 * 32 * 32 * 3)
    assert score() == pytest.approx(value, rel=1e-6)


def test_calls_add_nothing_to_the_graph():
    traced = ms_ssim.comparison(2)
    rng = np.random.default_rng(0)
    for i in range(20):
        size, channels = 22 + i, (1, 3)[i % 2]
        images = rng.integers(0, 256, (4, size, size, channels), dtype=np.uint8)
        ms_ssim.ms_ssim_diversity(images, num_pairs=1 + i, seed=i)
    assert ms_ssim.comparison(2) is traced
    assert traced.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    "height, dtype, labels, count, words",
    [
        (10, "u1", None, 2, "size=10"),
        (16, "u1", np.arange(4), 2, "4 images of as many classes"),
        (16, "u1", np.zeros(3, int), 2, "labels.shape"),
        (16, "u1", None, 0, "num_pairs=0"),
        (16, "f4", None, 2, "images.*float32"),
    ],
)
def test_images_that_cannot_be_compared(height, dtype, labels, count, words):
    images = np.zeros((4, height, height, 3), dtype)
    with pytest.raises(ValueError, match=f"Received: .*{words}"):
        ms_ssim.ms_ssim_diversity(images, num_pairs=count, seed=0, labels=labels)
