"""Counting tokens: the vectorised counts against a walk through each row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from pytest_tpf.engines._tokens import NO_TOKEN, count_prompt, count_until_end, count_until_stopped, ids_of, pad_of  # noqa: E402

PAD, EOS, OTHER_EOS = 0, 1, 2


def walk(row, eos_ids, pad_id):
    for position, token in enumerate(row):
        if token in eos_ids:
            return position + 1
    kept = list(row)
    while kept and kept[-1] == pad_id:
        kept.pop()
    return len(kept)


batches = st.integers(0, 9).flatmap(
    lambda steps: st.lists(st.lists(st.integers(0, 5), min_size=steps, max_size=steps), min_size=1, max_size=5)
)


@given(rows=batches, eos_ids=st.lists(st.sampled_from([EOS, OTHER_EOS]), unique=True), pad_id=st.sampled_from([PAD, EOS, NO_TOKEN]))
def test_counts_are_those_of_a_walk_through_each_row(rows, eos_ids, pad_id):
    generated = torch.tensor(rows, dtype=torch.long)
    assert count_until_end(generated, eos_ids, pad_id) == [walk(row, eos_ids, pad_id) for row in rows]


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_a_row_that_ended_with_eos_counts_its_words_and_the_eos(lengths):
    steps = max(lengths)
    rows = [[5] * (length - 1) + [EOS] + [PAD] * (steps - length) for length in lengths]
    assert count_until_end(torch.tensor(rows), [EOS], PAD) == lengths


@given(stops=st.lists(st.integers(0, 6), min_size=1, max_size=5), later=st.booleans())
def test_a_row_ends_at_its_first_stop_whatever_the_criteria_say_later(stops, later):
    steps = max(stops) + 1
    stopped = [torch.tensor([step == stop or (later and step > stop) for stop in stops]) for step in range(steps)]
    assert count_until_stopped(stopped) == [stop + 1 for stop in stops]


def test_a_row_that_never_stopped_has_a_token_a_step():
    stopped = [torch.tensor([False, False]), torch.tensor([True, False])]
    assert count_until_stopped(stopped) == [2, 2]


def test_the_mask_decides_over_the_ids():
    ids = torch.tensor([[PAD, 5, 6], [PAD, PAD, 7]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    assert count_prompt(ids, mask, embeds=False, eos_ids=(EOS,), pad_id=PAD) == [2, 3]


def test_without_a_mask_padding_is_left_out():
    ids = torch.tensor([[PAD, 5, 6], [PAD, PAD, 7]])
    assert count_prompt(ids, None, embeds=False, eos_ids=(EOS,), pad_id=PAD) == [2, 1]


def test_a_padding_id_that_is_an_eos_too_is_taken_for_a_token():
    ids = torch.tensor([[EOS, 5, 6], [EOS, EOS, 7]])
    assert count_prompt(ids, None, embeds=False, eos_ids=(EOS,), pad_id=EOS) == [3, 3]


def test_embeddings_count_by_length_and_sound_not_at_all():
    floats = torch.zeros(2, 7, 16)
    assert count_prompt(floats, None, embeds=True, eos_ids=(EOS,), pad_id=PAD) == [7, 7]
    assert count_prompt(floats, None, embeds=False, eos_ids=(EOS,), pad_id=PAD) is None


@pytest.mark.parametrize(("value", "ids"), [(None, ()), (3, (3,)), ([3, 4], (3, 4))])
def test_a_config_gives_one_eos_several_or_none(value, ids):
    assert ids_of(value) == ids


@pytest.mark.parametrize(("pad", "eos", "expected"), [(9, 3, 9), (0, 3, 0), (None, [3, 4], 3), (None, None, NO_TOKEN)])
def test_rows_are_filled_as_generate_fills_them(pad, eos, expected):
    class Config:
        pad_token_id = pad
        eos_token_id = eos

    assert pad_of(Config) == expected
