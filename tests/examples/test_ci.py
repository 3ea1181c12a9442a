"""What users copy from examples/ci works: the files are valid, and every command in them is run, in the order of its pipeline.

What is real and what is stood in for: ``hosting.py``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from sqlalchemy import make_url

from tests.examples.answers import budgeted, measured, pulled, pushed
from tests.examples.hosting import REPOSITORY, ROOT, Machine, git
from tests.examples.workflows import Runner, composite, gitlab_job, load
from tests.history.conftest import postgres_server  # noqa: F401  the fixture
from tests.history.postgres import PASSWORD

CI = ROOT / "examples" / "ci"
GITHUB = sorted(CI.glob("github-*.yml"))
BIN = Path(sys.executable).parent

# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "files"),
    [("github-workflows", GITHUB), ("github-actions", [ROOT / "action.yml"]), ("gitlab-ci", [CI / "gitlab-ci.yml"])],
)
def test_the_files_are_what_their_host_expects(schema, files):
    done = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nobody_can_slip_a_command_into_them(tmp_path):
    """Looked over by zizmor. Two findings are meant, and the reason stands beside each in the file."""
    config = tmp_path / "zizmor.yml"
    config.write_text(
        "rules:\n"
        "  unpinned-uses: {config: {policies: {'actions/*': ref-pin}}}\n"
        "  dangerous-triggers: {ignore: [github-comment.yml]}\n"
        "  artipacked: {ignore: [github-accept.yml]}\n"
    )
    command = [BIN / "zizmor", "--offline", "--no-progress", "--config", config, ROOT / "action.yml", *GITHUB]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [CI / "gitlab-ci.yml", *GITHUB], ids=lambda path: path.name)
def test_the_extras_they_install_exist(path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {extra for extras in re.findall(r"pytest-tpf\[([\w,]+)\]", path.read_text()) for extra in extras.split(",")}
    assert asked <= set(project["optional-dependencies"])


def test_every_file_is_told_of():
    told = (CI / "README.md").read_text()
    assert {path.name for path in CI.glob("*.yml")} == set(re.findall(r"\]\(((?:github|gitlab)-[\w-]+\.yml)\)", told))


def test_the_readme_uses_the_action_as_it_is():
    (step, after) = yaml.safe_load(re.search(r"```yaml\n(.*?)```", (CI / "README.md").read_text(), re.DOTALL)[1])
    action = load(ROOT / "action.yml")
    assert step["with"].keys() <= action["inputs"].keys()
    assert re.findall(r"steps\.tpf\.outputs\.(\w+)", after["env"]["VERDICT"]) == ["verdict"]
    assert action["outputs"].keys() == {"report", "verdict"}


# --- a GPU runner and a baseline ------------------------------------------------------------------------------

GPU, ACCEPT, CPU = (load(CI / f"github-{name}.yml") for name in ("gpu", "accept", "cpu"))


def accept(runner, project, reason="first baseline", tests="tests/inference"):
    """Dispatch the workflow that accepts: both jobs."""
    github = pushed(project.commit({})) | {"run_id": "7", "run_attempt": "1", "actor": "ada"}
    contexts = {"inputs": {"reason": reason, "tests": tests}}
    found = runner.job(ACCEPT, "measure", github, **contexts)
    assert found.failed is None, found.log
    return runner.job(ACCEPT, "propose", github, **contexts)


def test_a_baseline_is_proposed_merged_and_guarded(runner, project, hosted):
    reason = 'why $(touch pwned) `touch pwned` "quoted"'
    proposed = accept(runner, project, reason)
    assert proposed.failed is None, proposed.log
    (pull,) = hosted.pulls
    assert (pull["base"], pull["head"], pull["body"].splitlines()[0]) == ("main", "tpf-baseline-7-1", reason)
    assert git(project.origin, "log", "-1", "--format=%b", pull["head"]) == reason
    baseline = project.file(pull["head"], "tpf-baseline.json")
    (hardware,) = json.loads(baseline)["hardware"].values()
    assert hardware["tests"]["tests/inference/test_answers.py::test_answers"]["accepted"]["reason"] == reason

    good = runner.job(GPU, "energy", pushed(project.commit({"tpf-baseline.json": baseline})))
    assert good.failed is None, good.log
    assert "NVIDIA Stand-in 100" in good.log
    assert "### tpf: passed, 1 test" in good.summary
    report = json.loads((runner.artifacts / "tpf-report" / "tpf-report.json").read_text())
    assert [test["regression"]["verdict"] for test in report["tests"]] == ["pass"]

    worse = runner.job(GPU, "energy", pulled(project.commit(measured(joules=30.0))))
    assert worse.failed == "Measure, judge, compare"
    assert "1 regressed" in worse.summary
    report = json.loads((runner.artifacts / "tpf-report" / "tpf-report.json").read_text())
    assert [test["regression"]["verdict"] for test in report["tests"]] == ["fail"]
    assert "1 regressed" in (runner.artifacts / "tpf-report" / "tpf-summary.md").read_text()


def test_a_pull_request_that_would_change_nothing_is_not_opened(runner, project, hosted):
    shutil.rmtree(runner.artifacts, ignore_errors=True)
    github = pushed(project.commit({"tpf-baseline.json": '{"baseline_version": "1.0.0", "hardware": {}}\n'}))
    accepted = runner.artifacts / "tpf-accepted"
    accepted.mkdir(parents=True)
    shutil.copy(project.copy / "tpf-baseline.json", accepted)
    proposed = runner.job(ACCEPT, "propose", github | {"run_id": "7", "run_attempt": "1", "actor": "ada"}, inputs={"reason": "why"})
    assert proposed.failed == "Open a pull request"
    assert "::error::no entry was renewed" in proposed.log
    assert hosted.pulls == []


def test_without_a_board_nothing_is_green(project, tmp_path):
    runner = Runner(project, Machine(tmp_path / "no-board", boards=False), tmp_path / "runner")
    found = runner.job(GPU, "energy", pushed(project.commit({})))
    assert found.failed == "Which boards, who else is on them, what can be measured"
    assert "Measure, judge, compare" not in found.ran


@pytest.mark.stress
def test_a_suite_that_lost_its_baseline_is_not_green(runner, project):
    found = runner.job(GPU, "energy", pushed(project.commit({})))
    assert found.failed == "Measure, judge, compare"
    assert "--tpf-baseline: there is no tpf-baseline.json" in found.log


def test_a_strangers_code_does_not_run_on_the_board(runner, project):
    assert runner.job(GPU, "energy", pulled(project.commit({}), head="stranger/answers")) is None


# --- hosted machines, in shards ---------------------------------------------------------------------------------------


@pytest.fixture
def shard(runner):
    """Run every shard: the jobs."""

    def run(github):
        return [runner.job(CPU, "shard", github, matrix=each) for each in CPU["jobs"]["shard"]["strategy"]["matrix"]["include"]]

    return run


@pytest.fixture
def report(runner, hosted):
    """Run the job that comes after the shards."""

    def run(github, result="success"):
        github = github | {"workflow_ref": f"{REPOSITORY}/.github/workflows/tpf-cpu.yml@{github['ref']}"}
        return runner.job(CPU, "report", github, needs={"shard": {"result": result}})

    return run


def merged(runner):
    return json.loads((runner.artifacts / "tpf-report" / "tpf-report.json").read_text())["tests"]


@pytest.mark.stress
def test_shards_are_merged_and_compared_with_the_main_branch(runner, shard, report, project, hosted, tmp_path):
    change = pulled(project.commit(budgeted("chat") | budgeted("search")))
    assert [job.failed for job in shard(change)] == [None, None]
    first = report(change)
    assert first.failed is None, first.log
    assert "main has no report yet" in first.log
    assert "test_chat" in first.summary
    assert [test["nodeid"].partition("::")[2] for test in merged(runner)] == ["test_chat", "test_search"]
    assert {test["energy"]["trust"] for test in merged(runner)} == {"estimated"}

    main = shutil.copytree(runner.artifacts / "tpf-report", tmp_path / "main")
    hosted.runs.append({"id": 31, "file": "tpf-cpu.yml", "branch": "main", "event": "push", "conclusion": "success"})
    hosted.artifacts[31, "tpf-report"] = main
    same = report(change)
    assert same.failed is None, same.log
    assert "test_chat" in same.summary or "passed" in same.summary

    worse = pulled(project.commit(budgeted("chat", right=20)))
    assert [job.failed for job in shard(worse)] == [None, None]
    compared = report(worse)
    assert compared.failed == "Compare", compared.log + compared.summary
    assert "test_chat" in compared.summary
    assert (runner.artifacts / "tpf-report" / "tpf-summary.md").exists()


@pytest.mark.stress
def test_a_broken_budget_is_red_in_its_shard_and_stands_in_the_report(runner, shard, report, project):
    change = pushed(project.commit(budgeted("chat") | budgeted("search", tokens=5)))
    assert [job.failed for job in shard(change)] == [None, "Measure and judge"]
    assert report(change, "failure").failed is None
    assert [test["outcome"] for test in merged(runner)] == ["passed", "failed"]


# --- the action at the root -------------------------------------------------------------------------------------------


def test_the_action_measures_tells_and_uploads(runner, project):
    sha = project.commit({})
    given = {"args": "tests/inference -k 'answers and not others'", "require": "measured", "report": "out/r.json", "upload": "mine"}
    finished, told = composite(runner, given, pushed(sha))
    assert finished.failed is None, finished.log
    assert told == {"report": "out/r.json", "verdict": "pass"}
    assert (runner.artifacts / "mine" / "r.json").exists()
    assert "### tpf: passed, 1 test" in finished.summary


@pytest.mark.parametrize(
    ("given", "verdict", "said"),
    [
        ({"baseline": "tpf-baseline.json"}, "error", "there is no tpf-baseline.json"),
        ({"args": "tests/inference --tpf-meter estimate", "require": "measured"}, "error", "energy can only be estimated"),
        ({"args": "tests/inference -k nothing_like_it"}, "error", "deselected"),
        ({"args": "'unclosed"}, "", "::error::args: No closing quotation: 'unclosed"),
        ({"args": "'$(touch pwned)' ; touch pwned", "report": "$(touch pwned).json"}, "error", "$(touch pwned)"),
    ],
)
def test_the_action_fails_where_nothing_can_be_told(runner, project, given, verdict, said):
    finished, told = composite(runner, given, pushed(project.commit({})))
    assert finished.failed is not None
    assert told["verdict"] == verdict
    assert said in finished.log
    assert not list(finished.workspace.glob("**/pwned"))
    assert list(runner.artifacts.glob("*")) == []


# --- GitLab -----------------------------------------------------------------------------------------------------------


@pytest.mark.stress
def test_gitlab_compares_with_what_the_default_branch_left_in_the_database(project, machine, tmp_path, postgres_server):  # noqa: F811
    storage = make_url(postgres_server.database())._replace(password=None).render_as_string()
    count = iter(range(10))

    def pipeline(name, sha, **variables):
        workspace = tmp_path / f"gitlab-{next(count)}" / "workspace"
        workspace.parent.mkdir()
        git(tmp_path, "clone", "--quiet", str(project.origin), str(workspace))
        git(workspace, "checkout", "--quiet", sha)  # a commit and no branch, as GitLab does
        variables |= {"TPF_STORAGE": storage, "PGPASSWORD": PASSWORD, "CI_DEFAULT_BRANCH": "main", "CI_COMMIT_SHA": sha}
        done = gitlab_job(CI / "gitlab-ci.yml", name, machine, workspace, variables)
        return workspace, done

    first = project.commit({})
    _, empty = pipeline("tpf gate", first)
    assert empty.returncode == 4, empty.stdout
    assert "there is no history yet; pytest --tpf-save begins one" in empty.stderr

    _, saved = pipeline("tpf history", first, CI_COMMIT_BRANCH="main")
    assert saved.returncode == 0, saved.stdout + saved.stderr
    _, same = pipeline("tpf gate", project.commit({}, branch="topic"))
    assert same.returncode == 0, same.stdout + same.stderr
    workspace, worse = pipeline("tpf gate", project.commit(measured(joules=30.0), branch="topic"))
    assert worse.returncode == 1
    assert "regressed" in worse.stdout
    assert all((workspace / kept).stat().st_size for kept in ("tpf-report.json", "tpf-summary.md", "junit.xml"))
