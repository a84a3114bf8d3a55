"""Parts of a release: one version, pinned packages, a model card, a citation."""

import re
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from paths import ROOT

import ssgan_tf
from ssgan_tf.commands import doctor_checks


def test_the_version_is_written_once():
    assert "attr: ssgan_tf.__version__" in (ROOT / "setup.cfg").read_text()
    for name in ("setup.cfg", "pyproject.toml", "CITATION.cff", "Makefile"):
        assert ssgan_tf.__version__ not in (ROOT / name).read_text()
    # CHANGELOG.md repeats it as its first heading.
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first[1] == ssgan_tf.__version__


def test_constraints_pin_all_that_is_required():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    names = {re.sub(r"[-_.]+", "-", pin.name).lower(): pin for pin in pins}
    assert len(names) == len(pins)
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
    for needed in doctor_checks.requirements():
        pin = names[re.sub(r"[-_.]+", "-", needed.name).lower()]
        (specifier,) = pin.specifier
        assert needed.specifier.contains(specifier.version), needed
    # The README's table has the same versions.
    readme = (ROOT / "README.md").read_text()
    for name in ("tensorflow", "keras"):
        (specifier,) = names[name].specifier
        assert f"| {specifier.version} |" in readme


@pytest.mark.slow
def test_the_wheel_has_all_files_of_the_package(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in [*ROOT.glob("gin_configs/*.*"), *ROOT.glob("ssgan_tf/**/*.*")]:
        if path.suffix in (".gin", ".sweep", ".py", ".json", ".j2"):
            inside = str(path.relative_to(ROOT))
            if path.parent.name == "gin_configs":
                inside = f"ssgan_tf/{inside}"
            assert inside in names
    assert not any(name.startswith("tests") for name in names)
