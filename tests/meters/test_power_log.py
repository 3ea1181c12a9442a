"""Power logs read back: every format, cut anywhere, with what goes wrong in long recordings."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.measure.energy import energy_of_spans
from pytest_tpf.measure.trace import Edge, PowerSample, Trace
from pytest_tpf.meters._log_formats import LogError
from pytest_tpf.meters._power_log import LONGEST_LINE, PowerLog
from tests.measure.simulated import channel
from tests.meters.logs import FORMATS, Sample, local, uuid

START = 1_795_000_000.0  # November 2026


@st.composite
def recordings(draw):
    """A few GPUs read in turn at uneven times, in milliseconds; time goes forwards."""
    gpus = draw(st.integers(1, 3))
    t, joules, samples = START + draw(st.integers(0, 10**6)), [0.0] * gpus, []
    for _ in range(draw(st.integers(1, 40))):
        step_s = draw(st.integers(1, 3000)) / 1000
        t += step_s
        for gpu in range(gpus):
            watts = draw(st.integers(0, 150_000)) / 100
            joules[gpu] += watts * step_s
            samples.append(Sample(round(t, 3), gpu, watts, round(joules[gpu], 3)))
    return samples


def read(text: str | bytes, pieces=(10**9,), **settings) -> PowerLog:
    data = text.encode() if isinstance(text, str) else text
    log = PowerLog(**settings)
    sizes = iter([*pieces, len(data)])
    while data:
        size = next(sizes)
        log.feed(data[:size])
        data = data[size:]
    return log


def values(log: PowerLog) -> dict[tuple[str, str], list[tuple[float, float]]]:
    return {(source.domain, column.quantity): list(zip(s.times, s.values, strict=True)) for source, column, s in log.series}


@pytest.mark.parametrize("name", FORMATS)
@given(samples=recordings(), pieces=st.lists(st.integers(1, 200), max_size=30))
def test_what_was_written_is_read_back_wherever_it_is_cut(name, samples, pieces):
    log = read(FORMATS[name](samples), pieces)
    assert (log.bad, log.repeated, log.rows) == (0, 0, len(samples))
    found = values(log)
    for gpu in {s.gpu for s in samples}:
        mine = [s for s in samples if s.gpu == gpu]
        kinds = [("power_w", [s.watts for s in mine]), ("energy_j", [s.joules for s in mine])]
        checked = [(found[f"gpu:{gpu}", kind], wanted) for kind, wanted in kinds if (f"gpu:{gpu}", kind) in found]
        assert checked
        for readings, wanted in checked:
            assert [t for t, _ in readings] == pytest.approx([s.t for s in mine], abs=1e-5, rel=0)
            assert [value for _, value in readings] == pytest.approx(wanted, abs=1e-6, rel=1e-9)


@given(
    watts=st.lists(st.integers(200, 300), min_size=100, max_size=100),
    cut=st.floats(2.0, 8.0),
    name=st.sampled_from(["smi", "energy"]),
)
def test_energy_is_additive_over_adjoining_windows(watts, cut, name):
    joules = list(itertools.accumulate(w * 0.1 for w in watts))
    samples = [Sample(START + n / 10, 0, w, j) for n, (w, j) in enumerate(zip(watts, joules, strict=True))]
    (((_, quantity), readings),) = values(read(FORMATS[name](samples))).items()
    recorded = {
        "power_w": {"powers": tuple(PowerSample(t=t - START, watts=value) for t, value in readings)},
        "energy_j": {"edges": tuple(Edge(t_lo=t - START, t_hi=t - START, joules=value) for t, value in readings)},
    }
    trace = Trace(channel=channel(quantity=quantity, trust="replayed", stepped=False), period_s=0.1, **recorded[quantity])
    first, second, both = (energy_of_spans(trace, [span]).joules for span in ((0.5, cut), (cut, 9.5), (0.5, 9.5)))
    assert first + second == pytest.approx(both, rel=1e-9)
    assert 200 * 9 <= both <= 300 * 9


@pytest.mark.parametrize(
    ("header", "quantity", "averaging_s"),
    [
        ("timestamp, power.draw.instant [W]", "power_w", None),
        ("timestamp, power.draw.average [W]", "power_w", 1.0),
        ("timestamp, power.draw [W]", "power_w", 1.0),
        ("1795000000.5 #Entity  POWER", "power_w", 1.0),
        ("1795000000.5 #Entity  POWINST", "power_w", None),
        ("1795000000.5 #Entity  TOTEC", "energy_j", None),
        ("time_s,power_w", "power_w", None),
        ("time_s,energy_j", "energy_j", None),
    ],
)
def test_what_a_column_averages_over_is_known_by_its_name(header, quantity, averaging_s):
    (column,) = read(header + "\n").columns
    assert (column.quantity, column.averaging_s) == (quantity, averaging_s)


def test_the_best_column_comes_first():
    log = read("timestamp, power.draw [W], power.draw.average [W], power.draw.instant [W]\n")
    assert [column.label for column in log.columns] == ["power.draw.instant [W]", "power.draw.average [W]", "power.draw [W]"]
    assert [column.label for column in read("1.5 #Entity POWER POWINST TOTEC\n").columns] == ["TOTEC", "POWINST", "POWER"]


@pytest.mark.parametrize(
    ("devices", "row", "domain"),
    [
        ("", "", "node"),
        (",device", ",3", "gpu:3"),
        (",device", ",the plug", "gpu:0"),
        (",domain", ",cpu:1", "cpu:1"),
        (",domain", ",soc", "soc"),
    ],
)
def test_a_plain_csv_says_which_device_it_is_about(devices, row, domain):
    ((source, _, _),) = read(f"time_s,power_w{devices}\n{START},100{row}\n").series
    assert source.domain == domain


def test_gpus_known_by_uuid_are_numbered_as_they_come():
    log = read(FORMATS["smi"]([Sample(START, 7, 100.0, 0.0), Sample(START, 2, 100.0, 0.0)]))
    assert [(source.domain, source.name) for source, _, _ in log.series] == [("gpu:0", uuid(7)), ("gpu:1", uuid(2))]
    assert log.layout.sources.is_counted


@pytest.mark.parametrize("absent", ["[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "[GPU requires reset]", "", "nan"])
def test_a_value_that_is_not_there_is_a_gap_and_not_zero(absent):
    log = read(f"timestamp, power.draw.instant [W]\n{local(START)}, 100.00 W\n{local(START + 1)}, {absent}\n{local(START + 2)}, 300.00 W\n")
    assert values(log) == {("gpu:0", "power_w"): [(START, 100.0), (START + 2, 300.0)]}
    assert log.bad == 0


def test_dcgm_blank_is_a_gap():
    log = read(f"timestamp,gpu,DCGM_FI_DEV_POWER_USAGE\n{START},0,140737488355330.0\n{START + 1},0,99.5\n")
    assert values(log) == {("gpu:0", "power_w"): [(START + 1, 99.5)]}


@pytest.mark.parametrize(
    "bad", ["gibberish", "x, 100.00 W", "2026/13/45 99:00:00.000, 100.00 W", "12345678901234, 5", "1e400, 5", "\0\1, 5"]
)
def test_lines_that_cannot_be_read_are_counted_and_the_first_is_named(bad):
    log = read(f"timestamp, power.draw [W]\n{local(START)}, 100.00 W\n{bad}\n{local(START + 1)}, minus W\n{local(START + 2)}, 100.00 W\n")
    assert (log.bad, log.rows) == (2, 2)
    assert log.first_bad[0] == 3


@pytest.mark.parametrize("value", ["-5", "-5 W", "inf", "5 V", "0x10", "1_0 Q"])
def test_what_is_no_power_is_a_bad_line(value):
    assert read(f"time_s,power_w\n{START},{value}\n").bad == 1


def test_a_last_line_without_its_end_waits_for_the_rest():
    log = read(f"time_s,power_w\n{START},100\n{START + 1},2")
    assert (log.rows, log.bad) == (1, 0)
    log.feed(b"50\n")
    assert values(log) == {("node", "power_w"): [(START, 100.0), (START + 1, 250.0)]}


def test_times_with_an_offset_are_honoured():
    text = "time_s,power_w\n2026-11-21T05:14:37+01:00,1\n2026-11-21T04:14:38Z,2\n2026-11-21 09:44:39.5+05:30,3\n"
    ((_, readings),) = values(read(text)).items()
    assert [t - readings[0][0] for t, _ in readings] == [0.0, 1.0, 2.5]


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_the_hour_that_comes_twice_in_autumn_is_two_hours():
    first = 1_792_888_200.0  # 25 October 2026, 02:30 summer time; at 03:00 it is 02:00 again
    samples = [Sample(first + 600 * n, 0, float(n), 0.0) for n in range(12)]
    text = FORMATS["smi"](samples)
    assert text.count("02:30:00") == 2
    ((_, readings),) = values(read(text)).items()
    assert readings == [(s.t, s.watts) for s in samples]


@pytest.mark.usefixtures("berlin")
def test_the_hour_that_is_left_out_in_spring_is_no_gap():
    first = 1_774_745_400.0  # 29 March 2026, 01:50; at 02:00 it is 03:00
    samples = [Sample(first + 300 * n, 0, float(n), 0.0) for n in range(6)]
    text = FORMATS["smi"](samples)
    assert " 02:" not in text
    ((_, readings),) = values(read(text)).items()
    assert readings == [(s.t, s.watts) for s in samples]


def test_a_clock_that_is_set_back_makes_that_stretch_uncertain():
    log = read("time_s,power_w\n" + "".join(f"{START + t},{n}\n" for n, t in enumerate([0, 1, 2, 3, 1.5, 2.5])))
    ((_, _, series),) = log.series
    assert list(series.times) == [START + t for t in (0, 1, 1.5, 2.5)]
    assert series.set_back == [(START + 1.5, START + 3)]


def test_a_time_that_comes_twice_is_kept_once():
    log = read(f"time_s,power_w\n{START},100\n{START},900\n{START + 1},100\n")
    assert values(log) == {("node", "power_w"): [(START, 100.0), (START + 1, 100.0)]}
    assert log.repeated == 1


def test_a_header_that_comes_again_is_no_bad_line():
    text = FORMATS["smi"]([Sample(START, 0, 100.0, 0.0)])
    again = FORMATS["smi"]([Sample(START + 1, 0, 100.0, 0.0)])
    log = read(text + "\n# a comment\n" + again)
    assert (log.rows, log.bad) == (2, 0)


def test_slices_and_switches_are_no_boards():
    log = read(f"{START} #Entity POWER\n{START} ID W\n{START} GPU-I 3 250.0\n{START} Switch 0 12.0\n{START} GPU 1 250.0\n")
    assert values(log) == {("gpu:1", "power_w"): [(START, 250.0)]}
    assert log.bad == 0


def test_two_devices_of_one_number_are_not_mixed():
    log = read(f"timestamp, index, uuid, power.draw [W]\n{local(START)}, 0, A, 100 W\n{local(START)}, 0, B, 900 W\n")
    assert values(log) == {("gpu:0", "power_w"): [(START, 100.0)]}
    assert log.first_bad == (3, "gpu:0 is another device already")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"{local(START)}, {uuid(0)}, 100.00 W\n", "is a reading, so what its columns are isn't known: record without noheader"),
        ("GPU 0  120.5  1234567\n", "names no time with power or energy"),
        ("#Entity   POWER  TOTEC\nID  W  mJ\nGPU 0  120.5  1234567\n", "carry no times: record with `dcgmi dmon -e 155,156,157 | ts %.s`"),
        ("1795000000.5 #Entity   TMPTR\n", "neither power nor energy: add the fields 155, 156 or 157"),
        ("timestamp, uuid, temperature.gpu\n", "names no time with power or energy"),
        ("uuid, power.draw [W]\n", "names no time with power or energy"),
        ("time_s,power_w [hp]\n", "the unit of 'power_w [hp]' is not known"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\n", "names no time with power or energy"),
        (b"\x7fELF\2\1\1\0\0\0\n", "it is not a text file"),
        (b"\xff\xfet\0i\0m\0e\0\n\0", "it is UTF-16, as PowerShell's `>` writes it"),
        (b"x" * (LONGEST_LINE + 10), f"its first line is longer than {LONGEST_LINE} characters"),
    ],
)
def test_what_is_no_log_is_said_in_one_line(content, said):
    with pytest.raises(LogError) as caught:
        read(content)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.binary(max_size=400))
def test_whatever_follows_a_header_is_survived(data):
    log = read(b"timestamp,uuid,power.draw [W]\n" + data + b"\n")
    assert log.rows + log.bad <= data.count(b"\n") + 1


@given(st.binary(max_size=400))
def test_whatever_else_a_file_holds_is_an_error_of_ours(data):
    with pytest.raises(LogError):
        read(b"x" + data.replace(b"#", b"") + b"\n")


def test_a_line_without_end_is_forgotten_and_counted():
    log = read(f"time_s,power_w\n{START},100\n")
    for _ in range(20):
        log.feed(b"x" * LONGEST_LINE)
    log.feed(f"\n{START + 1},100\n".encode())
    assert (log.rows, log.bad, log.first_bad) == (2, 1, (3, f"longer than {LONGEST_LINE} characters"))


def test_a_new_name_on_every_line_does_not_fill_the_memory():
    log = read("time_s,power_w,device\n" + "".join(f"{START + n},1,plug-{n}\n" for n in range(1000)))
    assert (log.rows, log.bad) == (256, 744)


def test_a_long_log_needs_less_memory_than_its_text():
    line = "".join(f"{local(START)}, {uuid(gpu)}, 321.00 W\n" for gpu in range(8))
    pieces = [line.replace(local(START), local(START + n / 10)).encode() for n in range(4000)]
    tracemalloc.start()
    try:
        log = read("timestamp, uuid, power.draw.instant [W]\n")
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for piece in pieces:
            log.feed(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert log.rows == 32_000
    assert peak - before < sum(map(len, pieces)) / 2


def test_readings_that_no_window_asks_for_are_not_kept():
    log = read("time_s,power_w\n" + "".join(f"{START + n},1\n" for n in range(10)), keep_from_s=START + 7)
    assert [len(series.times) for _, _, series in log.series] == [3]
    assert log.rows == 10
