"""Which tests run, in which order and how they stop: pytest's own options, and its neighbours'. What ran is measured, and nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from pytest_tpf.report.validate import validate
from tests.conftest import neighbours_off
from tests.plugin.conftest import INI

SUITE = """
    @pytest.mark.tpf
    @pytest.mark.slow
    @pytest.mark.parametrize("n", [1, 2])
    def test_many(model, n): model.generate(seconds=0.15)

    @pytest.mark.tpf
    def test_one(model):
        model.generate(seconds=0.15)
        assert not FAILS

    class TestIt:
        @pytest.mark.tpf
        def test_method(self, model): model.generate(seconds=0.15)

    def test_plain(): assert not PLAIN_FAILS
"""
ALL = ["TestIt::test_method", "test_many[1]", "test_many[2]", "test_one"]


@pytest.fixture
def chosen(suite):
    """Runs the suite with these options; the names of the tests in its report, or None where there is no report."""
    suite.pytester.makefile(".ini", pytest=f"{INI}markers = slow: takes long")

    def run(*options, fails=False, plain_fails=False, cache=False, gate="strict"):
        suite.write(f"    FAILS, PLAIN_FAILS = {fails}, {plain_fails}\n{SUITE}")
        (suite.path / "report.json").unlink(missing_ok=True)
        arguments = ("--tpf-report", "report.json", "--tpf-gate", gate, *(() if cache else ("-p", "no:cacheprovider")))
        chosen.result = suite.pytester.runpytest_inprocess(*arguments, *options)
        return names_of(suite)

    class Chosen:
        __call__ = staticmethod(run)

    chosen = Chosen()
    return chosen


def names_of(suite):
    if not (suite.path / "report.json").exists():
        return None
    assert validate(suite.report()) == []
    return sorted(test["nodeid"].partition("::")[2] for test in suite.report()["tests"])


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ALL),
        (["-k", "many"], ALL[1:3]),
        (["-k", "not many and not plain"], [ALL[0], ALL[3]]),
        (["-m", "slow"], ALL[1:3]),
        (["-m", "tpf and not slow"], [ALL[0], ALL[3]]),
        (["--deselect", "test_it.py::test_many[1]", "--deselect", "test_it.py::TestIt"], ALL[2:]),
        (["test_it.py::TestIt"], [ALL[0]]),
        (["test_it.py::test_many[2]"], [ALL[2]]),
        (["--import-mode=importlib"], ALL),
        (["-W", "error"], ALL),
        (["-p", "no:terminal"], ALL),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_chosen_is_measured(chosen, options, names):
    assert chosen(*options) == names
    assert chosen.result.ret == 0


@pytest.mark.parametrize(
    "options", [["-k", "plain"], ["--ignore", "test_it.py"], ["-k", "nothing_of_the_kind"], ["test_it.py::test_plain"]], ids=" ".join
)
def test_where_no_measured_test_is_chosen_nothing_is_asked_for(chosen, options):
    assert chosen(*options) is None
    assert chosen.result.ret in (0, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert "nothing was measured" not in "\n".join(chosen.result.outlines)


@pytest.mark.parametrize(
    "options",
    [["--collect-only"], ["--co", "-q"], ["--setup-only"], ["--setup-plan"], ["--fixtures"], ["--fixtures-per-test"], ["--co", "-n", "2"]],
    ids=" ".join,
)
def test_a_run_without_bodies_opens_no_meter_and_leaves_the_report(suite, options):
    suite.write("    FAILS = PLAIN_FAILS = False\n" + SUITE)
    (suite.path / "report.json").write_text("older")
    suite.pytester.makefile(".ini", pytest=f"{INI}markers = slow: takes long")
    before = {path.name for path in suite.path.iterdir()}
    result = suite.run(None, *options, "--tpf-gate", "strict", subprocess="-n" in options)
    assert result.ret == 0
    assert (suite.path / "report.json").read_text() == "older"
    after = {path.name for path in suite.path.iterdir() if not path.name.startswith("runpytest-")}  # pytester's
    assert after - before <= {"__pycache__", "stdout", "stderr"}
    text = result.stdout.str()
    assert "ESTIMATED" not in text
    assert "energy-to-token ==" not in text
    assert "tpf::gate" not in text


@pytest.mark.stress
def test_the_last_failures_are_run_again(chosen):
    assert chosen(cache=True, fails=True) == ALL
    assert chosen("--lf", cache=True) == ["test_one"]
    assert chosen.result.ret == 0
    assert chosen("--lf", cache=True) == ALL  # there are none left
    assert chosen("--ff", cache=True, fails=True) == ALL


def test_a_run_of_other_last_failures_asks_for_no_figures(chosen):
    chosen(cache=True, plain_fails=True)
    assert chosen("--lf", cache=True) is None
    assert chosen.result.ret == 0


@pytest.mark.stress
def test_stepwise_goes_on_where_it_stopped(chosen):
    assert chosen("--sw", cache=True, fails=True) == ["test_many[1]", "test_many[2]", "test_one"]
    assert chosen("--sw", cache=True) == ["TestIt::test_method", "test_one"]


@pytest.mark.parametrize("options", [["-x"], ["--maxfail", "1"]], ids=" ".join)
def test_what_was_measured_before_the_run_stopped_is_kept(chosen, options):
    assert chosen(*options, fails=True) == ["test_many[1]", "test_many[2]", "test_one"]
    assert chosen.result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("how", ["pytest.exit('enough')", "raise KeyboardInterrupt"])
def test_an_exit_keeps_what_was_measured(suite, how):
    result = suite.run(
        f"""
        @pytest.mark.tpf
        def test_a(model): model.generate()

        @pytest.mark.tpf
        def test_b(model):
            model.generate()
            {how}

        @pytest.mark.tpf
        def test_c(model): model.generate()
    """,
        subprocess=True,
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert names_of(suite) == ["test_a", "test_b"]
    assert [test["outcome"] for test in suite.report()["tests"]] == ["passed", "interrupted"]


@pytest.mark.stress
def test_ctrl_c_ends_a_run_of_workers_with_its_report(suite):
    suite.write("""
        import pathlib, time

        @pytest.mark.tpf
        def test_a(model): model.generate()

        @pytest.mark.tpf
        def test_b(model):
            model.generate()
            pathlib.Path("running").write_text("")
            time.sleep(60)
    """)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tpf-report", "report.json", "-n", "1"]
    with subprocess.Popen(command, cwd=suite.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as run:
        while not (suite.path / "running").exists() and run.poll() is None:
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == pytest.ExitCode.INTERRUPTED
    assert names_of(suite) == ["test_a"]


# --- kinds of tests ---------------------------------------------------------------------------------------------------


def test_markers_of_classes_and_modules_hold(suite):
    suite.run(
        """
        import unittest

        pytestmark = pytest.mark.tpf(max_output_tokens=8, group="module")

        @pytest.mark.tpf(max_output_tokens=100)
        class TestIt:
            def test_method(self, model): model.generate(tokens=50)

            @pytest.mark.tpf(group="own")
            def test_own(self, model): model.generate(tokens=50)

        class TestCase(unittest.TestCase):
            def test_case(self):
                from tests.plugin.toy import Toy
                Toy().generate()

        @pytest.mark.asyncio
        async def test_async(model): model.generate()
    """
    ).assert_outcomes(passed=4)
    tests = suite.tests()
    assert {name: (test["group"], test["budgets"][0]["limit"]) for name, test in tests.items()} == {
        "TestIt::test_method": ("module", 100),
        "TestIt::test_own": ("own", 100),
        "TestCase::test_case": ("module", 8),
        "test_async": ("module", 8),
    }


ITEMS = """
class Note(pytest.File):
    def collect(self):
        yield Line.from_parent(self, name="line")

class Line(pytest.Item):
    def runtest(self):
        from tests.plugin.toy import Toy
        Toy().generate()

    def reportinfo(self):
        return self.path, 0, self.name

def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".note":
        return Note.from_parent(parent, path=file_path)
"""


@pytest.mark.parametrize(("options", "names"), [((), ["test_it"]), (("--tpf-all",), ["line", "test_it"])])
def test_items_that_are_no_functions_do_no_harm(suite, options, names):
    (suite.path / "conftest.py").write_text((suite.path / "conftest.py").read_text() + ITEMS)
    (suite.path / "a.note").write_text("")
    (suite.path / "test_doc.txt").write_text(">>> 1 + 1\n2\n")
    source = '    """\n    >>> 1 + 1\n    2\n    """\n\n    @pytest.mark.tpf\n    def test_it(model): model.generate()\n'
    suite.run(source, "--doctest-modules", *options).assert_outcomes(passed=3)
    assert names_of(suite) == names


# --- neighbours -------------------------------------------------------------------------------------------------------

SHUFFLED = """
    import random

    seen = []

    @pytest.mark.tpf
    @pytest.mark.parametrize("n", range(8))
    def test_it(model, n, tpf):
        model.generate(seconds=0.01)
        tpf.extra["order"] = len(seen)
        tpf.extra["random"] = random.random()
        seen.append(n)
"""


def shuffled(suite, *options):
    suite.run(SHUFFLED, "-p", "no:cacheprovider", *options, subprocess=True).assert_outcomes(passed=8)
    return {test["params"]["n"]: test["extra"] for test in suite.report()["tests"]}


def test_a_shuffled_run_is_complete_and_its_seeds_are_the_shufflers(suite, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", neighbours_off("randomly"))
    first, again, other = (shuffled(suite, "-p", "randomly", f"--randomly-seed={seed}") for seed in (1, 1, 2))
    assert first.keys() == {str(n) for n in range(8)}
    assert first == again != other
    assert [first[str(n)]["order"] for n in range(8)] != list(range(8))


@pytest.mark.stress
def test_a_shuffled_run_of_workers_is_complete(suite, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", neighbours_off("randomly"))
    assert shuffled(suite, "--randomly-seed=1", "-n", "2").keys() == {str(n) for n in range(8)}


def test_the_tests_random_numbers_are_those_of_an_unmeasured_run(suite, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", neighbours_off("randomly"))
    suite.write("""
        import pathlib, random

        @pytest.mark.tpf
        @pytest.mark.parametrize("n", range(3))
        def test_it(model, n):
            model.generate(seconds=0.01)
            with open("numbers.txt", "a") as file:
                print(n, random.random(), file=file)
    """)
    numbers = []
    for options in ((), ("--tpf-off",), ("-p", "no:tpf", "-o", "markers=tpf")):
        (suite.path / "numbers.txt").unlink(missing_ok=True)
        hooks = (suite.path / "conftest.py").read_text()
        if "no:tpf" in options:
            (suite.path / "conftest.py").write_text(hooks.replace("pytest_tpf_engines", "engines_of"))
        suite.pytester.runpytest_subprocess("--randomly-seed=5", *options).assert_outcomes(passed=3)
        numbers.append((suite.path / "numbers.txt").read_text())
    assert numbers[0] == numbers[1] == numbers[2]


def test_a_time_limit_of_pytest_timeout_keeps_what_was_measured_until_then(suite, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", neighbours_off("timeout"))
    result = suite.run(
        """
        import time

        @pytest.mark.tpf
        def test_a(model): model.generate()

        @pytest.mark.tpf
        @pytest.mark.timeout(2, method="signal")
        def test_b(model):
            model.generate(tokens=3)
            time.sleep(30)
    """,
        subprocess=True,
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert names_of(suite) == ["test_a", "test_b"]
    assert suite.tests()["test_b"]["workload"]["output_tokens"] == 3
