"""Paths between latents against SciPy's spherical interpolation."""

import re

import numpy as np
import pytest
from scipy import spatial

from ssgan_tf.latents import Latents
from ssgan_tf.modules.interpolation import interpolate, loop


class TestInterpolation:
    def ends(self, distribution, dim=6, rows=4):
        draws = Latents(dim, distribution).sample(2 * rows, (5, 1)).numpy()
        return np.split(draws, 2)

    def test_uniform_is_straight(self):
        start, end = self.ends("uniform")
        shares = [0.0, 0.1, 0.5, 1.0]
        actual = interpolate(Latents(6, "uniform"), start, end, shares)
        assert actual.shape == (4, 4, 6) and actual.dtype == np.float32
        for row in range(4):
            for i in range(6):
                ends = start[row, i].astype(float), end[row, i].astype(float)
                expected = np.interp(shares, [0.0, 1.0], ends)
                np.testing.assert_allclose(actual[row, :, i], expected, atol=1e-7)

    @pytest.mark.parametrize("dim", [2, 6, 128])
    def test_normal_runs_along_the_sphere(self, dim):
        start, end = self.ends("normal", dim)
        shares = np.linspace(0.0, 1.0, 7)
        actual = interpolate(Latents(dim, "normal"), start, end, shares)
        assert actual.shape == (4, 7, dim) and actual.dtype == np.float32
        for row in range(4):
            ends = [points[row].astype(float) for points in (start, end)]
            norms = [np.linalg.norm(point) for point in ends]
            units = [point / norm for point, norm in zip(ends, norms)]
            expected = spatial.geometric_slerp(*units, shares)
            expected *= np.linspace(*norms, 7)[:, None]
            np.testing.assert_allclose(actual[row], expected, atol=1e-6)

    @pytest.mark.parametrize("distribution", ["uniform", "normal"])
    def test_ends_are_those_given(self, distribution):
        start, end = self.ends(distribution)
        actual = interpolate(Latents(6, distribution), start, end, [0.0, 1.0])
        np.testing.assert_array_equal(actual, np.stack([start, end], axis=1))

    def test_directions_without_an_arc(self):
        latents = Latents(2, "normal")
        start = [[3.0, 4.0], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [0.0, 0.0]]
        end = [[6.0, 8.0], [-3.0, -4.0], [3.0, 4.0], [0.0, 2.0], [0.0, 0.0]]
        expected = [[4.5, 6.0], [0.0, 0.0], [3.0, 4.0], [0.0, 2**-0.5], [0.0, 0.0]]
        actual = interpolate(latents, start, end, [0.5])[:, 0]
        np.testing.assert_allclose(actual, expected, atol=1e-6)
        # Nearly the same direction, and nearly the opposite one.
        for angle in (1e-9, 1e-5, np.pi - 1e-5):
            end = [[np.cos(angle), np.sin(angle)]]
            actual = interpolate(latents, [[1.0, 0.0]], end, [0.25])
            expected = [[[np.cos(angle / 4), np.sin(angle / 4)]]]
            np.testing.assert_allclose(actual, expected, atol=1e-6)
        actual = interpolate(Latents(1, "normal"), [[2.0]], [[-1.0]], [0.0, 0.5, 1.0])
        np.testing.assert_allclose(actual, [[[2.0], [0.0], [-1.0]]], atol=1e-6)

    @pytest.mark.parametrize("distribution", ["uniform", "normal"])
    def test_loop(self, distribution):
        latents = Latents(6, distribution)
        corners = latents.sample(3, (5, 1))
        actual = loop(latents, corners, 4)
        assert actual.shape == (12, 6) and actual.dtype == np.float32
        np.testing.assert_array_equal(actual[::4], corners)
        # The side from the last corner to the first is like the others.
        corners = [*corners.numpy(), corners.numpy()[0]]
        for i in range(3):
            side = interpolate(
                latents, [corners[i]], [corners[i + 1]], [0.0, 0.25, 0.5, 0.75]
            )
            np.testing.assert_allclose(actual[4 * i : 4 * i + 4], side[0], atol=1e-6)

    @pytest.mark.parametrize(
        ("start", "end"), [((2, 6), (3, 6)), ((2, 5), (2, 5)), ((6,), (6,)), ((), ())]
    )
    @pytest.mark.parametrize("distribution", ["uniform", "normal"])
    def test_rejects(self, distribution, start, end):
        words = re.escape(f"Received: start.shape={start}, end.shape={end}")
        with pytest.raises(ValueError, match=words):
            interpolate(Latents(6, distribution), np.ones(start), np.ones(end), [0.5])
