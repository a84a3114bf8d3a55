"""The Python blocks of the README, and facts that several pages share."""

import json
import re

import pages
import pytest
import tensorflow as tf
import tiny
from pages import ROOT

from ssgan_tf.modules import writing


def test_training_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (snippet,) = (
        code
        for code in pages.blocks(pages.read("README.md"), "python")
        if "gan.fit" in code
    )
    scope = {}
    exec(snippet, scope)
    assert scope["gan"].step == 2
    assert scope["samples"].shape == (64, 32, 32, 3)
    assert (tmp_path / "module" / "saved_model.pb").exists()


@pytest.mark.parametrize(
    "page", ["README.md", pytest.param("export/README.md", marks=pytest.mark.slow)]
)
def test_loading_a_module(page, tmp_path):
    gan = tiny.plan("options.z_dim = 128").build_gan()
    writing.export(
        gan.sampler,
        gan.discriminator,
        gan.latents,
        path=tmp_path / "module",
        metadata={},
    )
    loading = [
        code
        for code in pages.blocks(pages.read(page), "python")
        if ".load(" in code and "gan.fit" not in code
    ]
    snippet, count = re.subn(
        r'"runs/quickstart/tfhub/\d+"',
        repr(str(tmp_path / "module")),
        "\n".join(loading),
    )
    assert count == len(loading) > 0
    # In a process of its own: tensorflow_hub imports Keras 2.
    output = pages.run_python("-c", snippet + "\nprint(images.shape)")
    assert re.search(r"\((64|8), 32, 32, 1\)", output)


def test_the_clusters_of_the_page_are_valid(monkeypatch):
    page = (ROOT / "docs/distributed.md").read_text()
    indices = []
    for value in re.findall(r"TF_CONFIG='(.*)'", page):
        monkeypatch.setenv("TF_CONFIG", value)
        cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        assert cluster.cluster_spec().as_dict() == {
            "worker": ["host0:12345", "host1:12345"]
        }
        indices.append(json.loads(value)["task"]["index"])
    assert indices == [0, 1]


def test_pages_and_makefile_name_the_steps_of_the_quick_start():
    steps = re.search(
        r"training_steps = (\d+)", (ROOT / "gin_configs/quickstart.gin").read_text()
    )[1]
    for page in ("README.md", "export/README.md", "Makefile"):
        named = set(re.findall(r"tfhub/(\d+)", (ROOT / page).read_text()))
        assert named == {steps}, page
