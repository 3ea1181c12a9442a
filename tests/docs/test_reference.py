"""The reference pages are those that the code gives now, and the table of reason codes is the code's."""

from __future__ import annotations

import ast
from pathlib import Path

import docs.generate as generate
from pytest_tpf.reasons import FLAGS, REASONS

ROOT = Path(__file__).parents[2]
EMITTERS = {"_unknown", "ReadFault", "_stop", "Fault", "fault", "History", "DomainEnergy"}
"""Calls that take reason codes: ``_unknown`` nothing else, the others first, as ``code``, ``reasons`` or in ``faults``."""


def test_pages_are_fresh():
    assert generate.stale() == []
    assert generate.main(["--check"]) == 0


def test_a_stale_page_is_found(tmp_path):
    for name, text in generate.pages().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "cli.md").write_text("# The command tpf\n", encoding="utf-8")
    (tmp_path / "marker.md").unlink()
    assert generate.stale(tmp_path) == ["marker.md", "cli.md"]


def test_every_field_of_the_schema_is_on_the_report_page():
    page = generate.report_page()
    for definition in generate.load_schema()["$defs"].values():
        for name in definition["properties"]:
            assert f"| `{name}` |" in page


def test_reason_codes_are_the_ones_emitted():
    emitted = {code for path in sorted((ROOT / "pytest_tpf").rglob("*.py")) for code in _codes(path)}
    assert sorted(emitted) == sorted(reason.code for reason in REASONS)


def test_flags_are_the_ones_emitted():
    emitted = set[str]()
    for path in sorted((ROOT / "pytest_tpf").rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        codes = [keyword.value for node in calls if _called(node) == "Flag" for keyword in node.keywords if keyword.arg == "code"]
        emitted |= {text for code in codes for text in _texts(code)}
    assert sorted(emitted) == sorted(flag.code for flag in FLAGS)
    assert not emitted & {reason.code for reason in REASONS}


def _codes(path: Path) -> set[str]:
    """Reason codes written out in a module: arguments of the calls that take them, and what ``_why_unknown`` returns."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == "_why_unknown":
            found |= {text for inner in ast.walk(node) if isinstance(inner, ast.Return) for text in _texts(inner)}
        if isinstance(node, ast.Call) and _called(node) in EMITTERS and path.parent.name in ("measure", "meters"):
            given = node.args if _called(node) == "_unknown" else node.args[:1]
            named = [keyword.value for keyword in node.keywords if keyword.arg in ("code", "reasons", "faults")]
            found |= {text for argument in (*given, *named) for text in _texts(argument)}
    return found


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""


def _texts(node: ast.AST) -> set[str]:
    return {inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant) and isinstance(inner.value, str)}
