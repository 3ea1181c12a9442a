"""``tpf history`` as a user runs it: nothing unasked, one line for what is wrong, and all of it out and in again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytest_tpf.codec import as_dict
from pytest_tpf.history.storage import open_store
from pytest_tpf.report.write import write_report
from tests.cli.test_main import one_line, tpf
from tests.history.conftest import postgres_server as postgres_server  # fixtures, for the tests here
from tests.history.conftest import storage as storage
from tests.history.saved import HARDWARE, MAIN, OTHER_HARDWARE, a_test, nights, run
from tests.report.factory import estimated_test, invalid_test, measured_test


@pytest.fixture
def filled(tmp_path):
    """SQLite with three runs: the oldest has a name and all kinds of tests, the newest is on a branch and has changes."""
    storage = f"sqlite:///{tmp_path}/filled.db"
    with open_store(storage) as store:
        store.save(run(measured_test(), estimated_test(), invalid_test(), at="2026-01-01T02:00:00Z"), "v1")
        store.save(run(a_test("tests/test_a.py::test[x]"), at="2026-01-02T02:00:00Z", fingerprint=OTHER_HARDWARE))
        store.save(run(measured_test(), at="2026-01-03T02:00:00Z", branch="feature", commit="f" * 40, dirty=True))
    return storage


def history(action: str, storage: str, *arguments: object):
    return tpf("history", action, "--storage", storage, *arguments)


def reports(storage: str) -> dict[str, tuple[str | None, dict]]:
    with open_store(storage) as store:
        return {info.report_id: (info.name, as_dict(store.load(info))) for info in store.runs()}


# --- list and show ----------------------------------------------------------------------------------------------------


def test_list_is_a_table_newest_first(filled):
    lines = history("list", filled).stdout.splitlines()
    assert [line[:16] for line in lines[2:5]] == ["2026-01-03 02:00", "2026-01-02 02:00", "2026-01-01 02:00"]
    newest, other, oldest = (line.split() for line in lines[2:5])
    assert newest[3:7] == ["-", "feature", "fffffffff+", HARDWARE[:8]]
    assert other[6] == OTHER_HARDWARE[:8]
    assert oldest[3:] == ["v1", "main", MAIN[:9], HARDWARE[:8], "3", "2.47k"]
    assert lines[5:] == ["commit+: with changes that were not committed"]
    assert one_line(history("list", filled, "--branch", "nothing"), 1).endswith(": no such run\n")
    assert history("list", filled, "--rows", 1).stdout.splitlines()[-1].startswith("... and more; --rows 0 shows all")


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        ((), ["03", "02", "01"]),
        (("--branch", "main"), ["02", "01"]),
        (("--commit", "FFFFFFFF"), ["03"]),
        (("--hardware", OTHER_HARDWARE), ["02"]),
        (("--name", "v1"), ["01"]),
        (("--since", "2026-01-02", "--until", "2026-01-03T03:00+01:00"), ["02"]),
        (("--since", "36h"), []),
        (("--label", "precision=fp8"), ["01"]),
        (("--test", "*test[x]"), ["02"]),
        (("--branch", "nothing"), []),
    ],
    ids=range(10),
)
def test_list_is_filtered(filled, arguments, days):
    done = history("list", filled, "--json", *arguments)
    assert done.returncode == 0
    assert [info["created_at"][8:10] for info in json.loads(done.stdout)] == days


def test_show_finds_a_run_by_any_reference(filled):
    with open_store(filled) as store:
        report_id = store.runs()[1].report_id
    sources = {ref: history("show", filled, ref).stdout for ref in ("latest", "v1", "fffffff", "main", report_id[:8], report_id)}
    days = {ref: text.split("of 2026-01-")[1][:2] for ref, text in sources.items()}
    assert days == {"latest": "03", "v1": "01", "fffffff": "03", "main": "02", report_id[:8]: "02", report_id: "02"}
    assert "test_adder[batch-32]" in sources["v1"]
    assert "test_adder_on_cpu" not in sources["latest"]
    assert one_line(history("show", filled, "nothing"), 1).endswith(
        ": no run is meant by 'nothing'; tpf history list shows what there is\n"
    )


def test_show_as_json_is_the_report(filled, tmp_path):
    done = history("show", filled, "v1", "--json")
    (tmp_path / "report.json").write_text(done.stdout)
    assert tpf("validate", tmp_path / "report.json").returncode == 0
    report = json.loads(done.stdout)
    assert reports(filled)[report["report_id"]] == ("v1", report)


# --- prune ------------------------------------------------------------------------------------------------------------


def test_prune_deletes_nothing_unasked(filled):
    assert "prune deletes nothing unasked: give --keep N, --older-than AGE or both" in one_line(history("prune", filled), 2)
    assert "2 runs would go, 2 tests" in history("prune", filled, "--older-than", "1h", "--dry-run").stdout
    assert len(reports(filled)) == 3


def test_prune_keeps_what_it_is_told(storage):
    with open_store(storage) as store:
        for number, report in enumerate(nights(6, ["tests/test_a.py::test"])):
            store.save(report, "v1" if number == 0 else None)
    assert "2 runs deleted, 2 tests" in history("prune", storage, "--keep", 3).stdout
    assert "0 runs deleted" in history("prune", storage, "--keep", 3).stdout
    assert "1 run deleted" in history("prune", storage, "--keep", 2, "--older-than", "2026-01-05").stdout
    assert "1 run deleted" in history("prune", storage, "--keep", 2, "--named").stdout
    assert len(reports(storage)) == 2


# --- out and in -------------------------------------------------------------------------------------------------------


def test_an_export_makes_the_same_history(filled, tmp_path):
    file = tmp_path / "all.jsonl"
    assert history("export", filled, "-o", file).stdout == f"{file}: 3 runs, 5 tests\n"
    other = f"sqlite:///{tmp_path}/other.db"
    assert history("import", other, file).stdout == f"{tmp_path}/other.db: 3 runs saved, 5 tests\n"
    assert reports(other) == reports(filled)
    assert history("import", other, file).stdout == f"{tmp_path}/other.db: 0 runs saved, 0 tests; 3 runs already there\n"
    assert history("export", other, "-o", "-").stdout == file.read_text()


def test_an_export_may_hold_any_text(storage, tmp_path):
    nasty = "t.py::t[\x00\x1a\x1a0000\x1b[2J\u2028é\ud800]"
    with open_store(storage) as store:
        report = run(a_test(nasty, labels={"\x00": "\udfff"}, params={"p": nasty}), branch="\x00é")
        store.save(report, nasty)
    history("export", storage, "-o", tmp_path / "all.jsonl")
    history("export", storage, "-o", tmp_path / "all.parquet")
    other = f"sqlite:///{tmp_path}/other.db"
    assert history("import", other, tmp_path / "all.jsonl").returncode == 0
    assert reports(other) == reports(storage) == {report.report_id: (nasty, as_dict(report))}
    for line in (history("list", storage).stdout, history("show", storage).stdout):
        assert not set(line) & set("\x00\x1a\x1b\u2028\ud800")


def test_reports_are_imported_under_a_name(storage, tmp_path):
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file in files:
        write_report(file, run())
    assert "2 runs saved, 6 tests" in history("import", storage, *files, "--name", "nightly").stdout
    assert {name for name, _ in reports(storage).values()} == {"nightly"}


def test_a_parquet_file_has_a_row_a_test_and_a_column_a_figure(filled, tmp_path):
    import pyarrow.parquet

    assert history("export", filled, "-o", tmp_path / "all.parquet").stdout == f"{tmp_path}/all.parquet: 3 runs, 5 tests\n"
    rows = pyarrow.parquet.read_table(tmp_path / "all.parquet").to_pylist()
    by_test = {(row["created_at"], row["nodeid"]): row for row in rows}
    first = by_test[datetime(2026, 1, 1, 2, tzinfo=UTC), measured_test().nodeid]
    assert (first["saved_as"], first["branch"], first["dirty"], first["key"]) == ("v1", "main", False, measured_test().nodeid)
    assert first["mandated.joules_per_token.value"] == measured_test().joules_per_token
    assert first["mandated.joules_per_token.ci95.low"] == 0.392
    assert first["labels"] == [("precision", "bf16")]
    assert first["energy.domains"] == [("gpu:0", 2457.6)]
    unknown = by_test[datetime(2026, 1, 1, 2, tzinfo=UTC), invalid_test().nodeid]
    assert unknown["energy.it_j"] is None
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


# --- what is wrong ----------------------------------------------------------------------------------------------------

HEAD = '{"tpf_history": 1, "name": null, "report": %s}\n'


def archive_of(*, tests: bool = True, **changes: object) -> str:
    data = as_dict(run())
    head = {**data, "tests": [], **changes}
    return HEAD % json.dumps(head) + "".join(json.dumps(test) + "\n" for test in data["tests"] if tests)


BROKEN = {
    "empty of runs": ("[]", "run 1: is not a line of an exported history"),
    "a test first": (json.dumps(as_dict(measured_test())), "run 1: is not a line of an exported history"),
    "newer": ('{"tpf_history": 2}', "run 1: was exported by a newer pytest-tpf"),
    "no report": ('{"tpf_history": 1, "name": null}', "run 1: its name or its report is not what"),
    "a number as name": ('{"tpf_history": 1, "name": 1, "report": {}}', "run 1: its name or its report is not what"),
    "cut off": (archive_of(tests=False), "run 1: not saved, the report is invalid: $.summary.tests: 3, but the rows under tests give 0"),
    "cut off in a line": (archive_of()[:-100], "not JSON (line "),
    "an unknown key": (archive_of(mine=1), "run 1: not saved, the report is invalid: $: unknown key 'mine'"),
    "a test that isn't": (archive_of() + "7\n", "run 1: not saved, the report is invalid: $.tests[3]: is integer, expected object"),
    "NaN": (archive_of().replace('"cost": 9', '"cost": NaN, "x": 9', 1), "NaN is not JSON"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_archive_is_refused_in_one_line(tmp_path, name):
    content, reason = BROKEN[name]
    file = tmp_path / "all.jsonl"
    file.write_text(content)
    url = f"sqlite:///{tmp_path}/history.db"
    said = one_line(history("import", url, file), 2)
    assert said.startswith(f"tpf history: {file}: ")
    assert reason in said
    assert reports(url) == {}


def test_runs_before_a_broken_one_stay_saved_and_that_is_said(tmp_path):
    file = tmp_path / "all.jsonl"
    file.write_text(archive_of() + archive_of() + archive_of(created_at="2026-02-30T00:00:00Z"))
    url = f"sqlite:///{tmp_path}/history.db"
    said = one_line(history("import", url, file), 2)
    assert ": run 3: not saved, the report's created_at is no time" in said
    assert said.endswith(" (2 runs before it are saved)\n")
    assert len(reports(url)) == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "tpf history: the following arguments are required: ACTION"),
        (("lst",), "tpf history: argument ACTION: invalid choice: 'lst'"),
        (("list",), "/.tpf/history.db: there is no history yet; pytest --tpf-save begins one"),
        (("prune", "--keep", "3"), "there is no history yet"),
        (("export", "-o", "x.jsonl"), "there is no history yet"),
        (("list", "--storage", "history.db"), "tpf history: the storage is not a URL of a database; expected sqlite:///"),
        (("list", "--since", "yesterday"), "tpf history list: argument --since: 'yesterday' is no time: 36h, 90d, 12w, 2026-01-31"),
        (("list", "--since", "999999w"), "tpf history list: argument --since: '999999w' is no time"),
        (("list", "--label", "x"), "tpf history list: argument --label: 'x' is no NAME=VALUE"),
        (("list", "--rows", "-1"), "tpf history list: argument --rows: '-1' is no whole number from 0 on"),
        (("import",), "tpf history import: the following arguments are required: FILE"),
        (("import", "missing.json"), "tpf history: missing.json: can't be read: No such file or directory"),
        (("import", "missing.jsonl"), "tpf history: missing.jsonl: can't be read: No such file or directory"),
    ],
    ids=range(13),
)
def test_unusable_arguments_are_one_line_and_code_2(tmp_path, arguments, text):
    assert text in one_line(tpf("history", *arguments, cwd=tmp_path, env=_environment()), 2)


def test_an_export_needs_a_name_that_says_what_it_is(filled, tmp_path):
    assert "what to write is told by the name: FILE.jsonl or FILE.parquet" in one_line(history("export", filled, "-o", "x.csv"), 2)
    missing = history("export", filled, "-o", tmp_path / "missing" / "x.parquet")
    assert f"{tmp_path}/missing/x.parquet: can't be written: " in one_line(missing, 2)
    assert one_line(history("export", filled, "-o", tmp_path / "x.jsonl", "--branch", "nothing"), 1).endswith(": no such run\n")
    assert list(tmp_path.glob("*.jsonl")) == []


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
