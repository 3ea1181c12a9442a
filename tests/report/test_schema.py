"""The schema and the records say the same."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator

from pytest_tpf import records
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.schema import load_schema, schema_for
from pytest_tpf.report.validate import validate
from tests.report.factory import report_dict

SCHEMA = load_schema()
DEFS: dict[str, dict[str, Any]] = SCHEMA["$defs"]


def reachable(root: type) -> dict[str, type]:
    found: dict[str, type] = {}
    queue: list[Any] = [root]
    while queue:
        hint = queue.pop()
        if isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint.__name__ not in found:
            found[hint.__name__] = hint
            queue += typing.get_type_hints(hint).values()
        queue += typing.get_args(hint)
    return found


RECORDS = reachable(records.Report)
FIELDS = [(name, field) for name, cls in sorted(RECORDS.items()) for field in typing.get_type_hints(cls)]


def members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def json_types(hint: Any) -> set[str]:
    """The JSON types that as_dict makes of a value of this type."""
    names = {str: "string", float: "number", int: "integer", bool: "boolean", type(None): "null"}
    found: set[str] = set()
    for member in members(hint):
        origin = typing.get_origin(member)
        if member in names:
            found.add(names[member])
        elif origin is tuple:
            found.add("array")
        elif origin is dict or dataclasses.is_dataclass(member):
            found.add("object")
        elif origin is Literal:
            found.add("string")
        else:
            raise AssertionError(f"no JSON type for {member}")
    return found


def enumerated(hint: Any) -> set[Any]:
    literals = {value for member in members(hint) if typing.get_origin(member) is Literal for value in typing.get_args(member)}
    return literals | ({None} if literals and type(None) in members(hint) else set())


def allowed_types(schema: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return allowed_types(DEFS[schema["$ref"].removeprefix("#/$defs/")])
    if "enum" in schema:
        return {"null" if value is None else "string" for value in schema["enum"]}
    wanted = schema["type"]
    return {wanted} if isinstance(wanted, str) else set(wanted)


def inner(hint: Any, schema: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    for member in members(hint):
        if typing.get_origin(member) is tuple:
            return typing.get_args(member)[0], schema["items"]
        if typing.get_origin(member) is dict and typing.get_args(member)[1] is not Any:
            return typing.get_args(member)[1], schema["additionalProperties"]
    return None


def subschemas(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, dict):
        return [node, *(found for value in node.values() for found in subschemas(value))]
    return [found for value in node for found in subschemas(value)] if isinstance(node, list) else []


def test_it_is_a_draft_2020_12_schema_with_a_versioned_id():
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == f"urn:pytest-tpf:report:{records.SCHEMA_VERSION}"


def test_every_record_has_its_definition_and_every_definition_its_record():
    assert set(RECORDS) == set(DEFS)


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_field_is_a_required_property_and_nothing_else_is_allowed(name):
    fields = list(typing.get_type_hints(RECORDS[name]))
    assert list(DEFS[name]["properties"]) == fields
    assert DEFS[name]["required"] == fields
    assert DEFS[name]["unevaluatedProperties"] is False


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_types_null_and_enumerations_agree(name, field):
    hint = typing.get_type_hints(RECORDS[name])[field]
    schema = DEFS[name]["properties"][field]
    assert allowed_types(schema) == json_types(hint)
    assert set(schema.get("enum", ())) == enumerated(hint)
    nested = inner(hint, schema)
    if nested is not None:
        assert allowed_types(nested[1]) == json_types(nested[0])


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_property_says_what_it_is_and_ids_are_bounded(name, field):
    schema = DEFS[name]["properties"][field]
    assert schema["description"].endswith(".")
    if "$ref" not in schema and "enum" not in schema and "string" in allowed_types(schema):
        assert "maxLength" in schema


UNITS = {"_j": "(J)", "_w": "(W)", "_s": "(s", "_bytes": "bytes", "_tokens": "count", "_per_second": "/s)", "_per_token": "/token)"}


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_the_description_of_a_quantity_names_its_unit(name, field):
    schema = DEFS[name]["properties"][field]
    suffix = next((suffix for suffix in UNITS if field.endswith(suffix)), None)
    numeric = "$ref" not in schema and {"number", "integer"} & allowed_types(schema)
    if numeric and suffix:
        assert UNITS[suffix] in schema["description"]


def test_it_refers_to_nothing_outside_itself():
    references = [schema["$ref"] for schema in subschemas(SCHEMA) if "$ref" in schema]
    assert references
    assert all(reference.startswith("#/$defs/") for reference in references)


def test_every_condition_says_what_it_asks_for():
    conditions = [schema for schema in subschemas(SCHEMA) if "if" in schema and "allOf" not in schema and "properties" not in schema]
    assert len(conditions) >= 12
    assert all(condition["description"] for condition in conditions)


def test_an_installed_package_finds_the_schema_inside_itself(tmp_path, monkeypatch):
    (tmp_path / "schema").mkdir()
    packaged = tmp_path / "schema" / "tpf-report-1.0.schema.json"
    packaged.write_text(json.dumps({"packaged": True}))
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    load_schema.cache_clear()
    try:
        assert load_schema() == {"packaged": True}
    finally:
        load_schema.cache_clear()


def test_the_checkout_finds_the_schema_beside_the_package():
    beside = Path(records.__file__).parents[1] / "schema" / "tpf-report-1.0.schema.json"
    assert json.loads(beside.read_text()) == SCHEMA


@pytest.mark.parametrize("version", ["1.0.0", "1.0.7"])
def test_the_closed_schema_serves_this_minor_version(version):
    assert schema_for(version) == SCHEMA


def test_a_newer_minor_version_may_add_but_not_break():
    report = report_dict() | {"schema_version": "1.7.0", "added_later": 1}
    report["tests"][0]["energy"]["also_added"] = "x"
    assert validate(report) == []
    report["tests"][0]["energy"]["it_j"] = "a lot"
    assert validate(report) == ["$.tests[0].energy.it_j: is string, expected number or null"]


@pytest.mark.parametrize("version", ["2.0.0", "0.9.0", "1.0", "", "1.0.0\n", "v1.0.0", "1.0.0-beta", "\uff11.0.0", "1.0." + "9" * 5000])
def test_other_versions_are_refused_in_one_line(version):
    with pytest.raises(ReportError, match="schema_version") as caught:
        schema_for(version)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160
