"""What a run set out to do, so that a test that vanished can be told from one that nobody asked for.

``Scope`` is pure. ``ScopeWatch`` fills it through pytest's hooks, with and without xdist: its controller collects nothing itself, so the
workers tell it what they found. Light enough for a run that measures nothing.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from pytest_tpf.record import record

DESELECTED_KEY = "tpf_deselected"
EVERYTHING = ""
"""The root that has every test below it."""

_NOT_COLLECTED = "the tests were not collected to the end"


@record
class Scope:
    """What a run's arguments name, and what was found there. Texts are for people.

    ``collected``: node ids that were left to run. ``deselected``: those that exist and were taken out (``-k``, ``-m``, ``--deselect``,
    ``--lf``, a plugin). ``roots``: node ids and paths relative to the root directory, as node ids are, that the arguments name.
    ``left_out``: what starts so was to be left out (``--deselect``); ``ignored``: paths of ``--ignore``; ``ignored_globs``: absolute
    patterns of ``--ignore-glob``, for files below ``rootdir``. ``unread``: collectors that failed or were skipped, and why.
    ``blind``: why what was found doesn't tell what exists; ``cut_short``: why not all that was found was run.
    """

    collected: frozenset[str] = frozenset()
    deselected: frozenset[str] = frozenset()
    roots: tuple[str, ...] = (EVERYTHING,)
    left_out: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    ignored_globs: tuple[str, ...] = ()
    rootdir: str = ""
    unread: Mapping[str, str] = field(default_factory=dict)
    blind: str | None = None
    cut_short: str | None = None

    def covers(self, nodeid: str) -> bool:
        """Whether these arguments would have found the test, if it still existed. False where that can't be known."""
        return self.blind is None and any(_is_below(nodeid, root) for root in self.roots) and not self._leaves_out(nodeid)

    def has_vanished(self, nodeid: str) -> bool:
        """Whether a test that once was can't be found any more where this run looked; one that was deselected is there."""
        return self.covers(nodeid) and nodeid not in self.collected and nodeid not in self.deselected

    @property
    def partial_reason(self) -> str | None:
        """Why this run is not of every test below the root directory; None where it is."""
        if self.blind or self.cut_short:
            return self.blind or self.cut_short
        if EVERYTHING not in self.roots:
            return f"only {', '.join(self.roots) or 'what is outside the root directory'} was asked for"
        if self.deselected or self.left_out:
            return f"{len(self.deselected)} tests were deselected"
        if self.ignored or self.ignored_globs:
            return f"{', '.join((*self.ignored, *self.ignored_globs))} was ignored"
        return next((f"{name} was not read: {why}" for name, why in self.unread.items()), None)

    def _leaves_out(self, nodeid: str) -> bool:
        if nodeid.startswith(self.left_out) if self.left_out else False:  # --deselect takes prefixes of any length
            return True
        if any(_is_below(nodeid, path) for path in (*self.ignored, *self.unread)):
            return True
        return bool(self.ignored_globs) and _matches(PurePosixPath(self.rootdir, nodeid.partition("::")[0]), self.ignored_globs)


def without_group(nodeid: str) -> str:
    """The test's own id: ``--dist loadgroup`` appends ``@group`` to it. An ``@`` in a parameter or a path is the test's."""
    name_starts = max(nodeid.rfind("]"), nodeid.rfind("::"))
    at = nodeid.find("@", name_starts)
    return nodeid[:at] if at > name_starts >= 0 else nodeid


def own_nodeid(item: pytest.Item) -> str:
    """The item's node id, as it is in a run without xdist."""
    return without_group(item.nodeid) if getattr(item.config.option, "loadgroup", False) else item.nodeid


def _is_below(nodeid: str, root: str) -> bool:
    """A folder's files, a file's tests, a class's methods, a function's parameters; and the thing itself."""
    if root == EVERYTHING:
        return not nodeid.startswith("../")
    rest = nodeid.removeprefix(root)
    if not rest:
        return True
    return rest != nodeid and (rest.startswith(("/", "::")) or (rest.startswith("[") and "::" in root))


def _matches(path: PurePosixPath, globs: Sequence[str]) -> bool:
    """A folder that is ignored takes its files with it."""
    return any(fnmatch(str(each), glob) for each in (path, *path.parents) for glob in globs)


class ScopeWatch:
    """Watches what is collected, deselected and run; ``scope`` is what is known by now. Register it in ``pytest_configure``."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._is_controller = getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput")
        self._has_groups = getattr(config.option, "dist", "no") == "loadgroup"
        self._collected: set[str] = set()
        self._deselected: set[str] = set()
        self._unread: dict[str, str] = {}
        self._has_ended = False
        self._knows_deselected = not self._is_controller
        self._cut_short: str | None = None

    @property
    def scope(self) -> Scope:
        """The run's scope; complete once the test loop has ended (under xdist the workers tell at their end what they deselected)."""
        config = self._config
        ignored_globs = [str(_absolute(config, text)) for text in config.getoption("ignore_glob") or ()]
        return Scope(
            collected=frozenset(self._collected),
            deselected=frozenset(self._deselected),
            roots=_roots(config),
            left_out=tuple(config.getoption("deselect") or ()),
            ignored=tuple(path for text in config.getoption("ignore") or () if (path := _relative(config, text))),
            ignored_globs=tuple(ignored_globs),
            rootdir=config.rootpath.as_posix(),
            unread=dict(self._unread),
            blind=self._blind(),
            cut_short=self._cut_short,
        )

    def _blind(self) -> str | None:
        if self._config.getoption("pyargs"):
            return "--pyargs names packages, not files"
        if self._config.getoption("lf", default=False):
            return "--lf leaves out files without failures"
        if not self._has_ended:
            return _NOT_COLLECTED
        return None if self._knows_deselected else "no worker could tell what it deselected"

    # --- where tests are collected ------------------------------------------------------------------------------------

    def pytest_deselected(self, items: Iterable[pytest.Item]) -> None:
        """They exist, and are not for this run."""
        self._deselected.update(own_nodeid(item) for item in items)

    def pytest_collection_modifyitems(self) -> None:
        """Only a collection that came to its end gets here."""
        self._has_ended = True

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What is left is to be run."""
        if self._has_ended:
            self._collected.update(own_nodeid(item) for item in session.items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that couldn't be imported, or skipped itself, hides its tests; xdist's workers pass those reports on."""
        if not report.passed:
            self._unread[report.nodeid] = _reason(report)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        """``-x``, ``--maxfail``, ``--sw``, an interruption: pytest ends the loop by raising."""
        try:
            return (yield)
        except BaseException as error:
            self._cut_short = f"the run was stopped: {error}" if str(error) else f"the run was stopped ({type(error).__name__})"
            raise

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """A worker's last words to its controller."""
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[DESELECTED_KEY] = sorted(self._deselected)

    # --- xdist's controller -------------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """A worker has collected; all of them find the same."""
        self._has_ended = True
        self._collected.update(map(without_group, ids) if self._has_groups else ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker has ended; one that died has said nothing, but the others have."""
        told = getattr(node, "workeroutput", {}).get(DESELECTED_KEY)
        if told is not None:
            self._knows_deselected = True
            self._deselected.update(told)


def _reason(report: pytest.CollectReport) -> str:
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr or report.outcome)
    lines = [line for line in str(text).splitlines() if line.strip()]
    return lines[-1] if lines else report.outcome


def _roots(config: pytest.Config) -> tuple[str, ...]:
    """What the arguments name; pytest itself has put the ini file's ``testpaths`` or the current folder there where nothing was given."""
    roots = dict.fromkeys(_root(config, argument) for argument in config.args)
    return tuple(root for root in roots if root is not None)


def _root(config: pytest.Config, argument: str) -> str | None:
    base, bracket, parameters = argument.partition("[")
    text, *names = base.split("::")
    path = _relative(config, text)
    return None if path is None else "::".join([path, *names]) + bracket + parameters


def _relative(config: pytest.Config, text: str) -> str | None:
    """The path as node ids have it; the root directory and what contains it is everything, what lies elsewhere has no place (None)."""
    path, root = _absolute(config, text), config.rootpath
    if root.is_relative_to(path):
        return EVERYTHING
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def _absolute(config: pytest.Config, text: str) -> Path:
    return Path(os.path.normpath(config.invocation_params.dir / text))
