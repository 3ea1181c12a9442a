"""Where and with what a report's tests ran, as a person reads it. Text from records; pure."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_tpf.records import Environment, Report
from pytest_tpf.report.text import UNKNOWN, plain, shortened, si


def header_lines(report: Report, width: int) -> list[str]:
    """Report, host, accelerators, software, source and hardware fingerprint, each a line of at most ``width`` columns."""
    environment = report.environment
    lines = [
        f"tpf-report {report.schema_version} of {report.created_at} by {report.generator.name} {report.generator.version}",
        f"host: {environment.host.os}, {environment.host.python}, {environment.host.cpu.model or 'unknown processor'}, "
        f"{environment.host.cpu.logical_cores} cores, {si(environment.host.memory_bytes, 'B')}",
        *_accelerators(environment),
        f"software: {', '.join(f'{name} {version}' for name, version in environment.software.items())}",
        f"source: {_source(environment)}",
        f"hardware fingerprint: {environment.hardware_fingerprint}",
    ]
    return [shortened(plain(line), width) for line in lines]


def _accelerators(environment: Environment) -> Iterator[str]:
    for board in environment.accelerators:
        limit, driver = si(board.power_limit_w, "W"), board.driver_version or UNKNOWN
        yield f"{board.domain}: {board.name}, {si(board.memory_bytes, 'B')}, limit {limit}, driver {driver}"


def _source(environment: Environment) -> str:
    source, ci = environment.source, environment.ci
    if source.commit is None:
        return "unknown"
    dirty = {True: ", with changes", False: "", None: ""}[source.dirty]
    where = f", {ci.provider}" + (f" run {ci.run_id}" if ci.run_id else "") if ci else ""
    return f"{source.commit[:12]}{f' ({source.branch})' if source.branch else ''}{dirty}{where}"
