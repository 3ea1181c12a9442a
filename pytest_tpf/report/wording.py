"""What validation found, in one line a problem: short, printable, bounded, whatever the report holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_LINE = 300
_MAX_VALUE = 60
_MAX_STEPS = 20
_BOUNDS = {
    "minimum": "is less than",
    "maximum": "is more than",
    "exclusiveMinimum": "is not above",
    "minLength": "is shorter than",
    "maxLength": "is longer than",
    "minItems": "has fewer items than",
    "maxItems": "has more items than",
    "pattern": "does not match",
}
_KINDS = {type(None): "null", bool: "boolean", str: "string", int: "integer", float: "number", dict: "object", list: "array"}


def line(path: str, text: str) -> str:
    """``PATH: TEXT`` as printable ASCII of at most ``MAX_LINE`` characters."""
    whole = printable(f"{path}: {text}")
    return whole if len(whole) <= MAX_LINE else f"{whole[: MAX_LINE - 3]}..."


def printable(text: str) -> str:
    """``text`` as ASCII without control characters: the rest is escaped as Python does."""
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in text)


def json_path(parts: Iterable[Any]) -> str:
    """``$.tests[0].energy`` for ("tests", 0, "energy"); a name that isn't a plain word is quoted."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else _key(part) for part in itertools.islice(parts, _MAX_STEPS))


def _key(name: Any) -> str:
    plain = isinstance(name, str) and name.isidentifier() and len(name) <= _MAX_VALUE
    return f".{name}" if plain else f"[{show(name)}]"


def kind(value: Any) -> str:
    """What JSON calls this sort of value; the type's name where JSON has no word."""
    return _KINDS.get(type(value), type(value).__name__)


def show(value: Any) -> str:
    """A value from the report, short; containers are only named, for they may be huge."""
    if isinstance(value, str):
        return repr(value if len(value) <= _MAX_VALUE else f"{value[: _MAX_VALUE - 3]}...")
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, int):
        return str(value) if value.bit_length() < 150 else "a huge integer"
    return repr(value) if isinstance(value, float) else kind(value)


def say(error: ValidationError) -> str:
    """What broke the schema, in words."""
    rule = str(error.validator)
    found: Any = error.instance
    wanted: Any = error.validator_value
    schema: Any = error.schema
    match rule:
        case "if":
            return error.message
        case "type":
            return f"is {kind(found)}, expected {wanted if isinstance(wanted, str) else ' or '.join(wanted)}"
        case "enum" | "const":
            return f"{show(found)} is not one of: {', '.join(map(_name, wanted if rule == 'enum' else [wanted]))}"
        case "required":  # one error for each missing name, which only the message tells
            return f"missing key {error.message.removesuffix(' is a required property')}"
        case "unevaluatedProperties":
            unknown = sorted(set(found) - set(schema["properties"]))
            return f"unknown key {', '.join(map(show, unknown[:5]))}{' ...' if len(unknown) > 5 else ''}"
        case _:
            return f"{show(found)} {_BOUNDS.get(rule, f'breaks the rule {rule}')} {wanted}"


def _name(allowed: Any) -> str:
    return allowed if isinstance(allowed, str) else show(allowed)
