"""`import ssgan_tf`: its names. The README's example is in tests/pages."""

import inspect
import json
import re
import subprocess
import sys

import pytest
from paths import ROOT

import ssgan_tf

IMPORT = """
import json, sys
import ssgan_tf
heavy = [name for name in ("tensorflow", "keras", "numpy") if name in sys.modules]
json.dump([heavy, dir(ssgan_tf)], sys.stdout)
"""


def test_import_loads_no_tensorflow():
    output = subprocess.check_output([sys.executable, "-c", IMPORT], text=True)
    heavy, names = json.loads(output)
    assert heavy == [] and set(ssgan_tf.__all__) <= set(names)


# Name -> the module of an object, or a member of a module.
OBJECTS = {
    "Adam": "ssgan_tf.optimizers",
    "GAN": "ssgan_tf.gan",
    "Latents": "ssgan_tf.latents",
    "RotationTask": "ssgan_tf.rotation",
    "export": "ssgan_tf.modules.writing",
    "load": "ssgan_tf.modules.reading",
}
MODULES = {
    "callbacks": "SampleGrid",
    "layers": "BatchNorm",
    "losses": "Hinge",
    "networks": "build_generator",
    "penalties": "Penalty",
}


def test_names():
    for name, module in OBJECTS.items():
        value = getattr(ssgan_tf, name)
        # A submodule of this name would shadow the object.
        assert callable(value) and not inspect.ismodule(value)
        assert (value.__module__, value.__name__) == (module, name)
    for name, member in MODULES.items():
        module = getattr(ssgan_tf, name)
        assert inspect.ismodule(module) and hasattr(module, member)
    namespace = {}
    exec("from ssgan_tf import *", namespace)
    names = set(namespace) - {"__builtins__"}
    assert names == set(ssgan_tf.__all__) == {*OBJECTS, *MODULES}
    with pytest.raises(AttributeError, match="'Gan'"):
        getattr(ssgan_tf, "Gan")


def test_the_table_names_files_that_exist():
    paths = re.findall(r"[\w/]+\.py\b", ssgan_tf.__doc__)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / "ssgan_tf" / path).is_file()] == []
