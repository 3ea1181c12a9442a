"""Our counts against ``torch.utils.flop_counter``, which is exact for eager attention (and counts it in full, not causally)."""

from __future__ import annotations

import pytest

from pytest_tpf.production.cost import decode_flops, head_flops, prefill_flops
from pytest_tpf.production.families import read_shape
from pytest_tpf.production.parameters import total_parameters
from tests.production.models import CASES, T5, causal_model, t5_model

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

BATCH, TOKENS, MORE = 2, 19, 5


def counted(call):
    """FLOPs of ``call`` as torch counts them, without those of the rotary tables, which we leave out by definition."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        output = call()
    rotary = sum(sum(per.values()) for name, per in counter.get_flop_counts().items() if name.endswith("rotary_emb"))
    return output, counter.get_total_flops() - rotary


@pytest.mark.parametrize("case", CASES)
def test_prefill_decode_and_chunked_prefill_agree_with_torch(case):
    model = causal_model(case)
    shape = read_shape(model.config.to_dict(), "float32")
    ids = torch.randint(3, 96, (BATCH, TOKENS + MORE + 1))

    first, prefill = counted(lambda: model(ids[:, :TOKENS], use_cache=True, logits_to_keep=1))
    assert prefill == pytest.approx(BATCH * prefill_flops(shape, TOKENS, attention="full"), rel=1e-6)

    cache = first.past_key_values
    second, decode = counted(lambda: model(ids[:, TOKENS : TOKENS + 1], past_key_values=cache, use_cache=True, logits_to_keep=1))
    assert decode == pytest.approx(BATCH * decode_flops(shape, TOKENS + 1), rel=1e-6)

    cache = second.past_key_values
    _, chunk = counted(lambda: model(ids[:, TOKENS + 1 :], past_key_values=cache, use_cache=True, logits_to_keep=1))
    assert chunk == pytest.approx(BATCH * prefill_flops(shape, MORE, TOKENS + 1, attention="full"), rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_parameters_are_those_of_the_model(case):
    model = causal_model(case)
    assert total_parameters(read_shape(model.config.to_dict())) == model.num_parameters()


@pytest.mark.parametrize("case", T5)
def test_t5_agrees_with_torch(case):
    model = t5_model(case)
    shape = read_shape(model.config.to_dict(), "float32")
    source, start = torch.randint(3, 96, (BATCH, TOKENS)), torch.zeros((BATCH, 1), dtype=torch.long)

    first, prefill = counted(lambda: model(input_ids=source, decoder_input_ids=start, use_cache=True))
    assert prefill == pytest.approx(BATCH * prefill_flops(shape, TOKENS, attention="full"), rel=1e-6)

    _, step = counted(
        lambda: model(
            encoder_outputs=(first.encoder_last_hidden_state,),
            decoder_input_ids=start + 4,
            past_key_values=first.past_key_values,
            use_cache=True,
        )
    )
    assert step == pytest.approx(BATCH * decode_flops(shape, 2, source_tokens=TOKENS), rel=1e-6)


@pytest.mark.parametrize("case", T5)
def test_t5_parameters_are_those_of_the_model(case):
    model = t5_model(case)
    assert total_parameters(read_shape(model.config.to_dict())) == model.num_parameters()


def test_a_whole_generation_is_a_prefill_and_its_decode_steps():
    model = causal_model("llama")
    shape = read_shape(model.config.to_dict(), "float32")
    ids, new = torch.randint(3, 96, (1, TOKENS)), 6
    _, total = counted(lambda: model.generate(ids, max_new_tokens=new, min_new_tokens=new, do_sample=False))
    steps = sum(decode_flops(shape, TOKENS + step) for step in range(1, new))
    assert total == pytest.approx(prefill_flops(shape, TOKENS, attention="full") + steps, rel=1e-6)
    assert total > new * head_flops(shape)


@pytest.mark.parametrize("case", CASES)
def test_an_older_configuration_without_layer_types_has_the_same_shape(case):
    from transformers import AutoConfig

    family, keys = CASES[case]
    config = AutoConfig.for_model(family, **keys).to_dict()
    older = {key: value for key, value in config.items() if key != "layer_types"}
    assert read_shape(older, "float32") == read_shape(config, "float32")
