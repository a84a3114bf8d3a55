"""`saved_model.json`: its facts, and damage that it reveals."""

import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from exports import LATENT_DIM

from ssgan_tf.modules import reading
from ssgan_tf.modules.metadata import check_files, read_metadata


def test_metadata(module):
    facts = json.loads((pathlib.Path(module.path) / "saved_model.json").read_text())
    assert facts == module.metadata
    assert facts["step"] == 5
    assert facts["latents"] == {"dim": LATENT_DIM, "distribution": "uniform"}
    assert facts["image_shape"] == [8, 8, 3]
    assert facts["num_classes"] == 0
    assert facts["scores"] == [] and facts["fine_tunable"] is False
    assert facts["versions"]["tensorflow"] == tf.__version__
    # A hash of the weights, and of nothing else.
    variables = tf.saved_model.load(module.path).variables
    content = b"".join(variable.numpy().tobytes() for variable in variables)
    assert facts["weights_sha256"] == hashlib.sha256(content).hexdigest()


def damaged(content: bytes, rng: np.random.Generator) -> list[bytes]:
    """The bytes of a file truncated, extended, or with one flipped bit."""
    flipped = []
    places = [0, len(content) - 1, *rng.integers(0, len(content), 30)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        flipped.append(bytes(changed))
    cut = [content[:size] for size in (0, len(content) // 2, len(content) - 1)]
    return [*flipped, *cut, content + b"\0"]


class TestDamage:
    @pytest.fixture
    def copy(self, module, tmp_path):
        return pathlib.Path(shutil.copytree(module.path, tmp_path / "module"))

    def files(self, copy):
        files = [path for path in sorted(copy.rglob("*")) if path.is_file()]
        names = {"saved_model.pb", "README.md", "samples.png"}
        assert len(files) == 7 and {file.name for file in files} > names
        return [file for file in files if file.name != "README.md"]

    def test_any_damaged_file_is_refused(self, module, copy):
        rng = np.random.default_rng(0)
        for file in self.files(copy):
            content = file.read_bytes()
            for changed in damaged(content, rng):
                file.write_bytes(changed)
                try:
                    # Other white space is no damage.
                    assert check_files(copy) == module.metadata
                    assert file.name == "saved_model.json"
                except ValueError as error:
                    assert f"module={copy}" in str(error)
                    assert file.relative_to(copy).as_posix() in str(error)
            file.unlink()
            with pytest.raises(ValueError, match=file.name):
                check_files(copy)
            file.write_bytes(content)
        assert check_files(copy) == module.metadata

    def test_is_noticed_before_tensorflow_reads_it(self, copy, monkeypatch):
        def fail(*args):
            raise AssertionError("TensorFlow was asked")

        monkeypatch.setattr(tf.saved_model, "load", fail)
        for file in self.files(copy):
            content = file.read_bytes()
            file.write_bytes(content[:9] + bytes([content[9] ^ 4]) + content[10:])
            with pytest.raises(ValueError, match=file.name):
                reading.load(copy)
            file.write_bytes(content)

    def test_facts_are_sealed(self, copy):
        file = copy / "saved_model.json"
        facts = json.loads(file.read_text())
        # Their order does not matter.
        file.write_text(json.dumps(dict(reversed(facts.items()))))
        assert read_metadata(copy) == facts
        for name in facts:
            for changed in (facts | {name: "5"}, facts | {name: None}):
                file.write_text(json.dumps(changed))
                with pytest.raises(
                    ValueError, match="saved_model.json has been changed"
                ):
                    read_metadata(copy)
        file.write_text(json.dumps(facts | {"more": 1}))
        with pytest.raises(ValueError, match="saved_model.json has been changed"):
            read_metadata(copy)

    def test_further_files_are_ignored(self, module, copy):
        (copy / "NOTES.md").write_text("Digits.")
        (copy / "README.md").write_text("Digits too.")
        (copy / "assets" / "samples").mkdir(parents=True)
        (copy / "assets" / "samples" / "digits.png").write_bytes(b"\0")
        loaded = reading.load(copy)
        np.testing.assert_array_equal(loaded.sample(2), module.sample(2))
