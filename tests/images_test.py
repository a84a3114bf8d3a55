"""Pictures."""

import numpy as np
import pytest
import tensorflow as tf

from ssgan_tf import images


def test_grid_places_images_row_by_row():
    noise = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 1), np.uint8)
    grid = images.grid(noise, columns=3)
    assert grid.shape == (4, 9, 1) and grid.dtype == np.uint8
    for i, image in enumerate(noise):
        row, column = divmod(i, 3)
        place = grid[2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
        np.testing.assert_array_equal(place, image)
    assert not grid[2:, 6:].any()


def test_grid_rounds_and_clips_floats():
    values = np.array([-1.0, 0.0, 0.5 / 255 + 1e-4, 1.0, 2.0], np.float32)
    grid = images.grid(values.reshape(5, 1, 1, 1), columns=5)
    np.testing.assert_array_equal(grid.ravel(), [0, 0, 1, 255, 255])


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_pixels(tmp_path, channels):
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, channels), np.uint8)
    path = tmp_path / "new" / "folder" / "noise.png"
    images.write_png(path, noise)
    decoded = tf.io.decode_png(path.read_bytes(), channels).numpy()
    np.testing.assert_array_equal(decoded, noise)
    assert [file.name for file in path.parent.iterdir()] == ["noise.png"]


def test_places_that_cannot_be_written(tmp_path):
    picture = np.zeros((2, 2, 1), np.uint8)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "inside").write_text("mine")
    for path in (tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(OSError, match=f"writable. Received: path={path}"):
            images.write_png(path, picture)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]
    assert (tmp_path / "folder.png" / "inside").read_text() == "mine"
