"""The README: its snippets run, its flags and files exist."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
import tiny

from ssgan_tf import cli, exporting, strategies

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [
    "BENCHMARKS.md",
    "CONTRIBUTING.md",
    "README.md",
    "RESULTS.md",
    "export/README.md",
    *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
]


def snippets(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_training_in_python():
    (snippet,) = (code for code in snippets("README.md") if "gan.fit" in code)
    scope = {}
    exec(snippet, scope)
    assert scope["gan"].step == 2


@pytest.mark.parametrize(
    "page", ["README.md", pytest.param("export/README.md", marks=pytest.mark.slow)]
)
def test_loading_a_module(page, tmp_path):
    gan = tiny.plan("options.z_dim = 128").build_gan()
    exporting.export(
        gan.sampler, gan.discriminator, gan.latents, tmp_path / "module", {}
    )
    loading = [code for code in snippets(page) if ".load(" in code]
    snippet, count = re.subn(
        r'"runs/quickstart/tfhub/\d+"',
        repr(str(tmp_path / "module")),
        "\n".join(loading),
    )
    assert count == len(loading) > 0
    # In a process of its own: tensorflow_hub brings another Keras along.
    done = subprocess.run(
        [sys.executable, "-c", snippet + "\nprint(images.shape)"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\((64|8), 32, 32, 1\)", done.stdout)


@pytest.mark.parametrize("page", [page for page in PAGES if page != "BENCHMARKS.md"])
def test_flags_and_commands_exist(page):
    defined = set()
    for source in [*ROOT.glob("ssgan_tf/*.py"), *ROOT.glob("export/*.py")]:
        defined |= set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source.read_text()))
    # The flags of the benchmarks and of other programs are their own.
    others = r"(benchmarks/\w+\.py|pip install|fidelity) [^`\n]*|`--(cpu|gpu|isc)[^`]*`"
    text = re.sub(others, "", (ROOT / page).read_text())
    assert set(re.findall(r"--(\w+)", text)) <= defined
    assert set(re.findall(r"(?<![-\w])ssgan (\w+) -", text)) <= set(cli.COMMANDS)


def test_the_clusters_of_the_page_are_clusters(monkeypatch):
    page = (ROOT / "docs/distributed.md").read_text()
    indices = []
    for value in re.findall(r"TF_CONFIG='(.*)'", page):
        monkeypatch.setenv("TF_CONFIG", value)
        assert strategies._cluster() == {"worker": ["host0:12345", "host1:12345"]}
        indices.append(json.loads(value)["task"]["index"])
    assert indices == [0, 1]


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_exist(page):
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\(([^)#=]+)\)", text)
    for link in (link for link in links if not link.startswith("http")):
        assert (ROOT / page).parent.joinpath(link).exists(), link
    for name in set(re.findall(r"\b(\w+\.gin)\b", text)) - {"mine.gin", "old.gin"}:
        assert (ROOT / "gin_configs" / name).exists(), name


def test_the_quick_start_is_that_of_the_makefile():
    steps = re.search(
        r"training_steps = (\d+)", (ROOT / "gin_configs/quickstart.gin").read_text()
    )[1]
    for page in ("README.md", "export/README.md", "Makefile"):
        named = set(re.findall(r"tfhub/(\d+)", (ROOT / page).read_text()))
        assert named == {steps}, page
