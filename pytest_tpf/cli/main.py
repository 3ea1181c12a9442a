"""``tpf VERB ...``: finds the verb and gives it the rest. Only the module of the verb that is called is imported.

Exit codes: 0 fine, 1 the check failed, 2 unusable arguments or input. Errors are one line on stderr.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

OK, CHECK_FAILED, UNUSABLE = 0, 1, 2
_INTERRUPTED = 130  # as a shell says it: 128 + SIGINT


class Verb(NamedTuple):
    """A verb: its module has ``add_arguments(parser)`` and a function that takes the parsed arguments and returns the exit code."""

    module: str
    function: str
    help: str


VERBS = {
    "meters": Verb("pytest_tpf.cli.meters", "run", "what can be metered here, how fast it refreshes, and the shortest window for 1 %"),
    "calibrate": Verb("pytest_tpf.cli.calibrate", "calibrate", "measure this machine's peaks and idle power, and keep them"),
    "validate": Verb("pytest_tpf.cli.validate", "run", "check reports against the schema"),
    "show": Verb("pytest_tpf.cli.show", "run", "print a report's table, or one test in full"),
    "baseline": Verb("pytest_tpf.cli.baseline", "run", "list what a baseline holds, or drop entries"),
    "compare": Verb("pytest_tpf.cli.compare", "run", "compare a report with one or more earlier ones, test by test"),
    "merge": Verb("pytest_tpf.cli.merge", "run", "make one report of those of a run's shards"),
    "import": Verb("pytest_tpf.cli.importing", "run", "make a report of what AIPerf, vllm bench serve or GuideLLM measured"),
    "history": Verb("pytest_tpf.cli.history", "run", "list, show, prune, export and import the runs that were saved"),
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"{self.prog}: {message.splitlines()[0]} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``tpf`` with these arguments (those of the process by default) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that can't show µ or ± is no reason to fail
    try:
        code = _call(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more at its end
        return CHECK_FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def fail(verb: str, text: object, code: int = UNUSABLE) -> int:
    """One line on stderr, and the code to return."""
    from pytest_tpf.report.text import plain

    print(f"tpf {verb}: {plain(str(text))}", file=sys.stderr)
    return code


def _call(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in VERBS:
        return _no_verb(arguments)
    name, rest = arguments[0], arguments[1:]
    verb = VERBS[name]
    module = importlib.import_module(verb.module)
    parser = _Parser(prog=f"tpf {name}", description=f"{verb.help[0].upper()}{verb.help[1:]}.", allow_abbrev=False)
    module.add_arguments(parser)
    code: int = getattr(module, verb.function)(parser.parse_args(rest))
    return code


def _no_verb(arguments: list[str]) -> int:
    from pytest_tpf import __version__

    verbs = "\n".join(f"  {name:<11}{verb.help}" for name, verb in VERBS.items())
    parser = _Parser(
        prog="tpf",
        usage="tpf VERB ...",
        description="Energy-to-token measurements of pytest suites.",
        epilog=f"verbs:\n{verbs}\n\nexit codes: 0 fine, 1 the check failed, 2 unusable arguments or input",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pytest-tpf {__version__}")
    if arguments and not arguments[0].startswith("-"):
        near = difflib.get_close_matches(arguments[0], VERBS, n=1)
        parser.error(f"unknown verb {ascii(arguments[0])[:60]}" + (f", did you mean {near[0]!r}?" if near else ""))
    parser.parse_args(arguments)
    parser.error(f"a verb is missing: one of {', '.join(VERBS)}")


if __name__ == "__main__":
    sys.exit(main())
