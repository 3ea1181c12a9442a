from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from pytest_tpf.record import record


@record
class Point:
    """A point."""

    x: int
    y: int = 0
    tags: dict[str, str] = dataclasses.field(default_factory=dict)


def test_defaults_are_filled_and_not_shared():
    one, other = Point(x=1), Point(x=1)
    assert (one.x, one.y, one.tags) == (1, 0, {})
    assert one == other
    assert one.tags is not other.tags


@pytest.mark.parametrize(("values", "said"), [({}, "needs x=..."), ({"x": 1, "z": 2}, "has no field 'z'")])
def test_wrong_fields_are_named(values, said):
    with pytest.raises(TypeError, match=said):
        Point(**values)


def test_it_is_frozen_and_slotted():
    point = Point(x=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    assert not hasattr(point, "__dict__")


def test_it_is_a_dataclass_to_the_standard_library():
    point = Point(x=1, y=2)
    assert dataclasses.replace(point, y=3) == Point(x=1, y=3)
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "tags": {}}
    assert [field.name for field in dataclasses.fields(Point)] == ["x", "y", "tags"]


def test_equal_points_are_one_in_a_set_and_others_are_not():
    @record
    class Plain:
        """A hashable record."""

        x: int

    assert {Plain(x=1), Plain(x=1), Plain(x=2)} == {Plain(x=1), Plain(x=2)}
    assert Point(x=1) != (1, 0, {})
    assert repr(Point(x=1)) == "Point(x=1, y=0, tags={})"


def test_it_survives_pickling_and_copying():
    point = Point(x=1, tags={"a": "b"})
    assert pickle.loads(pickle.dumps(point)) == point
    assert copy.deepcopy(point) == point
