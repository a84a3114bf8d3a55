"""Runs the notebooks from top to bottom, in their own kernel, on a small module."""

import os
import sys

import nbclient
import nbformat
import pytest
import tiny
from paths import ROOT

from ssgan_tf import datasets
from ssgan_tf.modules import writing
from ssgan_tf.modules.metadata import MOVING_MOMENTS

GENERATORS = ROOT / "notebooks" / "published_generators.ipynb"


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    path = tmp_path_factory.mktemp("notebooks") / "module"
    gan = tiny.plan().build_gan()
    facts = {"step": 0, "dataset": "digits32", "weights": "raw", "config": ""}
    facts["batch_norm"] = MOVING_MOMENTS
    writing.export(
        gan.generator, gan.discriminator, gan.latents, path=path, metadata=facts
    )
    # The kernel reads the data set that is prepared here.
    tiny.prepare()
    datasets.load_split("digits32", "test")
    return path


def run(path, folder, **variables) -> list[str]:
    """The outputs of the cells, in order; a cell that fails is an error."""
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(folder)}}
    )
    # The kernel of this interpreter, wherever its kernels are registered.
    client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), **variables})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [
        output.get("text") or " ".join(sorted(output["data"])) for output in outputs
    ]


def test_published_generators(module, tmp_path):
    outputs = run(GENERATORS, tmp_path, MODULE=str(module))
    text = "\n".join(outputs)
    assert "images (32, 32, 1)\nz      8 uniform\nlabels none\nheads  rotation" in text
    # Samples, three truncations, a strip, two samples and a photo in four turns.
    assert sum("image/png" in output for output in outputs) == 8
    assert sum("image/gif" in output for output in outputs) == 1
    assert (tmp_path / "loop.gif").stat().st_size > 0
    assert "frechet_digits32_cnn_397_test" in text and "digits32" in text
    assert text.count("turned by  90 degrees   D:   0: ") == 3


def test_cells_have_no_traces_of_a_machine():
    notebook = nbformat.read(GENERATORS, as_version=4)
    nbformat.validate(notebook)
    assert "/" + "tmp/" not in GENERATORS.read_text()
    for cell in notebook.cells:
        assert "execution" not in cell.metadata
