"""What the documentation shows is run; what it links to exists; what it names can be typed."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Run, UseFolder, WriteFile, anchors, links, steps

# pytester forgets what a run in this process imported; this takes seconds, so it is imported here, once.
for large in ("torch", "transformers.generation", "transformers.models.llama.modeling_llama"):
    pytest.importorskip(large)

CHEAP = ("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function", "--tpf-max-time", "0.3")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


RUNNABLE = [page for page in PAGES if any(isinstance(step, Run) for step in steps(page))]


@pytest.mark.parametrize("page", RUNNABLE, ids=_name)
def test_examples_run(page, pytester, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", f"{pytester.path}:{ROOT}")
    for step in steps(page):
        match step:
            case WriteFile(name, code):
                _write(pytester.path / name, code)
            case UseFolder(folder):
                _borrow(pytester.path, ROOT / folder)
            case Run(arguments, outcomes):
                run = pytester.runpytest_subprocess if _installed(pytester.path) else pytester.runpytest_inprocess
                result = run(*CHEAP, *arguments)
                assert {name: count for name, count in result.parseoutcomes().items() if name != "warnings"} == outcomes, step


def _write(path: Path, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():  # a borrowed file: the page's own takes its place, never its content
        path.unlink()
    path.write_text(code, encoding="utf-8")


def _borrow(target: Path, folder: Path) -> None:
    for path in folder.iterdir():
        if not path.name.startswith(("test_", "__")):
            (target / path.name).symlink_to(path)


def _installed(folder: Path) -> bool:
    """Make the entry points of the page's pyproject.toml known, as installing the project would; whether there are any."""
    if not (folder / "pyproject.toml").is_file():
        return False
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    if "entry-points" not in project:
        return False
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    groups = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in project["entry-points"].items()]
    _write(info / "METADATA", f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    _write(info / "entry_points.txt", "\n".join(groups))
    return True


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_test_file_shown_is_run(page):
    waiting = set()
    for step in steps(page):
        if isinstance(step, WriteFile) and Path(step.name).name.startswith("test_"):
            waiting.add(step.name)
        elif isinstance(step, Run):
            waiting -= set(step.arguments) if any(name.endswith(".py") for name in step.arguments) else waiting
    assert not waiting


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page):
    broken = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        if target.startswith(("http://", "https://")):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_make_targets_exist(page):
    named = set(re.findall(r"\bmake ([a-z]+)\b(?=[`\s])", "\n".join(_commands(page))))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert named <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def test_the_readme_starts_with_the_two_commands():
    text = "\n".join(_commands(ROOT / "README.md"))
    assert "make demo" in text
    assert "make test" in text


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_options_and_verbs_exist(page):
    from pytest_tpf.cli.main import VERBS
    from pytest_tpf.options import OPTIONS

    text = page.read_text(encoding="utf-8")
    known = {option.name for option in OPTIONS}
    assert set(re.findall(r"--tpf-([a-z]+(?:-[a-z]+)*)", text)) <= known
    ini_keys = set(re.findall(r"^tpf_([a-z_]+) =", text, re.MULTILINE))
    assert ini_keys <= {option.key for option in OPTIONS}
    assert set(re.findall(r"(?:^\$ |`)tpf ([a-z]+)", text, re.MULTILINE)) <= {*VERBS}


def _commands(page: Path) -> list[str]:
    """Text set as code: fenced, indented or between backticks."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"```.*?```|^ {4}[^\n]*$|`[^`\n]+`", text, re.DOTALL | re.MULTILINE)


def test_files_are_plain_text_without_trailing_blanks():
    tracked = subprocess.run(["git", "ls-files", "docs", "README.md"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked or [_name(page) for page in PAGES]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert not [number for number, line in enumerate(lines, 1) if line != line.rstrip()], name
