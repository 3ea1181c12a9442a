"""Files that were made to harm: each verb that reads reports answers with one line and code 2, in little memory."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.report.factory import measured_test, report_dict

MEGABYTE = 2**20
REPORT = json.dumps(report_dict())
HEAD, TAIL = REPORT.split('"tests": [', 1)[0], REPORT.rsplit("], ", 1)[1]
"""What stands before and behind the tests."""


def in_a_test(text: str) -> bytes:
    """A report whose first test has ``text`` under extra."""
    test = json.dumps(report_dict()["tests"][0]).replace('"extra": {', f'"extra": {{"mine": {text}, ', 1)
    return f'{HEAD}"tests": [{test}], {TAIL}'.encode()


def instead_of_tests(text: str) -> bytes:
    return f'{HEAD}"tests": [{text}'.encode()


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not JSON (line 1, column 1"),
    "truncated": (REPORT[: len(REPORT) // 2].encode(), "not JSON (line 1, column "),
    "cut in a character": ('{"a": "é'.encode()[:-1], "not UTF-8"),
    "trailing": (REPORT.encode() + b"{}", "Extra data"),
    "byte order mark": (b"\xef\xbb\xbf" + REPORT.encode(), "byte order mark"),
    "UTF-16": (REPORT.encode("utf-16"), "not UTF-8 (byte 0"),
    "invalid UTF-8 behind": (instead_of_tests('"' + "x" * 5 * MEGABYTE) + b"\xff", "not UTF-8 (byte 5244"),
    "gzip": (gzip.compress(REPORT.encode()), "is compressed (gzip)"),
    "NUL bytes": (b"\0" * MEGABYTE, "not JSON (line 1, column 1"),
    "blanks": (b" \n" * 2 * MEGABYTE, "not JSON (line 2097153, column 1"),
    "HTML": (b"<!DOCTYPE html><script>alert(1)</script>", "not JSON (line 1, column 1"),
    "depth before": (b"[" * MEGABYTE, "nested too deeply"),
    "depth in tests": (instead_of_tests("[" * MEGABYTE), "nested too deeply"),
    "depth under extra": (in_a_test("[" * 100 + "]" * 100), "nested deeper than 64 levels"),
    "objects in depth": (in_a_test('{"a":' * 200_000), "nested too deeply"),
    "digits": (instead_of_tests("9" * 10 * MEGABYTE), "an integer has more than 20 digits"),
    "digits that Python refuses": (in_a_test("9" * 5000), "an integer has more than 20 digits"),
    "digits behind the point": (in_a_test("0." + "9" * 5000), "number 0.999999999999999999... is out of range"),
    "exponent": (in_a_test("1e400"), "number 1e400 is out of range"),
    "NaN": (in_a_test("NaN"), "NaN is not JSON"),
    "Infinity": (in_a_test("-Infinity"), "-Infinity is not JSON"),
    "string": (instead_of_tests('"' + "x" * 10 * MEGABYTE), "a value is longer than"),
    "escapes": (in_a_test('"\\ud83d\\u12"'), "Invalid \\uXXXX escape"),
    "array under extra": (in_a_test("[" + "[]," * 4 * MEGABYTE + "[]]"), "a value is longer than"),
    "array as a member": (b'{"meters": [' + b"{}," * 4 * MEGABYTE + b"{}]", "a value is longer than"),
    "key": (b'{"' + b"k" * 10 * MEGABYTE + b'": 1}', "a value is longer than"),
    "a key twice": (REPORT.replace('"nodeid": ', '"nodeid": "\\u001b[2J", "nodeid": ', 1).encode(), "key 'nodeid' stands twice"),
    "tests twice": (f'{REPORT[:-1]}, "tests": []}}'.encode(), "key 'tests' stands twice"),
    "a number as key": (b"{1: 2}", "a key is integer, expected string"),
    "an array": (b"[1]", "holds array, expected object"),
}

SMALL = {name: case for name, case in UNREADABLE.items() if len(case[0]) <= MEGABYTE}
"""One reader is behind all verbs; the large files go through one of them, which takes seconds."""

HARNESS = """
    import contextlib, io, json, resource, sys
    resource.setrlimit(resource.RLIMIT_AS, (900 * 2**20, 900 * 2**20))
    from pytest_tpf.cli.main import main
    answers = {}
    for name, arguments in json.load(sys.stdin).items():
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
        answers[name] = code, out.getvalue(), err.getvalue()
    print(json.dumps(answers))
"""


def answers(calls: dict[str, list[str]]) -> dict[str, tuple[int, str, str]]:
    """Code, stdout and stderr of each call of ``tpf``, all in one process that may have 900 MiB of addresses."""
    command = [sys.executable, "-c", textwrap.dedent(HARNESS)]
    done = subprocess.run(command, input=json.dumps(calls), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: tuple(answer) for name, answer in json.loads(done.stdout).items()}


VERBS: dict[str, Callable[[str], list[str]]] = {
    "validate": lambda path: ["validate", path],
    "show": lambda path: ["show", path],
    "merge": lambda path: ["merge", path, "-o", f"{path}.merged"],
    "history": lambda path: ["history", "import", path, "--storage", f"sqlite:///{path}.db"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_cannot_be_read_is_one_line_and_code_2(tmp_path, verb):
    cases = UNREADABLE if verb == "validate" else SMALL
    for number, (content, _) in enumerate(cases.values()):
        (tmp_path / f"{number}.json").write_bytes(content)
    found = answers({name: VERBS[verb](f"{tmp_path}/{number}.json") for number, name in enumerate(cases)})
    for number, (name, (_, reason)) in enumerate(cases.items()):
        code, out, err = found[name]
        assert (name, code, out) == (name, 2, "")
        assert err.startswith(f"tpf {verb}: {tmp_path}/{number}.json: ")
        assert reason in err, name
        assert err.count("\n") == 1
        assert err.isascii()
        assert len(err) < len(str(tmp_path)) + 250
    assert not list(tmp_path.glob("*.merged"))


def test_what_is_no_file_is_one_line_and_code_2(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        paths = [*(str(tmp_path / name) for name in ("pipe", "loop", "dangling", "socket")), str(tmp_path), "/dev/zero", "/dev/tty", ""]
        found = answers({f"{verb} {path}": VERBS[verb](path) for path in paths for verb in ("validate", "show")})
    for name, (code, out, err) in found.items():
        assert (name, code, out, err.count("\n")) == (name, 2, "", 1)
    assert "is not a regular file; save the report to one first" in found[f"validate {tmp_path}/pipe"][2]
    assert "is not a regular file" in found["show /dev/zero"][2]
    assert "Is a directory" in found[f"validate {tmp_path}"][2]


INVALID: dict[str, Any] = {
    "a test that is a number": "0," * MEGABYTE + "0",
    "a test that is an array": "[]," * MEGABYTE + "[]",
    "a test that is a long array": "[" + "0," * (MEGABYTE // 2) + "0]",
    "a test of unknown keys": "{" + ",".join(f'"key{number}": null' for number in range(50_000)) + "}",
    "a test with a huge id": json.dumps(report_dict(measured_test(nodeid="\x1b[2J" * (MEGABYTE // 2)))["tests"][0]),
}


def test_what_is_no_valid_report_is_a_few_lines_and_code_1(tmp_path):
    for number, tests in enumerate(INVALID.values()):
        (tmp_path / f"{number}.json").write_text(f'{HEAD}"tests": [{tests}], {TAIL}')
    calls = {f"{verb} {name}": VERBS[verb](f"{tmp_path}/{number}.json") for number, name in enumerate(INVALID) for verb in VERBS}
    for name, (code, out, err) in answers(calls).items():
        assert (name, out) == (name, "")
        one_line = name.startswith(("merge", "history"))
        assert code == (2 if one_line else 1)
        assert 1 <= err.count("\n") <= (1 if one_line else 101)
        assert err.isascii()
        assert "\x1b" not in err


NASTY = "t.py::t[<script>alert(1)</script>\x1b[31m\x1b]0;x\x07\u202e\r\n\u2028\ud800`$(id)`]"


def test_an_id_is_escaped_wherever_it_is_printed(tmp_path):
    one, other = report_dict(measured_test(nodeid=NASTY)), report_dict(measured_test(nodeid=NASTY, group="other"))
    (tmp_path / "one.json").write_text(json.dumps(one))
    (tmp_path / "other.json").write_text(json.dumps(other))
    merge = ["merge", f"{tmp_path}/one.json", f"{tmp_path}/other.json", "-o", f"{tmp_path}/merged.json"]
    calls = {"show": ["show", f"{tmp_path}/one.json"], "test": ["show", f"{tmp_path}/one.json", "--test", "script"], "merge": merge}
    found = answers(calls)
    assert [code for code, _, _ in found.values()] == [0, 0, 2]
    for _, out, err in found.values():
        assert not set(out + err) & set("\x1b\x07\u202e\r\u2028\ud800")
    assert found["merge"][2].count("\n") == 1


HUGE = [('{"a": ', b"9"), ('{"a": "', b"x"), ('{"tests": [', b"[],"), ('{"a": [', b"{},"), ("", b" ")]


@pytest.mark.stress
@pytest.mark.parametrize(("before", "unit"), HUGE)
def test_a_gigabyte_of_the_same(tmp_path, before, unit):
    with (tmp_path / "huge.json").open("wb") as file:
        file.write(before.encode())
        block = unit * (MEGABYTE // len(unit))
        for _ in range(1024):
            file.write(block)
    for verb in VERBS:
        code, out, err = answers({"it": VERBS[verb](f"{tmp_path}/huge.json")})["it"]
        assert (code in (1, 2), out) == (True, "")
        assert err.count("\n") == 1


def test_the_path_of_a_file_is_escaped(tmp_path: Path):
    (code, out, err) = answers({"it": ["validate", f"{tmp_path}/\x1b[31m\n.json"]})["it"]
    assert (code, out, err.count("\n"), "\x1b" in err) == (2, "", 1, False)
