"""Is this a valid report? Every problem is one line: where, and what is wrong."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.schema import load_schema, schema_for
from pytest_tpf.report.walk import walk
from pytest_tpf.report.wording import json_path, kind, line, say, show

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

MAX_PROBLEMS = 100


def validate(report: Any) -> list[str]:
    """What is wrong with ``report`` (parsed JSON, or ``codec.as_dict`` of a Report); empty where nothing is.

    At most ``MAX_PROBLEMS`` lines of at most 300 printable ASCII characters: ``$.tests[0].energy.it_j: -1 is less than 0``.
    Nothing is fetched, nothing in the report is run, and no input made of builtins makes it raise.
    """
    if not isinstance(report, dict):
        return [f"$: is {kind(report)}, expected object"]
    if "schema_version" not in report:
        return ["$: missing key 'schema_version'; is this a report?"]
    problems = list(itertools.islice(_problems(report), MAX_PROBLEMS + 1))
    return [*problems[:MAX_PROBLEMS], "... and more problems"] if len(problems) > MAX_PROBLEMS else problems


def _problems(report: dict[str, Any]) -> Iterator[str]:
    """Three sieves, each only for what came through the one before."""
    sound = True
    for sieve in (_not_json, _against_schema, _contradictions):
        for problem in sieve(report):
            sound = False
            yield problem
        if not sound:
            return


def _not_json(report: dict[str, Any]) -> Iterator[str]:
    """Non-finite numbers and what JSON can't carry, anywhere: also under ``extra``, where the schema doesn't look."""
    try:
        for path, value in walk(report):
            if isinstance(value, float) and not math.isfinite(value):
                yield line(json_path(path), f"{value} is not a finite number")
            elif value is not None and not isinstance(value, (str, int, float, dict, list)):
                yield line(json_path(path), f"is {kind(value)}, which JSON can't carry")
            for key in value if isinstance(value, dict) else ():
                if not isinstance(key, str):
                    yield line(json_path(path), f"a key is {kind(key)}, expected string")
    except ReportError as error:
        yield f"$: {error}"


def _against_schema(report: dict[str, Any]) -> Iterator[str]:
    version = report["schema_version"]
    if not isinstance(version, str):
        yield f"$.schema_version: is {kind(version)}, expected string"
        return
    try:
        schema = schema_for(version)
    except ReportError as error:
        yield line("$.schema_version", str(error))
        return
    for problem in _validator(schema is load_schema()).iter_errors(report):
        yield line(json_path(problem.absolute_path), say(problem))


@functools.cache
def _validator(closed: bool) -> Validator:
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    # a registry of our own: jsonschema's default one fetches what it doesn't know over the network
    speaking: Any = validators.extend(Draft202012Validator, {"if": _condition})  # type: ignore[no-untyped-call]
    validator: Validator = speaking(load_schema() if closed else schema_for("1.9999.0"), registry=Registry())
    return validator


def _condition(validator: Any, condition: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    """``if`` / ``then`` / ``else``, with the sentence that stands beside the condition as the message."""
    from jsonschema.exceptions import ValidationError

    branch = "then" if validator.evolve(schema=condition).is_valid(instance) else "else"
    if branch in schema and not validator.evolve(schema=schema[branch]).is_valid(instance):
        yield ValidationError(schema.get("description", "breaks a condition of the schema"))


# --- what the schema can't say ----------------------------------------------------------------------------------------


def _contradictions(report: dict[str, Any]) -> Iterator[str]:
    """Figures of a schema-valid report that contradict each other."""
    yield from _miscounts(report["summary"], report["tests"])
    for index, test in enumerate(report["tests"]):
        intervals = [("mandated.joules_per_token", test["mandated"]["joules_per_token"]["ci95"])]
        intervals += [(f"budgets[{place}]", budget["ci95"]) for place, budget in enumerate(test["budgets"])]
        for place, interval in intervals:
            if interval is not None and interval[0] > interval[1]:
                yield f"$.tests[{index}].{place}.ci95: low {show(interval[0])} is above high {show(interval[1])}"


def _miscounts(summary: Mapping[str, Any], tests: list[Any]) -> Iterator[str]:
    counted = {
        "tests": len(tests),
        "measured": sum(test["energy"]["it_j"] is not None and test["energy"]["trust"] == "measured" for test in tests),
        "failed_budgets": sum(budget["verdict"] == "fail" for test in tests for budget in test["budgets"]),
        "total_output_tokens": sum(test["workload"]["output_tokens"] for test in tests),
    }
    for name, count in counted.items():
        if summary[name] != count:
            yield line(f"$.summary.{name}", f"{show(summary[name])}, but the rows under tests give {show(count)}")
    if (summary["total_it_j"] is not None) != any(test["energy"]["it_j"] is not None for test in tests):
        yield "$.summary.total_it_j: must be known where the it_j of a test is, and null otherwise"
