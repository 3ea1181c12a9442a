"""Ray itself, as far as the ``ray`` meter needs it: an existing cluster, one actor on each node, questions that end.

Nothing else of this package imports ray. What is known of it was read in, and run on, Ray 2.60.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pytest_tpf.meters.protocol import MeterUnavailable, ReadFault
from pytest_tpf.records import record

_REACH_LIMIT_S = 3.0


@record
class RayNode:
    """A node that is alive. ``host``: its name, with a piece of Ray's id where several nodes share it."""

    id: str
    host: str


class Remote:
    """An actor, asked with a limit on every question."""

    def __init__(self, handle: Any, host: str) -> None:
        self._handle, self.host = handle, host
        self._gone: str | None = None

    def begin(self, method: str, *arguments: Any) -> Any:
        """Ask without waiting: what ``end`` takes. Raises ReadFault where the node is gone already."""
        if self._gone is not None:
            raise ReadFault("source_failed", self._gone)
        return getattr(self._handle, method).remote(*arguments)

    def end(self, asked: Any, limit_s: float) -> Any:
        """The answer. Raises ReadFault: ``source_late`` after ``limit_s`` seconds, ``source_failed`` where none will come."""
        try:
            return ray.get(asked, timeout=limit_s)
        except GetTimeoutError:
            raise ReadFault("source_late", f"node {self.host} did not answer within {limit_s:.3g} s") from None
        except ActorUnavailableError:
            raise ReadFault("source_failed", f"node {self.host} can't be reached at present") from None
        except RayActorError:
            self._gone = f"node {self.host} left the cluster, or its meter's process ended"
            raise ReadFault("source_failed", self._gone) from None
        except RayError as error:
            raise ReadFault("source_failed", f"node {self.host}: {_last_line(error)}") from None

    def ask(self, method: str, *arguments: Any, limit_s: float) -> Any:
        """Ask and wait. Raises ReadFault as ``begin`` and ``end`` do."""
        return self.end(self.begin(method, *arguments), limit_s)

    def stop(self) -> None:
        """End the actor, without waiting."""
        with contextlib.suppress(RayError, RuntimeError):
            ray.kill(self._handle)


def connect(address: str) -> None:
    """Join the cluster at ``address`` as a driver. Raises MeterUnavailable."""
    _refuse_deaf(address)
    try:
        ray.init(address=address, namespace="pytest-tpf", log_to_driver=False, logging_level="ERROR")
    except (RayError, OSError, RuntimeError, ValueError) as error:
        raise MeterUnavailable(f"the Ray cluster at {address} can't be joined: {_last_line(error)}") from None


def disconnect() -> None:
    """Leave the cluster; harmless where it was not joined."""
    with contextlib.suppress(RayError, RuntimeError):
        ray.shutdown()


def alive_nodes() -> tuple[RayNode, ...]:
    """The cluster's nodes, in the order of their names."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    names = [str(node["NodeManagerHostname"]) for node in alive]
    found = [
        RayNode(id=node["NodeID"], host=name if names.count(name) == 1 else f"{name}-{node['NodeID'][:8]}")
        for node, name in zip(alive, names, strict=True)
    ]
    return tuple(sorted(found, key=lambda node: node.host))


def start(actor: type, node: RayNode, *arguments: Any) -> Remote:
    """An actor on that very node, which takes none of its processors and is not started again elsewhere. Doesn't wait."""
    pinned = NodeAffinitySchedulingStrategy(node.id, soft=False)
    remote = ray.remote(actor).options(num_cpus=0, max_restarts=0, scheduling_strategy=pinned)
    return Remote(remote.remote(*arguments), node.host)


def answers(asked: Sequence[tuple[Remote, Any]], limit_s: float) -> list[Any]:
    """The answer to each question, or the ReadFault in its place, all within ``limit_s`` seconds."""
    questions = [question for _, question in asked]
    ready = set(ray.wait(questions, num_returns=len(questions), timeout=limit_s)[0]) if questions else set()
    return [_answer(remote, question, limit_s, is_ready=question in ready) for remote, question in asked]


def _answer(remote: Remote, question: Any, limit_s: float, *, is_ready: bool) -> Any:
    if not is_ready:
        return ReadFault("source_late", f"node {remote.host} did not answer within {limit_s:.3g} s")
    try:
        return remote.end(question, _REACH_LIMIT_S)
    except ReadFault as fault:
        return fault


def _refuse_deaf(address: str) -> None:
    """Ray tries for long to reach an address where nobody listens. Raises MeterUnavailable."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_LIMIT_S).close()
    except (OSError, OverflowError) as error:
        raise MeterUnavailable(f"nobody answers at {address} ({error}): is it the address of the cluster's head?") from None


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
