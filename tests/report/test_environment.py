"""What is told of host, software, checkout and CI, and what makes energies comparable."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from pytest_tpf.records import Accelerator, Cpu, Source
from pytest_tpf.report.environment import _cpu_model, describe_environment, hardware_fingerprint
from pytest_tpf.report.source import describe_source

CPU = Cpu(model="Example CPU", logical_cores=8)
BOARD = Accelerator(domain="gpu:0", name="H200", uuid="GPU-1", index=0, memory_bytes=2**37, driver_version="570.86.15", power_limit_w=700.0)


def git(folder, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-b", "topic/one")
    (folder / "file").write_text("1")
    git(folder, "add", "file")
    git(folder, "commit", "-m", "one")
    return folder


def test_here_it_describes_this_machine():
    environment = describe_environment([BOARD])
    assert environment.host.cpu.logical_cores >= 1
    assert environment.host.python.endswith(".".join(map(str, sys.version_info[:3])))
    assert environment.software["pytest"] == pytest.__version__
    assert environment.accelerators == (BOARD,)


def test_only_imported_software_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", sys)
    monkeypatch.delitem(sys.modules, "tabulate", raising=False)
    software = describe_environment([], ["jsonschema", "tabulate", "no_such_module", "sys"]).software
    assert set(software) == {"pytest", "pytest-tpf", "jsonschema"}


def test_a_checkout_without_and_with_changes(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    (checkout / "untracked").write_text("x")
    assert describe_source(checkout) == Source(commit=commit, branch="topic/one", dirty=False)
    (checkout / "file").write_text("2")
    assert describe_source(checkout) == Source(commit=commit, branch="topic/one", dirty=True)


def test_packed_refs_detached_heads_worktrees_and_subfolders(checkout, tmp_path):
    commit = git(checkout, "rev-parse", "HEAD")
    git(checkout, "pack-refs", "--all")
    (checkout / "sub").mkdir()
    assert describe_source(checkout / "sub") == Source(commit=commit, branch="topic/one", dirty=False)
    git(checkout, "worktree", "add", "-b", "other", str(tmp_path / "tree"))
    assert describe_source(tmp_path / "tree") == Source(commit=commit, branch="other", dirty=False)
    git(checkout, "checkout", "--detach")
    assert describe_source(checkout) == Source(commit=commit, branch=None, dirty=False)


def test_the_ci_names_the_branch_of_a_commit_that_it_checked_out(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    gitlab = {"CI_COMMIT_SHA": commit, "CI_COMMIT_BRANCH": "main"}
    assert describe_source(checkout, gitlab).branch == "topic/one"
    git(checkout, "checkout", "--detach")
    assert describe_source(checkout, gitlab).branch == "main"
    assert describe_source(checkout, {"GITHUB_SHA": commit, "GITHUB_REF": "refs/heads/release/1"}).branch == "release/1"
    assert describe_source(checkout, {"GITHUB_SHA": commit, "GITHUB_REF": "refs/pull/7/merge"}).branch is None
    assert describe_source(checkout, {"CI_COMMIT_SHA": commit, "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "main"}).branch is None
    assert describe_source(checkout, gitlab | {"CI_COMMIT_SHA": "0" * 40}).branch is None  # the checkout of something else


def test_outside_a_checkout_and_in_a_broken_one_nothing_is_known(tmp_path):
    assert describe_source(tmp_path) == Source()
    (tmp_path / ".git").mkdir()
    assert describe_source(tmp_path) == Source()
    (tmp_path / ".git" / "HEAD").write_bytes(b"ref: refs/heads/\xff\n")
    assert describe_source(tmp_path).commit is None


def test_without_git_only_dirty_is_unknown(checkout, monkeypatch):
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert describe_source(checkout) == Source(commit=commit, branch="topic/one", dirty=None)


@pytest.mark.parametrize(
    ("variables", "provider", "run_id", "run_url"),
    [
        (
            {"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://g", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"},
            "GitHub Actions",
            "7",
            "https://g/a/b/actions/runs/7",
        ),
        ({"GITLAB_CI": "true", "CI_PIPELINE_ID": "9", "CI_PIPELINE_URL": "https://p"}, "GitLab CI", "9", "https://p"),
        ({"CI": "1", "BUILD_NUMBER": "3"}, "unknown", "3", None),
        ({"CI": "false"}, None, None, None),
        ({}, None, None, None),
    ],
)
def test_ci_services(monkeypatch, variables, provider, run_id, run_url):
    for name in ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILD_ID", "BUILD_NUMBER", "BUILD_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ci = describe_environment([]).ci
    assert ci is None if provider is None else ci is not None and (ci.provider, ci.run_id, ci.run_url) == (provider, run_id, run_url)


@pytest.mark.parametrize(
    "change", [{"uuid": "GPU-2"}, {"index": 3}, {"domain": "gpu:3"}, {"driver_version": "570.99"}, {"power_limit_w": 700.2}]
)
def test_a_board_of_the_same_kind_has_the_same_fingerprint(change):
    assert hardware_fingerprint(CPU, [dataclasses.replace(BOARD, **change)]) == hardware_fingerprint(CPU, [BOARD])


@pytest.mark.parametrize("change", [{"name": "H100"}, {"memory_bytes": 2**36}, {"driver_version": "580.1"}, {"power_limit_w": 500.0}])
def test_what_changes_energy_changes_the_fingerprint(change):
    assert hardware_fingerprint(CPU, [dataclasses.replace(BOARD, **change)]) != hardware_fingerprint(CPU, [BOARD])


def test_number_of_boards_and_processor_count_in_the_fingerprint():
    different = {
        hardware_fingerprint(CPU, []),
        hardware_fingerprint(CPU, [BOARD]),
        hardware_fingerprint(CPU, [BOARD, BOARD]),
        hardware_fingerprint(dataclasses.replace(CPU, logical_cores=16), []),
        hardware_fingerprint(dataclasses.replace(CPU, model="Other"), []),
    }
    assert len(different) == 5


def test_the_order_of_boards_does_not_matter():
    other = dataclasses.replace(BOARD, name="H100")
    assert hardware_fingerprint(CPU, [BOARD, other]) == hardware_fingerprint(CPU, [other, BOARD])


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor : 0\nmodel name\t: Example(R)  CPU @ 2.00GHz\nmodel name\t: Second\n", "Example(R) CPU @ 2.00GHz"),
        ("processor : 0\nCPU implementer : 0x41\nCPU part : 0xd4f\n", "ARM implementer 0x41 part 0xd4f"),
    ],
)
def test_the_processors_name(tmp_path, text, model):
    (tmp_path / "cpuinfo").write_text(text)
    assert _cpu_model(tmp_path / "cpuinfo") == model
