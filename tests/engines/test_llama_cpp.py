"""Observing llama-cpp-python: the real package and a real model, where it is installed (``make test-servers``: its build takes minutes)."""

import itertools
import json
import threading

import pytest

pytest.importorskip("gguf")
llama_cpp = pytest.importorskip("llama_cpp")

from pytest_tpf.engines.intent import intended  # noqa: E402
from pytest_tpf.engines.llama_cpp import LlamaCppEngine  # noqa: E402
from pytest_tpf.production.families import read_shape  # noqa: E402
from pytest_tpf.production.parameters import total_parameters  # noqa: E402
from tests.servers import adder_gguf  # noqa: E402

PROMPT = "12+34="
GREEDY = {"temperature": 0.0, "max_tokens": 8}


def load(path, **more):
    return llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, verbose=False, seed=7, **more)


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("gguf") / "adder.gguf"
    adder_gguf.write(file)
    return file


@pytest.fixture(scope="session")
def shared(gguf_file):
    return load(gguf_file)


@pytest.fixture
def llm(shared):
    """The adder, with nothing in its context."""
    shared.reset()
    return shared


@pytest.fixture
def generations():
    sent = []
    with LlamaCppEngine().observe(sent.append):
        yield sent


def only(sent):
    (generation,) = sent
    (request,) = generation.requests
    return generation, request


def message(text=PROMPT):
    return [{"role": "user", "content": text}]


def text_of(chunks):
    return "".join(chunk["choices"][0]["text"] for chunk in chunks)


CALLS = {
    "called": lambda llm, **how: llm(PROMPT, **how),
    "completion": lambda llm, **how: llm.create_completion(PROMPT, **how),
    "chat": lambda llm, **how: llm.create_chat_completion(message(), **how),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_comes_back_is_bit_identical(llm, call):
    sampled = {"temperature": 1.5, "max_tokens": 6, "seed": 11}
    plain, plain_stream = call(llm, **sampled)["choices"], [c["choices"] for c in call(llm, stream=True, **sampled)]
    llm.reset()
    with LlamaCppEngine().observe(lambda generation: None):
        assert call(llm, **sampled)["choices"] == plain
        assert [c["choices"] for c in call(llm, stream=True, **sampled)] == plain_stream
    assert not hasattr(llama_cpp.Llama.generate, "__wrapped__")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("max_tokens", [1, 2, 8])
def test_counts_agree_with_usage_and_have_the_end_of_sequence_besides(llm, generations, call, max_tokens):
    reply = call(llm, temperature=0.0, max_tokens=max_tokens)
    generation, request = only(generations)
    ended = reply["choices"][0]["finish_reason"] == "stop"
    assert ended == (max_tokens == 8)  # "46" and the end of sequence
    assert request.output_tokens == reply["usage"]["completion_tokens"] + ended
    assert request.prompt_tokens == reply["usage"]["prompt_tokens"] == len(PROMPT)
    assert (request.complete, generation.token_source, generation.static_batch) == (True, "engine", True)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_stream_counts_as_the_whole_does(llm, generations, call):
    call(llm, **GREEDY)
    list(call(llm, stream=True, **GREEDY))
    whole, streamed = (generation.requests[0] for generation in generations)
    assert (streamed.output_tokens, streamed.prompt_tokens, streamed.complete) == (whole.output_tokens, whole.prompt_tokens, True)
    assert len(streamed.chunk_times_s) == streamed.output_tokens
    assert streamed.start_s < streamed.first_token_s == streamed.chunk_times_s[0] < streamed.end_s == streamed.chunk_times_s[-1]


def test_the_adder_adds(llm, generations):
    assert llm(PROMPT, **GREEDY)["choices"][0]["text"] == "46"
    assert only(generations)[1].output_tokens == 3


def test_tokens_that_wait_in_a_possible_stop_sequence_are_counted_when_they_are_made(llm, generations):
    chunks = list(llm(PROMPT, stream=True, stop=["46"], **GREEDY))
    request = only(generations)[1]
    assert text_of(chunks) == ""
    assert (request.output_tokens, request.complete) == (2, True)


@pytest.mark.parametrize("read", [1, 2])
def test_a_stream_given_up_is_incomplete_and_has_the_tokens_made_until_then(llm, generations, read):
    stream = llm(PROMPT, stream=True, **GREEDY)
    for _ in range(read):
        next(stream)
    stream.close()
    assert (only(generations)[1].output_tokens, only(generations)[1].complete) == (read, False)


def test_a_stream_still_held_at_the_end_is_told_then_and_one_never_read_is_not(llm):
    sent = []
    with LlamaCppEngine().observe(sent.append):
        stream, never = llm(PROMPT, stream=True, **GREEDY), llm(PROMPT, stream=True, **GREEDY)
        next(stream)
        assert sent == []
    assert (only(sent)[1].output_tokens, only(sent)[1].complete) == (1, False)
    assert text_of(stream) == "6"
    assert text_of(never) == "46"
    assert len(sent) == 1


def test_a_stream_may_be_read_by_another_thread(llm, generations):
    stream = llm(PROMPT, stream=True, **GREEDY)
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    reader.join()
    assert (only(generations)[1].output_tokens, only(generations)[1].complete) == (3, True)


def test_streams_of_two_models_keep_their_tokens_apart(llm, gguf_file, generations):
    other = load(gguf_file)
    streams = [llm(PROMPT, stream=True, **GREEDY), other("99+99=", stream=True, **GREEDY)]
    turns = list(itertools.zip_longest(*streams))
    assert text_of(turn[0] for turn in turns if turn[0]) == "46"
    assert text_of(turn[1] for turn in turns if turn[1]) == "198"
    assert sorted(generation.requests[0].output_tokens for generation in generations) == [3, 4]


def test_a_call_that_is_refused_is_an_attempt_without_tokens(llm, generations):
    with pytest.raises(ValueError, match="exceed context window"):
        llm("1" * 500)
    assert (only(generations)[1].output_tokens, only(generations)[1].complete) == (0, False)


def test_a_call_that_fails_half_way_has_the_tokens_made_until_then(llm, generations):
    def fail(ids, scores):
        if len(ids) == len(PROMPT) + 2:
            raise RuntimeError("enough")
        return False

    with pytest.raises(RuntimeError, match="enough"):
        llm.create_completion(PROMPT, stopping_criteria=llama_cpp.StoppingCriteriaList([fail]), **GREEDY)
    request = only(generations)[1]
    assert (request.complete, request.prompt_tokens) == (False, len(PROMPT))
    assert 0 < request.output_tokens <= 2


def test_generate_itself_is_observed_without_a_verdict_on_its_end(llm, generations):
    tokens = llm.tokenize(PROMPT.encode(), add_bos=False)
    made = []
    for token in llm.generate(tokens, temp=0.0):
        made.append(token)
        if token == llm.token_eos():
            break
    request = only(generations)[1]
    assert (request.output_tokens, request.prompt_tokens, request.complete) == (len(made), len(tokens), None)


def test_what_the_context_still_holds_of_a_prompt_is_told(llm, generations):
    for _ in range(2):
        llm(PROMPT, **GREEDY)
    llm("12+99=", **GREEDY)
    assert [generation.requests[0].cached_tokens for generation in generations] == [0, len(PROMPT) - 1, len("12+")]


def test_a_context_that_was_fed_by_hand_says_nothing_of_caching(llm, generations):
    llm.eval(llm.tokenize(PROMPT.encode(), add_bos=False))
    llm(PROMPT, **GREEDY)
    llm(PROMPT, **GREEDY)
    assert [generation.requests[0].cached_tokens for generation in generations] == [None, len(PROMPT) - 1]


def test_drafted_tokens_count_once_and_only_where_accepted(gguf_file, generations):
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    llm = load(gguf_file, draft_model=LlamaPromptLookupDecoding(max_ngram_size=2, num_pred_tokens=4), logits_all=True)
    reply = llm("11+11=", **GREEDY)
    ended = reply["choices"][0]["finish_reason"] == "stop"
    assert only(generations)[1].output_tokens == reply["usage"]["completion_tokens"] + ended


def test_the_model_is_what_its_file_says(llm, generations):
    llm(PROMPT, **GREEDY)
    generation, _ = only(generations)
    model = generation.model
    assert (model.name, model.dtype, model.quantization, generation.device) == ("adder", "float32", None, "cpu")
    assert model.parameters == model.active_parameters == total_parameters(read_shape(generation.config))
    assert generation.config["tie_word_embeddings"] is True
    assert model.digest.startswith("sha256:")


def test_a_model_closed_under_its_stream_is_told_of_all_the_same(gguf_file):
    sent = []
    with LlamaCppEngine().observe(sent.append):
        llm = load(gguf_file)
        stream = llm(PROMPT, stream=True, **GREEDY)
        next(stream)
        llm.close()
    generation, request = only(sent)
    assert (generation.model.name, request.output_tokens, request.complete) == ("adder", 1, False)


def test_a_model_that_tells_nothing_of_itself_is_counted_all_the_same(gguf_file, generations):
    llm = load(gguf_file)
    llm.model_params = None
    llm(PROMPT, **GREEDY)
    generation, request = only(generations)
    assert (generation.model.name, generation.config, generation.device) == ("adder", None, None)
    assert request.output_tokens > 0


def test_two_observers_see_the_same(llm, generations):
    other = []
    with LlamaCppEngine().observe(other.append):
        list(llm(PROMPT, stream=True, **GREEDY))
    assert only(generations)[1].output_tokens == only(other)[1].output_tokens == 3


def test_a_request_counts_from_when_it_was_intended(llm, generations):
    with intended(12.5):
        llm(PROMPT, **GREEDY)
    assert only(generations)[1].intended_s == 12.5


def test_a_marker_is_enough(pytester, gguf_file):
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.tpf(max_output_tokens=3)
        def test_adds():
            import llama_cpp

            llm = llama_cpp.Llama({str(gguf_file)!r}, n_ctx=64, n_threads=1, verbose=False)
            assert llm("12+34=", max_tokens=8, temperature=0.0)["choices"][0]["text"] == "46"
        """
    )
    options = ("-p", "no:cacheprovider", "-W", "default", "--tpf-report", "report.json", "--tpf-gate", "warn")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=1)
    (test,) = json.loads((pytester.path / "report.json").read_text())["tests"]
    workload = test["workload"]
    assert (workload["engine"], workload["token_source"], workload["output_tokens"], workload["prompt_tokens"]) == (
        "llama_cpp",
        "engine",
        3,
        6,
    )
    assert test["production"]["flops_per_token"] > 0
