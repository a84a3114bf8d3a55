"""Facts about the environment: the commit, and no names of hosts or users."""

import json
import os
import platform
import subprocess

import keras
import pytest
import tensorflow as tf
from optional import needs_git

from ssgan_tf.utils import environment


def test_facts():
    facts = environment.facts()
    assert facts["tensorflow"] == tf.__version__
    assert facts["keras"] == keras.__version__
    assert facts["python"] == platform.python_version()
    assert facts["devices"] == ["CPU:0"]
    assert facts["cores"] >= 1 and facts["cpu"]
    text = json.dumps(facts)
    for private in (platform.node(), os.path.expanduser("~"), os.getcwd()):
        assert private not in text


def git(folder, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "tracked.py").write_text("1")
    git(tmp_path, "add", "tracked.py")
    git(tmp_path, "commit", "-m", "first")
    # A tag and an untracked file must not change the commit.
    git(tmp_path, *"tag -a v1 -m v1".split())
    (tmp_path / "untracked.py").write_text("2")
    return tmp_path


@needs_git
def test_commit(checkout, tmp_path_factory, monkeypatch):
    commit = git(checkout, "rev-parse", "HEAD")
    assert environment.commit_of(checkout / "tracked.py") == commit
    (checkout / "tracked.py").write_text("3")
    assert environment.commit_of(checkout / "tracked.py") == f"{commit}-dirty"
    # Installed inside the checkout of another project.
    assert environment.commit_of(checkout / "untracked.py") is None
    outside = tmp_path_factory.mktemp("outside")
    # The temporary folder may be inside a checkout.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(outside.parent))
    assert environment.commit_of(outside / "file.py") is None
    # Without git.
    monkeypatch.setenv("PATH", str(outside))
    assert environment.commit_of(checkout / "tracked.py") is None


def test_processor(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Fast: CPU 3\n\nmodel name\t: x\n")
    assert environment.cpu_model(info) == "Fast: CPU 3"
    assert environment.cpu_model(tmp_path / "none")
