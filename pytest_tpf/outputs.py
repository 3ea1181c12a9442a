"""Where a run's report goes when the tests have ended: the JSON file, the summary in Markdown, the CI's own summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from pytest_tpf.checkpoint import Checkpoint
    from pytest_tpf.records import Report
    from pytest_tpf.report.annotations import Location
    from pytest_tpf.settings import Settings


class Told(NamedTuple):
    """A line for the terminal; a failed one makes the run fail."""

    text: str
    failed: bool = False


class Outputs:
    """Writes what the options ask for. Nothing raises: what can't be written is told, and the rest is written all the same."""

    def __init__(self, config: pytest.Config, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        self._config, self._settings, self._environ = config, settings, environ

    def keep(self, build: Callable[[], Report]) -> None:
        """Between two tests: keep what there is, for a run that is killed."""
        if self._settings.report:
            self._checkpoint.save(build)

    def write(self, report: Report, problems: Sequence[str] = ()) -> list[Told]:
        """Write everything, and tell what was written where. ``problems``: what only the whole run knows, one line each."""
        told: list[Told] = []
        if self._settings.report:
            told.append(self._write_report(report))
        summary = self._environ.get("GITHUB_STEP_SUMMARY")
        if self._settings.markdown or summary:
            told += self._write_markdown(report, problems, summary)
        return told

    def _write_report(self, report: Report) -> Told:
        from pytest_tpf.codec import as_dict
        from pytest_tpf.report.errors import ReportError
        from pytest_tpf.report.write import write_report

        written: Report | dict[str, Any] = report
        if self._config.hook.pytest_tpf_report.get_hookimpls():  # only they need the whole report as builtins
            written = as_dict(report)
            self._config.hook.pytest_tpf_report(config=self._config, report=written)
        try:
            write_report(self._path, written)
        except ReportError as error:
            aside = self._kept_aside(written) if error.problems else ""
            return Told(f"the report was NOT written: {error}{aside}", failed=True)
        self._checkpoint.discard()
        return Told(f"report written to {self._settings.report}")

    def _kept_aside(self, report: Report | dict[str, Any]) -> str:
        """An invalid report is a mistake of ours or of a hook; what was measured must not be lost for it."""
        from pytest_tpf.report.errors import ReportError
        from pytest_tpf.report.write import write_unchecked

        aside = self._path.with_name(f"{self._path.name}.invalid")
        try:
            write_unchecked(aside, report)
        except ReportError:
            return ""
        return f"; what was measured is in {aside}"

    def _write_markdown(self, report: Report, problems: Sequence[str], summary: str | None) -> list[Told]:
        from pytest_tpf.report.errors import ReportError
        from pytest_tpf.report.markdown import append_summary, render_markdown, write_markdown

        told, text = [], render_markdown(report, problems)
        if self._settings.markdown:
            try:
                write_markdown(self._config.invocation_params.dir / self._settings.markdown, text)
                told.append(Told(f"summary written to {self._settings.markdown}"))
            except ReportError as error:
                told.append(Told(f"the summary was NOT written: {error}", failed=True))
        if summary:
            try:
                append_summary(summary, text)
            except ReportError as error:  # the CI's own file: nothing that was asked for is missing
                told.append(Told(f"the step summary was not written: {error}"))
        return told

    def annotations(self, report: Report, locations: Mapping[str, Location], problems: Sequence[str]) -> list[str]:
        """What GitHub shows at the tests' own lines; nothing elsewhere."""
        if self._environ.get("GITHUB_ACTIONS") != "true":
            return []
        from pytest_tpf.report.annotations import annotation_lines

        root = os.path.relpath(self._config.rootpath, self._environ.get("GITHUB_WORKSPACE") or self._config.rootpath)
        strict = self._settings.gate == "strict"
        return annotation_lines(report.tests, locations, problems, "" if root == "." else root, strict=strict)

    @property
    def _path(self) -> Path:
        return self._config.invocation_params.dir / str(self._settings.report)

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        from pytest_tpf.checkpoint import Checkpoint

        return Checkpoint(self._path)
