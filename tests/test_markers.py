from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.markers import KEYWORDS, LIMITS, Marker, MarkerError, parse_marker


def test_nothing_asked_is_an_empty_marker():
    assert parse_marker((), {}) == Marker()


def test_limits_are_gathered_and_the_rest_kept():
    marker = parse_marker((), {"max_joules_per_token": 1, "min_quality": 0.9, "boundary": "device", "rounds": 4, "labels": {"a": "b"}})
    assert marker.limits == {"max_joules_per_token": 1.0, "min_quality": 0.9}
    assert (marker.boundary, marker.rounds, marker.labels) == ("device", 4, {"a": "b"})


def test_one_binding_name_is_a_tuple_of_one():
    assert parse_marker((), {"binding": "power"}).binding == ("power",)
    assert parse_marker((), {"binding": ("power", "cooling")}).binding == ("power", "cooling")


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"max_joule_per_token": 1}, "unknown keyword 'max_joule_per_token' (did you mean 'max_joules_per_token'?)"),
        ({"zzz": 1}, "unknown keyword 'zzz'"),
        ({"max_joules": "12"}, "max_joules needs a number above 0, not '12'"),
        ({"max_joules": -1}, "max_joules needs a number above 0, not -1"),
        ({"max_joules": 0}, "max_joules needs a number above 0, not 0"),
        ({"max_joules": math.nan}, "max_joules needs a number above 0, not nan"),
        ({"max_joules": math.inf}, "max_joules needs a number above 0, not inf"),
        ({"max_joules": True}, "max_joules needs a number above 0, not True"),
        ({"min_quality": 1.5}, "min_quality needs a number from 0 to 1, not 1.5"),
        ({"boundary": "rack"}, "boundary needs one of device, it, facility, not 'rack'"),
        ({"boundary": "devise"}, "(did you mean 'device'?)"),
        ({"binding": "memory"}, "not 'memory' (did you mean 'memory_bandwidth'?)"),
        ({"binding": ()}, "binding needs a constraint's name or a tuple of names"),
        ({"rounds": 0}, "rounds needs a whole number of at least 1, not 0"),
        ({"rounds": 2.5}, "rounds needs a whole number of at least 1, not 2.5"),
        ({"warmup": -1}, "warmup needs a whole number of at least 0, not -1"),
        ({"target_ci": 0}, "target_ci needs a number above 0 and up to 1, not 0"),
        ({"labels": {"a": 1}}, "labels needs a dict of texts"),
        ({"group": ""}, "group needs a text"),
        ({"rounds": 3, "target_ci": 0.1}, "keep one of them"),
        ({"max_ttft_s": 2, "max_e2e_s": 1}, "max_ttft_s=2 is longer than the whole request may take (max_e2e_s=1)"),
        ({"max_joules_per_token": 2, "max_joules_per_accepted_token": 1}, "an accepted token never costs less than a token"),
    ],
)
def test_each_mistake_is_named(kwargs, said):
    with pytest.raises(MarkerError) as mistake:
        parse_marker((), kwargs)
    assert said in str(mistake.value)


def test_positional_arguments_are_refused():
    with pytest.raises(MarkerError, match="takes keywords only"):
        parse_marker((0.5,), {})


def test_all_mistakes_come_at_once():
    with pytest.raises(MarkerError) as mistakes:
        parse_marker((1,), {"max_joules": -1, "boundry": "it"})
    assert len(str(mistakes.value).splitlines()) == 3


@given(
    st.dictionaries(
        st.text(max_size=20), st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers())), max_size=4
    )
)
def test_any_keywords_give_a_marker_or_a_marker_error(kwargs):
    try:
        marker = parse_marker((), kwargs)
    except MarkerError:
        return
    assert isinstance(marker, Marker)


def test_every_limit_is_a_keyword():
    assert {limit.keyword for limit in LIMITS} <= {keyword.name for keyword in KEYWORDS}
