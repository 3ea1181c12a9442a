"""The generated part of a page: text between two marks, which a benchmark replaces and people leave alone."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers import ROOT

BEGIN, END = "<!-- {name}: generated, don't edit -->", "<!-- /{name} -->"


def replace_part(page: Path, name: str, text: str) -> None:
    """Put ``text`` between the marks of ``name``.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = BEGIN.format(name=name), END.format(name=name)
    content = page.read_text(encoding="utf-8")
    before, found, rest = content.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page.relative_to(ROOT)} lacks {begin} or {end}")
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def machine() -> dict[str, object]:
    """Where figures were taken."""
    model = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return {
        "cpu": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def machine_line(where: Mapping[str, object]) -> str:
    """A machine as pages name it."""
    return f"{where['cores']} cores of {where['cpu']}, {where['os']}, Python {where['python']}"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
