from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.production.facility import (
    POWER_BOUNDARIES,
    PUE_KINDS,
    DeliveredPower,
    FacilityError,
    delivered_it_power_w,
    load_facility,
    read_facility,
    with_pue,
)
from pytest_tpf.records import Facility, Pue

FULL = """
pue = 1.25
pue_kind = "annual"
pue_category = "PUE2"
power_budget_w = 50_000
power_boundary = "facility"
cooling_capacity_w = 45000.0
fleet_utilization = 0.4
carbon_intensity_g_per_kwh = 380
water_l_per_kwh = 0
electricity_price_per_kwh = 0.11
currency = "EUR"
"""


def profile(tmp_path, text):
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_full_profile(tmp_path):
    assert load_facility(profile(tmp_path, FULL)) == Facility(
        pue=Pue(value=1.25, source="declared", kind="annual", category="PUE2"),
        power_budget_w=50_000,
        power_boundary="facility",
        cooling_capacity_w=45_000,
        fleet_utilization=0.4,
        carbon_intensity_g_per_kwh=380,
        water_l_per_kwh=0,
        electricity_price_per_kwh=0.11,
        currency="EUR",
    )


def test_an_empty_profile_declares_nothing(tmp_path):
    assert load_facility(profile(tmp_path, "")) == Facility()


def test_all_problems_come_in_one_message_that_names_the_file(tmp_path):
    path = profile(tmp_path, 'peu = 1.2\npue = 0.9\npower_budget_w = -5\nfleet_utilization = "half"\npower_boundary = "rack"\n')
    with pytest.raises(FacilityError) as caught:
        load_facility(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    for part in ("'peu', did you mean 'pue'?", "pue is 0.9", "pue_kind", "power_budget_w is -5", "fleet_utilization is 'half'", "'rack'"):
        assert part in text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("pue = 1.2", ", ".join(PUE_KINDS)),
        ('pue_kind = "annual"', "without pue"),
        ('pue_category = "PUE1"', "without pue"),
        ('pue = 1.2\npue_kind = "yearly"', "pue_kind is 'yearly'"),
        ('pue = true\npue_kind = "annual"', "pue is True, not a number"),
        ('pue = nan\npue_kind = "annual"', "pue is nan"),
        ('pue = inf\npue_kind = "annual"', "pue is inf"),
        ("power_budget_w = 100", "power_boundary"),
        ('power_budget_w = 0\npower_boundary = "it"', "above 0"),
        ("cooling_capacity_w = nan", "cooling_capacity_w is nan"),
        ("fleet_utilization = 0", "above 0 and at most 1"),
        ("fleet_utilization = 40", "at most 1"),
        ("carbon_intensity_g_per_kwh = -1", "must not be negative"),
        ("cooling_capacity_w = 1" + "0" * 400, "not a finite number"),
        ("water_l_per_kwh = []", "not a number"),
        ('electricity_price_per_kwh = "0.1"', "not a number"),
        ('currency = ""', "not a text"),
        ("[pue]\nvalue = 1.2", "not a number"),
        ("colour = 1", "known keys are pue"),
        ("pue = ", "not valid TOML"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, text, problem):
    with pytest.raises(FacilityError) as caught:
        load_facility(profile(tmp_path, text))
    assert problem in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(FacilityError, match="No such file"):
        load_facility(tmp_path / "nowhere.toml")
    with pytest.raises(FacilityError, match="directory"):
        load_facility(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FacilityError, match="not valid TOML"):
        load_facility(tmp_path / "binary.toml")


def test_a_pue_given_alone_is_assumed_and_leaves_the_rest(tmp_path):
    before = load_facility(profile(tmp_path, FULL))
    after = with_pue(before, 1.5)
    assert after.pue == Pue(value=1.5, source="declared", kind="assumed", category="unknown")
    assert after.power_budget_w == before.power_budget_w


@pytest.mark.parametrize("value", [0.99, -1, 0, math.nan, math.inf])
def test_an_impossible_pue_given_alone_is_refused(value):
    with pytest.raises(FacilityError, match="pue is"):
        with_pue(Facility(), value)


@given(st.floats(1, 1e9), st.floats(1, 5), st.sampled_from(POWER_BOUNDARIES))
def test_pue_is_applied_exactly_once_and_only_outside_the_it_equipment(budget, pue, boundary):
    facility = with_pue(Facility(power_budget_w=budget, power_boundary=boundary), pue)
    delivered = delivered_it_power_w(facility)
    outside = boundary in ("utility_meter", "facility")
    assert delivered.value_w == (budget / pue if outside else budget)
    assert delivered.covers == ("accelerator" if boundary == "accelerator" else "it")


@pytest.mark.parametrize(
    ("facility", "reason"),
    [
        (Facility(), "no power_budget_w"),
        (Facility(power_budget_w=10, power_boundary="facility"), "no pue"),
        (Facility(power_budget_w=10), "no power_boundary"),
    ],
)
def test_undeclared_is_unknown_with_a_reason(facility, reason):
    delivered = delivered_it_power_w(facility)
    assert delivered == DeliveredPower(value_w=None, covers=None, reason=delivered.reason)
    assert reason in delivered.reason


keys = st.text() | st.sampled_from(["pue", "pue_kind", "power_budget_w", "currency"])
values = st.none() | st.floats() | st.text() | st.integers()


@given(st.dictionaries(keys, values))
def test_any_mapping_is_a_profile_or_a_facility_error(data):
    try:
        facility = read_facility(data)
    except FacilityError as error:
        problem = str(error)
    else:
        problem = None
        assert facility.pue.value is None or facility.pue.value >= 1
    assert problem is None or problem.strip()
