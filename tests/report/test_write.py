"""A report is written whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest

from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.read import read_report
from pytest_tpf.report.write import write_atomically, write_report
from tests.report.factory import estimated_test, report_dict


def test_what_is_written_is_read_again_in_the_order_of_its_fields(tmp_path):
    path = tmp_path / "made" / "on the way" / "report.json"
    write_report(path, report_dict())
    assert read_report(path) == report_dict()
    assert list(json.loads(path.read_text())) == list(report_dict())
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


def test_an_invalid_report_is_refused_with_its_problems(tmp_path):
    broken = report_dict()
    broken["tests"][0]["energy"]["it_j"] = float("nan")
    broken["tests"][1]["power"]["mean_w"] = float("inf")
    with pytest.raises(ReportError, match=r"report\.json: not written, the report is invalid: .* \(and 1 more\)") as caught:
        write_report(tmp_path / "report.json", broken)
    assert len(caught.value.problems) == 2
    assert list(tmp_path.iterdir()) == []


def test_text_beyond_utf8_survives(tmp_path):
    path = tmp_path / "report.json"
    data = report_dict(estimated_test(nodeid="tests/test_\udc80.py::test_µ[✓-\x1b[31m]"))
    write_report(path, data)
    assert read_report(path) == data


def test_the_mode_is_the_umasks_for_a_new_report_and_kept_for_an_old_one(tmp_path):
    path = tmp_path / "report.json"
    before = os.umask(0o027)
    try:
        write_atomically(path, "new")
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        write_atomically(path, "newer")
        assert path.stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(before)


def test_a_symbolic_link_stays_one(tmp_path):
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def refusal(path) -> str:
    with pytest.raises(ReportError) as caught:
        write_atomically(path, "text")
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_paths_that_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "can't be written: Is a directory" in refusal(tmp_path)
    assert f"can't be written: {tmp_path}/file is not a folder" in refusal(tmp_path / "file" / "report.json")
    assert "can't be written: " in refusal(tmp_path / ("x" * 300))
    assert "can't be written: " in refusal("a\0b")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_device_is_one_line_and_stays_a_device():
    assert refusal("/dev/full") == "/dev/full: can't be written: No space left on device"
    assert not os.path.isfile("/dev/full")


FILL = """
    import resource, signal, sys
    from pytest_tpf.report.errors import ReportError
    from pytest_tpf.report.write import write_report
    from tests.report.factory import report_dict
    data = report_dict()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        write_report(sys.argv[1], data)
    except ReportError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ") or not hasattr(resource, "RLIMIT_FSIZE"), reason="no file size limit here")
def test_a_write_cut_short_leaves_the_older_report_and_no_rubbish(tmp_path):
    path = tmp_path / "report.json"
    write_report(path, report_dict())
    older = path.read_bytes()
    assert len(older) > 4096
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(FILL), path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: can't be written: File too large\n"
    assert path.read_bytes() == older
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert "Permission denied" in refusal(tmp_path / "report.json")
    finally:
        tmp_path.chmod(0o700)
