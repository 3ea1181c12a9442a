"""The gate's guide, followed by its letter: its commands, in one shell, on a copy of the example."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "how-to" / "gate.md"


def commands():
    """What the reader types, from the example's folder on; the environment is this one."""
    part = GUIDE.read_text(encoding="utf-8").split("## Try it in five minutes")[1].split("\n## ")[0]
    typed = [line.strip() for line in part.splitlines() if re.match(r"    (export|pytest|sed)\b", line)]
    assert [line.split()[0] for line in typed] == ["export", "pytest", "pytest", "sed", "pytest", "sed", "pytest"]
    return typed


def test_its_commands_find_what_they_change():
    changes = [line for line in commands() if line.startswith("sed")]
    source = (ROOT / "examples" / "adder" / "adder.py").read_text(encoding="utf-8")
    slower = subprocess.run(
        changes[0].replace("-i ", "").replace(" adder.py", ""), shell=True, input=source, capture_output=True, text=True
    )
    undone = subprocess.run(
        changes[1].replace("-i ", "").replace(" adder.py", ""), shell=True, input=slower.stdout, capture_output=True, text=True
    )
    assert "num_beams=8" in slower.stdout
    assert undone.stdout == source


@pytest.mark.stress
def test_a_slower_model_is_found_and_its_undoing_too(tmp_path):
    folder = tmp_path / "adder"
    shutil.copytree(ROOT / "examples" / "adder", folder, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    script = "".join(f'{line}; echo "=== $?"\n' for line in commands())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")} | {"PATH": path}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    *steps, _ = re.split(r"=== (\d+)\n", done.stdout)
    outputs, codes = steps[::2], [int(code) for code in steps[1::2]]
    assert codes == [0, 0, 0, 0, 1, 0, 0], done.stdout + done.stderr
    red = outputs[4]
    assert re.search(r"test_adds_in_batches\[\d+\] regressed: joules_per_token \+\d+.*95 % interval.*threshold 50%", red), red
    assert "--tpf-accept" in red
