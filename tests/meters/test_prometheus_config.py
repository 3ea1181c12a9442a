"""What the user says about Prometheus: a URL, a TOML file, and every mistake in one line."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.meters._prom_config import PrometheusConfigError, Query, load_prometheus
from pytest_tpf.meters._prom_series import Moment, Series, is_selector, merged, ranged, read_history, selectors
from pytest_tpf.meters.wall_clock import Offset

CHANNEL = 'domain = "gpu:{gpu}"\nquery = "energy"\nunit = "mJ"\n'


@pytest.fixture
def load(tmp_path):
    def load(text, **environ):
        path = tmp_path / "prometheus.toml"
        path.write_text(text)
        return load_prometheus(str(path), environ)

    return load


def mistake(load, text, **environ):
    with pytest.raises(PrometheusConfigError) as told:
        load(text, **environ)
    line = str(told.value)
    assert "\n" not in line
    assert "prometheus.toml: " in line
    return line.partition("prometheus.toml: ")[2]


def test_a_whole_file(load):
    config = load(
        'url = "https://$HOST/prom"\ntimeout_s = 2\nheaders = { Authorization = "Bearer ${TOKEN}" }\n'
        f'[[channel]]\n{CHANNEL}labels = {{ Hostname = "n1" }}\nuuid_label = "UUID"\ngain = 0.01\nrefresh_s = 1\nquantity = "energy"\n'
        '[[channel]]\ndomain = "node"\nquery = "sum(watts)"\nunit = "kW"\nstep_s = 5\naveraging_s = 1\n',
        HOST="prom.example",
        TOKEN="t",
    )
    assert (config.url, config.timeout_s, config.headers) == ("https://prom.example/prom", 2.0, {"Authorization": "Bearer t"})
    assert [(q.domain, q.quantity, q.scale) for q in config.queries] == [("gpu:{gpu}", "energy", 0.001), ("node", "power", 1000.0)]
    assert (config.queries[0].refresh_s, config.queries[0].labels, config.queries[1].step_s) == (1.0, {"Hostname": "n1"}, 5.0)


def test_the_file_that_the_documentation_shows(load):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "meters.md").read_text(encoding="utf-8")
    (shown,) = [block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[[channel]]" in block]
    config = load(shown, PROM_TOKEN="t")
    assert [(q.domain, is_selector(q.query)) for q in config.queries] == [("gpu:{gpu}", True), ("cpu:0", True), ("node", True)]


def test_a_url_alone():
    assert load_prometheus("http://prom.example:9090").url == "http://prom.example:9090"


@pytest.mark.parametrize("url", ["ftp://prom", "http://", "http://prom:port", "http://user:secret pass@prom", "http://[::1"])
def test_a_url_that_is_none(url):
    with pytest.raises(PrometheusConfigError, match=r"^the URL ") as told:
        load_prometheus(url)
    assert "secret" not in str(told.value)


def test_a_file_that_is_not_there_or_no_toml(load):
    with pytest.raises(PrometheusConfigError, match=r"localhost:9090: No such file .*begins with http://"):
        load_prometheus("localhost:9090")
    assert mistake(load, "url = ").startswith("not valid TOML: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "url is missing"),
        ('url = "http://p"\ntimeout = 5', "unknown key 'timeout', did you mean 'timeout_s'?"),
        ('url = "http://p"\ntimeout_s = "5"', "timeout_s is '5', not a number"),
        ('url = "http://p"\ntimeout_s = 0', "timeout_s is 0, must be above 0"),
        ('url = "http://p"\nchannel = 5', "channel must be written as [[channel]] tables"),
        ("url = 5", "url is not a text"),
        ('url = "http://p"\nheaders = { A = 5 }', "headers must be a table of texts"),
        ('url = "http://p"\nheaders = { A = "x\\ny" }', "headers 'A' can't be sent"),
        ('url = "http://p"\nheaders = { A = "$NOPE" }', "headers.A names the environment variable $NOPE, which is not set"),
        ('url = "http://p"\n[[channel]]', "channel 1: domain is missing; channel 1: query is missing; channel 1: unit is missing"),
        (f'url = "http://p"\n[[channel]]\n{CHANNEL}label = {{}}', "channel 1: unknown key 'label', did you mean 'labels'?"),
        (f'url = "http://p"\n[[channel]]\n{CHANNEL}labels = {{ a = 1 }}', "channel 1: labels must be a table of labels and texts"),
        (f'url = "http://p"\n[[channel]]\n{CHANNEL}quantity = "power"', "unit mJ is one of energy, but quantity is 'power'"),
        (f'url = "http://p"\n[[channel]]\n{CHANNEL}gain = -1', "gain is -1, must be at least 0"),
        (f'url = "http://p"\n[[channel]]\n{CHANNEL}uuid_label = "a-b"', "uuid_label is 'a-b', not the name of a label"),
        ('url = "http://p"\n[[channel]]\n' + CHANNEL.replace("mJ", "BTU"), "unit is 'BTU', must be one of uJ, mJ, J"),
        ('url = "http://p"\n[[channel]]\n' + CHANNEL.replace("gpu:", "g p u"), "domain is 'g p u{gpu}': expected a name such as gpu:0"),
    ],
)
def test_every_mistake_is_one_line(load, text, said):
    assert said in mistake(load, text)


def test_secrets_of_a_file_are_not_shown(load):
    text = 'url = "http://user:hunter2@/"\nheaders = { A = "$TOKEN\\n" }\nbogus = 1'
    line = mistake(load, text, TOKEN="s3cr3t")
    assert "hunter2" not in line
    assert "s3cr3t" not in line


# --- queries


@pytest.mark.parametrize("text", ["energy", " a:b_total ", 'e{a="x"}', "{__name__=~'a|b'}", 'e{a="}",b=~"\\"{"}', "e{}", "e{a=`x`,}"])
def test_plain_selectors_have_samples_of_their_own(text):
    assert is_selector(text)


@pytest.mark.parametrize("text", ["sum(e)", "e * 2", "e[5m]", "e offset 1m", "e @ 5", "", "  ", 'e{a="x"', "e or f", "{a}{b}"])
def test_anything_else_is_an_expression(text):
    assert not is_selector(text)


def test_the_selectors_inside_an_expression():
    text = (
        'sum by (a, instance) (rate(x_total{a="sum(y)",b!~"}"}[5m] offset 1m)) * on (a) group_left () avg(y:z) / 1e3 or {job="j"} - x_total'
    )
    assert selectors(text) == ['x_total{a="sum(y)",b!~"}"}', "y:z", '{job="j"}', "x_total"]
    assert selectors("vector(1) + time()") == []


def test_labels_go_into_the_selector_and_its_range_into_milliseconds():
    query = Query(domain="d", query='e{a="1",}', unit="J", labels={"b": 'x"\\'})
    assert ranged(query, 1.5) == 'e{a="1", b="x\\"\\\\"}[1500ms]'
    assert ranged(Query(domain="d", query="sum(e)", unit="J", step_s=0.5), 10) == "(sum(e))[10000ms:500ms]"


# --- readings


@given(
    spacings=st.lists(st.floats(0.1, 30.0), min_size=2, max_size=40),
    refresh_s=st.floats(0.05, 60.0),
    phase_s=st.floats(0.0, 1.0),
)
def test_a_bracket_holds_the_instant_at_which_an_exporter_looked(spacings, refresh_s, phase_s):
    scrapes = [1000.0 + sum(spacings[:n]) for n in range(len(spacings) + 1)]
    samples = tuple((t, 100.0 * (phase_s + math.floor((t - phase_s) / refresh_s) * refresh_s)) for t in scrapes)
    query = Query(domain="d", query="e", unit="J", caches=True)
    moment = Moment(clock=Offset(t=0.0, offset_s=900.0, half_width_s=0.01), server_s=1e6, scrape_s=0.05)
    readings = read_history(samples, query, moment, 0.0, 1.0).readings
    assert len(readings) == len({value for _, value in samples}) - 1  # nothing tells since when the first one was shown
    assert all(r.t_lo <= r.value / 100.0 - 900.0 <= r.t_hi for r in readings)


def test_repeated_values_are_one_reading_between_the_last_old_and_the_first_new_scrape():
    samples = tuple((float(t), float(v)) for t, v in ((0, 5), (1, 5), (2, 8), (3, 8), (4, 8), (5, 11), (6, 11)))
    moment = Moment(clock=Offset(t=0.0, offset_s=0.0, half_width_s=0.0), server_s=100.0, scrape_s=0.0)
    history = read_history(samples, Query(domain="d", query="e", unit="J"), moment, 2.5, 3.0)
    assert [(round(r.t_lo), round(r.t_hi), r.value) for r in history.readings] == [(1, 2, 8.0), (4, 5, 11.0)]
    assert history.complete
    assert history.faults == ()


def test_series_of_one_board_follow_one_another():
    old = Series(labels={"pod": "old"}, samples=((1.0, 1.0), (2.0, 2.0), (3.0, 3.0)))
    new = Series(labels={"pod": "new"}, samples=((2.5, 2.5), (3.5, 3.5)))
    assert merged([old, new]) == ((1.0, 1.0), (2.0, 2.0), (2.5, 2.5), (3.5, 3.5))
    assert merged([]) == ()
