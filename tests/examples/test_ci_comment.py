"""The comment on a pull request: one, renewed, and nothing of what a fork left is believed."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.examples.answers import EVENT
from tests.examples.hosting import BOT, REPOSITORY, ROOT
from tests.examples.workflows import load

COMMENT, GPU, CPU = (load(ROOT / "examples" / "ci" / f"github-{name}.yml") for name in ("comment", "gpu", "cpu"))


def test_the_comment_follows_the_workflows_that_leave_its_artifact():
    assert COMMENT["on"]["workflow_run"]["workflows"] == [GPU["name"], CPU["name"]]
    (wanted,) = [step["with"]["name"] for step in COMMENT["jobs"]["comment"]["steps"] if "uses" in step]
    for job in (GPU["jobs"]["energy"], CPU["jobs"]["report"]):
        assert [step["with"]["name"] for step in job["steps"] if "upload-artifact" in step.get("uses", "")] == [wanted]


def finished_run(sha: str, conclusion: str = "failure") -> dict[str, object]:
    """What GitHub says to the comment's workflow of a run for a fork's pull request."""
    head = {"id": 9, "owner": {"login": "stranger"}}
    run = {"event": "pull_request", "conclusion": conclusion, "name": "tpf-cpu", "id": 5, "head_sha": sha, "head_branch": "faster"}
    run |= {"html_url": f"https://github.com/{REPOSITORY}/actions/runs/5", "head_repository": head}
    return {"event_name": "workflow_run", "ref_name": "main", "token": "t", "event": {**EVENT, "workflow_run": run}}


@pytest.fixture
def commented(runner, hosted):
    """Run the comment's workflow for a run that left ``summary``; what is on the pull request then."""
    hosted.pulls += [
        {"number": 4, "state": "open", "head": {"label": "other:faster", "sha": "a" * 40}},
        {"number": 8, "state": "open", "head": {"label": "stranger:faster", "sha": "b" * 40}},
    ]

    def comment(summary: bytes | None, sha: str = "b" * 40, conclusion: str = "failure"):
        folder = runner.artifacts / "tpf-report"
        shutil.rmtree(folder, ignore_errors=True)
        if summary is not None:
            folder.mkdir(parents=True)
            (folder / "tpf-summary.md").write_bytes(summary)
        found = runner.job(COMMENT, "comment", finished_run(sha, conclusion))
        assert found is None or found.failed is None, found.log
        return hosted.comments

    return comment


def test_one_comment_is_made_and_renewed(commented):
    (first,) = commented(b"### tpf: 1 regressed\n")
    assert (first["issue"], first["user"]["login"]) == (8, BOT)
    assert first["body"].startswith(f"<!-- tpf-cpu -->\n**tpf-cpu: failure** at {'b' * 40}, [all of it](https://github.com/{REPOSITORY}/")
    assert first["body"].endswith("### tpf: 1 regressed\n")
    (second,) = commented(b"### tpf: passed\n", conclusion="success")
    assert second["id"] == first["id"]
    assert second["body"].endswith("### tpf: passed\n")


def test_a_comment_of_somebody_else_is_left_alone(commented, hosted):
    hosted.comments.append({"id": 1, "issue": 8, "user": {"login": "stranger"}, "body": "<!-- tpf-cpu --> mine"})
    theirs, ours = commented(b"text")
    assert theirs["body"] == "<!-- tpf-cpu --> mine"
    assert ours["user"]["login"] == BOT


@pytest.mark.parametrize(
    "summary",
    [b"@everyone @acme/owners", b"x" * 5_000_000, b"@" * 199_999, b"\xff\xfe\0" * 1000, "ü€😀".encode() * 60_000],
    ids=["mentions", "long", "many mentions", "no text", "cut inside a character"],
)
def test_a_hostile_summary_calls_nobody_and_fits(commented, summary):
    (comment,) = commented(summary)
    assert len(comment["body"]) < 65_536
    assert not re.search(r"@\w", comment["body"])
    assert "\0" not in comment["body"]


def test_a_link_to_a_file_of_the_machine_is_not_followed(commented, runner, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    commented(b"")
    link = runner.artifacts / "tpf-report" / "tpf-summary.md"
    link.unlink()
    link.symlink_to(secret)
    found = runner.job(COMMENT, "comment", finished_run("b" * 40))
    comment = next((runner.artifacts.parent).glob("job-2/temp/comment.md")).read_text()
    assert found.failed is None
    assert "hidden" not in comment
    assert "There is no summary" in comment


def test_a_run_without_a_summary_says_so(commented):
    (comment,) = commented(None)
    assert comment["body"].endswith("There is no summary: the run ended before anything was measured.")


def test_nothing_is_said_of_a_commit_that_was_overtaken_or_of_a_run_that_was_skipped(commented):
    assert commented(b"old", sha="c" * 40) == []
    assert commented(b"skipped", conclusion="skipped") == []
