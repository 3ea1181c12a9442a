"""Which boards a process may use: every form of CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tpf.meters.visible import BoardId, visible_boards

A = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
B = "GPU-8932f9aa-0000-4000-8000-000000000001"
C = "GPU-b0000000-0000-4000-8000-000000000002"
BOARDS = tuple(BoardId(index=i, uuid=uuid, name="NVIDIA H100") for i, uuid in enumerate((A, B, C)))
MIXED = (*BOARDS[:2], BoardId(index=2, uuid=C, name="NVIDIA T4"))


def chosen(boards, **env):
    selection = visible_boards(boards, env)
    assert all("\n" not in note for note in selection.notes)
    return [board.index for board in selection.boards], " ".join(selection.notes)


def test_unset_shows_every_board():
    assert chosen(BOARDS) == ([0, 1, 2], "")


@pytest.mark.parametrize(
    ("value", "indices"),
    [
        ("0", [0]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("+1", [1]),
        ("1gpu2,2ampere", [1, 2]),
        (A, [0]),
        (f"{C},{A}", [2, 0]),
        ("GPU-b", [2]),
        ("GPU-8932f93,GPU-8932f9a", [0, 1]),
    ],
)
def test_a_complete_list_selects_in_its_own_order(value, indices):
    assert chosen(BOARDS, CUDA_VISIBLE_DEVICES=value) == (indices, "")


@pytest.mark.parametrize(
    ("value", "indices", "why"),
    [
        ("", [], "empty"),
        ("  ", [], "empty"),
        ("-1", [], "fits no board"),
        ("NoDevFiles", [], "fits no board"),
        ("0,-1,1", [0], "'-1'"),
        ("1,7,2", [1], "'7'"),
        ("1,,2", [1], "''"),
        ("0,x,1", [0], "'x'"),
        (f"0,{B}", [0], B),
        (f"{A},1", [0], "not the UUID of a board"),
        ("GPU-8932", [], "fits 2 boards"),
        (f"{C},GPU-8932", [2], "fits 2 boards"),
        (f"{A},GPU-ffff,{C}", [0], "fits no board"),
        ("0,0", [], "twice"),
        (f"{A},{A}", [], "twice"),
        (f"{C},GPU-b", [], "twice"),
        ("MIG-4f5a7f5e-0000-4000-8000-000000000000", [], "MIG slice"),
        (f"MIG-{A}/1/0", [], "MIG slice"),
    ],
)
def test_what_is_left_out_is_said(value, indices, why):
    selected, notes = chosen(BOARDS, CUDA_VISIBLE_DEVICES=value)
    assert selected == indices
    assert why in notes


def test_an_index_among_different_models_is_refused_unless_cuda_counts_in_bus_order():
    selected, notes = chosen(MIXED, CUDA_VISIBLE_DEVICES="0")
    assert selected == []
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in notes
    assert chosen(MIXED, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_ORDER="FASTEST_FIRST")[0] == []
    assert chosen(MIXED, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_ORDER="PCI_BUS_ID") == ([0], "")


def test_the_order_does_not_matter_where_every_board_is_named_or_named_by_uuid():
    assert chosen(MIXED, CUDA_VISIBLE_DEVICES="2,1,0") == ([2, 1, 0], "")
    assert chosen(MIXED, CUDA_VISIBLE_DEVICES=C) == ([2], "")
    assert chosen(MIXED) == ([0, 1, 2], "")


def test_a_machine_without_boards_selects_none():
    assert chosen(()) == ([], "")
    assert chosen((), CUDA_VISIBLE_DEVICES="0")[0] == []


ENTRY = st.one_of(
    st.integers(-2, 5).map(str),
    st.sampled_from([A, B, C, "GPU-", "GPU-8", "GPU-8932f93", "GPU-b", "GPU-zz", "MIG-1", "", " ", "1x", "x1", "+2", " 2"]),
)


@settings(max_examples=300, deadline=None)  # the first example imports PyTorch
@given(entries=st.lists(ENTRY, min_size=1, max_size=5))
def test_pytorch_would_see_the_same_boards(entries):
    cuda = pytest.importorskip("torch.cuda")
    value = ",".join(entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", value)
        parsed = cuda._parse_visible_devices()
    if parsed and isinstance(parsed[0], str):
        expected = [] if parsed[0].startswith("MIG-") else cuda._transform_uuid_to_ordinals(parsed, [A, B, C])
    else:
        expected = []
        for index in parsed:
            if index >= len(BOARDS):
                break  # PyTorch counts up to the first index that has no board
            expected.append(index)
    assert chosen(BOARDS, CUDA_VISIBLE_DEVICES=value)[0] == expected


@given(value=st.text(max_size=30))
def test_any_text_gives_boards_that_exist_each_once(value):
    selected, notes = chosen(BOARDS, CUDA_VISIBLE_DEVICES=value.replace("\0", ""))
    assert len(set(selected)) == len(selected)
    assert selected or notes
