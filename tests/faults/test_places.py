"""Where a run lives: disks that are full, folders that can't be written or go away, users without a home, interpreters on their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pytest_tpf.report.validate import validate
from tests.plugin.conftest import CONFTEST, INI
from tests.standin import Board, Standin, StandinUnavailable, build_library

ROOT = Path(__file__).parents[2]
SUITE = """
import pytest

@pytest.mark.tpf(boundary="{boundary}")
def test_it(model):
    model.generate(seconds=0.3)
"""
NOBODY, STRANGER = 65534, 54321  # one has a name and no home, the other neither
READ_ONLY = 'for folder in /tmp /var/tmp; do mount -t tmpfs -o ro none "$folder"; done; mount -o remount,ro,bind /mnt'
WITHOUT_TMP = f'mount --bind "$1" /mnt; {READ_ONLY}; cd /mnt'
SMALL_DISK = "mkdir small; mount -t tmpfs -o size=24k none small; echo old > small/report.json; head -c 20480 /dev/zero > small/full"


@pytest.fixture
def place():
    """A folder with a suite that any user may enter and write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_it.py").write_text(SUITE.format(boundary="it"))
    yield folder
    shutil.rmtree(folder)


def surroundings(without=()):
    """The environment in which every interpreter finds this checkout and what it needs."""
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", *without}}
    search = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return environment | {"PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"}


def pytest_in(folder, *before, report="report.json", python=sys.executable, more=(), without=(), **variables):
    """Run the suite, after ``before`` (a command that runs another), as its user would."""
    environment = surroundings(without) | variables
    command = [*before, python, "-m", "pytest", "-p", "no:cacheprovider", "--tpf-gate", "warn", "--tpf-report", report, *more]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout
    return done


def needs(*command):
    """Skip where this user may not do that."""
    if shutil.which(command[0]) is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"{' '.join(command)} isn't possible here")


def as_user(uid):
    """The command that runs another as that user, and an interpreter of ours that such a user may run."""
    before = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all")
    needs(*before)
    for python in (sys.executable, shutil.which(f"python3.{sys.version_info.minor}", path="/usr/local/bin:/usr/bin")):
        again = f"import subprocess, pytest, tests.plugin.toy; subprocess.run([{python!r}, '-c', ''], check=True)"
        tried = [*before, python, "-c", again]
        if python and not subprocess.run(tried, env=surroundings(), capture_output=True, check=False).returncode:
            return before, python
    pytest.skip("another user may not run this interpreter, or not read this checkout")


def in_namespace(setup):
    """Run what follows after ``setup`` in a mount namespace of its own, which ends with it."""
    needs("unshare", "--mount")
    return ("unshare", "--mount", "sh", "-ec", setup + '; shift; exec "$@"', "sh")


# --- the report


def test_a_full_disk_keeps_the_older_report_and_fails_the_run(place):
    show = '"$@" && code=0 || code=$?; cat small/report.json; ls -A small; exit $code'
    needs("unshare", "--mount")
    before = ("unshare", "--mount", "sh", "-ec", f"{SMALL_DISK}; {show}", "sh")
    done = pytest_in(place, *before, report="small/report.json")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    said = done.stdout.splitlines()
    refusal = "tpf: the report was NOT written: " + f"{place}/small/report.json: can't be written: No space left on device"
    assert refusal in said
    assert said[-3:] == ["old", "full", "report.json"]
    assert "1 passed" in done.stdout


def test_a_folder_that_may_not_be_written_is_said(place):
    before, python = as_user(NOBODY)
    (place / "closed").mkdir(mode=0o755)
    done = pytest_in(place, *before, python=python, report="closed/report.json")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    refusal = f"tpf: the report was NOT written: {place}/closed/report.json: can't be written: Permission denied"
    assert refusal in done.stdout.splitlines()
    assert "1 passed" in done.stdout


def test_a_folder_that_goes_away_is_made_again(place):
    (place / "out").mkdir()
    test = (place / "test_it.py").read_text() + '    import shutil\n    shutil.rmtree("out")\n'
    (place / "test_it.py").write_text(test)
    assert pytest_in(place, report="out/report.json").returncode == 0
    assert validate(json.loads((place / "out" / "report.json").read_text())) == []


# --- the user and the machine


def test_a_user_without_name_and_home_measures(place):
    before, python = as_user(STRANGER)
    done = pytest_in(place, *before, python=python, without=("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME"))
    assert done.returncode == 0, done.stdout
    (test,) = json.loads((place / "report.json").read_text())["tests"]
    assert test["energy"]["it_j"], test["energy"] | {"warnings": test["warnings"]}


@pytest.mark.stress
def test_a_home_that_does_not_exist_or_can_not_be_written_does_not_matter(place):
    before, python = as_user(NOBODY)
    (place / "home").mkdir(mode=0o755)
    done = pytest_in(place, *before, python=python, HOME="/nonexistent", XDG_CACHE_HOME=str(place / "home" / "cache"))
    assert done.returncode == 0, done.stdout


def test_without_a_writable_folder_for_temporary_files_boards_are_measured_unlocked(place):
    """A container with a read-only root file system; pytest itself needs -s there."""
    if any(path.is_relative_to(folder) for path in (ROOT, Path(sys.prefix)) for folder in ("/tmp", "/var/tmp")):
        pytest.skip("this checkout, or its interpreter, lies in the folder that is taken away")
    (place / "test_it.py").write_text(SUITE.format(boundary="device"))
    try:
        shutil.copy(build_library(), place)
    except StandinUnavailable as why:
        pytest.skip(str(why))
    variables = Standin(boards=(Board(base_w=300.0, counter_period_s=0.02),)).environment(place)
    variables |= {"LD_LIBRARY_PATH": "/mnt", "TPF_STANDIN_CONFIG": "/mnt/nvml-standin.conf"}
    done = pytest_in(place, *in_namespace(WITHOUT_TMP), str(place), report="/dev/shm/tpf-test-report.json", more=("-s",), **variables)
    path = Path("/dev/shm/tpf-test-report.json")
    try:
        (test,) = json.loads(path.read_text())["tests"]
    finally:
        path.unlink(missing_ok=True)
    assert done.returncode == 0, done.stdout
    assert test["energy"]["device_j"] == pytest.approx(300.0 * test["service"]["busy_s"], rel=0.05)


ALONE = """
import pytest, time

@pytest.mark.tpf
def test_it(tpf):
    with tpf.measure() as window:
        end = time.perf_counter() + 0.3
        while time.perf_counter() < end:
            pass
        window.count(output_tokens=1)
"""


@pytest.mark.parametrize("option", ["-I", pytest.param("-S", marks=pytest.mark.stress)])
def test_an_isolated_interpreter_measures(place, option):
    """-I ignores the environment and the user's site; -S doesn't look for packages, so they are named."""
    (place / "conftest.py").unlink()
    (place / "test_it.py").write_text(ALONE)
    run = f"import sys; sys.path[:0] = {[str(ROOT), *filter(None, sys.path)]!r}; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, option, "-c", run, "-p", "no:cacheprovider", "--tpf-report", "report.json"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((place / "report.json").read_text())["tests"][0]["energy"]["it_j"] > 0
