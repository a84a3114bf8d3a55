"""Image files that are read as squares."""

import image_folders
import numpy as np
import pytest
from PIL import Image

from ssgan_tf.datasets import image_files


def _read(tmp_path, image, name="image.png", shape=(8, 8, 3), **kwargs):
    image_folders.write(tmp_path / name, image, **kwargs)
    return np.asarray(image_files.read_square(tmp_path / name, shape))


def test_an_image_of_the_right_size_is_unchanged(tmp_path):
    image = image_folders.noise(0, 8, 8)
    np.testing.assert_array_equal(_read(tmp_path, image), image)
    np.testing.assert_array_equal(_read(tmp_path, image, "image.bmp"), image)
    webp = _read(tmp_path, image, "image.webp", lossless=True)
    np.testing.assert_array_equal(webp, image)


@pytest.mark.parametrize("height, width", [(8, 14), (13, 8)])
def test_the_central_square_is_taken(height, width, tmp_path):
    image = image_folders.noise(1, height, width)
    top, left = (height - 8) // 2, (width - 8) // 2
    expected = image[top : top + 8, left : left + 8]
    np.testing.assert_array_equal(_read(tmp_path, image), expected)


def test_shrinking_does_not_alias(tmp_path):
    # A small checkerboard is grey. Skipped pixels would leave black or white.
    checkerboard = (np.indices((64, 96)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = _read(tmp_path, checkerboard, shape=(8, 8, 1))
    assert np.abs(small.astype(int) - 127.5).max() < 3


def test_shrinking_keeps_the_picture(tmp_path):
    # Lanczos's filter samples a smooth picture at the centres of the larger pixels,
    # except at the border, where it is cut off.
    def wave(size):
        centres = (np.arange(size) + 0.5) / size
        x, y = np.meshgrid(centres, centres)
        return 127.5 + 100 * np.sin(2 * np.pi * x) * np.cos(2 * np.pi * y)

    small = _read(tmp_path, np.round(wave(96)).astype(np.uint8), shape=(32, 32, 1))
    np.testing.assert_allclose(small[3:-3, 3:-3], wave(32)[3:-3, 3:-3], atol=2)


ORIENTATIONS = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_exif_orientations_are_applied(orientation, suffix, tmp_path):
    # Blocks of 4x4 pixels, which survive JPEG.
    image = np.kron(image_folders.noise(2, 4, 4), np.ones((4, 4, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"subsampling": 0, "quality": 100}, "webp": {"lossless": True}}
    kwargs = {"exif": exif, **options.get(suffix, {})}
    image_read = _read(tmp_path, image, f"image.{suffix}", (16, 16, 3), **kwargs)
    expected = ORIENTATIONS[orientation](image).astype(int)
    assert np.abs(image_read - expected).max() <= (6 if suffix == "jpg" else 0)


def test_16_bit_levels_are_scaled(tmp_path):
    levels = np.linspace(0, 65535, 64).reshape(8, 8).round().astype(np.uint16)
    expected = np.floor(levels / 65535 * 255 + 0.5)
    grey = _read(tmp_path, levels, shape=(8, 8, 1))
    np.testing.assert_array_equal(grey, expected)
    colour = _read(tmp_path, levels)
    np.testing.assert_array_equal(colour, np.dstack(3 * [expected]))


def test_transparent_images_are_put_on_white(tmp_path):
    image = image_folders.noise(3, 8, 8, 4)
    image[0, 0, 3], image[0, 1, 3] = 0, 255
    alpha = image[..., 3:] / 255
    expected = image[..., :3] * alpha + 255 * (1 - alpha)
    opaque = _read(tmp_path, image)
    assert np.abs(opaque - expected).max() <= 1
    np.testing.assert_array_equal(opaque[0, 0], 3 * [255])
    np.testing.assert_array_equal(opaque[0, 1], image[0, 1, :3])
    # One colour of a palette may be transparent too.
    palette = Image.fromarray(np.array([[0, 1]] * 2, np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    opaque = _read(tmp_path, palette, shape=(2, 2, 3), transparency=1)
    np.testing.assert_array_equal(opaque[0], [[255, 0, 0], [255, 255, 255]])


def test_cmyk_becomes_rgb(tmp_path):
    # Cyan ink takes away red.
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0] = 255
    image = Image.fromarray(inks, "CMYK")
    rgb = _read(tmp_path, image, "image.jpg", (16, 16, 3), quality=95)
    assert np.abs(rgb.astype(int) - [0, 255, 255]).max() <= 3


def test_grey_and_colour_become_each_other(tmp_path):
    grey, image = image_folders.noise(4, 8, 8, 1)[..., 0], image_folders.noise(5, 8, 8)
    np.testing.assert_array_equal(_read(tmp_path, grey), np.dstack(3 * [grey]))
    weights = [0.299, 0.587, 0.114]
    converted = _read(tmp_path, image, shape=(8, 8, 1))
    assert converted.shape == (8, 8)
    assert np.abs(converted - image @ weights).max() <= 1


def test_one_pixel_fills_the_square(tmp_path):
    square = _read(tmp_path, np.array([[[10, 20, 30]]], np.uint8))
    np.testing.assert_array_equal(square, np.full((8, 8, 3), [10, 20, 30]))


def test_the_suffix_of_a_file_does_not_matter(tmp_path):
    image = image_folders.noise(6, 8, 8)
    image_folders.write(tmp_path / "photo.jpg", image, format="PNG")
    photo = image_files.read_square(tmp_path / "photo.jpg", (8, 8, 3))
    np.testing.assert_array_equal(photo, image)
    image_folders.write(tmp_path / "animation.png", image, format="GIF")
    with pytest.raises(OSError, match="cannot identify"):
        image_files.read_square(tmp_path / "animation.png", (8, 8, 3))
