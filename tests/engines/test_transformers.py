"""Observing generate: nothing changes for the user, and what is counted is what a look at the output counts."""

import threading

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.generation.utils import GenerationMixin  # noqa: E402

from pytest_tpf.engines.transformers import TransformersEngine  # noqa: E402
from tests.engines.conftest import EOS, FIRST_WORD, PAD, VOCABULARY, build  # noqa: E402

NEW_TOKENS = 12
MODES = {
    "greedy": {},
    "sampling": {"do_sample": True, "temperature": 1.5},
    "beams": {"num_beams": 3},
    "beam_sampling": {"num_beams": 3, "do_sample": True},
    "several_returned": {"do_sample": True, "num_return_sequences": 3},
    "several_beams_returned": {"num_beams": 3, "num_return_sequences": 3},
    "returned_as_dict": {"return_dict_in_generate": True, "output_scores": True},
    "without_cache": {"use_cache": False},
}


def sequences_of(result):
    return getattr(result, "sequences", result)


def naive_count(row):
    """Tokens of one row of new ids, the way a person counts them."""
    count = 0
    for token in row.tolist():
        if token == PAD:
            break
        count += 1
        if token == EOS:
            break
    return count


def without_pad_words(model):
    """Random models say the padding id like any other; forbidding it makes the naive count possible."""
    return {"suppress_tokens": [PAD]}


def generate(model, prompt, **mode):
    torch.manual_seed(3)
    result = model.generate(**prompt, max_new_tokens=NEW_TOKENS, **without_pad_words(model), **mode)
    return result, torch.get_rng_state()


def new_ids(model, prompt, result):
    start = 1 if model.config.is_encoder_decoder else prompt["input_ids"].shape[1]
    return sequences_of(result)[:, start:]


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_output_and_random_state_stay_bit_identical(model, prompt, mode):
    plain, plain_state = generate(model, prompt, **mode)
    sent = []
    with TransformersEngine().observe(sent.append):
        observed, observed_state = generate(model, prompt, **mode)
    assert len(sent) == 1
    assert torch.equal(sequences_of(plain), sequences_of(observed))
    assert torch.equal(plain_state, observed_state)
    if mode.get("output_scores"):
        assert all(torch.equal(a, b) for a, b in zip(plain.scores, observed.scores, strict=True))


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_counts_are_those_of_a_look_at_the_output(model, prompt, mode, generations):
    result, _ = generate(model, prompt, **mode)
    (generation,) = generations
    per_prompt = mode.get("num_return_sequences", 1)
    counts = [naive_count(row) for row in new_ids(model, prompt, result)]
    expected = [sum(counts[i : i + per_prompt]) for i in range(0, len(counts), per_prompt)]
    assert [request.output_tokens for request in generation.requests] == expected
    assert [request.prompt_tokens for request in generation.requests] == [6, 4, 1]
    assert generation.notes == ()
    assert (generation.engine, generation.token_source, generation.device) == ("transformers", "engine", "cpu")


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_times_lie_in_order(model, prompt, mode, generations):
    generate(model, prompt, **mode)
    (generation,) = generations
    for request in generation.requests:
        assert generation.start_s == request.start_s < request.first_token_s <= request.end_s <= generation.end_s
        assert request.chunk_times_s == tuple(sorted(request.chunk_times_s))
        assert (request.chunk_times_s[0], request.chunk_times_s[-1]) == (request.first_token_s, request.end_s)
        assert request.complete is True
    assert generation.first_token_s == min(request.first_token_s for request in generation.requests)


def test_rows_that_stop_early_end_early(llama, prompt, generations):
    result, _ = generate(llama, prompt, do_sample=True, temperature=3.0)
    (generation,) = generations
    lengths = [naive_count(row) for row in new_ids(llama, prompt, result)]
    assert len(set(lengths)) > 1, "the seed no longer gives rows of different lengths"
    assert [len(request.chunk_times_s) for request in generation.requests] == lengths


ASSISTED = {"prompt_lookup": lambda: {"prompt_lookup_num_tokens": 3}, "assistant_model": lambda: {"assistant_model": build("llama")}}


@pytest.mark.parametrize("sampling", [False, True], ids=["greedy", "sampling"])
@pytest.mark.parametrize("assistance", ASSISTED.values(), ids=ASSISTED)
def test_assisted_decoding_counts_the_tokens_and_not_the_drafts(llama, prompt, assistance, sampling):
    one = {"input_ids": prompt["input_ids"][:1].repeat(1, 3)}
    plain, _ = generate(llama, one, do_sample=sampling, **assistance())
    sent = []
    with TransformersEngine().observe(sent.append):
        observed, _ = generate(llama, one, do_sample=sampling, **assistance())
    assert torch.equal(plain, observed)
    (generation,) = sent
    (request,) = generation.requests
    assert request.output_tokens == naive_count(observed[0, 18:])
    assert request.prompt_tokens == 18
    assert 1 <= len(request.chunk_times_s) <= request.output_tokens
    assert generation.model.parameters == llama.num_parameters()


def test_accepted_drafts_arrive_several_a_step(llama, generations):
    # a model assisted by itself accepts every greedy draft
    ids = torch.randint(FIRST_WORD, VOCABULARY, (1, 5))
    llama.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False, assistant_model=build("llama"), suppress_tokens=[EOS, PAD])
    (request,) = generations[0].requests
    assert request.output_tokens == NEW_TOKENS
    assert len(request.chunk_times_s) < NEW_TOKENS


def test_assisted_encoder_decoder(t5, generations):
    ids = torch.randint(FIRST_WORD, VOCABULARY, (1, 5))
    out = t5.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False, assistant_model=build("t5"), suppress_tokens=[PAD])
    (generation,) = generations
    assert generation.requests[0].output_tokens == naive_count(out[0, 1:])
    assert generation.requests[0].prompt_tokens == 5


class Collector:
    def __init__(self):
        self.pieces = []
        self.ended = False

    def put(self, value):
        self.pieces.append(value)

    def end(self):
        self.ended = True


def test_a_users_streamer_gets_what_it_always_got(llama, prompt, generations):
    streamer = Collector()
    one = {name: tensor[:1] for name, tensor in prompt.items()}
    result, _ = generate(llama, one, streamer=streamer)
    assert streamer.ended
    assert torch.equal(torch.cat([piece.flatten() for piece in streamer.pieces]), result[0])
    assert generations[0].requests[0].output_tokens == len(streamer.pieces) - 1


class StopRow(transformers.StoppingCriteria):
    """Stops row r after r + 2 tokens, and keeps what it was shown."""

    def __init__(self, start):
        self.start = start
        self.lengths = []

    def __call__(self, input_ids, scores, **kwargs):
        self.lengths.append(input_ids.shape[1])
        return torch.tensor([input_ids.shape[1] - self.start >= row + 2 for row in range(len(input_ids))])


def test_rows_stopped_by_the_user_count_until_they_were_stopped(llama, prompt, generations):
    # no EOS can occur, and the padding after a stop would look like nothing at all
    criterion = StopRow(6)
    torch.manual_seed(3)
    llama.generate(
        **prompt, max_new_tokens=NEW_TOKENS, stopping_criteria=transformers.StoppingCriteriaList([criterion]), suppress_tokens=[EOS]
    )
    assert [request.output_tokens for request in generations[0].requests] == [2, 3, 4]
    assert criterion.lengths == [7, 8, 9, 10]


def test_padding_ids_a_model_says_itself_are_tokens(llama, generations):
    # the padding id is the only word allowed: a count by ids would find nothing
    ids = torch.randint(FIRST_WORD, VOCABULARY, (2, 4))
    llama.generate(ids, max_new_tokens=5, suppress_tokens=[t for t in range(VOCABULARY) if t != PAD], do_sample=False)
    assert [request.output_tokens for request in generations[0].requests] == [5, 5]


def test_stop_strings(llama, generations):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = {chr(ord("a") + index): index for index in range(VOCABULARY)}
    inner = Tokenizer(models.WordLevel(words, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="a", eos_token="b")
    torch.manual_seed(5)
    ids = torch.randint(FIRST_WORD, VOCABULARY, (2, 4))
    free = llama.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False, suppress_tokens=[PAD, EOS])
    stop = chr(ord("a") + int(free[0, 6]))
    generations.clear()
    llama.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False, suppress_tokens=[PAD, EOS], stop_strings=[stop], tokenizer=tokenizer)
    stop_id = words[stop]
    expected = [row.index(stop_id) + 1 if stop_id in row else NEW_TOKENS for row in free[:, 4:].tolist()]
    assert expected[0] <= 3
    assert [request.output_tokens for request in generations[0].requests] == expected


def test_embeddings_as_prompt(llama, generations):
    embeds = torch.randn(2, 5, llama.config.hidden_size)
    out = llama.generate(inputs_embeds=embeds, max_new_tokens=4, do_sample=False, suppress_tokens=[PAD])
    (generation,) = generations
    assert [request.prompt_tokens for request in generation.requests] == [5, 5]
    assert [request.output_tokens for request in generation.requests] == [naive_count(row) for row in out]


def test_no_prompt_at_all_starts_from_bos(llama, generations):
    out = llama.generate(max_new_tokens=4, do_sample=False, suppress_tokens=[PAD])
    (request,) = generations[0].requests
    assert (request.prompt_tokens, request.output_tokens) == (1, naive_count(out[0, 1:]))


def test_a_forced_decoder_prompt_is_not_output(t5, generations):
    ids = torch.randint(FIRST_WORD, VOCABULARY, (1, 5))
    start = torch.tensor([[PAD, 5, 6]])
    out = t5.generate(ids, decoder_input_ids=start, max_new_tokens=4, do_sample=False, suppress_tokens=[PAD])
    (request,) = generations[0].requests
    assert (request.prompt_tokens, request.output_tokens) == (5, naive_count(out[0, 3:]))


def test_inference_mode(llama, prompt, generations):
    with torch.inference_mode():
        result, _ = generate(llama, prompt)
    counts = [naive_count(row) for row in new_ids(llama, prompt, result)]
    assert [request.output_tokens for request in generations[0].requests] == counts


def test_each_thread_has_its_own_call(llama, generations):
    lengths = (3, 5, 7, 9)

    def run(length):
        ids = torch.full((1, length), 5)
        llama.generate(ids, max_new_tokens=length, min_new_tokens=length, do_sample=False)

    threads = [threading.Thread(target=run, args=(length,)) for length in lengths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = sorted((g.requests[0].prompt_tokens, g.requests[0].output_tokens, len(g.requests[0].chunk_times_s)) for g in generations)
    assert seen == [(length, length, length) for length in lengths]


class FailAfter(transformers.StoppingCriteria):
    def __init__(self, steps):
        self.steps = steps

    def __call__(self, input_ids, scores, **kwargs):
        self.steps -= 1
        if self.steps < 0:
            raise RuntimeError("out of patience")
        return torch.zeros(len(input_ids), dtype=torch.bool)


@pytest.mark.parametrize(("mode", "rows_each"), [({}, 1), ({"num_beams": 2}, 1), ({"do_sample": True, "num_return_sequences": 2}, 2)])
def test_failed_work_is_sent_as_incomplete(llama, prompt, generations, mode, rows_each):
    with pytest.raises(RuntimeError, match="out of patience"):
        llama.generate(**prompt, max_new_tokens=NEW_TOKENS, stopping_criteria=[FailAfter(3)], suppress_tokens=[EOS], **mode)
    (generation,) = generations
    assert [request.output_tokens for request in generation.requests] == [3 * rows_each] * 3
    assert [request.prompt_tokens for request in generation.requests] == [6, 4, 1]
    assert all(request.complete is False for request in generation.requests)


def test_a_failure_before_the_first_token_has_no_tokens(llama, prompt, generations):
    with pytest.raises(RuntimeError, match="out of patience"):
        llama.generate(**prompt, max_new_tokens=NEW_TOKENS, stopping_criteria=[FailAfter(0)])
    (generation,) = generations
    assert [(request.output_tokens, request.first_token_s) for request in generation.requests] == [(0, None)] * 3
    assert generation.first_token_s is None


def test_refused_arguments_are_not_a_generation(llama, prompt, generations):
    with pytest.raises(ValueError, match="num_return_sequences"):
        llama.generate(**prompt, max_new_tokens=2, num_return_sequences=2, do_sample=False)
    assert generations == []
    llama.generate(**prompt, max_new_tokens=2)
    assert len(generations) == 1


def test_a_model_with_its_own_generate_counts_once(prompt, generations):
    class Polite(transformers.LlamaForCausalLM):
        def generate(self, *args, **kwargs):
            return super().generate(*args, **kwargs)

    model = Polite(build("llama").config)
    model.generate(**prompt, max_new_tokens=3, suppress_tokens=[EOS])
    assert [sum(r.output_tokens for r in g.requests) for g in generations] == [9]


def test_a_generate_within_a_generate_is_part_of_it(llama, prompt, generations):
    helper = build("gpt2")

    class AskHelper(transformers.LogitsProcessor):
        def __call__(self, input_ids, scores):
            helper.generate(input_ids[:, -2:], max_new_tokens=2)
            return scores

    llama.generate(**prompt, max_new_tokens=3, suppress_tokens=[EOS], logits_processor=[AskHelper()])
    assert [[r.output_tokens for r in g.requests] for g in generations] == [[3, 3, 3]]


def test_two_observers_see_the_same_call(llama, prompt):
    outer, inner = [], []
    with TransformersEngine().observe(outer.append), TransformersEngine().observe(inner.append):
        generate(llama, prompt)
    assert [r.output_tokens for r in outer[0].requests] == [r.output_tokens for r in inner[0].requests]
    assert outer[0].requests[0].first_token_s is not None


def test_leaving_restores_the_class_as_it_was():
    names = ("generate", "_get_logits_processor", "_get_stopping_criteria")
    before = dict(vars(GenerationMixin))
    with TransformersEngine().observe(lambda generation: None):
        assert all(vars(GenerationMixin)[name] is not before[name] for name in names)
    with pytest.raises(KeyError), TransformersEngine().observe(lambda generation: None):
        raise KeyError
    after = dict(vars(GenerationMixin))
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)


@pytest.mark.parametrize("missing", ["_get_stopping_criteria", "_get_logits_processor"])
def test_other_versions_lack_a_private_method(llama, prompt, monkeypatch, missing):
    # the method stays callable for generate, but isn't the mixin's own any more: nothing there to listen to
    base = GenerationMixin.__mro__[1]
    monkeypatch.setattr(base, missing, vars(GenerationMixin)[missing], raising=False)
    monkeypatch.delattr(GenerationMixin, missing)
    sent = []
    with TransformersEngine().observe(sent.append):
        result, _ = generate(llama, prompt)
    (generation,) = sent
    counts = [naive_count(row) for row in new_ids(llama, prompt, result)]
    assert [request.output_tokens for request in generation.requests] == counts
    timed = missing != "_get_stopping_criteria"
    assert all((request.first_token_s is not None) is timed for request in generation.requests)
    assert ("not timed" in " ".join(generation.notes)) is not timed


def test_a_result_that_is_not_token_ids_is_said_not_guessed(llama, prompt, generations):
    def sing(model, input_ids, **kwargs):
        return {"audio": torch.zeros(3, 100)}

    out = llama.generate(**prompt, max_new_tokens=3, custom_generate=sing)
    assert set(out) == {"audio"}
    (generation,) = generations
    assert generation.requests == ()
    assert "could not be counted" in generation.notes[0]


def test_synchronize_without_a_device_does_nothing():
    assert TransformersEngine().synchronize() is None
