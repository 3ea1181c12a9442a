"""The summary for reviewers: the verdict first, the mandated figures, bounded; and text from elsewhere does nothing in it."""

from __future__ import annotations

import dataclasses
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_tpf.records import Accuracy, PueAdjustedPower
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.markdown import MOST_BYTES, append_summary, render_markdown, verdict, write_markdown
from pytest_tpf.report.regressions import regression_lines, short_id
from tests.report.compared import NASTY, any_compared, compared, one_of_each
from tests.report.factory import estimated_test, facility, invalid_test, measured_test, report

GOLDEN = Path(__file__).parent / "golden" / "summary.md"
OURS = {"h3", "p", "ul", "li", "code", "pre", "b", "table", "tr", "th", "td", "details", "summary", "tbody", "thead"}


class Rendered(HTMLParser):
    """What a browser is given: the tags, their attributes, and which text is outside ``code`` and ``pre``."""

    def __init__(self, markdown: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.comments: list[str] = []
        self.loose, self.quoted = "", ""
        parser = MarkdownIt("gfm-like", {"html": True, "linkify": False})
        self.feed(parser.render(markdown))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # well nested, to the last one

    def handle_data(self, data):
        if {"code", "pre"} & set(self.open):
            self.quoted += data
        else:
            self.loose += data

    def handle_comment(self, data):
        self.comments.append(data)

    def handle_decl(self, decl):
        self.comments.append(decl)

    def unknown_decl(self, data):
        self.comments.append(data)

    def handle_pi(self, data):
        self.comments.append(data)


def harmless(markdown: str) -> Rendered:
    """No tag that isn't ours, no attribute, no link, no image; nothing of a mention, address or formula outside of ``code``."""
    found = Rendered(markdown)
    assert set(found.tags) <= OURS
    assert (found.attributes, found.comments, found.open) == ([], [], [])
    for sign in "@#`$[]*_\\~":
        assert sign not in found.loose, found.loose
    assert "://" not in found.loose
    assert "www." not in found.loose
    return found


def test_the_summary_of_the_example_report():
    assert render_markdown(report()) == GOLDEN.read_text(encoding="utf-8")


def test_the_verdict_stands_first():
    tests = [*one_of_each(), estimated_test(), invalid_test()]
    first = render_markdown(report(*tests), ["tests/b.py::test_gone vanished: it is in main, but wasn't found"]).splitlines()[0]
    assert first == "### tpf: 1 regressed, 1 budget broken, 1 problem of the whole run, 1 not measured, 3 inconclusive"


@pytest.mark.parametrize(
    ("tests", "text"),
    [
        ([], "nothing was measured"),
        ([measured_test()], "passed, 1 test"),
        ([measured_test(), measured_test(nodeid="t.py::b", outcome="failed")], "1 otherwise failed"),
        ([estimated_test()], "1 budget broken"),
        ([estimated_test(outcome="xfailed")], "passed, 1 test"),
        ([invalid_test()], "1 not measured"),
        ([compared("test_x", {}), compared("test_y", {})], "2 regressed"),
    ],
    ids=range(7),
)
def test_verdicts(tests, text):
    assert verdict(tests) == text


def test_what_is_wrong_is_told_with_its_interval_the_worst_first():
    lines = [line for line in render_markdown(report(*one_of_each(), estimated_test())).splitlines() if line.startswith("<li>")]
    assert lines[0].startswith("<li><code>tests/test_a.py::test_worse</code> regressed: <code>ttft_s</code> +100.0% (95 % interval ")
    assert any("broke a budget: <code>joules_per_token</code> 0.012 (estimated) (95 % interval 0.006 to 0.018)" in line for line in lines)
    assert sum("improved" in line for line in lines) == 1


def test_a_problem_that_a_test_tells_too_stands_once():
    test = compared("test_x", {})
    assert render_markdown(report(test), regression_lines(test)).count("+10.1% to +14.8%") == 1


def test_every_mandated_figure_has_its_unit_and_its_trust_or_says_why_it_is_unknown():
    text = Rendered(render_markdown(report()))
    for part in (
        "400\u00a0mJ ±2.0% measured",
        "memory bandwidth (71%)",
        "532\u00a0W",
        "639 (60% declared)",
        "0.958 ",
        "100\u00a0ms / 33.0\u00a0ms",
    ):
        assert part in text.loose
    assert "12.0\u00a0mJ ±50% estimated" in text.loose
    assert "32.5\u00a0W estimated" in text.loose
    assert "energy is invalid: counter_reset on gpu:0" in text.quoted


def test_a_late_client_is_told_in_the_place_of_its_times():
    test = measured_test()
    load = dataclasses.replace(test.service.load, is_late=True)
    late = dataclasses.replace(test, service=dataclasses.replace(test.service, load=load, goodput=None))
    assert "<td>100 ms / 33.0 ms / 2.30 s; 92 of 96 good, 15.9 req/s</td>" in render_markdown(report(test)).replace("\u00a0", " ")
    assert "; the client was late</td>" in render_markdown(report(late))


def test_an_undeclared_pue_is_said():
    power = PueAdjustedPower(value=None, it_power_w=426.0, pue=None, reason="PUE is undeclared (--tpf-pue X)")
    mandated = dataclasses.replace(measured_test().mandated, pue_adjusted_power_w=power)
    text = render_markdown(report(measured_test(mandated=mandated)))
    assert "unknown: <code>PUE is undeclared (--tpf-pue X)</code>; 426\u00a0W at IT" in text


def test_what_passed_is_folded_away_behind_the_first_few():
    text = render_markdown(report(*(measured_test(nodeid=f"t.py::test_{place}") for place in range(30)), compared("test_worse", {})))
    shown, folded = text.split("<details><summary>The other tests (21)</summary>")
    assert "test_worse" in shown
    assert folded.partition("</details>")[0].count("<tr><td>") == 21


def nasty_report():
    test = compared("x", {"metric": NASTY[:256], "reason": NASTY}, remarks=(NASTY,))
    reference = dataclasses.replace(test.regression.reference, ref=NASTY, commit=NASTY[:64], note=NASTY)
    mandated = dataclasses.replace(
        test.mandated,
        accuracy=Accuracy(value=0.5, metric=NASTY, samples=2),
        binding_constraint=dataclasses.replace(test.mandated.binding_constraint, value="undetermined", reason=NASTY),
        joules_per_token=dataclasses.replace(test.mandated.joules_per_token, value=None, ci95=None, trust=None, reason=NASTY),
    )
    budget = dataclasses.replace(test.budgets[0], metric=NASTY[:256], verdict="fail", reason=NASTY)
    names = dataclasses.replace(test.budgets[1], limit=(NASTY[:256],), actual=NASTY[:256], verdict="fail", reason=NASTY)
    test = dataclasses.replace(
        test,
        nodeid=NASTY,
        mandated=mandated,
        budgets=(budget, names),
        warnings=(NASTY,),
        labels={NASTY: NASTY},
        energy=dataclasses.replace(test.energy, unmetered=(NASTY,), reasons=(NASTY,)),
        regression=dataclasses.replace(test.regression, reference=reference),
    )
    whole = report(
        test, dataclasses.replace(test, nodeid=f"{NASTY}2", regression=dataclasses.replace(test.regression, changes=(), reason=NASTY))
    )
    environment = dataclasses.replace(
        whole.environment,
        software={NASTY: NASTY},
        source=dataclasses.replace(whole.environment.source, branch=NASTY),
        accelerators=tuple(dataclasses.replace(board, name=NASTY[:256]) for board in whole.environment.accelerators),
    )
    return dataclasses.replace(whole, environment=environment, meters=tuple(dataclasses.replace(m, id=NASTY) for m in whole.meters))


def test_text_from_elsewhere_is_shown_as_it_is_and_does_nothing():
    found = harmless(render_markdown(nasty_report(), [NASTY]))
    assert "script" not in found.tags
    assert "img" not in found.tags
    for part in (
        "</code></td></table></details></pre><script>alert(1)",
        "&lt; &#64;x \\r\\n\\n# heading\\n- [ ] item\\n\\x1b[31m\\x07\\u202e\\u2028<!--",
    ):
        assert part in found.quoted
    assert short_id(NASTY) in found.quoted


def test_folded_parts_stay_folded():
    """No text closes the block it is in: each part is an HTML block, which only a blank line ends, and where GFM looks for no addresses."""
    text = render_markdown(nasty_report(), [NASTY])
    for block in text.rstrip("\n").split("\n\n")[1:]:
        assert block.startswith(("<p>", "<ul>", "<table>", "<details>"))
        assert not any(line.strip() == "" for line in block.splitlines())
    tokens = [token.type for token in MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(text)]
    assert tokens[:3] == ["heading_open", "inline", "heading_close"]
    assert set(tokens[3:]) == {"html_block"}


@given(st.lists(any_compared(), max_size=4), st.lists(st.text(min_size=1), max_size=2))
def test_whatever_a_valid_report_holds_it_is_harmless_and_bounded(tests, problems):
    text = render_markdown(dataclasses.replace(report(), tests=tuple(tests)), problems)
    harmless(text)
    assert len(text.encode()) <= MOST_BYTES


def test_a_huge_run_is_cut_where_there_is_no_more_room_and_says_so():
    tests = [measured_test(nodeid=f"t.py::test_{place}[{NASTY}]") for place in range(3000)]
    text = render_markdown(report(*tests))
    assert 0.9 * MOST_BYTES < len(text.encode()) <= MOST_BYTES
    assert "for which there is no room here; all of them are in the report" in text
    harmless(text)
    smaller = render_markdown(report(*tests), most_bytes=200_000)
    assert len(smaller.encode()) <= 200_000


def test_even_the_worst_texts_keep_it_bounded():
    wide = "\u0301" * 8000
    tests = [compared(f"t{place}", {"metric": "\U0001f600" * 256, "reason": wide}, {"reason": wide}) for place in range(200)]
    tests = [dataclasses.replace(test, nodeid=f"{place}{wide}", warnings=(f"{wide}{place}",)) for place, test in enumerate(tests)]
    assert len(render_markdown(report(*tests), [wide] * 100).encode()) <= MOST_BYTES


def test_the_file_is_written_whole(tmp_path):
    path = tmp_path / "new" / "summary.md"
    write_markdown(path, "one\n")
    write_markdown(path, "two\n")
    assert path.read_text() == "two\n"
    assert os.listdir(path.parent) == ["summary.md"]
    with pytest.raises(ReportError, match="can't be written") as caught:
        write_markdown(path / "x", "three\n")
    assert "\n" not in str(caught.value)


def test_a_step_summary_is_added_to(tmp_path):
    path = tmp_path / "summary"
    path.write_text("# of another tool\n")
    append_summary(path, "### tpf: passed\n")
    assert path.read_text() == "# of another tool\n\n### tpf: passed\n"
    with pytest.raises(ReportError, match=r"can't be written: Is a directory"):
        append_summary(tmp_path, "text")


def test_a_step_summary_that_would_be_refused_is_left_as_it_is(tmp_path):
    path = tmp_path / "summary"
    path.write_bytes(b"x" * (2**20 - 10))
    with pytest.raises(ReportError, match="limited to 1 MiB"):
        append_summary(path, "more than ten bytes")
    assert path.stat().st_size == 2**20 - 10


def test_the_facility_is_told():
    assert "facility: PUE not declared" in render_markdown(dataclasses.replace(report(), facility=facility(pue=type(facility().pue)())))
