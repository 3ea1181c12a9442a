"""The repository that the CI examples are tried on, and what GitHub says of its pushes and pull requests."""

from __future__ import annotations

from tests.examples.hosting import REPOSITORY

CONFTEST = """
import pytest
from tests.plugin import powered, toy


def pytest_tpf_engines(config):
    return [powered.PoweredEngine(), toy.ToyEngine()]


@pytest.fixture
def board_model():
    return powered.Powered()


@pytest.fixture
def model():
    return toy.Toy()
"""

# How fast this machine is today is no matter here, so that the workflow's tokens per second are held loosely.
MEASURED = """
import pytest


@pytest.mark.tpf(rounds=6, boundary="device", max_regression="tokens_per_second:95%")
def test_answers(tpf, board_model):
    tpf(board_model.generate, joules={joules}, tokens=10)
"""

BUDGETED = """
import pytest


@pytest.mark.tpf(rounds=5, max_output_tokens={tokens}, min_quality=0.3)
def test_{name}(tpf, model):
    tpf(model.generate, tokens=8, seconds=0.01)
    tpf.quality([True] * {right} + [False] * {wrong}, metric="exact_match")
"""


def measured(joules: float = 20.0) -> dict[str, str]:
    return {"tests/inference/test_answers.py": MEASURED.format(joules=joules)}


def budgeted(name: str, tokens: int = 20, right: int = 50) -> dict[str, str]:
    return {f"tests/inference/{name}/test_{name}.py": BUDGETED.format(name=name, tokens=tokens, right=right, wrong=50 - right)}


COMMON = {"conftest.py": CONFTEST, "pytest.ini": "[pytest]\n", "requirements.txt": "pytest\n", ".gitignore": "__pycache__/\n.venv/\n"}


def pushed(sha: str) -> dict[str, object]:
    """What GitHub says of a push to main."""
    return {"event_name": "push", "ref": "refs/heads/main", "ref_name": "main", "sha": sha, "token": "t", "event": EVENT}


def pulled(sha: str, head: str = REPOSITORY) -> dict[str, object]:
    """What GitHub says of a pull request from the repository ``head``."""
    event = {**EVENT, "pull_request": {"head": {"repo": {"full_name": head}}}}
    return {"event_name": "pull_request", "ref": "refs/pull/1/merge", "sha": sha, "token": "t", "event": event}


EVENT = {"repository": {"default_branch": "main"}}
