"""A user's repository, a machine with a board and GitHub around it, for the tests of the CI examples."""

from __future__ import annotations

import pytest

from tests.examples.answers import COMMON, measured
from tests.examples.hosting import GitHub, Machine, Project, serving
from tests.examples.workflows import Runner


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project", COMMON | measured())


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "machine")


@pytest.fixture
def runner(project, machine, tmp_path):
    return Runner(project, machine, tmp_path / "runner")


@pytest.fixture
def github(tmp_path):
    host = GitHub()
    with serving(host, tmp_path):
        yield host


@pytest.fixture
def hosted(machine, github, tmp_path):
    """Machines of GitHub's own: no board, gh at hand."""
    machine.environ["GH_CONFIG_DIR"] = str(tmp_path)
    machine.environ |= {"GH_PROMPT_DISABLED": "1", "NO_COLOR": "1"}
    return github
