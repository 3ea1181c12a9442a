"""The vocabulary everyone shares: frozen dataclasses that are also the shape of the report.

Units are in the names (``_j`` joules, ``_w`` watts, ``_s`` seconds). ``None`` means unknown, and a ``reason`` beside it says why;
an unknown number is never 0. ``codec`` turns records into builtins (JSON, xdist) and back.
This module knows nothing above it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pytest_tpf.record import record as record  # re-exported: whoever needs a record needs the vocabulary

SCHEMA_VERSION = "1.0.0"

Trust = Literal["measured", "replayed", "estimated"]
Boundary = Literal["device", "it", "facility"]
Verdict = Literal["pass", "fail", "inconclusive", "not_measured"]
Binding = Literal["compute", "memory_bandwidth", "power", "cooling", "operations", "undetermined"]
TokenSource = Literal["engine", "usage", "tokenizer", "chunks", "declared"]
PueKind = Literal["annual", "interim", "partial", "designed", "mixed_use", "assumed"]
PueCategory = Literal["PUE0", "PUE1", "PUE2", "PUE3", "unknown"]


# --- where it ran -----------------------------------------------------------------------------------------------------


@record
class Generator:
    """The program that wrote the report."""

    name: str
    version: str


@record
class Cpu:
    """The host's processor; ``model`` is what the operating system calls it."""

    model: str | None
    logical_cores: int


@record
class Host:
    """The machine the tests ran on."""

    os: str
    python: str
    cpu: Cpu
    memory_bytes: int | None


@record
class Accelerator:
    """One accelerator board, known by its UUID."""

    domain: str
    name: str
    uuid: str
    index: int | None = None
    memory_bytes: int | None = None
    driver_version: str | None = None
    power_limit_w: float | None = None
    persistence_mode: bool | None = None
    ecc_mode: bool | None = None


@record
class Source:
    """The tested code's version-control state; all None outside a checkout."""

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None


@record
class Ci:
    """The CI service that ran the tests, where one did."""

    provider: str
    run_id: str | None = None
    run_url: str | None = None


@record
class Environment:
    """Where and with what the tests ran. ``hardware_fingerprint`` hashes what makes energies comparable."""

    host: Host
    accelerators: tuple[Accelerator, ...]
    software: dict[str, str]
    source: Source
    ci: Ci | None
    hardware_fingerprint: str


@record
class Pue:
    """Power usage effectiveness as declared; ``value`` is None where nobody declared one (never a silent 1.0)."""

    value: float | None = None
    source: Literal["declared", "undeclared"] = "undeclared"
    kind: PueKind | None = None
    category: PueCategory | None = None


@record
class Facility:
    """The facility profile: what the site declares about power, cooling, utilization, carbon, water and price."""

    pue: Pue = Pue()
    power_budget_w: float | None = None
    power_boundary: Literal["utility_meter", "facility", "it", "node", "accelerator"] | None = None
    cooling_capacity_w: float | None = None
    fleet_utilization: float | None = None
    carbon_intensity_g_per_kwh: float | None = None
    water_l_per_kwh: float | None = None
    electricity_price_per_kwh: float | None = None
    currency: str | None = None


@record
class MeterInfo:
    """One metered domain: who reads it, how, how often it changes, and whether it is measured or estimated."""

    id: str
    source: str
    domain: str
    device: str | None
    method: str
    trust: Trust
    update_period_s: float | None = None
    resolution_j: float | None = None


# --- the four mandated figures, accuracy and latency ------------------------------------------------------------------


@record
class JoulesPerToken:
    """J per output token at ``boundary``; ``ci95`` is the comparative 95 % interval."""

    value: float | None
    ci95: tuple[float, float] | None
    boundary: Boundary
    trust: Trust | None
    reason: str | None = None


@record
class BindingConstraint:
    """The active constraint; ``margin`` = second-lowest ceiling / lowest, ``attainment`` = achieved / lowest ceiling."""

    value: Binding
    margin: float | None
    attainment: float | None
    reason: str


@record
class PueAdjustedPower:
    """Mean IT power times PUE (W); None with the reason where PUE is undeclared."""

    value: float | None
    it_power_w: float | None
    pue: float | None
    reason: str | None = None


@record
class UtilizationAdjustedOutput:
    """Output tokens per second while busy times utilization (tokens/s)."""

    value: float | None
    utilization: float | None
    utilization_source: Literal["measured", "declared"] | None
    busy_tokens_per_second: float | None


@record
class Accuracy:
    """The test's quality figure, where it gave one."""

    value: float | None = None
    metric: str | None = None
    target: float | None = None
    samples: int = 0


@record
class Latency:
    """The latency quantiles beside the four figures (s)."""

    e2e_p50_s: float | None = None
    e2e_p95_s: float | None = None
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p95_s: float | None = None


@record
class Mandated:
    """What arXiv 2605.11733's abstract asks every benchmark to report, next to accuracy and latency."""

    joules_per_token: JoulesPerToken
    binding_constraint: BindingConstraint
    pue_adjusted_power_w: PueAdjustedPower
    utilization_adjusted_tokens_per_second: UtilizationAdjustedOutput
    accuracy: Accuracy
    latency: Latency


# --- workload, service, energy, power ---------------------------------------------------------------------------------


@record
class Model:
    """The model that generated: class name, parameter counts, number formats and a digest of its configuration."""

    name: str | None = None
    parameters: int | None = None
    active_parameters: int | None = None
    dtype: str | None = None
    quantization: str | None = None
    digest: str | None = None


@record
class Workload:
    """What was asked of the model and what it made of it, over all measured rounds.

    ``output_tokens_min``, ``output_tokens_max``: the shortest and the longest observed request; their mean is output_tokens / requests.
    ``reasoning_tokens`` are among the output tokens, ``cached_prompt_tokens`` among the prompt tokens; None where any request didn't tell.
    ``incomplete_requests`` stopped early or failed: their tokens are counted, and never accepted.
    """

    engine: str | None
    model: Model
    requests: int
    rounds: int
    calls_per_round: int
    warmup_rounds: int
    prompt_tokens: int | None
    output_tokens: int
    accepted_tokens: int | None
    token_source: TokenSource | None
    output_tokens_min: int | None = None
    output_tokens_max: int | None = None
    reasoning_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    incomplete_requests: int = 0


@record
class Distribution:
    """A distribution of times (s); quantiles interpolate linearly."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    min: float
    max: float


@record
class Goodput:
    """Requests that met every service limit, quality and completeness, out of those attempted."""

    requests_per_second: float
    good: int
    attempted: int


@record
class Load:
    """How the requests were sent: ``closed`` keeps ``concurrency`` under way, ``open`` sends them by a schedule at the offered rate.

    ``lateness_s``: by how much the client was late with what it should have sent or read. Where that is not small beside the times
    (``is_late``) these say how slow the client was, not the server, and are null. ``failed`` requests raised.
    """

    mode: Literal["closed", "open"]
    requests: int
    failed: int
    concurrency: int | None = None
    peak_concurrency: int | None = None
    arrival: Literal["poisson", "constant"] | None = None
    seed: int | None = None
    offered_requests_per_second: float | None = None
    achieved_requests_per_second: float | None = None
    lateness_s: Distribution | None = None
    is_late: bool = False


@record
class Service:
    """How fast it was. ``busy_s`` is the union of the spans in which an engine generated."""

    duration_s: float
    busy_s: float | None
    tokens_per_second: float | None
    ttft_s: Distribution | None = None
    tpot_s: Distribution | None = None
    inter_chunk_s: Distribution | None = None
    e2e_s: Distribution | None = None
    goodput: Goodput | None = None
    load: Load | None = None


@record
class Energy:
    """Energy of the counted window (J). Invalid or unmetered is None with reason codes, never 0.

    ``uncertainty_j`` compares runs on the same board; ``absolute_uncertainty_j`` adds the sensor's gain. Both are expanded (95 %), and so
    are ``idle_uncertainty_w`` and, from it and the first, ``net_uncertainty_j``. ``idle_share``: how much of ``it_j`` the idle machine
    would have used. ``phases_reason``: why ``prefill_j`` and ``decode_j`` are None.
    """

    it_j: float | None
    call_j: float | None
    device_j: float | None
    facility_j: float | None
    net_j: float | None
    domains: dict[str, float | None]
    unmetered: tuple[str, ...]
    prefill_j: float | None
    decode_j: float | None
    uncertainty_j: float | None
    absolute_uncertainty_j: float | None
    idle_power_w: float | None
    trust: Trust | None
    method: str | None
    valid: bool
    reasons: tuple[str, ...] = ()
    idle_uncertainty_w: float | None = None
    net_uncertainty_j: float | None = None
    idle_share: float | None = None
    phases_reason: str | None = None


@record
class Power:
    """Power over the window (W). ``headroom`` = 1 - mean / limit. ``clock_reasons`` are fractions of the window."""

    mean_w: float | None
    peak_w: float | None = None
    p99_w: float | None = None
    limit_w: float | None = None
    headroom: float | None = None
    clock_reasons: dict[str, float] = dataclasses.field(default_factory=dict)


# --- under which conditions -------------------------------------------------------------------------------------------


@record
class DeviceState:
    """One board from the start to the end of the counted window. Fractions are of the window.

    ``source``: the fractions come from the board's own counters of time held back, or from looking ten times a second.
    """

    domain: str
    temperature_start_c: float | None = None
    temperature_end_c: float | None = None
    sm_clock_start_mhz: float | None = None
    sm_clock_end_mhz: float | None = None
    sm_clock_mean_mhz: float | None = None
    memory_clock_mean_mhz: float | None = None
    thermal_fraction: float | None = None
    power_brake_fraction: float | None = None
    power_cap_fraction: float | None = None
    source: Literal["counter", "polled"] | None = None


@record
class ForeignProcess:
    """A process on a measured board that doesn't belong to the test. ``sm_utilization``: its share of the board's time (0..1)."""

    device: str
    pid: int
    name: str | None = None
    used_memory_bytes: int | None = None
    sm_utilization: float | None = None


@record
class Conditions:
    """What makes a figure comparable, or not. ``flags`` are codes of ``reasons.FLAGS``; each has a warning that gives its figures.

    ``dropped_rounds`` still changed and count as warm-up (they are among ``workload.warmup_rounds``). Drifts are the fitted change from
    the first round to the last, relative to the mean; None where the rounds didn't repeat the same work, or are fewer than three.
    """

    flags: tuple[str, ...] = ()
    dropped_rounds: int = 0
    joules_per_token_drift: float | None = None
    joules_per_token_drift_ci95: tuple[float, float] | None = None
    duration_drift: float | None = None
    duration_drift_ci95: tuple[float, float] | None = None
    devices: tuple[DeviceState, ...] = ()
    foreign_processes: tuple[ForeignProcess, ...] = ()


# --- the production function ------------------------------------------------------------------------------------------


@record
class Ceiling:
    """One ceiling in tokens/s = numerator / denominator, and where the numerator comes from."""

    tokens_per_second: float | None
    numerator: float | None
    denominator: float | None
    provenance: str | None
    reason: str | None = None


@record
class Production:
    """The Token Production Function of this test (arXiv 2605.11733)."""

    ceilings: dict[str, Ceiling]
    achieved_tokens_per_second: float | None
    flops_per_token: float | None
    bytes_per_token: float | None
    joules_per_token: float | None
    theta: float
    utilization: float | None
    phi_system: float | None = None
    phi_baseline: str | None = None


@record
class Derived:
    """Figures that follow from the others."""

    joules_per_request: float | None = None
    joules_per_total_token: float | None = None
    joules_per_accepted_token: float | None = None
    joules_per_correct_answer: float | None = None
    intelligence_per_watt: float | None = None
    intelligence_per_joule: float | None = None
    carbon_g: float | None = None
    water_l: float | None = None
    cost: float | None = None


@record
class FitPoint:
    """One point of the grid: the mean tokens of its requests, their mean energy (J), and what the fit makes of it."""

    prompt_tokens: float
    output_tokens: float
    requests: int
    joules: float | None
    fitted_j: float | None = None


@record
class PromptEnergy:
    """``F(p)``: energy of a prompt of that many tokens and its first output token (J)."""

    prompt_tokens: float
    joules: float


@record
class Fit:
    """Energy of a request as ``E(p, o) = F(p) + (o - 1) * beta``, by least squares over a grid (arXiv 2305.02440), at ``boundary``.

    ``joules_per_output_token`` is beta; ``joules_per_prompt_token`` the slope of F, None with fewer than two prompt lengths.
    ``worst_relative_error`` is the largest of |fitted - measured| / measured. ``reason``: why there is no fit.
    """

    boundary: Boundary
    points: tuple[FitPoint, ...]
    prompts: tuple[PromptEnergy, ...] = ()
    joules_per_output_token: float | None = None
    joules_per_output_token_ci95: tuple[float, float] | None = None
    joules_per_prompt_token: float | None = None
    r2: float | None = None
    worst_relative_error: float | None = None
    reason: str | None = None


# --- judgement and the report -----------------------------------------------------------------------------------------


@record
class BudgetResult:
    """One budget judged: the limit, what was measured, its interval, and the verdict.

    ``attempt``: the earlier attempt that measured and decided it, where the test was run again; None where the record's own did.
    """

    metric: str
    limit: float | str | tuple[str, ...]
    comparison: Literal["<=", ">=", "in"]
    actual: float | str | None
    ci95: tuple[float, float] | None
    boundary: Boundary | None
    verdict: Verdict
    marginal: bool = False
    reason: str | None = None
    attempt: int | None = None


@record
class Round:
    """One measured round. The times are means over the requests observed in it (s)."""

    duration_s: float
    output_tokens: int
    prompt_tokens: int | None
    requests: int
    it_j: float | None
    device_j: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None


@record
class Reference:
    """What a test was compared with. ``ref`` is what the user named: a file, a branch, a commit, a saved name.

    ``commit``, ``recorded_at`` and ``note`` (why a baseline was accepted) are those of the newest run.
    """

    source: Literal["baseline", "history", "report"]
    ref: str
    runs: int
    rounds: int
    commit: str | None = None
    recorded_at: str | None = None
    note: str | None = None


@record
class Change:
    """One figure against its reference. For a relative ``threshold`` change, ``ci95`` and ``detectable`` are fractions of ``reference``,
    else they are in the metric's unit; above zero is worse for costs and times, below zero for rates and quality.

    ``detectable``: the smallest change for the worse that would have been called a regression 95 times in 100.
    ``p``: how likely figures this bad are where the truth is just at the threshold; ``p_adjusted``: the same for all tests of the run
    together (Holm, among those that look worse than their threshold).
    """

    metric: str
    threshold: float | None
    kind: Literal["relative", "absolute"]
    reference: float | None
    actual: float | None
    change: float | None
    ci95: tuple[float, float] | None
    verdict: Verdict
    improved: bool = False
    detectable: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    rounds: int = 0
    reference_rounds: int = 0
    reason: str | None = None


@record
class Regression:
    """A test compared with what it was. ``verdict`` is the worst of the changes that have a threshold.

    ``reason``: why nothing could be compared; ``remarks``: what differed and was compared all the same. ``remeasured_rounds``: how many of
    the test's last rounds were taken because the first ones looked worse.
    """

    reference: Reference | None
    changes: tuple[Change, ...]
    verdict: Verdict
    remeasured_rounds: int = 0
    reason: str | None = None
    remarks: tuple[str, ...] = ()


@record
class TestRecord:
    """Everything known of one measured test: a row of the report, and what a test sees as ``tpf.result``.

    A test that is run again has a row for each ``attempt`` (from 1) that was measured.
    """

    __test__ = False  # pytest must not collect it

    nodeid: str
    outcome: str
    group: str | None
    labels: dict[str, str]
    params: dict[str, str]
    mandated: Mandated
    workload: Workload
    service: Service
    energy: Energy
    power: Power
    production: Production
    derived: Derived
    budgets: tuple[BudgetResult, ...]
    regression: Regression | None
    rounds: tuple[Round, ...]
    warnings: tuple[str, ...]
    extra: dict[str, Any]
    conditions: Conditions = Conditions()
    attempt: int = 1
    fit: Fit | None = None

    @property
    def joules_per_token(self) -> float | None:
        """J per output token at the test's boundary."""
        return self.mandated.joules_per_token.value

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens per second over the counted window."""
        return self.service.tokens_per_second

    @property
    def binding(self) -> Binding:
        """The name of the binding constraint."""
        return self.mandated.binding_constraint.value

    @property
    def verdict(self) -> Verdict:
        """The worst verdict among the budgets (``pass`` where none was set and energy is known)."""
        order: tuple[Verdict, ...] = ("fail", "not_measured", "inconclusive", "pass")
        verdicts = {budget.verdict for budget in self.budgets}
        return next((v for v in order if v in verdicts), "pass" if self.energy.it_j is not None else "not_measured")


@record
class Summary:
    """The run in six numbers. ``regressions`` counts tests."""

    tests: int
    measured: int
    failed_budgets: int
    regressions: int
    total_it_j: float | None
    total_output_tokens: int


@record
class Report:
    """The whole report, as it is written and validated."""

    schema_version: str
    report_id: str
    created_at: str
    generator: Generator
    environment: Environment
    facility: Facility
    meters: tuple[MeterInfo, ...]
    tests: tuple[TestRecord, ...]
    summary: Summary
