"""Reason codes: why an energy is null (``REASONS``), and what limits how far a test's figures compare (``FLAGS``). A test holds the code
that emits them against these tables.

A third party's meter may raise ``ReadFault`` with a code of its own, which is carried as it is.
"""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """A code of ``energy.reasons`` or ``conditions.flags``, what happened, and what to do about it."""

    code: str
    meaning: str
    remedy: str


REASONS: tuple[Reason, ...] = (
    Reason(
        "no_meter",
        "No meter could be opened in this process, or no channel of any meter carries an energy.",
        "Run `tpf meters`: it says for each meter why it is not available, and the command that helps.",
    ),
    Reason(
        "no_window",
        "There was nothing to measure: no round ended, or the counted spans have no length.",
        "Let the test's body reach the engine, `tpf(fn)` or `tpf.measure()`.",
    ),
    Reason(
        "window_too_short",
        "The 95 % interval of the energy is wider than half of its value to either side: too few refreshes of the counter.",
        "Measure with `tpf(fn)`, which lengthens its rounds, or put more work in; `tpf meters` prints the length that gives 1 %.",
    ),
    Reason(
        "contended",
        "Another process was measuring the same device, longer than this one would wait: its joules can't be told from this test's.",
        "The warnings of the test name that process. Run again once it has ended, or run one after the other.",
    ),
    Reason(
        "server_not_metered",
        "A server generated, and no meter here sees it: the joules that were read are the client's, and say nothing of its tokens.",
        "The warnings of the test say where it is. Start it from a fixture, name its process with `--tpf-watch PID`, or meter its machine "
        "with `--tpf-meter prometheus` or `replay`.",
    ),
    Reason(
        "not_bracketed",
        "The meter gave no reading before the window's start or none after its end.",
        "Look at the warnings of the test: a counter stopped, or was slow to answer. Run again; make the window longer.",
    ),
    Reason(
        "window_misplaced",
        "When an imported benchmark ran is known too roughly, and power changed too much around it, to tell its energy.",
        "Give `tpf import` its exact time (`--start`, `--end`), or keep the tool's detailed result.",
    ),
    Reason(
        "sampling_gap",
        "Readings were missing around the window: a gauge was not read for too long, or an end of the window lies between distant edges.",
        "Leave the machine a free core while measuring; a process that never yields starves the sampler.",
    ),
    Reason(
        "counter_reset",
        "The counter went down without having been full: the driver was reloaded, or the machine was suspended.",
        "Run again; the next measured test has its energy. A counter that is merely full starts from zero and is unwrapped.",
    ),
    Reason(
        "counter_unreadable",
        "A reading failed for good or gave no finite number: a permission was withdrawn, a file went away, a driver call failed.",
        "The warnings of the test hold the error; `tpf meters` shows whether the meter can be read now.",
    ),
    Reason(
        "counter_stuck",
        "The counter is read and shows the same value for a second and more (many refreshes): nothing runs on no power at all.",
        "See `tpf meters` and `nvidia-smi`; restart the driver. A power gauge in its place: `tpf meters` tells which there are.",
    ),
    Reason(
        "suspended",
        "The machine slept during the window: its clock stood still, its counters may not have.",
        "Keep the machine awake while it measures (systemd-inhibit pytest ...) and run again.",
    ),
    Reason(
        "device_lost",
        "The driver reports that the board is lost or needs a reset.",
        "See `nvidia-smi` and the kernel's log; reset the board or restart the machine.",
    ),
    Reason(
        "source_late",
        "A source that is asked afterwards (a server) did not answer in time.",
        "Look whether the server is overloaded; `timeout_s` in the meter's file gives it longer.",
    ),
    Reason(
        "source_failed",
        "A server that is asked afterwards could not be reached, refused, or gave an answer that can't be used.",
        "The warnings of the test hold what it said; `tpf meters` shows whether it can be asked now.",
    ),
    Reason(
        "clock_disagrees",
        "A server gave samples from its own future: what stamps them has another clock than the server.",
        "Synchronise the clocks of the server, the exporter and whatever writes samples with timestamps of their own.",
    ),
    Reason(
        "clock_stepped",
        "The clock that a source's readings are placed by was set while the test ran, so they can't be placed in the window.",
        "Run again once the clock is synchronised; let NTP slew it instead of stepping.",
    ),
    Reason(
        "sampler_lost",
        "The helper process that reads the meters ended or stopped answering (out of memory, killed, stopped).",
        "The warnings of the test hold its last words. The next measured test starts another, three times in a run: run this one again.",
    ),
)

FLAGS: tuple[Reason, ...] = (
    Reason(
        "client_late",
        "With more than 5 % of a load's requests, the client sent them, or read the reply, later than it should have by more than 10 % of "
        "their time to first token. Times and goodput are null: they would be the client's.",
        "Send fewer at a time, warm up (`warmup=1`), keep the event loop free of other work, give the client a core of its own; or send "
        "from another machine and `tpf import` the result.",
    ),
    Reason(
        "warming_up",
        "The first counted rounds differ from the rest by more than chance explains and more than 2 %.",
        "More warm-up (`warmup=N` in the marker, `--tpf-warmup N`), or leave the number of rounds to the plugin, which then drops them.",
    ),
    Reason(
        "drifting",
        "J/token or time per token changed steadily from the first round to the last, by more than 2 %.",
        "Look at temperatures and clocks in `conditions.devices`; warm the board up first, or measure longer.",
    ),
    Reason(
        "length_changed",
        "The same prompts gave more or fewer output tokens from round to round.",
        "Make generation deterministic (greedy, or a fixed seed per call), or compare J/request beside J/token.",
    ),
    Reason(
        "prefix_cache_suspected",
        "The first token of the same prompts came at least twice as soon in later calls: the engine reused its work on the prompt.",
        "Turn prefix caching off for the comparison, give each call prompts of its own, or measure the cached case on purpose and say so.",
    ),
    Reason(
        "throttled",
        "Heat or an external power brake held a board's clocks back for more than 1 % of the window.",
        "See to the cooling, or to what asserts the brake. The plain power limit is not meant: it is a setting (`power_cap_fraction`).",
    ),
    Reason(
        "temperature_drift",
        "A board's temperature changed by more than 5 degrees within the window; a warmer board draws more power for the same work.",
        "Warm the board up first: more warm-up calls, or a longer measurement.",
    ),
    Reason(
        "sensor_disagreement",
        "A board's energy counter and its power gauge differ by more than 5.5 % over the same time, and well enough known to tell.",
        "The energy is the counter's. Compare with a wall meter; do not compare with figures that were taken from the gauge.",
    ),
    Reason(
        "part_time_sensor",
        "Energy comes from a power gauge that averages over less than nine tenths of its refresh: what happens in between is not seen.",
        "Use a board with an energy counter where you can. Otherwise take many rounds: their starts are staggered so that they tell.",
    ),
    Reason(
        "aliasing_suspected",
        "Energy comes from a power gauge that sees part of the time, and rounds of the same work differ more than readings within one.",
        "Trust the mean over many rounds (their starts are staggered on purpose), not a single one; prefer a board with an energy counter.",
    ),
    Reason(
        "shared_board",
        "A process that isn't the test's computed on the board, or came to it, while the test ran: the energy is an upper bound.",
        "`conditions.foreign_processes` names it. Keep the board free while measuring.",
    ),
    Reason(
        "processes_unmatched",
        "Several processes are on the board, and inside this container their numbers don't tell which are the test's.",
        "Run the container with the host's process numbers (docker run --pid=host), or make sure that nobody else uses the board.",
    ),
    Reason(
        "not_exclusive",
        "The lock that keeps measuring runs apart could not be taken, so another run on the same device would not have been noticed.",
        "Make /tmp writable (the warning says what is wrong with it), and measure with one run at a time.",
    ),
    Reason(
        "idle_drift",
        "Idle power moved by more than 10 % within the run, so net energies of early and late tests differ by it.",
        "Compare gross energies, or let the machine settle first.",
    ),
)
