"""Rules that make images squares: those that builders_test.py does not compare."""

import numpy as np
import pytest
import resizing
import tensorflow as tf

from ssgan_tf.datasets import crops


@pytest.mark.parametrize("height, width", [(300, 261), (90, 101), (128, 128)])
def test_crop_or_pad_never_resizes(height, width):
    image = resizing.noise(1, height, width)
    cropped = crops.crop_or_pad(image, 128).numpy()
    expected = np.zeros((128, 128, 3), np.uint8)
    kept = image[max(0, (height - 128) // 2) :, max(0, (width - 128) // 2) :][
        :128, :128
    ]
    top, left = ((128 - side) // 2 for side in kept.shape[:2])
    expected[top : top + kept.shape[0], left : left + kept.shape[1]] = kept
    np.testing.assert_array_equal(cropped, expected)


def _seed(number):
    return tf.constant([7, number], tf.int64)


def test_random_squares():
    height, width, size = 200, 160, 32
    # Each pixel encodes its place.
    rows, columns = np.indices((height, width))
    places = np.dstack([rows, columns, resizing.noise(4, height, width, 1)]).astype(
        np.uint8
    )
    crop = tf.function(lambda seed: crops.random_square(places, size, seed))
    sides, tops, lefts = [], [], []

    def square(top, left, side):
        return resizing.bilinear(places[top : top + side, left : left + side], size)

    for number in range(400):
        cropped = crop(_seed(number)).numpy()
        top, left = cropped[0, 0, :2].astype(int)
        # The last row is (size - 1) / size of the side below the first.
        side = round((int(cropped[-1, 0, 0]) - top) * size / (size - 1))
        # The rounding of this row leaves three candidates.
        fits = [
            candidate
            for candidate in range(side - 1, side + 2)
            if top + candidate <= height
            and left + candidate <= width
            and np.abs(cropped - square(top, left, candidate)).max() <= 0.501
        ]
        assert len(fits) == 1
        sides.append(fits[0]), tops.append(top), lefts.append(left)
    # 50 to 100 % of the area, but at most the width: 127 ** 2 is just above half of the
    # area. All sides are equally likely; six deviations.
    legal = np.arange(127, 161)
    assert min(sides) == 127 and max(sides) == 160
    assert abs(np.mean(sides) - legal.mean()) < 6 * np.std(legal) / np.sqrt(400)
    slack = height - np.array(sides)
    assert max(tops) > 60 and min(tops) == 0 and min(lefts) == 0 and max(lefts) > 25
    assert abs(np.mean(np.array(tops) / slack) - 0.5) < 6 * 0.29 / 20


def test_an_image_without_such_a_square_is_squeezed():
    image = resizing.noise(6, 300, 100)
    cropped = crops.random_square(image, 32, _seed(0)).numpy()
    resizing.assert_rounded(cropped, resizing.bilinear(image, 32))
