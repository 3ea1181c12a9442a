"""One table of options: command line, ini keys and documentation; ``settings`` resolves what the user gave.

This module is imported in every pytest run, so it stays light: no dataclass, no import beyond the standard library's small ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


class Option:
    """``--tpf-NAME`` and the ini key ``tpf_NAME``; ``parse`` turns the user's text into the setting or raises ValueError.

    ``bare``: what the option means where its value is left out on the command line.
    A plain class: every pytest run makes it, and a named tuple costs ten times as much to make.
    """

    __slots__ = ("bare", "choices", "help", "metavar", "name", "parse")

    def __init__(
        self,
        name: str,
        parse: Callable[[str], Any],
        metavar: str | None,
        help: str,
        choices: tuple[str, ...] | None = None,
        bare: str | None = None,
    ) -> None:
        self.name, self.parse, self.metavar, self.help, self.choices, self.bare = name, parse, metavar, help, choices, bare

    @property
    def key(self) -> str:
        """The name as an attribute of Settings."""
        return self.name.replace("-", "_")

    @property
    def is_flag(self) -> bool:
        """True where the option takes no value."""
        return self.metavar is None and self.choices is None


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError("expected at least one name")
    return names


def _number(low: float, high: float = math.inf, *, low_is_in: bool = False) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not (low <= value if low_is_in else low < value) or not value <= high or math.isinf(value):
            raise ValueError(
                f"expected a number {'from' if low_is_in else 'above'} {low:g}" + (f" up to {high:g}" if high < math.inf else "")
            )
        return value

    return parse


def _words(text: str) -> str:
    if len(text.strip()) < 3:
        raise ValueError("expected a reason in words: whoever reviews the baseline reads it")
    return " ".join(text.split())


def _existing(text: str) -> str:
    from os.path import abspath, exists, isdir, join

    place = join(text, "tokenizer.json") if isdir(text) else text
    if not exists(place):
        raise ValueError(f"there is no {place}")
    return abspath(place)


def _processes(text: str) -> tuple[int, ...]:
    from pytest_tpf.meters._process_tree import why_not_followed

    try:
        pids = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ValueError("expected process numbers, with commas between them") from None
    for pid in pids:
        if (why := why_not_followed(pid)) is not None:
            raise ValueError(why)
    return tuple(dict.fromkeys(pids))


def _thresholds(text: str) -> Any:
    from pytest_tpf.judge.thresholds import parse_thresholds

    return parse_thresholds(text)


def _seconds(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError("expected a number of seconds")
    return value


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if (value := int(text)) < least:
            raise ValueError(f"expected a whole number of at least {least}")
        return value

    return parse


def _flag(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.strip().lower() not in words:
        raise ValueError("expected true or false")
    return words[text.strip().lower()]


OPTIONS: tuple[Option, ...] = (
    Option("report", str, "PATH", "write the JSON report to PATH (parent folders are made)"),
    Option("meter", _names, "LIST", "where joules come from: auto (default) or a list such as nvml,rapl or estimate"),
    Option("replay", str, "FILE", "attach a power log recorded elsewhere: nvidia-smi, DCGM, or a CSV of time_s and power_w or energy_j"),
    Option("replay-offset", _seconds, "SECONDS", "add this to the log's times, where its clock differs from this machine's (default 0)"),
    Option("prometheus", str, "URL_OR_FILE", "read meters from a Prometheus server: its URL, or a TOML file that names the queries"),
    Option("ray", str, "ADDRESS", "the cluster of the meter ray: HOST:PORT of its head, or auto (default: $RAY_ADDRESS)"),
    Option("tokenizer", _existing, "PATH", "counts the tokens of servers that send no usage: a tokenizer.json, or a folder with one"),
    Option("require", str, None, "fail a run whose energy is only estimated", ("measured",)),
    Option("facility", str, "FILE", "TOML facility profile: pue, power budget, cooling, carbon, water, price"),
    Option("pue", _number(1.0, low_is_in=True), "X", "power usage effectiveness; overrides the profile's"),
    Option("rounds", _whole(1), "N", "exactly N rounds for tpf(fn), instead of as many as the target interval needs"),
    Option("warmup", _whole(0), "N", "calls before the first round of tpf(fn) (default 1)"),
    Option("max-time", _number(0.0), "SECONDS", "longest time to spend on the rounds of one test (default 5)"),
    Option("target-ci", _number(0.0, 1.0), "FRACTION", "stop when the 95%% interval of J/token is this narrow (default 0.05)"),
    Option("baseline", str, "FILE", "compare with the reviewed baseline in FILE, and fail on regressions"),
    Option("accept", _words, "REASON", "measure twice and renew the entries of --tpf-baseline, for this reason"),
    Option("save", str, "NAME", "keep the report in the history, under NAME if one is given", bare="-"),
    Option("compare", str, "REF", "compare with a saved name, a branch, a commit, latest (default), or a report file", bare="latest"),
    Option("compare-across", _flag, None, "compare although hardware, model or work differ, and say what does"),
    Option("compare-runs", _whole(1), "N", "runs of a branch or a name to compare with, at most (default 20)"),
    Option("fail", _thresholds, "EXPR", "changes that are regressions, e.g. joules_per_token:5%%,ttft_s:10%%,quality:0.01"),
    Option("storage", str, "URL", "where the history is: sqlite:///FILE or postgresql://... (default .tpf/history.db)"),
    Option("markdown", str, "PATH", "write a summary in Markdown to PATH; also goes to $GITHUB_STEP_SUMMARY where that is set"),
    Option("gate", str, None, "verdicts that could not be reached: red (default where CI is set) or a warning", ("strict", "warn")),
    Option("columns", _names, "LIST", "columns of the table"),
    Option("sort", str, "COLUMN", "sort the table by this column (default: worst first)"),
    Option("group-by", str, "KEY", "one table per group, file, model, param:NAME or label:NAME"),
    Option("rows", _whole(0), "N", "rows of the table at most, 0 for all; more are counted (default 100)"),
    Option("cpu-tdp", _number(0.0), "WATTS", "thermal design power that the estimate meter scales (default: assumed)"),
    Option("watch", _processes, "PID[,PID]", "servers that were started elsewhere on this machine: the estimate meter follows them, too"),
    Option("operations-threshold", _number(0.0, 1.0), "FRACTION", "attainment below which operations bind (default 0.3)"),
    Option("junit-properties", _flag, None, "add the figures to the JUnit report as properties"),
    Option("all", _flag, None, "also measure unmarked tests in which an engine generates"),
    Option("off", _flag, None, "run marked tests as if the plugin were absent"),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option on the command line (default None, so that the ini layer is reachable) and in the ini file."""
    group = parser.getgroup("energy-to-token", "energy-to-token (pytest-tpf)")
    for option in OPTIONS:
        flag, dest = f"--tpf-{option.name}", f"tpf_{option.key}"
        if option.is_flag:
            group.addoption(flag, dest=dest, action="store_const", const="true", default=None, help=option.help)
        else:
            optional: dict[str, Any] = {} if option.bare is None else {"nargs": "?", "const": option.bare}
            group.addoption(flag, dest=dest, metavar=option.metavar, choices=option.choices, default=None, help=option.help, **optional)
        parser.addini(dest, option.help.replace("%%", "%"), type="string", default="")
    # The ini file may say plain `tpf = off`.
    parser.addini("tpf", "off = run marked tests as if the plugin were absent", type="string", default="")


def measures_all(config: pytest.Config) -> bool:
    """Whether unmarked tests are to be measured too; cheap, and never raises."""
    return _says_yes(config, "tpf_all")


def uses_gate(config: pytest.Config) -> bool:
    """Whether the run is compared, accepted or saved; cheap, and never raises."""
    return any(str(config.getoption(f"tpf_{key}", default=None) or config.getini(f"tpf_{key}")) for key in ("baseline", "compare", "save"))


def is_off(config: pytest.Config) -> bool:
    """Whether the plugin was switched off; cheap, and never raises."""
    return _says_yes(config, "tpf_off") or ini_says_off(config)


def _says_yes(config: pytest.Config, key: str) -> bool:
    return str(config.getoption(key, default=None) or config.getini(key)).lower() in ("true", "1", "yes", "on")


def ini_says_off(config: pytest.Config) -> bool:
    """Whether the ini file has the plain key ``tpf = off``."""
    return str(config.getini("tpf")).strip().lower() in ("off", "false", "0", "no")
