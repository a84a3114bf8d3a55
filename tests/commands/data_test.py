"""`ssgan data`: its output, its pictures and its errors."""

import re

import calls
import numpy as np
import pytest
from paths import ROOT
from PIL import Image

from ssgan_tf import datasets
from ssgan_tf.datasets import inspection
from ssgan_tf.utils import pictures

LINES = {
    "prepare": ["prepare", "folder:photos", "--resolution=12"],
    "again": ["prepare", "folder:photos@12x12x3", "--out=sheets/photos.png"],
    "inspect": ["inspect", "folder:photos", "--resolution=10", "--colors=1"],
    "digits": ["inspect", "digits32", "--batch_size=3", "--seed=5"],
    "here": ["cd inner/flat", "inspect", "folder:.", "--resolution=12"],
    "no command": ["show", "digits32"],
    "no name": ["prepare"],
    "unknown": ["prepare", "digits33"],
    "no size": ["prepare", "folder:photos"],
    "no such folder": ["prepare", "folder:nowhere", "--resolution=12"],
    "other channels": ["prepare", "folder:photos", "--resolution=12", "--colors=2"],
    "size of a row": ["prepare", "digits32", "--resolution=12"],
    "no picture": ["prepare", "digits32", "--out=sheet.jpg"],
    "by hand": ["prepare", "imagenet64"],
    "into the folder": [
        *["prepare", "folder:photos", "--resolution=12"],
        "--out=photos/bee/sheet.png",
    ],
    "onto the folder": ["prepare", "folder:photos@12x12x3", "--out=link.png"],
    "no prefix": ["prepare", "photos"],
    "beam": ["prepare", "folder:photos@12x12x3", "--beam_runner=DirectRunner"],
}


def _photo(label, number):
    rng = np.random.default_rng([label, number])
    return rng.integers(0, 256, (12, 12, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("here")
    for label, name in enumerate(("ant", "bee")):
        for number in range(10):
            file = path / "photos" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_photo(label, number)).save(file)
    (path / "photos" / "bee" / "broken.jpg").write_bytes(b"nothing")
    (path / "photos" / "bee" / "moving.gif").touch()
    (path / "link.png").symlink_to("photos")
    # The command runs inside this folder.
    for number in range(10):
        file = path / "inner" / "flat" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_photo(2, number)).save(file)
    return path


@pytest.fixture(scope="module")
def results(folder, tmp_path_factory):
    elsewhere = str(tmp_path_factory.mktemp("elsewhere"))
    variables = {"XDG_CACHE_HOME": elsewhere, "TFDS_DATA_DIR": elsewhere}
    return calls.run("data", LINES, folder, **variables)


def _row(text, split):
    (line,) = re.findall(rf"^ +{split} +(.*)$", text, re.MULTILINE)
    return re.split("  +", line)


def test_prepare_describes_the_data_set(results, folder):
    code, out, errors, new = results["prepare"]
    assert code == 0, errors
    assert new == ["photos_12x12x3.png"]
    assert f"folder:{folder}/photos@12x12x3" in out
    assert "images        (12, 12, 3), uint8" in out
    assert "classes       2: ant, bee" in out
    train, test = _row(out, "train"), _row(out, "test")
    assert int(train[0]) + int(test[0]) == 20
    assert train[1] == "-" and train[2] == "1"
    assert re.fullmatch(r"[789] to (9|10)", train[4])
    assert "left out: bee/broken.jpg (UnidentifiedImageError" in out
    assert "left out, not images by their suffix: 1 .gif\n" in out
    assert re.search(r"[\d.]+ MiB on the disk", out)
    code, again, _, new = results["again"]
    assert code == 0 and new == ["sheets", "sheets/photos.png"]
    # The facts are stored: the second call reads no image.
    assert again.splitlines()[1:-1] == out.splitlines()[1:-1]


def test_the_contact_sheet(results, folder):
    sheet = np.asarray(Image.open(folder / "photos_12x12x3.png"))
    train = int(_row(results["prepare"][1], "train")[0])
    assert sheet.shape == (-(-train // 8) * 12, 8 * 12, 3)
    known = {_photo(label, n).tobytes() for label in (0, 1) for n in range(10)}
    cells = [
        sheet[12 * (i // 8) :, 12 * (i % 8) :][:12, :12].tobytes() for i in range(train)
    ]
    assert set(cells) <= known and len(set(cells)) == train


def test_a_large_set_is_sampled_evenly():
    digits, _ = datasets.load_split("digits32", "train")
    shown = digits[[1400 * i // 64 for i in range(64)]]
    sheet = inspection.contact_sheet("digits32")
    np.testing.assert_array_equal(sheet, pictures.grid(shown, columns=8))


def test_inspect_describes_a_batch(results):
    code, out, errors, new = results["inspect"]
    assert code == 0, errors
    assert new == ["photos_10x10x1-batch.png"]
    assert "images        (32, 10, 10, 1), float32, from 0" in out
    rows = re.findall(r"^ +(\d) +(\d) +0 1 2 3   (ant|bee)$", out, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(8))
    assert all((label, name) in {("0", "ant"), ("1", "bee")} for _, label, name in rows)
    # The picture must not become an image of the folder.
    code, out, errors, new = results["here"]
    assert code == 0 and new == ["inner/flat_12x12x3-batch.png"], errors
    assert "inner/flat_12x12x3-batch.png" in out
    code, out, _, new = results["digits"]
    assert code == 0 and new == ["digits32-batch.png"]
    assert len(re.findall(r" 0 1 2 3 ", out)) == 3


def test_the_batch_is_that_of_training():
    batch = inspection.first_batch("digits32", batch_size=4, seed=9)
    digits, labels = datasets.load_split("digits32", "train")
    stream = datasets.training_dataset(digits, labels, batch_size=4, seed=9)
    first, first_labels = next(iter(stream))
    assert batch.images.dtype == np.float32
    assert 0 <= batch.images.min() < batch.images.max() <= 1
    for i, (image, label, turns) in enumerate(zip(*batch, strict=True)):
        assert turns == i // 4 and label == first_labels[i % 4]
        expected = np.rot90(first[i % 4].numpy() / np.float32(255), turns)
        np.testing.assert_allclose(image, expected, rtol=1e-6)


def test_the_picture_shows_images_over_their_captions():
    batch = inspection.first_batch("digits32", batch_size=3)
    names = [f"digit {i}" for i in range(10)]
    picture = inspection.picture(batch, names)
    side, cell = 96, 96 + 24
    assert picture.shape == (4 * cell, 3 * side, 3) and picture.dtype == np.uint8
    for i, image in enumerate(batch.images):
        place = picture[i // 3 * cell :, i % 3 * side :][:cell, :side]
        shown = place[:side:3, :side:3, 0]
        np.testing.assert_array_equal(shown, np.round(image[..., 0] * 255))
        # White on black: one line for the class, one for the rotation.
        for line in (place[side : side + 12], place[side + 12 :]):
            assert line.max() > 200 and line.min() == 0
    # Other class names give another picture.
    other = inspection.picture(batch, ["x"] * 10)
    assert (other[side : side + 12] != picture[side : side + 12]).any()
    np.testing.assert_array_equal(other[side + 12 : cell], picture[side + 12 : cell])


def test_captions():
    batch = inspection.Batch(
        np.zeros((4, 2, 2, 1), np.float32), np.array([1, -1, 1, 0]), np.arange(4)
    )
    assert inspection.captions(batch, ["ant", "bee"]) == [
        ["bee", "0 deg: 0"],
        ["no label", "90 deg: 1"],
        ["bee", "180 deg: 2"],
        ["ant", "270 deg: 3"],
    ]


def test_a_set_of_the_table_is_described():
    text = inspection.describe("digits32")
    assert _row(text, "train")[:3] == ["1,400", "1,400", "1"]
    assert _row(text, "train")[3:] == ["1.4", "132 to 149"]
    assert _row(text, "test") == ["397", "397", "1", "0.4", "31 to 47"]
    assert "classes       10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n" in text


@pytest.mark.parametrize(
    "name, words",
    [
        ("no command", "Either `ssgan data prepare NAME` or"),
        ("no name", "Either `ssgan data prepare NAME` or"),
        ("unknown", "Did you mean 'digits32'?"),
        ("no size", "--resolution=64"),
        ("into the folder", "--out=photos/bee/sheet.png"),
        ("onto the folder", "--out=link.png"),
        ("no prefix", "Did you mean 'folder:photos'?"),
        ("beam", "beam_runner='DirectRunner'"),
        ("no such folder", "nowhere"),
        ("other channels", "colors=2"),
        ("size of a row", "Received: digits32"),
        ("no picture", "--out must end in .png"),
        ("by hand", "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar"),
    ],
)
def test_wrong_calls_write_nothing(results, name, words):
    code, out, errors, new = results[name]
    is_usage_error = errors.rstrip().endswith("See `ssgan data --help`.")
    assert code == 1 + is_usage_error and new == []
    assert words in out + errors and "Traceback" not in out + errors


def test_the_page_lists_every_row():
    page = (ROOT / "docs" / "data.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name, spec in datasets.DATASETS.items():
        (row,) = (row for row in rows if f"`{name}`" in row)
        for fact in (spec.train_count, spec.eval_count, spec.image_shape[0]):
            assert f"{fact:,}" in row
