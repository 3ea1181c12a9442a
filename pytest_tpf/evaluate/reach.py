"""Whose joules they are: the context of an observation without what its meters read of machines that didn't generate. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from pytest_tpf.evaluate.context import Context, IdlePower
from pytest_tpf.measure.reach import within_reach
from pytest_tpf.meters.protocol import BoardProcess
from pytest_tpf.observation import Observation, Surroundings

_IDLE = "it was taken of machines that didn't generate, too"


def of_the_servers(observation: Observation, context: Context) -> tuple[Context, tuple[str, ...]]:
    """The context with what sees the servers that generated, and a line for each server that isn't seen; as it is where all are."""
    used = {g.endpoint for each in observation.rounds for g in each.generations}
    servers = [server for server in context.servers if server.endpoint in used]
    if context.recording is None or not servers:
        return context, ()
    recording, notes = within_reach(context.recording, servers)
    if recording is context.recording:
        return context, ()
    kept = {trace.channel.domain for trace in recording.traces if trace.channel.domain not in recording.unreached}
    left_out = {
        trace.channel.domain: None for trace in context.recording.traces if trace.channel.energy and trace.channel.domain not in kept
    }
    idle = IdlePower(total_w=None, reason=_IDLE if kept else None)
    return dataclasses.replace(
        context,
        recording=recording,
        idle=idle,
        unmetered=tuple(dict.fromkeys((*context.unmetered, *(left_out if kept else ())))),
        surroundings=_only(context.surroundings, kept),
    ), notes


def _only(around: Surroundings, domains: Iterable[str]) -> Surroundings:
    """What was seen of the boards of some domains."""

    def among(processes: tuple[BoardProcess, ...] | None) -> tuple[BoardProcess, ...] | None:
        return None if processes is None else tuple(process for process in processes if process.domain in domains)

    return dataclasses.replace(around, before=among(around.before), after=among(around.after), unlocked=around.unlocked if domains else ())
