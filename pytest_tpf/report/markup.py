"""Markdown in which text from elsewhere is shown as it is, and does nothing. Pure.

Everything that holds such text is an HTML block of CommonMark (4.6): what stands between its first tag and the next blank line isn't parsed
as Markdown at all, so no backtick, bracket or address in it can begin anything, and escaping HTML is all that is needed. The text is in
``<code>`` or ``<pre>``, where GitHub and GitLab look for no mentions, references, emoji or formulas. Nothing here writes a blank line.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from pytest_tpf.report.text import plain

_LONGEST = 200
_LONGEST_LINE = 2000


def code(text: str, most: int = _LONGEST) -> str:
    """Text from elsewhere; the middle of a long one goes."""
    return f"<code>{words(_cut(plain(text), most))}</code>"


def words(text: str) -> str:
    """Words of our own, and what a record may only choose from a list."""
    return html.escape(plain(text), quote=False)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are marked up already."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return "\n".join(["<table>", f"<tr>{head}</tr>", *map(row, rows), "</table>"])


def row(cells: Sequence[str]) -> str:
    """One row of a table, on one line."""
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def items(lines: Iterable[str]) -> str:
    """A list of lines that are marked up already."""
    return "\n".join(["<ul>", *(f"<li>{line}</li>" for line in lines), "</ul>"])


def folded(title: str, body: str) -> str:
    """``body``, marked up already, behind a title that opens it."""
    return f"<details><summary>{title}</summary>\n{body}\n</details>"


def preformatted(lines: Iterable[str]) -> str:
    """Lines of text from elsewhere, as they are."""
    return "\n".join(["<pre>", *(words(_cut(plain(line), _LONGEST_LINE)) for line in lines if line.strip()), "</pre>"])


def size(text: str) -> int:
    """Bytes of ``text`` in a file."""
    return len(text.encode("utf-8", "backslashreplace"))


def fitting(lines: Iterable[str], room: int) -> list[str]:
    """As many of the first lines as take at most ``room`` bytes."""
    taken = []
    for line in lines:
        room -= size(line) + 1
        if room < 0:
            break
        taken.append(line)
    return taken


def _cut(text: str, most: int) -> str:
    """By characters: combining ones take no columns, but bytes."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 :]}"
