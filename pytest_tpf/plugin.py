"""The pytest hooks, and nothing else: each a few lines that call into a room below.

What every run loads is this module and ``options``. Only a run that collected a measured test gets ``measuring.Measuring`` and
``reporting.Reporting``, so a suite without one pays no hook, thread, process, file or heavy import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tpf import options

if TYPE_CHECKING:
    from pytest_tpf.fixture import OffTpf, Tpf

MARKER_HELP = (
    "tpf(max_joules_per_token=..., ...): measure this test's energy per token and judge it by its budgets (docs/reference/marker.md)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare our own hooks."""
    from pytest_tpf import hookspec

    pluginmanager.add_hookspecs(hookspec)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; under xdist the controller, which collects nothing itself, gets ready to report.

    So does a run that is compared with others: it must notice that no measured test is left.
    """
    config.addinivalue_line("markers", MARKER_HELP)
    if options.is_off(config):
        return
    is_worker, has_gate = hasattr(config, "workerinput"), options.uses_gate(config)
    if not is_worker and (has_gate or getattr(config.option, "dist", "no") != "no"):
        from pytest_tpf.reporting import Reporting, resolved_settings

        config.pluginmanager.register(Reporting(config, resolved_settings(config)), "tpf-reporting")
    if has_gate:
        from pytest_tpf.scope import ScopeWatch

        config.pluginmanager.register(ScopeWatch(config), "tpf-scope")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Wake up if a measured test was collected; every marker's mistakes are found here, before a joule is spent."""
    if options.is_off(config):
        return
    measured = [item for item in items if "tpf" in item.keywords or "tpf" in getattr(item, "fixturenames", ())]
    if measured or options.measures_all(config):
        from pytest_tpf.measuring import wake_up

        wake_up(config, items)


@pytest.fixture
def tpf(request: pytest.FixtureRequest) -> Tpf | OffTpf:
    """Measure a function (``tpf(fn, *args)``) or a window (``tpf.measure()``), count tokens, give quality, read the result."""
    from pytest_tpf.measuring import fixture_for

    return fixture_for(request.node)
