"""A part of a report against its schema, by two validators.

``jsonschema_rs`` takes 0.04 ms for a test where ``jsonschema`` takes 6 ms. What the first lets pass is valid; whatever it refuses, or can't
take (text beyond UTF-8), goes to the second, which decides and finds the words. So the verdict is ``jsonschema``'s as long as the first
lets nothing pass that the second refuses; ``tests/report/test_two_validators.py`` looks for such a report.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_tpf.report.schema import load_schema, schema_for
from pytest_tpf.report.wording import json_path, line, say

if TYPE_CHECKING:
    import jsonschema_rs
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

_NEWER = "1.9999.0"


def problems_against(part: Any, definition: str, *, closed: bool, path: tuple[str | int, ...] = ()) -> Iterator[str]:
    """What is wrong with ``part``, which is a ``definition`` of the schema (``Report``, ``TestRecord``) and stands at ``path``.

    ``closed``: an unknown key is an error; not so in a report of a newer minor version.
    """
    if is_quickly_valid(part, definition, closed=closed):
        return
    for problem in judge(definition, closed=closed).iter_errors(part):
        yield line(json_path((*path, *problem.absolute_path)), say(problem))


def is_quickly_valid(part: Any, definition: str, *, closed: bool) -> bool:
    """Whether the fast validator is sure."""
    try:
        return _quick(definition, closed).is_valid(part)
    except ValueError:  # text that UTF-8 can't carry, an integer beyond what it can hold
        return False


@functools.cache
def _quick(definition: str, closed: bool) -> jsonschema_rs.Draft202012Validator:
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(_schema(definition, closed), validate_formats=False, retriever=_fetch_nothing)


@functools.cache
def judge(definition: str, *, closed: bool) -> Validator:
    """The validator whose word counts."""
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    # a registry of our own: jsonschema's default one fetches what it doesn't know over the network
    speaking: Any = validators.extend(Draft202012Validator, {"if": _condition})  # type: ignore[no-untyped-call]
    validator: Validator = speaking(_schema(definition, closed), registry=Registry())
    return validator


def _schema(definition: str, closed: bool) -> dict[str, Any]:
    schema = load_schema() if closed else schema_for(_NEWER)
    return {**schema, "$id": f"{schema['$id']}:{definition}", "$ref": f"#/$defs/{definition}"}


def _fetch_nothing(address: str) -> NoReturn:
    raise ValueError(f"{address} is not in the schema, and nothing is fetched")


def _condition(validator: Any, condition: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    """``if`` / ``then`` / ``else``, with the sentence that stands beside the condition as the message."""
    from jsonschema.exceptions import ValidationError

    branch = "then" if validator.evolve(schema=condition).is_valid(instance) else "else"
    if branch in schema and not validator.evolve(schema=schema[branch]).is_valid(instance):
        yield ValidationError(schema.get("description", "breaks a condition of the schema"))
