"""``suite``: a pytest suite written in a test, run as its user would run it, and the report it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# pytester forgets, after each run in this process, what that run imported; what stands here is imported once.
import pytest_tpf.evaluate.assemble
import pytest_tpf.measuring
import pytest_tpf.report.terminal
import pytest_tpf.report.write
import pytest_tpf.session  # noqa: F401

if TYPE_CHECKING:
    from tests.plugin.gated import GatedSuite

CONFTEST = """
import pytest
from tests.plugin.toy import Toy, ToyEngine

def pytest_tpf_engines(config):
    return [ToyEngine()]

@pytest.fixture
def model():
    return Toy()
"""

INI = """
[pytest]
asyncio_default_fixture_loop_scope = function
"""


class Suite:
    """A suite in a folder of its own, with the toy engine observed and energy estimated."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        pytester.makeconftest(CONFTEST)
        pytester.makefile(".ini", pytest=INI)

    def write(self, source: str, name: str = "test_it") -> None:
        """Write a test module; pytest is imported for it."""
        self.pytester.makepyfile(**{name: "import pytest\n" + _dedent(source)})

    def run(self, source: str | None = None, *options: str, subprocess: bool = False) -> pytest.RunResult:
        """Run the suite; the report goes to report.json unless an option says otherwise."""
        if source is not None:
            self.write(source)
        run: Callable[..., pytest.RunResult] = self.pytester.runpytest_subprocess if subprocess else self.pytester.runpytest_inprocess
        return run("-p", "no:cacheprovider", "--tpf-report", "report.json", "--tpf-gate", "warn", *options)

    @property
    def path(self) -> Path:
        """The suite's folder."""
        return self.pytester.path

    def report(self) -> dict[str, Any]:
        """The report that was written."""
        report: dict[str, Any] = json.loads((self.path / "report.json").read_text(encoding="utf-8"))
        return report

    def tests(self) -> dict[str, dict[str, Any]]:
        """The report's tests by the name after ``::``."""
        return {test["nodeid"].partition("::")[2]: test for test in self.report()["tests"]}

    def test(self) -> dict[str, Any]:
        """The only test in the report."""
        (test,) = self.report()["tests"]
        found: dict[str, Any] = test
        return found


def _dedent(source: str) -> str:
    import textwrap

    return textwrap.dedent(source)


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr("pytest_tpf.session.IDLE_WINDOW_S", 0.1)  # of every run in this process; a user's takes 0.4 s once
    return Suite(pytester)


@pytest.fixture(scope="session")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline of ``gated.ALL``; made once, because measuring twice takes seconds."""
    from tests.plugin.gated import accepted_baseline

    return accepted_baseline(tmp_path_factory.mktemp("accepted"))


@pytest.fixture
def gate(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, accepted: Path
) -> GatedSuite:
    from tests.plugin.gated import GatedSuite

    monkeypatch.delenv("CI", raising=False)
    return GatedSuite(pytester, monkeypatch, tmp_path_factory.mktemp("board"), accepted)
