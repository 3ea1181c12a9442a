"""Runs the jobs of GitHub workflows, composite actions and GitLab pipelines on this machine, step by step as their runners do.

Enough of both for the examples: environments, expressions, conditions, outputs, the path and summary files, artifacts. Commands are run for
real by bash or Python. Of actions those of GitHub itself are known: checking out, setting up Python (which is there), artifacts.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.examples.hosting import REPOSITORY, ROOT, Machine, Project, git

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_TOKEN = re.compile(r"'[^']*'|&&|\|\||!(?!=)|[a-z_]+\(\)|[A-Za-z_][\w-]*(?:\.[\w-]+)*")
_OPERATORS = {"&&": " and ", "||": " or ", "!": " not "}
_SHELLS = {"bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"], "python": ["python"]}


def load(path: Path) -> dict[str, Any]:
    """A YAML file in which ``on`` is a word, as in YAML 1.2."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in data.items()}


@dataclasses.dataclass
class Finished:
    """A job that has ended: where it worked, what it said and wrote, the name of the first step that failed."""

    workspace: Path
    log: str = ""
    failed: str | None = None
    summary: str = ""
    outputs: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    ran: list[str] = dataclasses.field(default_factory=list)


class Expressions:
    """GitHub's expressions over ``contexts``, as far as the examples use them."""

    def __init__(self, contexts: Mapping[str, Any], failed: Callable[[], bool] = lambda: False) -> None:
        self._contexts, self._failed = contexts, failed

    def value(self, expression: str) -> Any:
        """What the expression stands for; unknown names are empty."""
        functions = {"always": lambda: True, "failure": self._failed, "cancelled": lambda: False}
        return eval(_TOKEN.sub(self._python, expression), {"__builtins__": {}, "look_up": self._look_up, **functions})

    def filled(self, text: Any) -> str:
        """The text with its expressions replaced."""
        return _EXPRESSION.sub(lambda found: str(self.value(found[1])), text if isinstance(text, str) else str(text))

    def holds(self, condition: str | None) -> bool:
        """Whether a step or job is run; one that doesn't say otherwise isn't after a failure."""
        condition = "" if condition is None else _EXPRESSION.sub(r"\1", str(condition))
        whatever = any(f"{name}()" in condition for name in ("always", "failure", "cancelled"))
        return (whatever or not self._failed()) and (not condition or bool(self.value(condition)))

    def _python(self, found: re.Match[str]) -> str:
        token = found[0]
        return _OPERATORS.get(token) or (token if token[0] == "'" or token.endswith("()") else f"look_up({token!r})")

    def _look_up(self, path: str) -> Any:
        value: Any = self._contexts
        for key in path.split("."):
            value = value.get(key, "") if isinstance(value, Mapping) else ""
        return value


class Runner:
    """Runs jobs of ``project`` on ``machine``. ``artifacts``: a folder in which each artifact is a folder."""

    def __init__(self, project: Project, machine: Machine, folder: Path) -> None:
        self._project, self._machine, self._folder = project, machine, folder
        self.artifacts = folder / "artifacts"
        self._count = 0

    def job(self, workflow: Mapping[str, Any], name: str, github: Mapping[str, Any], **contexts: Any) -> Finished | None:
        """Run a job; None where its condition keeps it from running."""
        contexts = {"github": {"repository": REPOSITORY, "workflow": workflow["name"], **github}, **contexts}
        job = workflow["jobs"][name]
        if not Expressions(contexts).holds(job.get("if")):
            return None
        defaults = {**workflow.get("defaults", {}), **job.get("defaults", {})}.get("run", {})
        return self.steps(job["steps"], contexts, defaults.get("shell"))

    def steps(self, steps: list[dict[str, Any]], contexts: dict[str, Any], shell: str | None = None) -> Finished:
        """Run steps in a new workspace."""
        self._count += 1
        place = self._folder / f"job-{self._count}"
        job = _Job(self, place, contexts, shell)
        for step in steps:
            job.run(step)
        job.finished.summary = (place / "summary").read_text()
        return job.finished

    def check_out(self, workspace: Path, ref: str) -> None:
        """As actions/checkout: the branch where there is one, else the commit alone."""
        git(workspace.parent, "clone", "--quiet", str(self._project.origin), str(workspace))
        git(workspace, "checkout", "--quiet", ref)

    @property
    def environ(self) -> dict[str, str]:
        """What every command sees."""
        return self._machine.environ


class _Job:
    def __init__(self, runner: Runner, place: Path, contexts: dict[str, Any], shell: str | None) -> None:
        self._runner, self._shell = runner, shell
        self._temp, self._files = place / "temp", {key: place / key for key in ("path", "summary", "output")}
        self._github = contexts["github"]
        self.finished = Finished(workspace=place / "workspace")
        self._contexts = {"runner": {"temp": str(self._temp)}, **contexts, "steps": self.finished.outputs}
        self._expressions = Expressions(self._contexts, lambda: self.finished.failed is not None)
        self._temp.mkdir(parents=True)
        self.finished.workspace.mkdir()
        for path in self._files.values():
            path.touch()

    def run(self, step: dict[str, Any]) -> None:
        name = step.get("name") or step.get("uses") or step["run"]
        if not self._expressions.holds(step.get("if")):
            return
        self.finished.ran.append(name)
        good = self._use(step) if "uses" in step else self._command(step)
        if not good and not step.get("continue-on-error") and self.finished.failed is None:
            self.finished.failed = name

    def _command(self, step: dict[str, Any]) -> bool:
        assert "${{" not in step["run"], "text in a script would be run"
        shell = step.get("shell") or self._shell or "bash"
        script = self._temp / "script"
        script.write_text(step["run"])
        environ = {**self._environ(), **{key: self._expressions.filled(value) for key, value in step.get("env", {}).items()}}
        self._files["output"].write_text("")
        done = subprocess.run(
            [*_SHELLS[shell], str(script)],
            cwd=self.finished.workspace,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.finished.log += done.stdout
        if "id" in step:
            self.finished.outputs[step["id"]] = {"outputs": outputs(self._files["output"].read_text())}
        return done.returncode == 0

    def _environ(self) -> dict[str, str]:
        paths = reversed(self._files["path"].read_text().split())
        search = ":".join([*paths, self._runner.environ["PATH"]])
        told = {key.upper(): value for key, value in self._github.items() if isinstance(value, str) and key not in ("event", "token")}
        files = {"PATH": self._files["path"], "STEP_SUMMARY": self._files["summary"], "OUTPUT": self._files["output"]}
        github = {"WORKSPACE": self.finished.workspace, "ACTIONS": "true", "SERVER_URL": "https://github.com", **told, **files}
        variables = {f"GITHUB_{key}": str(value) for key, value in github.items()}
        return {**self._runner.environ, **variables, "RUNNER_TEMP": str(self._temp), "PATH": search}

    # --- actions ------------------------------------------------------------------------------------------------------

    def _use(self, step: dict[str, Any]) -> bool:
        action = step["uses"].partition("@")[0].removeprefix("actions/")
        given = {key: self._expressions.filled(value) for key, value in step.get("with", {}).items()}
        known = {"upload-artifact": self._upload, "download-artifact": self._download}
        if action == "checkout":
            self._runner.check_out(self.finished.workspace, self._github.get("ref_name") or self._github["sha"])
            return True
        return True if action == "setup-python" else known[action](given)

    def _upload(self, given: dict[str, str]) -> bool:
        target = self._runner.artifacts / given["name"]
        found = [path for pattern in given["path"].split() for path in self.finished.workspace.glob(pattern)]
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for path in found:
            shutil.copy(path, target)
        return bool(found) or given.get("if-no-files-found") != "error"

    def _download(self, given: dict[str, str]) -> bool:
        target = self.finished.workspace / given.get("path", ".")
        found = sorted(self._runner.artifacts.glob(given.get("name") or given["pattern"]))
        for folder in found:
            shutil.copytree(folder, target, dirs_exist_ok=True, symlinks=True)
        return bool(found)


def outputs(text: str) -> dict[str, str]:
    """What a step wrote to $GITHUB_OUTPUT."""
    found, lines = {}, text.splitlines()
    while lines:
        name, mark, value = re.match(r"([\w-]+)(=|<<)(.*)", lines.pop(0)).groups()
        if mark == "<<":
            end = lines.index(value)
            value, lines = "\n".join(lines[:end]), lines[end + 1 :]
        found[name] = value
    return found


def composite(runner: Runner, inputs: Mapping[str, str], github: Mapping[str, Any]) -> tuple[Finished, dict[str, str]]:
    """Check out and run the action at the root; the job, and the action's outputs."""
    action = load(ROOT / "action.yml")
    given = {name: str(each.get("default", "")) for name, each in action["inputs"].items()} | dict(inputs)
    contexts = {"github": {"repository": REPOSITORY, **github}, "inputs": given}
    finished = runner.steps([{"uses": "actions/checkout@v6"}, *action["runs"]["steps"]], contexts)
    told = Expressions({"steps": finished.outputs})
    return finished, {name: told.filled(each["value"]) for name, each in action["outputs"].items()}


# --- GitLab -----------------------------------------------------------------------------------------------------------


def gitlab_job(path: Path, name: str, machine: Machine, workspace: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a job of a GitLab pipeline: its own commands and those it extends, in one shell."""
    pipeline = load(path)
    job = {**pipeline[pipeline[name]["extends"]], **pipeline[name]}
    script = workspace.parent / "script.sh"
    script.write_text("\n".join([*job["before_script"], *job["script"]]))
    environ = {**machine.environ, "GITLAB_CI": "true", **job["variables"], **variables}
    command = [*_SHELLS["bash"], str(script)]
    return subprocess.run(command, cwd=workspace, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
