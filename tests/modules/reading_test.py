"""`modules.load`: exported modules, archives, and folders that are no modules."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from ssgan_tf.modules import hub, reading


def broken_modules(folder, module):
    """Yields `(path, words of the error)`."""
    yield folder / "missing", "no such folder"
    (folder / "file").write_text("mine")
    yield folder / "file", "no such folder"
    (folder / "empty").mkdir()
    yield folder / "empty", "saved_model.json"
    foreign = tf.Module()
    foreign.run = tf.function(lambda x: x, input_signature=[tf.TensorSpec([])])
    tf.saved_model.save(foreign, str(folder / "foreign"))
    yield folder / "foreign", "saved_model.json"
    facts = (pathlib.Path(module.path) / "saved_model.json").read_text()
    (folder / "foreign2").mkdir()
    tf.saved_model.save(foreign, str(folder / "foreign2"))
    (folder / "foreign2" / "saved_model.json").write_text(facts)
    yield folder / "foreign2", "fingerprint.pb has"
    for name, text in (
        ("cut", facts[:50]),
        ("list", "[]"),
        ("other", '{"a": 1}'),
        ("text", "no JSON"),
        ("classes", facts.replace('"num_classes": 0', '"num_classes": 3')),
        ("moved", facts.replace('"variables/', '"../variables/')),
        ("unsealed", facts.replace('"sha256"', '"md5"')),
    ):
        (folder / name).mkdir()
        (folder / name / "saved_model.json").write_text(text)
        (folder / name / "saved_model.pb").touch()
        yield folder / name, "Export it again"
    (folder / "damaged").mkdir()
    (folder / "damaged" / "saved_model.json").write_text(facts)
    (folder / "damaged" / "saved_model.pb").write_bytes(b"no protocol buffer")
    yield folder / "damaged", "Export it again"


def test_folders_that_are_no_modules(module, tmp_path):
    for path, words in broken_modules(tmp_path, module):
        with pytest.raises((ValueError, OSError)) as caught:
            reading.load(path)
        assert f"Received: module={path}" in str(caught.value)
        assert words in str(caught.value), path


@pytest.mark.parametrize(
    "choice", [{"tags": []}, {"z_distribution": "normal"}, {"num_classes": 3}]
)
def test_arguments_for_published_modules_only(module, choice):
    with pytest.raises(ValueError, match="saved_model.json") as caught:
        reading.load(module.path, **choice)
    ((name, value),) = choice.items()
    assert f"module={module.path}, {name}={value!r}." in str(caught.value)


def test_an_archive_of_a_module(module, tmp_path):
    archive = tmp_path / "m.tar.gz"
    hub.pack(module.path, archive)
    loaded = reading.load(archive)
    assert loaded.metadata == module.metadata
    np.testing.assert_array_equal(loaded.sample(2), module.sample(2))
