"""What the fast validator lets pass, ``jsonschema`` lets pass too: else an invalid report would be called valid.

The other way round they may differ, for what the fast one refuses ``jsonschema`` decides; which corners those are is pinned here.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tpf.codec import as_dict
from pytest_tpf.report.against import is_quickly_valid, judge, problems_against
from pytest_tpf.report.schema import load_schema
from tests.meters.prom_server import Answer, served
from tests.report.factory import report

DEFS = load_schema()["$defs"]
KEYWORDS = {
    *("$ref", "additionalProperties", "allOf", "const", "description", "else", "enum", "exclusiveMinimum", "if", "items", "maxItems"),
    *("maxLength", "maximum", "minItems", "minLength", "minimum", "pattern", "properties", "propertyNames", "required", "then", "type"),
    "unevaluatedProperties",
}
"""What the comparison below has tried; a new keyword in the schema needs a thought, and values that try it."""


def examples(value: Any) -> dict[str, list[dict[str, Any]]]:
    """Every record in the report, as builtins, by its definition's name."""
    found: dict[str, list[dict[str, Any]]] = {}
    stack = [value]
    while stack:
        value = stack.pop()
        if dataclasses.is_dataclass(value):
            parts = found.setdefault(type(value).__name__, [])
            part = as_dict(value)
            parts += [part] if part not in parts else []
            stack += [getattr(value, field.name) for field in dataclasses.fields(value)]
        elif isinstance(value, (tuple, list)):
            stack += value
        elif isinstance(value, dict):
            stack += value.values()
    return found


EXAMPLES = examples(report())
NUMBERS = [
    0,
    1,
    2,
    -1,
    True,
    False,
    0.0,
    -0.0,
    1.0,
    2.0,
    1.5,
    -1.0,
    1.0000000000000002,
    5e-324,
    -5e-324,
    1e300,
    -1e300,
    1.7976931348623157e308,
]
NUMBERS += [
    1.7976931348623157e308,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64 - 1,
    2**64,
    -(2**64),
    10**19,
    10**30,
    -(10**30),
    1e19,
    1e22,
]
TEXTS = ["", "a", "\n", "a\n", "joules", "\ud800", "\x00", "é", "e\u0301", "1.0.0", "1.0.00", "1.0.0\n", "1.0.\u0661", "0123456789abcdef\n"]
TEXTS += ["abcdef0", "ABCDEF0", "abcdef0\n", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z\n", "2026-01-02T03:04:05.123456Z", "declared"]
TEXTS += [text * count for text in ("a", "\U0001f600", "e\u0301") for count in (12, 13, 16, 17, 64, 65, 128, 129, 256, 257, 1024, 1025)]
OTHERS = [
    None,
    [],
    {},
    [1],
    [1, 2],
    [1.0, 2],
    [2, 1, 3],
    ["a"],
    ["\ud800"],
    [None],
    {"a": 1},
    {"a": None},
    {"": 1},
    {"a": "b"},
    {"\ud800": 1},
]
OTHERS += [
    {"a": 0.5},
    {"a": 1.5},
    {"a" * 256: 1},
    {"a" * 257: 1},
    {"compute": {}},
    {"a": {"b": []}},
    [[]],
    [{}],
    {"$ref": "http://127.0.0.1:9/"},
]
VALUES = [*NUMBERS, *TEXTS, *OTHERS]


def agree(part: Any, definition: str, *, closed: bool = True) -> None:
    if is_quickly_valid(part, definition, closed=closed):
        assert judge(definition, closed=closed).is_valid(part)


@pytest.mark.parametrize("definition", sorted(DEFS))
def test_every_value_in_every_place_of_a_definition(definition):
    verdicts = set()
    for example in EXAMPLES[definition]:
        changed = [example, *(example | {name: value} for name in example for value in VALUES)]
        changed += [{key: value for key, value in example.items() if key != name} for name in example]
        changed += [example | {name: None} for name in ("", "x", "\ud800", "$ref", "__proto__", "é")]
        for part in changed:
            agree(part, definition)
            verdicts.add(is_quickly_valid(part, definition, closed=True))
    assert verdicts == {True, False}


def test_only_keywords_that_were_compared_are_in_the_schema():
    def keywords(schema: Any) -> set[str]:
        if not isinstance(schema, dict):
            return set()
        named = [inner for key in ("properties",) for inner in schema.get(key, {}).values()]
        inner = [schema[key] for key in ("if", "then", "else", "items", "additionalProperties", "propertyNames") if key in schema]
        return set(schema).union(*map(keywords, [*named, *inner, *schema.get("allOf", ())]))

    assert set().union(*map(keywords, DEFS.values())) <= KEYWORDS


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def mutated(part: Any, changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    part = copy.deepcopy(part)
    for path, value in changes:
        holder = part
        for key in path[:-1]:
            try:
                holder = holder[key]
            except (LookupError, TypeError):  # another change took it away
                break
        else:
            if isinstance(holder, dict):
                holder[path[-1]] = value
    return part


TESTS = EXAMPLES["TestRecord"]
ANYTHING = st.recursive(
    st.sampled_from(VALUES) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutations(draw: st.DrawFn) -> Any:
    part = draw(st.sampled_from(TESTS))
    changes = st.lists(st.tuples(st.sampled_from([path for path in places(part) if path]), ANYTHING), max_size=3)
    return mutated(part, draw(changes))


@given(mutations(), st.booleans())
def test_a_test_with_any_change(part, closed):
    agree(part, "TestRecord", closed=closed)


@pytest.mark.stress
@settings(max_examples=30_000, deadline=None)
@given(mutations(), st.booleans())
def test_a_test_with_any_change_for_long(part, closed):
    agree(part, "TestRecord", closed=closed)


@pytest.mark.parametrize(
    ("definition", "name", "value"),
    [
        ("Energy", "method", "text beyond UTF-8 \udc80"),
        ("Source", "commit", "0123456\n"),  # Python's $ also matches before a last line end, ECMAScript's doesn't
    ],
)
def test_where_they_differ_jsonschema_decides(definition, name, value):
    part = EXAMPLES[definition][-1] | {name: value}
    assert judge(definition, closed=True).is_valid(part)
    assert list(problems_against(part, definition, closed=True)) == []


@pytest.mark.parametrize("closed", [True, False])
def test_nothing_in_a_report_is_fetched(closed):
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        asked.append(request.path)
        return 200, {}, b"{}"

    with served(answer) as url:
        reference = {"$ref": f"{url}/schema.json", "$schema": f"{url}/", "$id": f"{url}/"}
        for definition in ("Report", "TestRecord", "Energy"):
            part = EXAMPLES[definition][0] | reference
            assert bool(list(problems_against(part, definition, closed=closed))) is closed
    assert asked == []


LOADED = """
import json, sys
from pytest_tpf.report.validate import validate
names = "jsonschema", "referencing", "jsonschema_rs"
print([name for name in names if name in sys.modules])
report = json.load(sys.stdin)
assert validate(report) == []
print([name for name in names if name in sys.modules])
report["tests"][0]["energy"]["it_j"] = -1
assert len(validate(report)) == 1
print([name for name in names if name in sys.modules])
"""


def test_each_validator_is_imported_when_it_is_needed():
    done = subprocess.run([sys.executable, "-c", LOADED], input=json.dumps(as_dict(report())), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['jsonschema_rs']", "['jsonschema', 'referencing', 'jsonschema_rs']"]
