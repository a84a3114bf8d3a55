"""Marks of tests that need something a machine may lack, and how to provide it.

`make test` ends with the list of the tests that were skipped and these reasons.
"""

import importlib.util
import os
import shutil
import sys

import pytest
from paths import ROOT

PREPARED_DATA = ROOT.parent / "shared" / "tfds"
OLD_PYTHONS = os.environ.get("SSGAN_OLD_PYTHONS", "").split(os.pathsep)


def _needs(present: bool, reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not present, reason=reason)


needs_cifar10 = _needs(
    (PREPARED_DATA / "cifar10").is_dir(),
    "CIFAR-10: ssgan data prepare cifar10 --tfds_data_dir=../shared/tfds",
)
needs_beam = _needs(
    importlib.util.find_spec("apache_beam") is not None,
    "Apache Beam: pip install -e '.[beam]'",
)
needs_chromium = _needs(
    shutil.which("chromium") is not None, "a browser: apt-get install chromium"
)
needs_git = _needs(shutil.which("git") is not None, "git: apt-get install git")
needs_old_pythons = _needs(
    OLD_PYTHONS != [""],
    "Python interpreters with an older TensorFlow: SSGAN_OLD_PYTHONS=PATH:PATH",
)
needs_linux = _needs(sys.platform == "linux", "Linux: reads /proc or /dev")
needs_root = _needs(os.getuid() == 0, "root: becomes another user")
