"""Observations and recordings made by hand: a meter of known power, rounds of known tokens."""

from __future__ import annotations

from pytest_tpf.engines.protocol import Generation, Request
from pytest_tpf.evaluate.context import Context, Identity, IdlePower
from pytest_tpf.measure.trace import Edge, Fault, Recording, Trace
from pytest_tpf.meters.protocol import ChannelInfo
from pytest_tpf.observation import Counts, MeasuredRound, Observation, Quality
from pytest_tpf.records import Facility, Model

WATTS = 100.0


def trace(domain="gpu:0", watts=WATTS, trust="measured", end_s=200.0, gain=0.025, faults: tuple[Fault, ...] = ()) -> Trace:
    """A continuously read counter of constant power, from t = -1 s on."""
    channel = ChannelInfo(
        meter="test",
        domain=domain,
        device=None,
        quantity="energy_j",
        method="test_counter",
        source="test",
        trust=trust,
        stepped=False,
        poll_s=0.01,
        energy=True,
        gain=gain,
    )
    times = [-1 + 0.05 * i for i in range(int((end_s + 1) / 0.05) + 1)]
    return Trace(
        channel=channel,
        edges=tuple(Edge(t_lo=t, t_hi=t, joules=watts * (t + 1)) for t in times),
        period_s=0.05,
        jitter_s=0.0,
        faults=faults,
    )


def context(*traces: Trace, facility=Facility(), idle_w: float | None = 20.0, **more) -> Context:  # noqa: B008
    return Context(
        facility=facility,
        idle=IdlePower(total_w=idle_w, reason=None if idle_w is not None else "busy"),
        unmetered=(),
        accelerators=(),
        calibrations={},
        operations_threshold=0.3,
        recording=Recording(traces=traces or (trace(),)),
        **more,
    )


def generation(start_s=1.0, end_s=2.0, outputs=(8,), prompts: int | None = 4, first_s: float | None = None, **more) -> Generation:
    first = start_s + 0.25 * (end_s - start_s) if first_s is None else first_s
    requests = tuple(
        Request(start_s=start_s, end_s=end_s, first_token_s=first, prompt_tokens=prompts, output_tokens=n, complete=True) for n in outputs
    )
    return Generation(
        engine="test",
        model=Model(name="Test"),
        start_s=start_s,
        end_s=end_s,
        requests=requests,
        first_token_s=first,
        token_source="engine",
        **more,
    )


def one_round(start_s=0.0, end_s=10.0, *generations: Generation, calls=1, declared: tuple[Counts, ...] = ()) -> MeasuredRound:
    return MeasuredRound(start_s=start_s, end_s=end_s, calls=calls, generations=generations, declared=declared)


def observation(*rounds: MeasuredRound, drawn=True, quality: Quality | None = None) -> Observation:
    start_s, end_s = min(r.start_s for r in rounds), max(r.end_s for r in rounds)
    return Observation(drawn=drawn, call=(start_s, end_s), rounds=rounds, calls_per_round=rounds[0].calls, warmup_rounds=0, quality=quality)


IDENTITY = Identity(nodeid="test_a.py::test_b", group=None, labels={}, params={})
