"""A complete report made from records: a test measured by NVML, one that is only estimated, and one whose energy is invalid."""

from __future__ import annotations

from typing import Any

from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.records import (
    Accelerator,
    Accuracy,
    BindingConstraint,
    BudgetResult,
    Ceiling,
    Change,
    Ci,
    Conditions,
    Cpu,
    Derived,
    DeviceState,
    Distribution,
    Energy,
    Environment,
    Facility,
    Fit,
    FitPoint,
    ForeignProcess,
    Generator,
    Goodput,
    Host,
    JoulesPerToken,
    Latency,
    Load,
    Mandated,
    MeterInfo,
    Model,
    Power,
    Production,
    PromptEnergy,
    Pue,
    PueAdjustedPower,
    Reference,
    Regression,
    Report,
    Round,
    Service,
    Source,
    Summary,
    TestRecord,
    UtilizationAdjustedOutput,
    Workload,
)

GPU = "GPU-11111111-2222-3333-4444-555555555555"


def environment() -> Environment:
    return Environment(
        host=Host(
            os="Linux 6.8.0", python="CPython 3.11.9", cpu=Cpu(model="Example CPU 9000", logical_cores=64), memory_bytes=137438953472
        ),
        accelerators=(
            Accelerator(
                domain="gpu:0",
                name="NVIDIA H200",
                uuid=GPU,
                index=0,
                memory_bytes=150754820096,
                driver_version="570.86.15",
                power_limit_w=700.0,
                persistence_mode=True,
                ecc_mode=True,
            ),
        ),
        software={"pytest": "9.2.0", "pytest-tpf": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        source=Source(commit="0123456789abcdef0123456789abcdef01234567", branch="main", dirty=False),
        ci=Ci(provider="GitHub Actions", run_id="123456", run_url="https://github.com/example/project/actions/runs/123456"),
        hardware_fingerprint="00112233445566778899aabbccddeeff"[:16],
    )


def facility(**changes: Any) -> Facility:
    declared: dict[str, Any] = {
        "pue": Pue(value=1.25, source="declared", kind="annual", category="PUE2"),
        "power_budget_w": 1200.0,
        "power_boundary": "node",
        "cooling_capacity_w": 2000.0,
        "fleet_utilization": 0.6,
        "carbon_intensity_g_per_kwh": 380.0,
        "water_l_per_kwh": 1.8,
        "electricity_price_per_kwh": 0.11,
        "currency": "EUR",
    }
    return Facility(**{**declared, **changes})


def meters() -> tuple[MeterInfo, ...]:
    return (
        MeterInfo(
            id="nvml:gpu:0",
            source="nvmlDeviceGetTotalEnergyConsumption",
            domain="gpu:0",
            device=GPU,
            method="energy counter, interpolated between refresh edges",
            trust="measured",
            update_period_s=0.1,
            resolution_j=0.001,
        ),
        MeterInfo(
            id="estimate:cpu:0", source="/proc/stat", domain="cpu:0", device=None, method="CPU time times assumed TDP", trust="estimated"
        ),
    )


def _distribution(mean: float, count: int = 96) -> Distribution:
    return Distribution(count=count, mean=mean, p50=mean * 0.98, p95=mean * 1.2, p99=mean * 1.3, min=mean * 0.8, max=mean * 1.35)


def _ceilings(power_known: bool) -> dict[str, Ceiling]:
    return {
        "compute": Ceiling(tokens_per_second=60000.0, numerator=9.89e14, denominator=1.648e10, provenance="datasheet"),
        "memory_bandwidth": Ceiling(tokens_per_second=1500.0, numerator=4.8e12, denominator=3.2e9, provenance="datasheet"),
        "power": Ceiling(tokens_per_second=4200.0, numerator=960.0, denominator=0.2, provenance="configured")
        if power_known
        else Ceiling(tokens_per_second=None, numerator=None, denominator=None, provenance=None, reason="energy is not known"),
        "cooling": Ceiling(
            tokens_per_second=None, numerator=None, denominator=None, provenance=None, reason="no cooling capacity declared"
        ),
    }


def _workload(**changes: Any) -> Workload:
    plain: dict[str, Any] = {
        "engine": "transformers",
        "model": Model(
            name="LlamaForCausalLM", parameters=8030261248, active_parameters=8030261248, dtype="bfloat16", digest="sha256:0123456789abcdef"
        ),
        "requests": 96,
        "rounds": 3,
        "calls_per_round": 2,
        "warmup_rounds": 1,
        "prompt_tokens": 12288,
        "output_tokens": 6144,
        "accepted_tokens": 5888,
        "token_source": "engine",
        "output_tokens_min": 48,
        "output_tokens_max": 64,
        "reasoning_tokens": 1024,
        "cached_prompt_tokens": 4096,
        "incomplete_requests": 1,
    }
    return Workload(**{**plain, **changes})


def conditions(**changes: Any) -> Conditions:
    plain: dict[str, Any] = {
        "flags": ("temperature_drift", "shared_board"),
        "dropped_rounds": 1,
        "joules_per_token_drift": 0.0176,
        "joules_per_token_drift_ci95": (0.0176, 0.0176),
        "duration_drift": 0.0,
        "duration_drift_ci95": (0.0, 0.0),
        "devices": (
            DeviceState(
                domain="gpu:0",
                temperature_start_c=41.0,
                temperature_end_c=52.0,
                sm_clock_start_mhz=1980.0,
                sm_clock_end_mhz=1965.0,
                sm_clock_mean_mhz=1971.4,
                memory_clock_mean_mhz=3201.0,
                thermal_fraction=0.0,
                power_brake_fraction=0.0,
                power_cap_fraction=0.02,
                source="counter",
            ),
        ),
        "foreign_processes": (ForeignProcess(device=GPU, pid=4242, name="python3", used_memory_bytes=2147483648, sm_utilization=0.11),),
    }
    return Conditions(**{**plain, **changes})


def measured_test(**changes: Any) -> TestRecord:
    """An H200 metered by NVML; every figure known."""
    plain: dict[str, Any] = {
        "nodeid": "tests/test_adder.py::test_adder[batch-32]",
        "outcome": "passed",
        "group": "adder",
        "labels": {"precision": "bf16"},
        "params": {"batch": "32"},
        "mandated": Mandated(
            joules_per_token=JoulesPerToken(value=0.4, ci95=(0.392, 0.408), boundary="it", trust="measured"),
            binding_constraint=BindingConstraint(
                value="memory_bandwidth", margin=2.8, attainment=0.71, reason="lowest ceiling 1500 tokens/s, attained 0.71"
            ),
            pue_adjusted_power_w=PueAdjustedPower(value=532.5, it_power_w=426.0, pue=1.25),
            utilization_adjusted_tokens_per_second=UtilizationAdjustedOutput(
                value=639.0, utilization=0.6, utilization_source="declared", busy_tokens_per_second=1065.0
            ),
            accuracy=Accuracy(value=0.9583, metric="exact_match", target=0.95, samples=96),
            latency=Latency(e2e_p50_s=1.9, e2e_p95_s=2.3, ttft_p50_s=0.08, ttft_p95_s=0.1, tpot_p50_s=0.028, tpot_p95_s=0.033),
        ),
        "workload": _workload(),
        "service": Service(
            duration_s=5.769,
            busy_s=5.769,
            tokens_per_second=1065.0,
            ttft_s=_distribution(0.08),
            tpot_s=_distribution(0.028),
            inter_chunk_s=_distribution(0.03, 4000),
            e2e_s=_distribution(1.9),
            goodput=Goodput(requests_per_second=15.9, good=92, attempted=96),
            load=Load(
                mode="open",
                requests=96,
                failed=1,
                concurrency=64,
                peak_concurrency=41,
                arrival="poisson",
                seed=1,
                offered_requests_per_second=16.9,
                achieved_requests_per_second=16.6,
                lateness_s=_distribution(0.0004),
            ),
        ),
        "energy": Energy(
            it_j=2457.6,
            call_j=2610.0,
            device_j=2457.6,
            facility_j=3072.0,
            net_j=2030.0,
            domains={"gpu:0": 2457.6},
            unmetered=("cpu:0", "dram:0"),
            prefill_j=210.0,
            decode_j=2247.6,
            uncertainty_j=18.0,
            absolute_uncertainty_j=124.0,
            idle_power_w=74.0,
            trust="measured",
            method="nvml energy counter, interpolated between refresh edges",
            valid=True,
            idle_uncertainty_w=1.5,
            net_uncertainty_j=20.0,
            idle_share=0.1738,
            phases_reason=None,
        ),
        "power": Power(mean_w=426.0, peak_w=611.0, p99_w=598.0, limit_w=700.0, headroom=0.3914, clock_reasons={"sw_power_cap": 0.02}),
        "production": Production(
            ceilings=_ceilings(power_known=True),
            achieved_tokens_per_second=1065.0,
            flops_per_token=1.648e10,
            bytes_per_token=3.2e9,
            joules_per_token=0.4,
            theta=1.0,
            utilization=0.6,
            phi_system=1.9,
            phi_baseline="tests/test_adder.py::test_adder[batch-1]",
        ),
        "derived": Derived(
            joules_per_request=25.6,
            joules_per_total_token=0.1333,
            joules_per_accepted_token=0.4174,
            joules_per_correct_answer=26.71,
            intelligence_per_watt=0.00225,
            intelligence_per_joule=0.03743,
            carbon_g=0.3243,
            water_l=0.001536,
            cost=0.0000939,
        ),
        "budgets": (
            BudgetResult(
                metric="joules_per_token",
                limit=0.5,
                comparison="<=",
                actual=0.4,
                ci95=(0.392, 0.408),
                boundary="it",
                verdict="pass",
            ),
            BudgetResult(
                metric="binding",
                limit=("memory_bandwidth", "compute"),
                comparison="in",
                actual="memory_bandwidth",
                ci95=None,
                boundary=None,
                verdict="pass",
            ),
        ),
        "regression": regression(),
        "rounds": tuple(
            Round(
                duration_s=1.923,
                output_tokens=2048,
                prompt_tokens=4096,
                requests=32,
                it_j=it_j,
                device_j=it_j,
                ttft_s=0.08,
                tpot_s=0.028,
                e2e_s=1.9,
            )
            for it_j in (812.0, 819.2, 826.4)
        ),
        "warnings": ("cpu:0 and dram:0 are not metered: RAPL is readable by root only",),
        "extra": {"dataset": "additions", "seeds": [1, 2, 3]},
        "conditions": conditions(),
        "fit": fit(),
    }
    return TestRecord(**{**plain, **changes})


def fit() -> Fit:
    """Two prompt lengths, two answer lengths."""
    return Fit(
        boundary="it",
        points=(
            FitPoint(prompt_tokens=128.0, output_tokens=16.0, requests=24, joules=7.1, fitted_j=7.075),
            FitPoint(prompt_tokens=128.0, output_tokens=64.0, requests=24, joules=26.2, fitted_j=26.225),
            FitPoint(prompt_tokens=512.0, output_tokens=16.0, requests=24, joules=9.6, fitted_j=9.625),
            FitPoint(prompt_tokens=512.0, output_tokens=64.0, requests=24, joules=28.8, fitted_j=28.775),
        ),
        prompts=(PromptEnergy(prompt_tokens=128.0, joules=1.0906), PromptEnergy(prompt_tokens=512.0, joules=3.6406)),
        joules_per_output_token=0.39896,
        joules_per_output_token_ci95=(0.3913, 0.4066),
        joules_per_prompt_token=0.00664,
        r2=0.99999,
        worst_relative_error=0.0035,
    )


def regression() -> Regression:
    """J/token compared with the branch it goes to: no worse; the time to first token is only told."""
    return Regression(
        reference=Reference(
            source="history",
            ref="main",
            runs=4,
            rounds=12,
            commit="0123456789abcdef0123456789abcdef01234567",
            recorded_at="2026-01-01T08:00:00Z",
        ),
        changes=(
            Change(
                metric="joules_per_token",
                threshold=0.05,
                kind="relative",
                reference=0.39,
                actual=0.4,
                change=0.0256,
                ci95=(0.0151, 0.0362),
                verdict="pass",
                detectable=0.071,
                p=0.998,
                p_adjusted=1.0,
                rounds=3,
                reference_rounds=12,
            ),
            Change(
                metric="ttft_s",
                threshold=None,
                kind="relative",
                reference=0.09,
                actual=0.08,
                change=-0.1111,
                ci95=(-0.13, -0.09),
                verdict="pass",
                improved=True,
                rounds=3,
                reference_rounds=12,
            ),
        ),
        verdict="pass",
        remarks=("torch is 2.13.0, was 2.12.1",),
    )


def estimated_test(**changes: Any) -> TestRecord:
    """The same test without a meter: its energy is an estimate, and it broke its budget."""
    plain: dict[str, Any] = {
        "nodeid": "tests/test_adder.py::test_adder_on_cpu",
        "outcome": "failed",
        "group": None,
        "labels": {},
        "params": {},
        "mandated": Mandated(
            joules_per_token=JoulesPerToken(value=0.012, ci95=(0.006, 0.018), boundary="it", trust="estimated"),
            binding_constraint=BindingConstraint(
                value="undetermined", margin=None, attainment=None, reason="no peak known for this processor"
            ),
            pue_adjusted_power_w=PueAdjustedPower(value=32.5, it_power_w=26.0, pue=1.25),
            utilization_adjusted_tokens_per_second=UtilizationAdjustedOutput(
                value=2080.0, utilization=0.96, utilization_source="measured", busy_tokens_per_second=2166.7
            ),
            accuracy=Accuracy(),
            latency=Latency(e2e_p50_s=0.02, e2e_p95_s=0.03),
        ),
        "workload": _workload(accepted_tokens=None, calls_per_round=1, output_tokens=624, requests=24, rounds=1, warmup_rounds=0),
        "service": Service(duration_s=0.3, busy_s=0.288, tokens_per_second=2080.0, e2e_s=_distribution(0.02, 24)),
        "energy": Energy(
            it_j=7.488,
            call_j=8.1,
            device_j=None,
            facility_j=9.36,
            net_j=-0.2,
            domains={"cpu:0": 7.488},
            unmetered=("dram:0",),
            prefill_j=None,
            decode_j=None,
            uncertainty_j=3.744,
            absolute_uncertainty_j=3.744,
            idle_power_w=25.6,
            trust="estimated",
            method="CPU time times assumed TDP",
            valid=True,
        ),
        "power": Power(mean_w=26.0),
        "production": Production(
            ceilings=_ceilings(power_known=True),
            achieved_tokens_per_second=2166.7,
            flops_per_token=1.2e6,
            bytes_per_token=None,
            joules_per_token=0.012,
            theta=1.0,
            utilization=0.96,
        ),
        "derived": Derived(joules_per_request=0.312, joules_per_total_token=0.004),
        "budgets": (
            BudgetResult(
                metric="joules_per_token",
                limit=0.01,
                comparison="<=",
                actual=0.012,
                ci95=(0.006, 0.018),
                boundary="it",
                verdict="fail",
                marginal=True,
            ),
        ),
        "regression": None,
        "rounds": (Round(duration_s=0.3, output_tokens=624, prompt_tokens=1248, requests=24, it_j=7.488),),
        "warnings": (),
        "extra": {},
    }
    return TestRecord(**{**plain, **changes})


def invalid_test(**changes: Any) -> TestRecord:
    """The board's counter restarted inside the window: no energy, and the reason."""
    reason = "energy is invalid: counter_reset on gpu:0"
    plain: dict[str, Any] = {
        "nodeid": "tests/test_chat.py::test_chat",
        "outcome": "passed",
        "group": "chat",
        "labels": {"precision": "fp8"},
        "params": {},
        "mandated": Mandated(
            joules_per_token=JoulesPerToken(value=None, ci95=None, boundary="device", trust=None, reason=reason),
            binding_constraint=BindingConstraint(value="operations", margin=None, attainment=0.12, reason="attainment 0.12 is below 0.3"),
            pue_adjusted_power_w=PueAdjustedPower(value=None, it_power_w=None, pue=1.25, reason=reason),
            utilization_adjusted_tokens_per_second=UtilizationAdjustedOutput(
                value=None, utilization=None, utilization_source=None, busy_tokens_per_second=None
            ),
            accuracy=Accuracy(value=0.5, metric="contains", target=None, samples=2),
            latency=Latency(),
        ),
        "workload": _workload(
            engine=None, model=Model(), accepted_tokens=None, prompt_tokens=None, output_tokens=90, token_source="declared"
        ),
        "service": Service(duration_s=1.0, busy_s=None, tokens_per_second=90.0),
        "energy": Energy(
            it_j=None,
            call_j=None,
            device_j=None,
            facility_j=None,
            net_j=None,
            domains={"gpu:0": None},
            unmetered=(),
            prefill_j=None,
            decode_j=None,
            uncertainty_j=None,
            absolute_uncertainty_j=None,
            idle_power_w=None,
            trust=None,
            method=None,
            valid=False,
            reasons=("counter_reset",),
        ),
        "power": Power(mean_w=None, limit_w=700.0),
        "production": Production(
            ceilings=_ceilings(power_known=False),
            achieved_tokens_per_second=90.0,
            flops_per_token=None,
            bytes_per_token=None,
            joules_per_token=None,
            theta=1.0,
            utilization=None,
        ),
        "derived": Derived(),
        "budgets": (
            BudgetResult(
                metric="joules_per_request",
                limit=30.0,
                comparison="<=",
                actual=None,
                ci95=None,
                boundary="device",
                verdict="not_measured",
                reason=reason,
            ),
        ),
        "regression": None,
        "rounds": (Round(duration_s=1.0, output_tokens=90, prompt_tokens=None, requests=2, it_j=None),),
        "warnings": ("gpu:0: the energy counter restarted inside the window",),
        "extra": {},
    }
    return TestRecord(**{**plain, **changes})


def report(*tests: TestRecord) -> Report:
    rows = tests or (measured_test(), estimated_test(), invalid_test())
    known = [test.energy.it_j for test in rows if test.energy.it_j is not None]
    return Report(
        schema_version="1.0.0",
        report_id="7d1f0f2e-3c8a-4c39-9f5b-0d6b8f3a1c11",
        created_at="2026-01-02T03:04:05Z",
        generator=Generator(name="pytest-tpf", version="0.1.0"),
        environment=environment(),
        facility=facility(),
        meters=meters(),
        tests=rows,
        summary=Summary(
            tests=len(rows),
            measured=sum(test.energy.it_j is not None and test.energy.trust == "measured" for test in rows),
            failed_budgets=sum(budget.verdict == "fail" for test in rows for budget in test.budgets),
            regressions=sum(test.regression is not None and test.regression.verdict == "fail" for test in rows),
            total_it_j=sum(known) if known else None,
            total_output_tokens=sum(test.workload.output_tokens for test in rows),
        ),
    )


def report_dict(*tests: TestRecord) -> dict[str, Any]:
    return as_dict(report(*tests))


def reparsed(data: dict[str, Any]) -> Report:
    return from_dict(Report, data)
