"""A suite without a measured test must not notice the plugin."""

from __future__ import annotations

import textwrap

HEAVY = (
    "torch",
    "numpy",
    "transformers",
    "jsonschema",
    "jsonschema_rs",
    "pynvml",
    "tabulate",
    "pytest_tpf.records",
    "pytest_tpf.measuring",
    "pytest_tpf.session",
)


def test_nothing_heavy_is_imported_started_or_written(pytester):
    folder = pytester.mkdir("suite")
    (folder / "test_quiet.py").write_text(
        textwrap.dedent(f"""
        import os, sys, threading

        def test_unmarked():
            assert not [name for name in {HEAVY!r} if name in sys.modules]
            assert threading.active_count() == 1
            assert not os.path.exists(f"/proc/{{os.getpid()}}/task/{{os.getpid()}}/children") or not open(
                f"/proc/{{os.getpid()}}/task/{{os.getpid()}}/children").read()
        """)
    )
    result = pytester.runpytest_subprocess(
        folder, "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:asyncio", "-p", "no:xdist"
    )
    result.assert_outcomes(passed=1)
    assert "tpf" not in result.stdout.str().partition("collected")[2]
    assert {path.name for path in folder.iterdir()} <= {"__pycache__", "test_quiet.py"}


def test_only_the_modules_that_every_run_needs_are_loaded(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_unmarked():
            ours = {name for name in sys.modules if name.startswith("pytest_tpf")}
            assert ours == {"pytest_tpf", "pytest_tpf.plugin", "pytest_tpf.options", "pytest_tpf.hookspec"}
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_an_unmarked_suite_under_xdist_loads_nothing_heavy(pytester):
    pytester.makepyfile(
        f"""
        import sys

        def test_unmarked():
            assert not [name for name in {HEAVY!r} if name in sys.modules and name not in ("numpy", "jsonschema")]
        """
    )
    pytester.runpytest_subprocess("-n", "1", "-p", "no:cacheprovider", "-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_markers_and_options_are_explained(pytester):
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    result = pytester.runpytest("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.tpf(max_joules_per_token=..., ...)*"])
    result = pytester.runpytest("--help")
    result.stdout.fnmatch_lines(["energy-to-token (pytest-tpf):", "*--tpf-report=PATH*", "*--tpf-off*"])
