"""Tiny models with random weights, built here: nothing is downloaded."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from pytest_tpf.engines.transformers import TransformersEngine  # noqa: E402

PAD, EOS, FIRST_WORD, VOCABULARY = 0, 1, 2, 24
SPECIAL = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": FIRST_WORD}


def build_llama(layers=2, **more):
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        **SPECIAL,
        **more,
    )
    return transformers.LlamaForCausalLM(config)


def build_gpt2():
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, **SPECIAL))


def build_t5():
    config = transformers.T5Config(
        d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=PAD, **{**SPECIAL, "bos_token_id": None}
    )
    return transformers.T5ForConditionalGeneration(config)


def build_mixtral():
    config = transformers.MixtralConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=128,
        **SPECIAL,
    )
    return transformers.MixtralForCausalLM(config)


BUILDERS = {"llama": build_llama, "gpt2": build_gpt2, "t5": build_t5, "mixtral": build_mixtral}


def build(name):
    """The named model with weights large enough that its random output is not one token repeated."""
    torch.manual_seed(7)
    model = BUILDERS[name]().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(3.0)
    return model


@pytest.fixture(scope="session", params=sorted(BUILDERS))
def model(request):
    return build(request.param)


@pytest.fixture(scope="session")
def llama():
    return build("llama")


@pytest.fixture(scope="session")
def t5():
    return build("t5")


@pytest.fixture
def prompt():
    """Three prompts of 6, 4 and 1 tokens, padded on the left."""
    torch.manual_seed(11)
    ids = torch.randint(FIRST_WORD, VOCABULARY, (3, 6))
    mask = torch.ones_like(ids)
    for row, padding in enumerate((0, 2, 5)):
        ids[row, :padding] = PAD
        mask[row, :padding] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture
def generations():
    """What is observed while the test runs, in the order in which it was sent."""
    sent = []
    with TransformersEngine().observe(sent.append):
        yield sent
