"""Where the CI examples run: a code host with one repository and as much of its API as they use, and machines with a stand-in board.

Real: git, bash, pip, gh, pytest, tpf. Stood in for: GitHub's API (a server behind a Unix socket, which is where gh is told to look),
``nvidia-smi`` (a script that asks the NVML library), the board itself, and the package index (there is none: what is asked for must be
installed already, so pip checks names and extras). Environments that jobs make come without a pip of their own, which saves seconds.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socketserver
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.plugin.powered import DRIVE_VARIABLE, IDLE_W
from tests.standin import Board, Drive, Standin, StandinUnavailable

ROOT = Path(__file__).parents[2]
REPOSITORY = "acme/answers"
BOT = "github-actions[bot]"

NVIDIA_SMI = f"""#!{sys.executable}
from pynvml import *
nvmlInit()
for i in range(nvmlDeviceGetCount()):
    print(nvmlDeviceGetName(nvmlDeviceGetHandleByIndex(i)))
"""


def git(folder: Path, *arguments: str) -> str:
    """What git says."""
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PYTHON3 = f"""#!/bin/sh
[ "$1 $2" = "-m venv" ] && shift 2 && exec {sys.executable} -m venv --without-pip "$@"
exec {sys.executable} "$@"
"""


class Project:
    """A user's repository: a bare origin, and a working copy to commit from."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self.origin, self.copy = folder / "origin.git", folder / "copy"
        folder.mkdir(parents=True)
        git(folder, "init", "--quiet", "--bare", str(self.origin))
        git(folder, "clone", "--quiet", str(self.origin), str(self.copy))
        self.commit(files)

    def commit(self, files: dict[str, str], branch: str = "main") -> str:
        """Commit these files on a branch, which begins at what was last committed, and push it."""
        git(self.copy, "checkout", "--quiet", "-B", branch)
        for name, content in files.items():
            path = self.copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        git(self.copy, "add", "--all")
        git(self.copy, "commit", "--quiet", "--allow-empty", "-m", "A change")
        git(self.copy, "push", "--quiet", "--force", "origin", branch)
        return git(self.copy, "rev-parse", "HEAD")

    def file(self, branch: str, name: str) -> str:
        """A file as it stands on a branch of the origin."""
        return git(self.origin, "show", f"{branch}:{name}")


class Machine:
    """The environment that a job's commands see; ``boards``: the one that ``tests.plugin.powered`` drives, or none at all."""

    def __init__(self, folder: Path, *, boards: bool = True) -> None:
        tools = folder / "tools"
        tools.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "CI", "TPF_", "LD_LIBRARY_PATH"))}
        search = os.pathsep.join([str(tools), str(Path(sys.executable).parent), "/usr/bin", "/bin"])
        packages = os.pathsep.join([sysconfig.get_path("purelib"), str(ROOT)])  # for the Pythons of environments that a job makes
        self.environ = {**kept, "PATH": search, "PYTHONPATH": packages, "HOME": str(folder), "CI": "true"}
        self.environ |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
        for name, script in {"nvidia-smi": NVIDIA_SMI, "python3": PYTHON3}.items():
            (tools / name).write_text(script)
            (tools / name).chmod(0o755)
        if boards:
            self.environ |= _board(folder)


def _board(folder: Path) -> dict[str, str]:
    drive = Drive(folder / "drive")
    drive.set(IDLE_W)
    try:
        standin = Standin(boards=(Board(drive=str(drive.path), base_w=IDLE_W, counter_period_s=0.01),))
        return {DRIVE_VARIABLE: str(drive.path), **standin.environment(folder)}
    except StandinUnavailable as why:
        pytest.skip(str(why))


# --- GitHub -----------------------------------------------------------------------------------------------------------


class GitHub:
    """What the examples ask of the API, over plain data. ``artifacts``: by run and name, folders of files."""

    def __init__(self) -> None:
        self.pulls: list[dict[str, Any]] = []
        self.comments: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.artifacts: dict[tuple[int, str], Path] = {}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Status and what is answered: JSON, or bytes."""
        match method, *path.removeprefix("/").removeprefix(f"repos/{REPOSITORY}/").split("/"):
            case "GET", "pulls":
                return 200, [pull for pull in self.pulls if pull["head"]["label"] == query["head"] and pull["state"] == query["state"]]
            case "POST", "pulls":
                self.pulls.append({"number": len(self.pulls) + 1, "state": "open", **body})
                return 201, self.pulls[-1]
            case "GET", "issues", number, "comments":
                return 200, [each for each in self.comments if each["issue"] == int(number)]
            case "POST", "issues", number, "comments":
                self.comments.append({"id": len(self.comments) + 1, "issue": int(number), "user": {"login": BOT}, **body})
                return 201, self.comments[-1]
            case "PATCH", "issues", "comments", number:
                comment = next(each for each in self.comments if each["id"] == int(number))
                comment |= body
                return 200, comment
            case "GET", "actions", "workflows", file, "runs":
                wanted = {"file": file, "branch": query["branch"], "event": query["event"], "conclusion": query["status"]}
                found = [run for run in self.runs if wanted.items() <= run.items()]
                return 200, {"workflow_runs": found[: int(query["per_page"])]}
            case "GET", "actions", "runs", number, "artifacts":
                url = f"https://api.github.com/repos/{REPOSITORY}/actions/artifacts"
                names = [name for run, name in self.artifacts if run == int(number)]
                listed = [{"name": n, "size_in_bytes": 1, "expired": False, "archive_download_url": f"{url}/{number}/{n}"} for n in names]
                return 200, {"total_count": len(listed), "artifacts": listed}
            case "GET", "actions", "artifacts", number, name:
                return 200, zipped(self.artifacts[int(number), name])
        return 404, {"message": f"Not Found: {method} {path}"}


def zipped(folder: Path) -> bytes:
    """The files of a folder as an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return buffer.getvalue()


@contextmanager
def serving(github: GitHub, folder: Path) -> Iterator[Path]:
    """GitHub behind a socket; the configuration file that leads gh there."""
    if shutil.which("gh") is None:
        reason = "GitHub's command line is not installed: apt-get install gh"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            parts = urlsplit(self.path)
            status, found = github.answer(self.command, parts.path, dict(parse_qsl(parts.query)), body)
            content = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/zip" if isinstance(found, bytes) else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _answer

        def log_message(self, *args: object) -> None:
            pass

    path = folder / "github.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            config = folder / "config.yml"
            config.write_text(f"http_unix_socket: {path}\n")
            yield config
        finally:
            server.shutdown()
            thread.join()
