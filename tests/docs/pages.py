"""The documentation as data: its pages, their code blocks, what the pages say of running them, and their links.

A code block whose first line is ``# NAME`` with a file's name is that file. ``<!-- run: ARGS => passed=1 -->`` runs pytest with ARGS over
the files so far and expects these outcomes; ``<!-- with: FOLDER -->`` puts a folder's files, but for its tests, beside them.
Blocks are executed in the order of the page, so a later block of the same name is the next version of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_STEP = re.compile(r"^```(?P<lang>\w+)\n(?P<code>.*?)^```$|<!-- (?P<verb>run|with): (?P<rest>.*?) -->", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"# ([\w./-]+\.(?:py|toml|ini))\n")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


class WriteFile(NamedTuple):
    """A code block that is a file."""

    name: str
    code: str


class UseFolder(NamedTuple):
    """A folder of the repository whose files the page's tests need."""

    folder: str


class Run(NamedTuple):
    """A run of pytest and what must come of it."""

    arguments: tuple[str, ...]
    outcomes: dict[str, int]


Step = WriteFile | UseFolder | Run


def steps(page: Path) -> Iterator[Step]:
    """What the page shows and runs, in its order."""
    for match in _STEP.finditer(page.read_text(encoding="utf-8")):
        if match["verb"] == "with":
            yield UseFolder(match["rest"])
        elif match["verb"] == "run":
            arguments, _, outcomes = match["rest"].partition("=>")
            expected = dict(pair.split("=") for pair in outcomes.split())
            yield Run(tuple(arguments.split()), {name: int(count) for name, count in expected.items()})
        elif named := _NAME.match(match["code"]):
            yield WriteFile(named[1], match["code"])


def links(page: Path) -> list[str]:
    """The page's links, as written, those in code blocks left out."""
    return _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The names that links into the page may have behind ``#``, as GitHub makes them."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
