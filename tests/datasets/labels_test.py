"""Labels that are dropped or replaced."""

import numpy as np
import pytest

from ssgan_tf import datasets


class TestKeepLabels:
    LABELS = np.repeat([0, 1, 2], [100, 7, 40]).astype(np.int32)

    @pytest.mark.parametrize(
        ("fraction", "counts"),
        [(1.0, [100, 7, 40]), (0.1, [10, 1, 4]), (0.07, [7, 1, 3]), (1e-9, [1, 1, 1])],
    )
    def test_keeps_its_share_of_each_class(self, fraction, counts):
        labels = np.random.default_rng(0).permutation(self.LABELS)
        kept = datasets.keep_labels(labels, fraction, seed=3)
        assert kept.dtype == np.int32 and kept.shape == labels.shape
        known = kept != datasets.UNKNOWN_LABEL
        np.testing.assert_array_equal(kept[known], labels[known])
        np.testing.assert_array_equal(np.bincount(kept[known]), counts)
        assert (kept[~known] == -1).all()

    def test_depends_on_the_seed_and_a_smaller_share_is_part_of_a_larger_one(self):
        small, again, other, large = (
            datasets.keep_labels(self.LABELS, share, seed)
            for share, seed in ((0.1, 5), (0.1, 5), (0.1, 6), (0.3, 5))
        )
        np.testing.assert_array_equal(small, again)
        assert (small != other).any() and (large[small >= 0] >= 0).all()

    def test_every_image_is_as_likely(self):
        labels = np.zeros(10, np.int32)
        counts = sum(
            datasets.keep_labels(labels, 0.3, seed) == 0 for seed in range(2000)
        )
        # Six deviations of a binomial count.
        assert np.abs(counts - 600).max() < 6 * np.sqrt(2000 * 0.3 * 0.7)

    @pytest.mark.parametrize("fraction", [0, -0.1, 1.01])
    def test_fractions_out_of_range(self, fraction):
        with pytest.raises(ValueError, match=rf"\(0, 1\].*fraction={fraction}"):
            datasets.keep_labels(self.LABELS, fraction, 0)


# --- Labels of a file -----------------------------------------------------------


def _saved(tmp_path, labels):
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path / "labels.npy"


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.int32])
def test_labels_of_a_file(dtype, tmp_path):
    path = _saved(tmp_path, np.array([0, 9, -1, 3], dtype))
    labels = datasets.read_labels(path, 4, 10)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, [0, 9, -1, 3])


@pytest.mark.parametrize(
    "labels, match",
    [
        (np.zeros(3, int), r"must hold 4 integers.*int64 of shape \(3,\)"),
        (np.zeros((4, 1), int), r"of shape \(4, 1\)"),
        (np.zeros(4), "with float64"),
        (np.array([0, 1, 2, 10]), r"\[0, 10\).*from 0 to 10"),
        (np.array([0, 1, 2, -2]), "from -2 to 2"),
    ],
)
def test_labels_that_do_not_fit(labels, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        datasets.read_labels(_saved(tmp_path, labels), 4, 10)


def test_a_file_that_holds_no_labels(tmp_path):
    np.savez(tmp_path / "labels.npz", labels=np.zeros(4, int))
    (tmp_path / "text.npy").write_text("0, 1, 2")
    (tmp_path / "empty.npy").touch()
    for name in ("labels.npz", "text.npy", "empty.npy"):
        with pytest.raises(ValueError, match=name):
            datasets.read_labels(tmp_path / name, 4, 10)
    with pytest.raises(OSError, match="nowhere.npy.*No such file"):
        datasets.read_labels(tmp_path / "nowhere.npy", 4, 10)
