"""Who else was on the board: told apart from the test's own processes, and from its engine where that is a server."""

from __future__ import annotations

from pytest_tpf.measure.sharing import Sharing, sharing
from pytest_tpf.meters.protocol import BoardProcess


def process(
    pid, own: bool | None = False, sm: float | None = None, device="GPU-1", name: str | None = "python3", domain="gpu:0"
) -> BoardProcess:
    return BoardProcess(domain=domain, device=device, pid=pid, name=name, used_memory_bytes=1 << 20, sm_utilization=sm, own=own)


OURS = process(1, own=True, sm=0.9)


def test_alone_on_the_board():
    assert sharing([OURS], [OURS]) == Sharing()


def test_a_resident_process_that_does_nothing_is_listed_but_shares_nothing():
    other = process(2)
    found = sharing([OURS, other], [OURS, other])
    assert [each.pid for each in found.foreign] == [2]
    assert found.shared == ()


def test_a_process_that_computes_shares_the_board():
    found = sharing([OURS, process(2)], [OURS, process(2, sm=0.12)])
    assert found.shared == ("gpu:0 also served python3 (pid 2, 12% of its time): its energy is an upper bound",)
    assert found.foreign[0].sm_utilization == 0.12


def test_a_process_that_came_meanwhile_shares_the_board():
    assert sharing([OURS], [OURS, process(2, name=None)]).shared == ("gpu:0 also served a process (pid 2): its energy is an upper bound",)


def test_a_process_that_computed_and_left_shared_the_board():
    assert sharing([OURS, process(2, sm=0.5)], [OURS]).shared == (
        "gpu:0 also served python3 (pid 2, 50% of its time): its energy is an upper bound",
    )


def test_a_little_use_is_none():
    assert sharing([OURS, process(2)], [OURS, process(2, sm=0.05)]).shared == ()


def test_where_the_test_itself_is_not_on_the_board_one_that_computes_is_its_engine():
    server = process(7, sm=0.9)
    found = sharing([server], [server])
    assert found.shared == ()
    assert [each.pid for each in found.foreign] == [7]


def test_a_second_one_that_computes_shares_the_board_with_the_engine():
    both = [process(7, sm=0.9), process(8, sm=0.2)]
    (line,) = sharing(both, both).shared
    assert "pid 7" in line
    assert "pid 8" in line


def test_boards_are_judged_one_by_one():
    mine, theirs = process(1, own=True), process(2, sm=0.9, device="GPU-2", domain="gpu:1")
    assert sharing([mine, theirs], [mine, theirs]).shared == ()


def test_numbers_that_cannot_be_matched_accuse_nobody_but_are_told():
    unknown = [process(1, own=None), process(2, own=None, sm=0.9)]
    found = sharing(unknown, unknown)
    assert (found.foreign, found.shared) == ((), ())
    assert found.unmatched == ("2 processes are on gpu:0 and this container can't tell which are the test's",)


def test_a_single_unmatched_process_is_taken_for_the_test():
    assert sharing([], [process(1, own=None)]) == Sharing()
