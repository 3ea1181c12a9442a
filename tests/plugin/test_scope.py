"""What a run set out to do: which tests its arguments name, which it found, which it left out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.scope import Scope, without_group

WATCH = """
import json, pytest
from pytest_tpf.scope import ScopeWatch

def pytest_configure(config):
    config.pluginmanager.register(ScopeWatch(config), "watch")

def pytest_terminal_summary(config):
    scope = config.pluginmanager.get_plugin("watch").scope
    told = {name: getattr(scope, name) for name in ("roots", "unread", "blind", "cut_short", "partial_reason")}
    asked = (config.rootpath / "asked.txt").read_text().split()
    told |= {"collected": sorted(scope.collected), "deselected": sorted(scope.deselected)}
    told |= {"covered": [each for each in asked if scope.covers(each)], "vanished": [each for each in asked if scope.has_vanished(each)]}
    (config.rootpath / "scope.json").write_text(json.dumps(told))
"""

TREE = {
    "test_a.py": """
        import pytest

        @pytest.mark.parametrize("n", [1, 2])
        def test_one(n): pass

        @pytest.mark.xdist_group("board")
        def test_two(): pass

        class TestIt:
            def test_three(self): pass
    """,
    "deep/test_b.py": "def test_four(): pass",
}
ALL = [
    "deep/test_b.py::test_four",
    "test_a.py::TestIt::test_three",
    "test_a.py::test_one[1]",
    "test_a.py::test_one[2]",
    "test_a.py::test_two",
]
GONE = [
    "test_a.py::test_gone",
    "test_a.py::test_one[3]",
    "test_a.py::TestIt::test_gone",
    "deep/test_b.py::test_gone",
    "lost/test_c.py::test_x",
]


class Tree:
    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        pytester.makeconftest(WATCH)
        pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers = xdist_group: x")
        (pytester.path / "deep").mkdir()
        for name, source in TREE.items():
            self.write(name, source)
        (pytester.path / "asked.txt").write_text("\n".join([*ALL, *GONE]))

    def write(self, name: str, source: str) -> None:
        import textwrap

        (self.pytester.path / name).write_text(textwrap.dedent(source))

    def scope(self, *options: str) -> dict:
        """What the run with these options set out to do."""
        self.result = self.pytester.runpytest_subprocess(*options)
        return json.loads((self.pytester.path / "scope.json").read_text())


@pytest.fixture
def tree(pytester):
    return Tree(pytester)


SERIAL, WORKERS = (), ("-n", "2")
both = pytest.mark.parametrize("how", [SERIAL, pytest.param(WORKERS, marks=pytest.mark.stress)], ids=["serial", "-n 2"])


@both
def test_a_whole_run_covers_every_test_and_misses_those_that_vanished(tree, how):
    scope = tree.scope(*how)
    assert (scope["collected"], scope["deselected"], scope["roots"]) == (ALL, [], [""])
    assert (scope["covered"], scope["vanished"]) == ([*ALL, *GONE], GONE)
    assert scope["partial_reason"] is scope["blind"] is scope["cut_short"] is None


@pytest.mark.parametrize(
    ("arguments", "covered"),
    [
        (["test_a.py"], [*ALL[1:], *GONE[:3]]),
        (["deep"], [ALL[0], GONE[3]]),
        (["deep/"], [ALL[0], GONE[3]]),
        (["./deep/test_b.py"], [ALL[0], GONE[3]]),
        (["test_a.py::test_one"], [*ALL[2:4], GONE[1]]),
        (["test_a.py::test_one[2]"], [ALL[3]]),
        (["test_a.py::TestIt"], [ALL[1], GONE[2]]),
        (["deep", "test_a.py::test_two"], [ALL[0], ALL[4], GONE[3]]),
        (["."], [*ALL, *GONE]),
        (["-n", "2", "deep"], [ALL[0], GONE[3]]),
        (["-n", "2", "test_a.py::test_one[2]"], [ALL[3]]),
    ],
    ids=" ".join,
)
def test_arguments_name_what_is_covered(tree, arguments, covered):
    scope = tree.scope(*arguments)
    assert scope["covered"] == covered
    assert scope["vanished"] == [each for each in covered if each in GONE]
    assert scope["collected"] == [each for each in covered if each in ALL]
    assert (scope["partial_reason"] is None) == (arguments == ["."])


@both
def test_what_is_deselected_is_there(tree, how):
    scope = tree.scope("-k", "two or four", *how)
    assert scope["collected"] == [ALL[0], ALL[4]]
    assert scope["deselected"] == ALL[1:4]
    assert scope["vanished"] == GONE
    assert scope["partial_reason"] == "3 tests were deselected"


def test_what_the_arguments_leave_out_is_not_covered(tree):
    scope = tree.scope("--deselect", "test_a.py::test_o", "--deselect", "test_a.py::test_gone", "--ignore", "lost")
    assert scope["covered"] == [*ALL[:2], ALL[4], GONE[2], GONE[3]]
    assert scope["vanished"] == GONE[2:4]
    assert tree.scope("--ignore-glob", "de*")["covered"] == [*ALL[1:], *GONE[:3], GONE[4]]
    assert tree.scope("--ignore-glob", "*/test_b*")["partial_reason"].endswith("test_b* was ignored")


@both
def test_groups_are_no_part_of_a_name(tree, how):
    if how:
        how = (*how, "--dist", "loadgroup")
    scope = tree.scope(*how)
    assert scope["collected"] == ALL
    assert tree.scope("-k", "not two", *how)["deselected"] == [ALL[4]]


@both
def test_a_module_that_was_not_read_hides_its_tests(tree, how):
    tree.write("deep/test_b.py", "import pytest\npytest.skip('needs a board', allow_module_level=True)")
    scope = tree.scope(*how)
    assert scope["unread"] == {"deep/test_b.py": "Skipped: needs a board"}
    assert scope["vanished"] == [each for each in GONE if not each.startswith("deep")]
    assert scope["partial_reason"] == "deep/test_b.py was not read: Skipped: needs a board"


@both
def test_a_module_that_breaks_hides_its_tests_and_makes_the_run_a_partial_one(tree, how):
    tree.write("deep/test_b.py", "import missing_module_of_ours")
    scope = tree.scope(*how)
    assert "missing_module_of_ours" in scope["unread"]["deep/test_b.py"]
    assert GONE[3] not in scope["covered"]
    assert scope["partial_reason"].startswith("the run was stopped" if how == SERIAL else "deep/test_b.py was not read")


@both
def test_a_run_that_stops_early_has_collected_all_the_same(tree, how):
    tree.write("test_a.py", "def test_one(): assert False\n\ndef test_two(): pass\n")
    scope = tree.scope("-x", *how)
    assert len(scope["collected"]) == 3
    assert "stopping after 1 failures" in scope["cut_short"]
    assert scope["partial_reason"] == scope["cut_short"]
    assert GONE[0] in scope["vanished"]


def test_stepwise_and_exits_are_told(tree):
    tree.write("test_a.py", "import pytest\n\ndef test_one(): pytest.exit('enough')\n")
    assert tree.scope()["cut_short"] == "the run was stopped: enough"
    tree.write("test_a.py", "def test_one(): assert False\n\ndef test_two(): pass\n")
    assert "Test failed" in tree.scope("--sw")["cut_short"]


@both
def test_a_run_of_the_last_failures_can_not_tell(tree, how):
    tree.write("deep/test_b.py", "def test_four(): assert False\n")
    tree.scope(*how)
    scope = tree.scope("--lf", *how)
    assert scope["covered"] == scope["vanished"] == []
    assert scope["partial_reason"] == "--lf leaves out files without failures"


def test_packages_that_are_named_as_such_can_not_tell(tree):
    (tree.pytester.path / "deep" / "__init__.py").write_text("")
    assert tree.scope("--pyargs", "deep")["covered"] == []


def test_a_file_outside_the_root_directory_covers_nothing_in_it(tree):
    (tree.pytester.path / "deep" / "asked.txt").write_text("test_a.py::test_two test_b.py::test_four")
    tree.pytester.runpytest_subprocess("--rootdir", "deep", "test_a.py").assert_outcomes(passed=4)
    scope = json.loads((tree.pytester.path / "deep" / "scope.json").read_text())
    assert (scope["roots"], scope["covered"]) == ([], [])
    assert scope["partial_reason"] == "only what is outside the root directory was asked for"


def test_the_ini_files_folders_are_what_was_asked_for(tree):
    tree.pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers = xdist_group: x\ntestpaths = deep")
    scope = tree.scope()
    assert (scope["roots"], scope["covered"]) == (["deep"], [ALL[0], GONE[3]])


def test_a_run_from_a_folder_below_covers_that_folder(tree, monkeypatch):
    monkeypatch.chdir(tree.pytester.path / "deep")
    scope = tree.scope("--rootdir", "..")
    assert (scope["roots"], scope["covered"]) == (["deep"], [ALL[0], GONE[3]])


def test_a_worker_that_dies_leaves_the_others_word(tree):
    tree.write("deep/test_b.py", "import os\n\ndef test_four(): os._exit(3)\n")
    scope = tree.scope("-n", "2", "-k", "not two")
    assert scope["deselected"] == [ALL[4]]
    assert scope["vanished"] == GONE


def test_where_every_worker_died_nobody_knows_what_was_deselected(tree):
    tree.write("deep/test_b.py", "import os\n\ndef test_four(): os._exit(3)\n")
    scope = tree.scope("-n", "1", "-k", "four", "--max-worker-restart", "0")
    assert scope["blind"] == "no worker could tell what it deselected"
    assert scope["vanished"] == []


@pytest.mark.parametrize(
    ("grouped", "own"),
    [
        ("t.py::test_it@board", "t.py::test_it"),
        ("t.py::test_it[a@b]@board", "t.py::test_it[a@b]"),
        ("t.py::test_it[a@b]", "t.py::test_it[a@b]"),
        ("t.py::TestIt::test_it@a_b@c", "t.py::TestIt::test_it"),
        ("at@home/t.py::test_it", "at@home/t.py::test_it"),
        ("at@home/t.py", "at@home/t.py"),
        ("t.py::test_it[a::b]@board", "t.py::test_it[a::b]"),
    ],
)
def test_the_group_is_taken_off(grouped, own):
    assert without_group(grouped) == own


names = st.text(st.sampled_from("ab@[]/-"), min_size=1, max_size=6)


@given(names, names)
def test_a_root_covers_itself_and_what_is_below_it_alone(root, other):
    scope = Scope(roots=(root,))
    assert scope.covers(root)
    assert scope.covers(f"{root}::{other}")
    assert scope.covers(f"{root}/{other}")
    assert not scope.covers(f"{root}x/{other}")
    assert not scope.covers(f"x{root}")


@given(names)
def test_nothing_that_was_collected_or_deselected_has_vanished(name):
    assert not Scope(collected=frozenset([name])).has_vanished(name)
    assert not Scope(deselected=frozenset([name])).has_vanished(name)
    assert Scope().has_vanished(name) == Scope().covers(name)
    assert not Scope(blind="asked for by name").has_vanished(name)
