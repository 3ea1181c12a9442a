"""Our own hooks. Implement them in a conftest.py or a plugin; each example is run by the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_tpf.engines.protocol import Engine
    from pytest_tpf.records import TestRecord


def pytest_tpf_engines(config: pytest.Config) -> list[Engine]:  # type: ignore[empty-body]
    """Bring engines of your own, without packaging them.

    Example::

        def pytest_tpf_engines(config):
            from my_engine_observer import MyEngine

            return [MyEngine()]
    """


def pytest_tpf_record(item: pytest.Item, record: TestRecord) -> None:
    """See each test's record when its body has ended, before it is judged. ``record.extra`` may be filled.

    Example::

        def pytest_tpf_record(item, record):
            record.extra["team"] = "inference"
    """


def pytest_tpf_report(config: pytest.Config, report: dict[str, Any]) -> None:
    """See the whole report, as builtins, just before it is validated and written.

    Example::

        def pytest_tpf_report(config, report):
            for test in report["tests"]:
                test["labels"]["ticket"] = "T-1"
    """
