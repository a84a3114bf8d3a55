"""Grids, PNG files and animations hold the given pixels."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssgan_tf.utils import pictures


def test_grid_places_images_row_by_row():
    noise = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 1), np.uint8)
    grid = pictures.grid(noise, columns=3)
    assert grid.shape == (4, 9, 1) and grid.dtype == np.uint8
    for i, image in enumerate(noise):
        row, column = divmod(i, 3)
        place = grid[2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
        np.testing.assert_array_equal(place, image)
    assert not grid[2:, 6:].any()


def test_grid_rounds_and_clips_floats():
    values = [-1.0, 0.0, 0.5 / 255 + 1e-4, 1.0, 2.0, np.nan, np.inf, -np.inf]
    # A cast of NaN to an integer depends on the processor.
    with np.errstate(invalid="raise"):
        grid = pictures.grid(np.float32(values).reshape(8, 1, 1, 1), columns=8)
    np.testing.assert_array_equal(grid.ravel(), [0, 0, 1, 255, 255, 0, 255, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_pixels(tmp_path, channels):
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, channels), np.uint8)
    path = tmp_path / "new" / "folder" / "noise.png"
    pictures.write_png(path, noise)
    decoded = tf.io.decode_png(path.read_bytes(), channels).numpy()
    np.testing.assert_array_equal(decoded, noise)
    assert [file.name for file in path.parent.iterdir()] == ["noise.png"]


def test_pngs_are_numbered(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (12, 4, 6, 3), np.uint8)
    pictures.write_pngs(tmp_path / "new" / "all", noise)
    paths = sorted((tmp_path / "new" / "all").iterdir())
    assert [path.name for path in paths] == [f"000{i:02d}.png" for i in range(12)]
    for path, image in zip(paths, noise, strict=True):
        np.testing.assert_array_equal(Image.open(path), image)


def frames_of(path) -> tuple[np.ndarray, dict]:
    """Frames as a viewer shows them: uint8, `(frames, height, width, 3)`."""
    with Image.open(path) as gif:
        frames = []
        for i in range(gif.n_frames):
            gif.seek(i)
            assert gif.info["duration"] == 50
            frames.append(np.asarray(gif.convert("RGB")))
        return np.stack(frames), gif.info


class TestGif:
    def test_grey_is_exact(self, tmp_path):
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (5, 16, 32, 1), np.uint8)
        # The first image has every grey, the next one fewer: Pillow's optimized files
        # are off by 35 there.
        noise[0] = rng.permutation(np.arange(512) // 2).reshape(16, 32, 1)
        noise[1] = np.where(rng.random((16, 32, 1)) < 0.3, noise[0], noise[1])
        # Only a corner of the last image is new.
        noise[4] = noise[3]
        noise[4, :2, :2] ^= 255
        path = tmp_path / "new" / "folder" / "noise.gif"
        pictures.write_gif(path, iter(noise))
        frames, info = frames_of(path)
        np.testing.assert_array_equal(frames, np.repeat(noise, 3, axis=-1))
        assert info["loop"] == 0
        assert [file.name for file in path.parent.iterdir()] == ["noise.gif"]

    def test_few_colours_are_exact(self, tmp_path):
        rng = np.random.default_rng(0)
        # Every frame has 60 other colours.
        noise = rng.integers(0, 256, (4, 60, 3), np.uint8)
        noise = np.stack([colours[rng.integers(0, 60, (16, 12))] for colours in noise])
        pictures.write_gif(tmp_path / "a.gif", noise)
        frames, _ = frames_of(tmp_path / "a.gif")
        np.testing.assert_array_equal(frames, noise)

    def test_many_colours_are_near(self, tmp_path):
        rows, columns, time = np.meshgrid(
            *(np.linspace(0, 1, n) for n in (48, 48, 6)), indexing="ij"
        )
        colours = np.stack([rows, columns, (rows + time) % 1], axis=-1)
        colours = np.round(255 * colours.transpose(2, 0, 1, 3)).astype(np.uint8)
        pictures.write_gif(tmp_path / "a.gif", colours)
        frames, _ = frames_of(tmp_path / "a.gif")
        distances = np.abs(frames.astype(int) - colours)
        # Frames have at least 1,764 colours; without k-means the mean error is 5.8.
        assert 0.5 < distances.mean() < 5.0 and distances.max() < 40

    def test_an_equal_image_extends_the_frame(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
        pictures.write_gif(tmp_path / "a.gif", noise[[0, 0, 1, 1, 1]])
        with Image.open(tmp_path / "a.gif") as gif:
            durations = []
            for i in range(gif.n_frames):
                gif.seek(i)
                durations.append(gif.info["duration"])
        assert durations == [100, 150]

    def test_it_is_written_atomically(self, tmp_path):
        path = tmp_path / "a.gif"
        path.write_bytes(b"mine")

        def broken():
            yield np.zeros((4, 4, 1), np.uint8)
            yield np.ones((4, 4, 1), np.uint8)
            raise OSError("no more")

        with pytest.raises(OSError, match=f"Cannot write {path}"):
            pictures.write_gif(path, broken())
        assert path.read_bytes() == b"mine"
        assert [file.name for file in tmp_path.iterdir()] == ["a.gif"]


def test_a_png_replaces_no_folder(tmp_path):
    (tmp_path / "a.png" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match=f"Cannot write {tmp_path}/a.png"):
        pictures.write_png(tmp_path / "a.png", np.zeros((2, 2, 1), np.uint8))
    assert [path.name for path in tmp_path.rglob("*")] == ["a.png", "inside"]


@pytest.mark.parametrize(
    "num, name", [(1, "00000"), (100_000, "00000"), (100_001, "000000")]
)
def test_names_have_equal_length(num, name, tmp_path):
    pictures.write_numbered(tmp_path, [np.zeros((2, 2, 1), np.uint8)], num)
    assert os.listdir(tmp_path) == [f"{name}.png"]


def test_to_uint8_rounds_to_nearest():
    levels = np.arange(256, dtype=np.uint8)
    actual = pictures.to_uint8(levels.astype(np.float32) / 255)
    np.testing.assert_array_equal(actual, levels)
    assert actual.dtype == np.uint8
    # The last two are clipped as rounding errors.
    images = [0.4 / 255, 0.6 / 255, 127.4 / 255, 127.6 / 255, -9e-4, 1 + 9e-4]
    actual = pictures.to_uint8(np.array(images))
    np.testing.assert_array_equal(actual, [0, 1, 127, 128, 0, 255])


@pytest.mark.parametrize("value", [-0.002, 1.002, 255, np.nan, np.inf, -np.inf])
def test_to_uint8_rejects(value):
    with pytest.raises(ValueError, match="Received: images with min="):
        pictures.to_uint8(np.array([0.5, value, 0.5]))
