"""TFGAN's eval package without TFGAN."""

import subprocess
import sys
import types

import pytest

from ssgan_tf.evaluation import tfgan

# The function itself, as on its first call in a process.
fresh_import_eval = tfgan.import_eval.__wrapped__


def tfgan_modules():
    return {n for n in sys.modules if n.partition(".")[0] == "tensorflow_gan"}


def forget_tfgan(monkeypatch):
    for name in tfgan_modules():
        monkeypatch.delitem(sys.modules, name)


def test_has_what_the_package_uses():
    evaluation = tfgan.import_eval()
    for name in (
        "classifier_score_from_logits",
        "kernel_classifier_distance_and_std_from_activations",
        "sliced_wasserstein_distance",
    ):
        assert callable(getattr(evaluation, name))
    assert tfgan.import_eval() is evaluation
    # No parents that were not executed.
    for name in ("tensorflow_gan", "tensorflow_gan.python"):
        assert name not in sys.modules or hasattr(sys.modules[name], "losses")


def test_failure_leaves_sys_modules_alone(monkeypatch):
    forget_tfgan(monkeypatch)

    def fail(name):
        # As if the import had come half way.
        sys.modules["tensorflow_gan.python.eval"] = types.ModuleType("half")
        raise ImportError("half way")

    monkeypatch.setattr(tfgan.importlib, "import_module", fail)
    with pytest.raises(ImportError, match="half way"):
        fresh_import_eval()
    assert tfgan_modules() == set()


def test_missing_package_says_what_to_install(monkeypatch):
    forget_tfgan(monkeypatch)
    monkeypatch.setattr(tfgan.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install tensorflow-gan"):
        fresh_import_eval()
    assert tfgan_modules() == set()


def test_uses_a_real_import(monkeypatch):
    forget_tfgan(monkeypatch)
    real = {
        name: types.ModuleType(name)
        for name in (
            "tensorflow_gan",
            "tensorflow_gan.python",
            "tensorflow_gan.python.eval",
        )
    }
    for name, module in real.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert fresh_import_eval() is real["tensorflow_gan.python.eval"]
    assert {name: sys.modules[name] for name in tfgan_modules()} == real


@pytest.mark.slow
def test_works_after_and_before_a_failed_real_import():
    # In a process of its own: only a first import is a test.
    script = """
import importlib
def fails():
    try:
        importlib.import_module("tensorflow_gan")
    except Exception as error:
        return str(error)
    return None
first = fails()
from ssgan_tf.evaluation import tfgan
assert callable(tfgan.import_eval().classifier_score_from_logits)
assert fails() == first, (fails(), first)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
