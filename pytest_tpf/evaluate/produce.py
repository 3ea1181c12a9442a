"""The production function's inputs, gathered from what was seen: FLOPs, bytes, peaks, power. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_tpf.engines.protocol import Generation, Request
from pytest_tpf.evaluate.context import Context
from pytest_tpf.evaluate.energy import Measured
from pytest_tpf.evaluate.requests import tally
from pytest_tpf.measure.power import power_stats
from pytest_tpf.measure.trace import merged_spans
from pytest_tpf.measure.window import ACCELERATOR_PREFIXES
from pytest_tpf.observation import Observation, busy_spans, counted_spans, length_s
from pytest_tpf.production.binding import evaluate
from pytest_tpf.production.cost import WorkloadCost, workload_cost
from pytest_tpf.production.families import read_shape
from pytest_tpf.production.inputs import Figure, ProductionInputs, best_figure
from pytest_tpf.production.peaks import find_peak
from pytest_tpf.production.shapes import CostUnknown
from pytest_tpf.records import Accelerator, BindingConstraint, Power, Production, Service

_UNKNOWN_BATCH = "several requests were under way at a time, and how the server batched them isn't known"
_OVERLAP_S = 1e-9  # less is the rounding of sums


def produce(
    observation: Observation, context: Context, measured: Measured, service: Service, power: Power
) -> tuple[Production, BindingConstraint]:
    """The production function of the observation, and its binding constraint."""
    generations = [g for r in observation.rounds for g in r.generations]
    flops, read = _costs(generations)
    compute, bandwidth = _peaks(generations, context)
    device_mean_w, device_p99_w = _device_power(observation, context, measured)
    tokens, it_j = tally(observation.rounds).output_tokens, measured.counted.joules
    e_tok = it_j / tokens if it_j is not None and tokens else None
    return evaluate(
        ProductionInputs(
            achieved_tokens_per_second=service.tokens_per_second,
            flops_per_token=flops,
            bytes_per_token=read,
            compute=compute,
            bandwidth=bandwidth,
            joules_per_token=Figure(
                value=e_tok,
                provenance=measured.counted.trust,
                relative_uncertainty=measured.half_width_j / it_j if it_j else 0.0,
                reason=None if e_tok is not None else "energy per token is unknown",
            ),
            facility=context.facility,
            busy_fraction=_busy_fraction(observation),
            mean_power_w=power.mean_w,
            idle_power_w=context.idle.total_w,
            device_mean_power_w=device_mean_w,
            device_p99_power_w=device_p99_w,
            device_limit_w=power.limit_w,
            clock_reasons=power.clock_reasons,
            operations_threshold=context.operations_threshold,
        )
    )


def _busy_fraction(observation: Observation) -> float | None:
    """Share of the counted window in which an engine generated; None where none was observed."""
    busy_s, counted_s = length_s(busy_spans(observation.rounds)), length_s(counted_spans(observation))
    return min(1.0, busy_s / counted_s) if busy_s and counted_s else None


def _costs(generations: Sequence[Generation]) -> tuple[Figure, Figure]:
    """FLOPs and bytes per output token of the observed requests."""
    try:
        cost = _cost(generations)
    except CostUnknown as unknown:
        reason = str(unknown)
        return Figure(value=None, reason=reason), Figure(value=None, reason=reason)
    if _batch_is_the_servers(generations):
        return Figure(value=cost.flops_per_token), Figure(value=None, reason=_UNKNOWN_BATCH)
    return Figure(value=cost.flops_per_token), Figure(value=cost.bytes_per_token, reason=cost.bytes_reason)


def _batch_is_the_servers(generations: Sequence[Generation]) -> bool:
    """Whether several requests were under way at a time, and a server decided how many of them share a reading of the weights."""
    spans = [(g.start_s, g.end_s) for g in generations]
    overlapped_s = sum(end - start for start, end in spans) - length_s(merged_spans(spans))
    return any(g.endpoint for g in generations) and overlapped_s > _OVERLAP_S


def _cost(generations: Sequence[Generation]) -> WorkloadCost:
    if not generations:
        raise CostUnknown("no engine was observed, so the model isn't known")
    config, dtype = generations[0].config, generations[0].model.dtype
    if config is None:
        raise CostUnknown("the engine doesn't tell the model's configuration")
    worked = [found for g in generations if (found := [r for r in g.requests if not _has_failed(r)])]
    requests = [(r.prompt_tokens, r.output_tokens) for found in worked for r in found]
    countable = [(prompt, output) for prompt, output in requests if prompt and output]
    if not countable or len(countable) < len(requests):
        raise CostUnknown("a request's prompt or output tokens aren't known")
    return workload_cost(read_shape(config, dtype), countable, batch=len(requests) / len(worked))


def _has_failed(request: Request) -> bool:
    """Whether it made nothing that the cost of its tokens could be asked of."""
    return request.complete is False and not request.output_tokens


def _peaks(generations: Sequence[Generation], context: Context) -> tuple[Figure, Figure]:
    """K_eff (FLOP/s) at the model's dtype and memory bandwidth (bytes/s) of the device that generated."""
    if not generations or generations[0].device is None:
        whose = "of a server" if generations and generations[0].endpoint else "that generated"
        why = Figure(value=None, reason=f"the device {whose} isn't known")
        return why, why
    device, dtype = generations[0].device, generations[0].model.dtype or "unknown"
    accelerator = _accelerator(device, context.accelerators)
    calibration = context.calibrations.get(accelerator.uuid if accelerator else device)
    listed = find_peak(accelerator.name, dtype) if accelerator else None
    reason = (listed.reason if listed else None) or f"no peak of {device} is known: run `tpf calibrate`"
    compute = best_figure(
        calibration.gemm_flops_per_s.get(dtype) if calibration else None, None, listed.flops_per_s if listed else None, reason
    )
    bandwidth = best_figure(
        calibration.copy_bytes_per_s if calibration else None,
        None,
        listed.peak.memory_bytes_per_s if listed and listed.peak else None,
        reason,
    )
    return compute, bandwidth


def _accelerator(device: str, accelerators: Sequence[Accelerator]) -> Accelerator | None:
    """The board behind ``cuda:i`` (the i-th that this process may use) or a UUID; None for the CPU."""
    kind, _, index = device.partition(":")
    if kind == "cuda" and index.isdigit() and int(index) < len(accelerators):
        return accelerators[int(index)]
    return next((board for board in accelerators if board.uuid == device), None)


def _device_power(observation: Observation, context: Context, measured: Measured) -> tuple[float | None, float | None]:
    """Mean and 99th percentile power (W) of the accelerators whose limits are known, for these are what it is held against; else of all."""
    if context.recording is None or context.contended or not measured.device.domains:
        return None, None
    traces = [t for t in context.recording.traces if t.channel.domain.startswith(ACCELERATOR_PREFIXES)]
    limited = {status.domain for status in context.recording.statuses if status.power_limit_w is not None}
    traces = [trace for trace in traces if not limited or trace.channel.domain in limited]
    stats = power_stats(traces, context.recording.statuses, counted_spans(observation))
    return stats.power.mean_w, stats.power.p99_w
