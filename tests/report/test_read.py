"""A report file may be anything; what is wrong with it is one line."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.read import MAX_UNORDERED_BYTES, read_report, scan_report
from pytest_tpf.report.validate import checked
from tests.report.factory import report_dict


def complaint(path, **limits) -> str:
    with pytest.raises(ReportError) as caught:
        read_report(path, **limits)
    text = str(caught.value)
    assert text.isascii()
    assert text.isprintable()
    return text


def test_a_report_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report_dict()))
    assert read_report(path) == report_dict()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON (line 1, column 1"),
        (b"{", "not JSON"),
        (b"PK\x03\x04", "is an archive (zip); unpack it first"),
        (b"\x1f\x8b\x08\x00", "is compressed (gzip); unpack it first"),
        (b'{"a": 1} trailing', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 (byte 0"),
        (b'{"a": "\xff"}', "not UTF-8 (byte 7"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": [Infinity]}', "Infinity is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "number 1e999 is out of range"),
        (b'{"a": 0.' + b"1" * 500 + b"}", "out of range"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "an integer has more than 20 digits"),
        (b'{"a": 1, "b": 2, "a": 3}', "key 'a' stands twice"),
        (b'{"x": {"\\u0007\\u001b[31m": 1, "\\u0007\\u001b[31m": 3}}', "stands twice"),
        (b"[]", "holds array, expected object"),
        (b"null", "holds null, expected object"),
        (b'"text"', "holds string, expected object"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested deeper than 64 levels"),
    ],
    ids=range(23),
)
def test_hostile_content_is_refused(tmp_path, content, reason):
    path = tmp_path / "report.json"
    path.write_bytes(content)
    text = complaint(path)
    assert text.startswith(f"{path}: ")
    assert reason in text
    assert len(text) < len(str(path)) + 200


def test_the_version_may_stand_behind_the_tests_of_a_report_that_is_not_large(tmp_path):
    path = tmp_path / "report.json"
    whole = dict(reversed(report_dict().items()))
    path.write_text(json.dumps(whole))
    assert [key for key, _ in scan_report(path)][:3] == ["summary", "schema_version", "tests"]
    assert read_report(path) == whole
    assert checked(scan_report(path)).problems == []
    path.write_text('{"tests": [' + f'"{"x" * 997}",' * (MAX_UNORDERED_BYTES // 1000 + 1))
    assert complaint(path).endswith(f"larger than {MAX_UNORDERED_BYTES} bytes with its schema_version behind its tests; put it first")


def test_size_is_bounded_before_anything_is_parsed(tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(b"[" * 1001)
    assert complaint(path, max_bytes=1000).endswith("larger than 1000 bytes")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no endless file here")
def test_an_endless_file_is_refused():
    assert complaint("/dev/zero") == "/dev/zero: is not a regular file; save the report to one first"


def test_unreadable_paths_are_one_line(tmp_path):
    assert "No such file" in complaint(tmp_path / "missing.json")
    assert "Is a directory" in complaint(tmp_path)
    assert "\\x1b" in complaint(tmp_path / "\x1b[31mred")
    assert "null byte" in complaint("a\0b")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_one_line(tmp_path, content):
    path = tmp_path / "report.json"
    path.write_bytes(content)
    try:
        answer: object = read_report(path)
    except ReportError as error:
        answer = str(error)
    assert isinstance(answer, dict) or (isinstance(answer, str) and answer.isprintable())
