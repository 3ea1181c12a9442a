"""The checkout's commit and branch, read from .git without starting a process; only ``dirty`` asks git. Never raises."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pytest_tpf.records import Source

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MAX_BYTES = 16 * 2**20
_GIT_TIMEOUT_S = 5.0
_CI_BRANCHES = (("CI_COMMIT_SHA", "CI_COMMIT_BRANCH", ""), ("GITHUB_SHA", "GITHUB_REF", "refs/heads/"))
"""Variables in which GitLab and GitHub say which commit they run for, and the branch that it is on. Of a merge or pull request they name
none there, and so do we: a fork's main is not ours."""


def describe_source(folder: Path, environ: Mapping[str, str] = os.environ) -> Source:
    """The state of the checkout that ``folder`` is in; all None outside one.

    ``branch``: where a CI has checked out a commit and no branch, the one that it says the commit is on.
    ``dirty``: tracked files differ from the commit (untracked ones don't count: reports and caches lie around).
    """
    try:
        git = _git_folder(folder.resolve())
        if git is None:
            return Source()
        commit, branch = _head(git)
    except (OSError, ValueError):
        return Source()
    return Source(commit=commit, branch=branch or _ci_branch(commit, environ), dirty=_is_dirty(folder) if commit else None)


def _ci_branch(commit: str | None, environ: Mapping[str, str]) -> str | None:
    for sha, name, prefix in _CI_BRANCHES:
        branch = environ.get(name, "")
        if commit and environ.get(sha) == commit and branch.startswith(prefix):
            return branch.removeprefix(prefix)[:1024] or None
    return None


def _git_folder(folder: Path) -> Path | None:
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        if git.is_dir():
            return git
        if git.is_file():  # a worktree or a submodule: "gitdir: PATH"
            return parent / _read(git).removeprefix("gitdir:").strip()
    return None


def _head(git: Path) -> tuple[str | None, str | None]:
    head = _read(git / "HEAD").strip()
    if not head.startswith("ref:"):
        return _commit(head), None
    name = head.removeprefix("ref:").strip()
    branch = name.removeprefix("refs/heads/")[:1024]
    common = git / "commondir"
    shared = git / _read(common).strip() if common.is_file() else git
    for place in (git / name, shared / name):
        if place.is_file():
            return _commit(_read(place).strip()), branch
    return _packed(shared / "packed-refs", name), branch


def _packed(file: Path, name: str) -> str | None:
    lines = _read(file).splitlines() if file.is_file() else []
    return next((_commit(line.split(" ", 1)[0]) for line in lines if line.endswith(f" {name}")), None)


def _commit(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None


def _read(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(_MAX_BYTES).decode("utf-8", "replace")


def _is_dirty(folder: Path) -> bool | None:
    # without locks and hooks of the repository: looking must not change anything
    command = ["git", "-c", "core.fsmonitor=false", "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty"]
    try:
        answer = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return bool(answer.stdout.strip()) if answer.returncode == 0 else None
