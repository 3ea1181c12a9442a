"""The package as it is shipped: its public names and what the wheel carries."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pytest_tpf

ROOT = Path(pytest_tpf.__file__).parents[1]


def test_the_public_names_are_sorted_and_there():
    assert pytest_tpf.__all__ == sorted(pytest_tpf.__all__)
    assert all(getattr(pytest_tpf, name) is not None for name in pytest_tpf.__all__)


def test_another_name_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = pytest_tpf.Nothing


def test_importing_the_package_imports_none_of_them():
    code = "import sys, pytest_tpf; print(sorted(name for name in sys.modules if name.startswith('pytest_tpf')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pytest_tpf']"


def test_the_wheel_carries_the_schema_the_types_and_the_entry_points(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert {"pytest_tpf/schema/tpf-report-1.0.schema.json", "pytest_tpf/py.typed"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "examples/", "benchmarks/"))]
    assert "tpf = pytest_tpf.plugin" in entry_points
    assert "tpf = pytest_tpf.cli.main:main" in entry_points
