"""What an evaluation needs besides the observation: the run's facts and the meters' recording. Data only."""

from __future__ import annotations

from pytest_tpf.measure.reach import Server
from pytest_tpf.measure.trace import Recording
from pytest_tpf.observation import Surroundings
from pytest_tpf.production.calibration import Calibration
from pytest_tpf.records import Accelerator, Facility, record


@record
class IdlePower:
    """Power of the idle machine, taken close to the run (W); None with the reason where it wasn't really idle.

    ``uncertainty_w``: half of its 95 % interval. ``earlier_w``: what it was the first time in this run, None where this is the first.
    """

    total_w: float | None
    reason: str | None = None
    uncertainty_w: float | None = None
    earlier_w: float | None = None


@record
class Context:
    """The run's facts. ``recording`` is None, with ``no_meter`` saying why, where nothing could be metered.

    ``contended``: domains that another process was measuring meanwhile: their joules are not this test's alone, so they are unknown.
    ``servers``: where those are that were heard from. ``misplaced_s``: by how much the observation as a whole may lie earlier or later
    on the meters' clock, where another program's record tells when it was.
    """

    facility: Facility
    idle: IdlePower
    unmetered: tuple[str, ...]
    accelerators: tuple[Accelerator, ...]
    calibrations: dict[str, Calibration]
    operations_threshold: float
    recording: Recording | None
    contended: tuple[str, ...] = ()
    no_meter: str | None = None
    servers: tuple[Server, ...] = ()
    surroundings: Surroundings = Surroundings()
    misplaced_s: float = 0.0


@record
class Identity:
    """Which test it is, for people and for comparison."""

    nodeid: str
    group: str | None
    labels: dict[str, str]
    params: dict[str, str]
