"""The options as the user gave them, resolved into one frozen ``Settings``: command line over ini over default."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_tpf.options import OPTIONS, Option, ini_says_off

if TYPE_CHECKING:
    import pytest

    from pytest_tpf.judge.thresholds import Threshold


class Settings(NamedTuple):
    """Every option, resolved: command line over ini over default. Paths are as given; None means not set."""

    report: str | None = None
    meter: tuple[str, ...] = ("auto",)
    replay: str | None = None
    replay_offset: float = 0.0
    prometheus: str | None = None
    ray: str | None = None
    tokenizer: str | None = None
    require: str | None = None
    facility: str | None = None
    pue: float | None = None
    rounds: int | None = None
    warmup: int = 1
    max_time: float = 5.0
    target_ci: float = 0.05
    baseline: str | None = None
    accept: str | None = None
    save: str | None = None
    compare: str | None = None
    compare_across: bool = False
    compare_runs: int = 20
    fail: tuple[Threshold, ...] | None = None
    storage: str | None = None
    markdown: str | None = None
    gate: str = "warn"
    columns: tuple[str, ...] = ()
    sort: str | None = None
    group_by: str | None = None
    rows: int = 100
    cpu_tdp: float | None = None
    watch: tuple[int, ...] = ()
    operations_threshold: float = 0.3
    junit_properties: bool = False
    all: bool = False
    off: bool = False

    @property
    def compares(self) -> bool:
        """Whether tests are compared with what they were."""
        return self.baseline is not None or self.compare is not None

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """Which changes are regressions: a baseline guards joules per token even where nobody says so, a comparison only tells."""
        from pytest_tpf.judge.thresholds import DEFAULT

        if self.fail is not None:
            return self.fail
        return DEFAULT if self.baseline is not None else ()


class OptionError(ValueError):
    """What is wrong with the options, all mistakes at once, one line each."""


def resolve(config: pytest.Config, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this run: command line over ini over default. Raises OptionError with every mistake."""
    values: dict[str, Any] = {"gate": "strict" if environ.get("CI") else "warn"}
    mistakes: list[str] = []
    for option in OPTIONS:
        where, text = _given(config, option)
        if not text:
            continue
        try:
            values[option.key] = _parsed(option, text)
        except ValueError as error:
            mistakes.append(f"{where}: {text!r} is not usable: {error}")
    if ini_says_off(config):
        values["off"] = True
    if "baseline" in values and config.getoption("tpf_baseline", default=None) is None:  # the ini file's lies beside it
        values["baseline"] = os.path.relpath(config.rootpath / values["baseline"], config.invocation_params.dir)
    settings = _with_one_reference(Settings(**values), config)
    mistakes += [*_contradictions(settings, config), *_swallowed(config)]
    if mistakes:
        raise OptionError("\n".join(mistakes))
    return _with_prometheus(_with_replay(settings))


def _with_one_reference(settings: Settings, config: pytest.Config) -> Settings:
    """Where the ini file says what to compare with, the command line may say something else."""
    given = {key for key in ("baseline", "compare") if config.getoption(f"tpf_{key}", default=None) is not None}
    if settings.baseline is None or settings.compare is None or len(given) != 1:
        return settings
    return settings._replace(compare=None) if given == {"baseline"} else settings._replace(baseline=None)


def _swallowed(config: pytest.Config) -> list[str]:
    """An option whose value may be left out takes the word that follows: the tests to run."""
    words = [str(word) for word in config.invocation_params.args]
    found = []
    for option in OPTIONS:
        pairs = itertools.pairwise(words) if option.bare is not None else ()
        for word in [after for before, after in pairs if before == f"--tpf-{option.name}"]:
            path = config.invocation_params.dir / word.partition("::")[0]
            if path.is_dir() or (path.suffix == ".py" and path.is_file()):
                found.append(f"--tpf-{option.name} {word}: names tests, it seems: put them first, or write --tpf-{option.name}={word}")
    return found


def _contradictions(settings: Settings, config: pytest.Config) -> list[str]:
    found = []
    if settings.baseline is not None and settings.compare is not None:
        found.append("--tpf-baseline and --tpf-compare: a run is compared with one of them")
    if settings.accept is not None and settings.baseline is None:
        found.append("--tpf-accept renews a baseline: name its file with --tpf-baseline FILE")
    # the ini file may say once for all runs what a regression is
    if config.getoption("tpf_fail", default=None) is not None and settings.fail and not settings.compares:
        found.append("--tpf-fail needs something to compare with: --tpf-baseline FILE or --tpf-compare REF")
    return found


def _with_replay(settings: Settings) -> Settings:
    """A log that is named is attached, and counts before other meters of the same device."""
    if settings.replay is None or "replay" in settings.meter:
        return settings
    return settings._replace(meter=("replay", *settings.meter))


def _with_prometheus(settings: Settings) -> Settings:
    """A server that is named is asked; what meters of this machine read themselves is theirs."""
    if settings.prometheus is None or "prometheus" in settings.meter:
        return settings
    return settings._replace(meter=(*settings.meter, "prometheus"))


def _given(config: pytest.Config, option: Option) -> tuple[str, str]:
    on_command_line = config.getoption(f"tpf_{option.key}", default=None)
    if on_command_line is not None:
        return f"--tpf-{option.name}", str(on_command_line)
    return f"tpf_{option.key} (ini)", str(config.getini(f"tpf_{option.key}"))


def _parsed(option: Option, text: str) -> Any:
    if option.choices and text not in option.choices:
        raise ValueError(f"expected {' or '.join(option.choices)}")
    return option.parse(text)
