"""The cache of features: computed once per set of images and network."""

import numpy as np
import pytest

from ssgan_tf.evaluation import arrays, feature_cache
from ssgan_tf.evaluation.features import FeatureExtractor


class Counting:
    """A network whose features are the corners of images; counts its images."""

    def __init__(self):
        self.count = 0

    def __call__(self, images):
        self.count += len(images)
        corners = images[:, 0, 0].astype(np.float32)
        return corners, -corners

    def extractor(self, **changes):
        facts = {
            "name": "corner",
            "feature_dim": 3,
            "num_classes": 3,
            "image_shape": (None, None, 3),
            "resize": "none",
            "fingerprint": "f",
            "forward": self,
        }
        return FeatureExtractor(**(facts | changes))


def images(count=2500, seed=0):
    shape = (count, 8, 8, 3)
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def check(inputs, extractor, folder):
    outputs = feature_cache.features_of(inputs, extractor, "set-test", folder)
    corners = inputs[:, 0, 0].astype(np.float32)
    np.testing.assert_array_equal(outputs[0], corners)
    np.testing.assert_array_equal(outputs[1], -corners)


def test_once(tmp_path):
    network = Counting()
    for _ in range(2):
        check(images(), network.extractor(), tmp_path)
    assert network.count == 2500
    (file,) = tmp_path.glob("*.npz")
    assert file.name.startswith("set-test-2500-")


def test_nothing_is_kept_without_a_folder():
    network = Counting()
    for _ in range(2):
        check(images(9), network.extractor(), None)
    assert network.count == 18


@pytest.mark.parametrize(
    "change",
    [
        {"images": images(seed=1)},
        {"images": images(2400)},
        {"fingerprint": "g"},
        {"resize": "another"},
        {"name": "another"},
    ],
)
def test_changes_of_the_key(change, tmp_path):
    network = Counting()
    check(images(), network.extractor(), tmp_path)
    other = change.get("images", images())
    facts = {name: value for name, value in change.items() if name != "images"}
    check(other, network.extractor(**facts), tmp_path)
    assert network.count == 2500 + len(other)


@pytest.mark.parametrize("damage", ["truncated", "empty", "other"])
def test_a_damaged_file_is_made_again(damage, tmp_path):
    network = Counting()
    check(images(), network.extractor(), tmp_path)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-100] if damage == "truncated" else b"")
    if damage == "other":
        arrays.write(file, features=np.ones((2500, 3)))
    for _ in range(2):
        check(images(), network.extractor(), tmp_path)
        assert network.count == 5000
    assert not list(tmp_path.glob("*.partial"))


def test_a_worker_that_has_the_file_joins_those_that_have_not(tmp_path, monkeypatch):
    network = Counting()
    check(images(9), network.extractor(), tmp_path)

    class TwoWorkers:
        count = 2

        def __init__(self, strategy):
            pass

        def add(self, has):
            return int(has)

    monkeypatch.setattr(feature_cache, "Workers", TwoWorkers)
    check(images(9), network.extractor(), tmp_path)
    assert network.count == 18


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Cannot write"):
        feature_cache.features_of(
            images(9), Counting().extractor(), "s", tmp_path / "file"
        )
