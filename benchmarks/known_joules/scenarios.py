"""The table of scenarios. Each category is a function that returns its rows; ``SCENARIOS`` is all of them.

Unless a scenario says otherwise a board swings between half and full power (150 and 300 W, 0.8 s square wave), as an inference server does
between prefill and decode, and its counter refreshes every 100 ms at a phase of its own. Windows begin at random. A scenario expects energy
where its shortest window holds three refreshes of the counter; below, a refusal is as good as a right figure.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from benchmarks.known_joules.scenario import Scenario
from tests.standin import DRIVER_NOT_LOADED, Board, many_boards

SHORT, MEDIUM, LONG = (0.3, 0.5), (0.7, 1.0), (2.0, 2.6)
CALM = (0.55, 0.75)  # with a counter of 10 ms every tool can tell such a window within 2 %
CALM_PERIOD_S = 0.01
LEAST_REFRESHES = 3
BEFORE, AFTER = -0.6, 1.8  # places in a window: well before it and well after
FUNCTION_NOT_FOUND, VERSION_MISMATCH = 13, 18
PASCAL = 4  # NVML_DEVICE_ARCH_PASCAL: the last architecture without an energy counter

_phases = itertools.count(1)


def wave(**settings: Any) -> Board:
    """The usual board, with ``settings`` of its own."""
    return steady(**{"shape": "square", "base_w": 150.0, "swing_w": 150.0, "period_s": 0.8} | settings)


def steady(**settings: Any) -> Board:
    """A board that draws 300 W, whose refreshes are at no particular time and whose counter has counted before."""
    phase_s = 0.0137 * next(_phases)
    return Board(**{"counter_phase_s": phase_s, "power_phase_s": 0.7 * phase_s, "energy_offset_j": 3_456_789.0} | settings)


def one(name: str, category: str, board: Board, length_s: tuple[float, float], **settings: Any) -> Scenario:
    """A scenario of one board, expected to be told where its windows hold enough refreshes of the counter."""
    refreshes = length_s[0] / board.counter_period_s
    expect = {} if refreshes >= LEAST_REFRESHES or not board.counter_supported else {"expect": "unknowable"}
    return Scenario(name=name, category=category, boards=(board,), length_s=length_s, **expect | {"group": "counter"} | settings)


def ms(seconds: float) -> str:
    """``0.02`` as ``20 ms``."""
    return f"{1e3 * seconds:g} ms"


def refresh() -> Iterator[Scenario]:
    """The counter's refresh period."""
    for length_s, period_s in itertools.product((MEDIUM, LONG), (0.01, 0.02, 0.033, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.333, 0.5)):
        yield one(f"{ms(period_s)}, windows around {length_s[0]:g} s", "refresh", wave(counter_period_s=period_s), length_s)


def lengths() -> Iterator[Scenario]:
    """Windows of all lengths, none a multiple of the refresh."""
    ranges = ((0.03, 0.06), (0.06, 0.12), (0.12, 0.25), (0.25, 0.5), (0.5, 1.0), (1.0, 2.0), (3.0, 5.0))
    for length_s, period_s in itertools.product(ranges, (0.02, 0.1)):
        name = f"{ms(length_s[0])} to {ms(length_s[1])}, {ms(period_s)} counter"
        yield one(name, "window length", wave(counter_period_s=period_s), length_s)


def jitter() -> Iterator[Scenario]:
    """Refreshes that are not punctual."""
    for period_s, share in itertools.product((0.02, 0.1), (0.05, 0.15, 0.3, 0.45)):
        board = wave(counter_period_s=period_s, counter_jitter_s=share * period_s)
        yield one(f"{ms(period_s)} counter, give or take {share:.0%}", "jitter", board, MEDIUM)


def latency() -> Iterator[Scenario]:
    """A driver whose calls take long."""
    for period_s, latency_s in itertools.product((0.02, 0.1), (0.0002, 0.001, 0.005, 0.02)):
        board = wave(counter_period_s=period_s, power_period_s=period_s, latency_s=latency_s)
        yield one(f"{ms(latency_s)} a call, {ms(period_s)} counter", "call latency", board, SHORT, group="")


def gain() -> Iterator[Scenario]:
    """Sensors whose scale is wrong."""
    for factor in (0.94, 0.96, 0.98, 1.02, 1.04, 1.06):
        yield one(f"x {factor}", "gain", wave(gain=factor), MEDIUM)


def shapes() -> Iterator[Scenario]:
    """How power moves."""
    moving = {
        "constant": steady(),
        "8 W": steady(base_w=8.0),
        "sine of 0.5 s": steady(shape="sine", base_w=300.0, swing_w=200.0, period_s=0.5),
        "sine of 50 ms": steady(shape="sine", base_w=300.0, swing_w=200.0, period_s=0.05),
        "square of 0.2 s": wave(period_s=0.2),
        "square of 33 ms": wave(period_s=0.033),
    }
    stepping = {
        "rises at the start": {"step_at_s": 0.0},
        "rises in the middle": {"step_at_s": 0.5},
        "falls at the end": {"step_at_s": -2.0, "step_until_s": 1.0},
        "a job as long as the window": {"step_at_s": 0.0, "step_until_s": 1.0},
    }
    for period_s in (0.02, 0.1):
        for name, board in moving.items():
            yield one(f"{name}, {ms(period_s)} counter", "shape", dataclasses.replace(board, counter_period_s=period_s), MEDIUM)
        for name, places in stepping.items():
            board = steady(shape="step", base_w=90.0, swing_w=510.0, counter_period_s=period_s, **places)
            yield one(f"{name}, {ms(period_s)} counter", "shape", board, MEDIUM, timed=True)


def gauges() -> Iterator[Scenario]:
    """No counter: power gauges that refresh and average in their own ways."""
    for period_s, window_s in ((0.02, 0.01), (0.02, 0.02), (0.05, 0.05), (0.1, 0.025), (0.1, 0.1), (0.1, 1.0)):
        settings = {"power_period_s": period_s, "instant_window_s": window_s, "usage_window_s": window_s}
        settings |= {"counter_supported": False, "architecture": PASCAL, "average_supported": False}
        sees_all = window_s == period_s
        gauge = f"{ms(window_s)} seen of {ms(period_s)}" if window_s < period_s else f"averages {ms(window_s)}"
        yield one(f"{gauge}, constant", "power gauge", steady(**settings), (1.2, 1.7), group="gauge")
        expect = "energy" if sees_all else "unknowable"
        yield one(f"{gauge}, square wave", "power gauge", wave(**settings), (1.2, 1.7), group="gauge", expect=expect)


def duty() -> Iterator[Scenario]:
    """A gauge that sees 25 of every 100 ms, and waves that play against it."""
    for period_s in (0.02, 0.04, 0.1, 0.155, 0.2, 1.0):
        settings = {"base_w": 100.0, "swing_w": 400.0, "period_s": period_s, "power_period_s": 0.1, "instant_window_s": 0.025}
        yield one(f"wave of {ms(period_s)}, with a counter", "part-time gauge", wave(**settings), MEDIUM)
        settings |= {"counter_supported": False, "architecture": PASCAL, "average_supported": False, "usage_window_s": 0.025}
        yield one(
            f"wave of {ms(period_s)}, gauge alone", "part-time gauge", wave(**settings), (1.2, 1.7), group="gauge", expect="unknowable"
        )


def resets() -> Iterator[Scenario]:
    """The counter starts anew from zero."""
    for place in (BEFORE, 0.2, 0.5, 0.8, AFTER):
        inside = 0 < place < 1
        when = f"at {place:.0%} of the window" if inside else "before the window" if place < 0 else "after the window"
        board = wave(reset_at_s=place)
        yield one(when, "counter reset", board, MEDIUM, timed=True, expect="unknowable" if inside else "energy")


def lost() -> Iterator[Scenario]:
    """A board falls off the bus."""
    settings: dict[str, Any] = {"timed": True, "group": "", "calm": True, "expect": "unknowable"}
    for place in (BEFORE, 0.1, 0.5, 0.9, AFTER):
        when = f"at {place:.0%} of the window" if 0 < place < 1 else "before the window" if place < 0 else "after the window"
        expect = "energy" if place > 1 else "unknowable"
        yield one(
            when,
            "board lost",
            steady(lost_at_s=place, counter_period_s=CALM_PERIOD_S),
            CALM,
            timed=True,
            expect=expect,
            group="",
            calm=True,
        )
    first, second = boards_of(2, counter_period_s=CALM_PERIOD_S)
    pair = (first, dataclasses.replace(second, lost_at_s=0.5))
    name = "the second of two, in the middle"
    yield Scenario(name=name, category="board lost", boards=pair, length_s=CALM, **settings)


def missing() -> Iterator[Scenario]:
    """What a board or a driver doesn't have. Power is constant, so that every gauge can tell it."""
    no_counter = {"counter_supported": False}
    boards = {
        "no counter": steady(**no_counter),
        "no counter, no instant field": steady(**no_counter, instant_supported=False),
        "no counter, usage alone": steady(**no_counter, instant_supported=False, average_supported=False),
        "no counter (Pascal)": steady(**no_counter, architecture=PASCAL),
        "no counter, usage alone (Pascal)": steady(**no_counter, architecture=PASCAL, instant_supported=False, average_supported=False),
        "counter, no power": steady(power_supported=False),
        "no utilisation": steady(utilization_percent=-1),
        "no temperature": steady(temperature_c=-1),
        "no power limit": steady(power_limit_w=-1.0, default_limit_w=-1.0),
        "no clock reasons": steady(clock_reasons=-1),
        "no MIG": steady(mig=-1),
    }
    for name, board in boards.items():
        yield one(name, "missing function", dataclasses.replace(board, counter_period_s=CALM_PERIOD_S), (0.8, 1.1), group="", calm=True)
    bare = steady(counter_supported=False, power_supported=False)
    yield one("no counter, no power", "missing function", bare, SHORT, group="", calm=True, expect="unknowable")
    for function in ("nvmlDeviceGetFieldValues", "nvmlDeviceGetTemperatureV", "nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetMigMode"):
        settings = {"fail": ((function, FUNCTION_NOT_FOUND),), "group": "", "calm": True}
        yield one(f"an old driver without {function}", "missing function", steady(counter_period_s=CALM_PERIOD_S), CALM, **settings)
    for name, code in (("driver not loaded", DRIVER_NOT_LOADED), ("driver and library differ", VERSION_MISMATCH)):
        yield one(name, "missing function", steady(), SHORT, init_error=code, group="", calm=True, expect="unknowable")
    yield Scenario(name="no board", category="missing function", boards=(), length_s=SHORT, expect="nothing", calm=True)


def boards_of(count: int, **settings: Any) -> tuple[Board, ...]:
    """Boards of 100, 200, 300 ... W whose counters refresh at different times."""
    many = many_boards(count, energy_offset_j=1e6, **settings)
    own = [{"base_w": 100.0 * (i + 1), "counter_phase_s": 0.0173 * i, "power_phase_s": 0.011 * i} for i in range(count)]
    return tuple(dataclasses.replace(board, **its) for board, its in zip(many, own, strict=True))


def several() -> Iterator[Scenario]:
    """Totals over boards."""
    for count, period_s in itertools.product((1, 2, 8), (0.02, 0.1)):
        boards = boards_of(count, counter_period_s=period_s, shape="square", swing_w=150.0, period_s=0.8)
        yield Scenario(name=f"{count}, {ms(period_s)} counters", category="several boards", boards=boards, length_s=SHORT)
    fast, slow = boards_of(2)
    mixed = (dataclasses.replace(fast, counter_period_s=0.02), dataclasses.replace(slow, counter_period_s=0.1))
    yield Scenario(name="2, counters of 20 and 100 ms", category="several boards", boards=mixed, length_s=MEDIUM)
    bare = (fast, dataclasses.replace(slow, counter_supported=False))
    yield Scenario(name="2, the second without a counter", category="several boards", boards=bare, length_s=(1.2, 1.7))


def visibility() -> Iterator[Scenario]:
    """``CUDA_VISIBLE_DEVICES`` on four boards of 100, 200, 300 and 400 W."""
    boards = boards_of(4, counter_period_s=CALM_PERIOD_S)
    uuids = [board.uuid for board in boards]
    slice_uuid = "MIG-11111111-2222-3333-4444-555555555555"
    forms: dict[str, tuple[str, tuple[int, ...]]] = {
        "an index": ("1", (1,)),
        "two indices": ("0,2", (0, 2)),
        "indices permuted": ("3,1,0", (3, 1, 0)),
        "indices with spaces": ("0, 3", (0, 3)),
        "a UUID": (uuids[2], (2,)),
        "two UUIDs": (f"{uuids[0]},{uuids[3]}", (0, 3)),
        "UUIDs permuted": (f"{uuids[3]},{uuids[1]}", (3, 1)),
        "a UUID's prefix": (uuids[1][:14], (1,)),
        "two prefixes": (f"{uuids[2][:12]},{uuids[0][:12]}", (2, 0)),
        "a list that -1 ends": ("0,-1,1", (0,)),
        "a list that a board too many ends": ("1,7,0", (1,)),
        "a UUID that no board has, after one": (f"{uuids[1]},GPU-ffffffff", (1,)),
        "empty": ("", ()),
        "-1": ("-1", ()),
        "a board too many": ("7", ()),
        "a UUID that no board has": ("GPU-ffffffff-0000-0000-0000-000000000000", ()),
        "the same board twice": ("0,0", ()),
        "a prefix that fits every board": ("GPU-0000000", ()),
    }
    for name, (value, visible) in forms.items():
        yield _seen(name, boards, value, visible, "energy" if visible else "nothing")
    yield _seen("a MIG slice", boards, slice_uuid, (0,), "unknowable")
    sliced = (dataclasses.replace(boards[0], mig=1), *boards[1:])
    yield _seen("a board in MIG mode, by its index", sliced, "0", (0,), "unknowable")


def _seen(name: str, boards: tuple[Board, ...], value: str, visible: tuple[int, ...], expect: Any) -> Scenario:
    return Scenario(
        name=name,
        category="CUDA_VISIBLE_DEVICES",
        boards=boards,
        length_s=CALM,
        expect=expect,
        environment={"CUDA_VISIBLE_DEVICES": value, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        visible=visible,
        calm=True,
    )


CATEGORIES = (refresh, lengths, jitter, latency, gauges, duty, gain, shapes, resets, lost, missing, several, visibility)
SCENARIOS: tuple[Scenario, ...] = tuple(scenario for category in CATEGORIES for scenario in category())
CONTROL = one("control", "control", steady(counter_period_s=CALM_PERIOD_S), CALM, group="", calm=True)
"""The plainest scenario: what a tool remarks here it remarks always, so it tells nothing elsewhere."""
