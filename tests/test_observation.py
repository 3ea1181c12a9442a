"""The ledger: what any thread reports, at any moment, is taken once."""

from __future__ import annotations

import sys
import threading

from pytest_tpf.engines.protocol import Generation
from pytest_tpf.observation import Ledger
from pytest_tpf.records import Model

GENERATION = Generation(engine="e", model=Model(name="m"), start_s=0.0, end_s=1.0, requests=(), token_source="usage")


def test_what_is_reported_in_the_midst_of_taking_is_neither_lost_nor_waited_for():
    """The garbage collector ends a stream that was thrown away, and it may run between any two lines of ``take``."""
    ledger, made, taken = Ledger(), [], []

    def at_each_line(frame, event, arg):
        if frame.f_code is not Ledger.take.__code__:
            return None
        made.append(event)
        ledger.add_generation(GENERATION)
        return at_each_line

    def take():
        sys.settrace(at_each_line)
        taken.extend(ledger.take()[0])
        sys.settrace(None)
        taken.extend(ledger.take()[0])

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    taker.join(60)
    assert not taker.is_alive(), "it waits for itself"
    assert len(taken) == len(made) > 3
