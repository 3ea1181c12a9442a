"""The ``tpf`` script as a user runs it: exit codes, one line for what is wrong, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.factory import measured_test, report_dict

GOLDEN = Path(__file__).parents[1] / "report" / "golden" / "report-1.0.0.json"


def tpf(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_tpf.cli.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload]
    assert "Traceback" not in done.stderr
    return done


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def broken(tmp_path) -> Path:
    data = report_dict()
    data["tests"][0]["energy"]["method"] = None
    data["facility"]["pue"]["value"] = 0.9
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "tpf: a verb is missing: one of meters, calibrate, "),
        (("valdate",), "tpf: unknown verb 'valdate', did you mean 'validate'?"),
        (("\x1b[31m",), "tpf: unknown verb '\\x1b[31m'"),
        (("--nonsense",), "tpf: unrecognized arguments: --nonsense"),
        (("validate",), "tpf validate: the following arguments are required: FILE"),
        (("show", "missing.json"), "tpf show: missing.json: can't be read: No such file or directory"),
        (("validate", "missing.json"), "tpf validate: missing.json: can't be read: No such file or directory"),
        (("show", GOLDEN, "--columns", "trusst"), "tpf show: unknown column 'trusst': did you mean 'trust'?"),
        (("show", GOLDEN, "--sort", "x"), "tpf show: unknown column to sort by 'x'"),
        (("show", GOLDEN, "--group-by", "x"), "tpf show: unknown group 'x'"),
        (("meters", "--meter", "nvlm"), "tpf meters: "),
        (("meters", "--seconds", "-1"), "tpf meters: --seconds must be above 0"),
    ],
    ids=range(12),
)
def test_unusable_arguments_and_input_are_one_line_and_code_2(arguments, text):
    assert one_line(tpf(*arguments), 2).startswith(text)


def test_help_lists_the_verbs_and_exit_codes():
    done = tpf("--help")
    assert done.returncode == 0
    for word in ("meters", "calibrate", "validate", "show", "merge", "exit codes"):
        assert word in done.stdout
    assert "--group-by" in tpf("show", "--help").stdout


def test_validate_says_what_each_file_is(broken):
    done = tpf("validate", GOLDEN, broken)
    assert done.returncode == 1
    assert done.stdout == f"{GOLDEN}: valid tpf-report 1.0.0, 3 tests (1 measured, 1 estimated, 1 without energy)\n"
    assert done.stderr.splitlines() == [
        f"{broken}: $.tests[0].energy: an energy that is not null needs its method and its trust",
        f"{broken}: $.facility.pue.value: 0.9 is less than 1",
    ]


def test_a_file_that_cannot_be_read_outweighs_one_that_is_invalid(broken, tmp_path):
    (tmp_path / "text").write_text("not a report")
    assert tpf("validate", broken, tmp_path / "text").returncode == 2
    assert tpf("validate", GOLDEN).returncode == 0


def test_show_prints_the_environment_and_the_table():
    lines = tpf("show", GOLDEN).stdout.splitlines()
    assert lines[0] == "tpf-report 1.0.0 of 2026-01-02T03:04:05Z by pytest-tpf 0.1.0"
    assert "hardware fingerprint: 0011223344556677" in lines
    assert any(line.startswith("test_adder_on_cpu     ~12.0 mJ est.") for line in lines)
    assert max(map(len, lines)) <= 80


def test_show_takes_columns_order_and_groups():
    done = tpf("show", GOLDEN, "--columns", "name, joules", "--sort=-name", "--group-by", "file")
    assert "file: tests/test_chat.py (1 test)" in done.stdout
    assert "2.46 kJ" in done.stdout


def test_show_tells_everything_of_one_test():
    done = tpf("show", GOLDEN, "--test", "batch-32")
    assert done.returncode == 0
    assert "tests/test_adder.py::test_adder[batch-32]" in done.stdout
    assert "test_chat" not in done.stdout
    assert "memory_bandwidth                    1.50 ktok/s = 4.80T / 3.20G, datasheet" in done.stdout


def test_merge_makes_one_report_of_shards(tmp_path):
    done = tpf("merge", GOLDEN, GOLDEN, "-o", tmp_path / "new" / "merged.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/new/merged.json: 3 tests of 2 reports, 3 of them in several and counted once\n"
    assert tpf("validate", tmp_path / "new" / "merged.json").returncode == 0


def test_merge_refuses_a_contradiction_in_one_line(tmp_path):
    data = json.loads(GOLDEN.read_text())
    data["tests"][0]["power"]["mean_w"] += 1
    (tmp_path / "other.json").write_text(json.dumps(data))
    text = one_line(tpf("merge", GOLDEN, tmp_path / "other.json", "-o", tmp_path / "merged.json"), 2)
    assert text.startswith(f"tpf merge: {tmp_path}/other.json: not merged: 'tests/test_adder.py::test_adder[batch-32]' has other results")
    assert f" than in {GOLDEN}; " in text
    assert one_line(tpf("merge", GOLDEN, "-o", "/dev/null/x"), 2).startswith("tpf merge: /dev/null/x: can't be written: ")


def test_show_bounds_its_rows(tmp_path):
    assert "... and 2 more tests; " in tpf("show", GOLDEN, "--rows", "1").stdout
    assert one_line(tpf("show", GOLDEN, "--rows", "-1"), 2) == "tpf show: --rows must be at least 0\n"


def test_show_without_a_match_fails_the_check():
    assert one_line(tpf("show", GOLDEN, "--test", "nothing"), 1) == "tpf show: no test's id contains 'nothing'\n"


def test_show_refuses_an_invalid_report(broken):
    done = tpf("show", broken)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 2


def test_nothing_in_a_report_moves_the_cursor(tmp_path):
    path = tmp_path / "report.json"
    data = report_dict(measured_test(nodeid="t.py::t[\x1b[2J\u202e\r\n\udc80]", warnings=("\x1b]0;title\x07",)))
    path.write_text(json.dumps(data))
    for arguments in (["show", path], ["show", path, "--test", "t.py"], ["validate", path]):
        done = tpf(*arguments)
        assert done.returncode == 0
        assert not set(done.stdout + done.stderr) & set("\x1b\x07\r\u202e")


def test_an_ascii_terminal_is_no_reason_to_fail():
    done = tpf("show", GOLDEN, env={"PYTHONIOENCODING": "ascii", "PATH": ""})
    assert done.returncode == 0
    assert "\\xb1" in done.stdout


def test_a_reader_that_leaves_early_gets_no_traceback():
    command = [sys.executable, "-m", "pytest_tpf.cli.main", "show", str(GOLDEN)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert errors == b""


def test_meters_tells_what_is_found_and_why_the_rest_is_not():
    done = tpf("meters", "--meter", "estimate", "--seconds", "0.3")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["meter", "domain", "trust", "refresh"]
    assert lines[2].split()[:3] == ["estimate", "cpu:0", "estimated"]
    for name in ("nvml", "rapl"):
        assert any(line.startswith((f"{name}: not available: ", f"{name}: available, not used")) for line in lines)


ONLY_ITS_VERB = """
import sys
sys.argv = ["tpf", "validate", sys.argv[1]]
from pytest_tpf.cli.main import main
code = main()
loaded = [name for name in sys.modules if name.startswith(("pytest_tpf.cli.", "pytest_tpf.measure", "pytest_tpf.meters", "torch"))]
print(code, *sorted(loaded))
"""


def test_only_the_verb_that_is_called_is_imported():
    done = subprocess.run([sys.executable, "-c", ONLY_ITS_VERB, GOLDEN], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 pytest_tpf.cli.main pytest_tpf.cli.validate"
