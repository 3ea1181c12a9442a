"""Every fault on the page about reliability has a test, and every fault test is on the page."""

from __future__ import annotations

import ast
import re

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| fault ")]


def _tests(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    return {f"{path}::{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def _named(text: str) -> set[str]:
    return set(re.findall(r"`([\w/]+\.py::\w+)`", text))


def test_every_row_names_tests_that_exist():
    assert ROWS
    for row in ROWS:
        named = _named(row.rpartition("|")[0].rpartition("|")[2])
        assert named, row
        assert not {name for name in named if name not in _tests(name.partition("::")[0])}, row


def test_every_fault_test_is_on_the_page():
    ours = {name for path in sorted((ROOT / "tests" / "faults").glob("test_*.py")) for name in _tests(f"faults/{path.name}")}
    assert ours - _named(PAGE) == set()
