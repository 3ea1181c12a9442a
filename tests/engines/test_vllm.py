"""Observing vLLM: from its documented output objects, made by hand (its wheel needs CUDA); see pytest_tpf/engines/vllm.py."""

import dataclasses
import sys
import time
import types
from typing import Any

import pytest

from pytest_tpf.engines.intent import intended
from pytest_tpf.engines.vllm import VllmEngine


@dataclasses.dataclass
class CompletionOutput:
    """The fields of vllm.outputs.CompletionOutput that are read."""

    token_ids: Any
    finish_reason: str | None = "stop"
    index: int = 0
    text: str = ""


@dataclasses.dataclass
class RequestOutput:
    """The fields of vllm.outputs.RequestOutput that are read."""

    outputs: list
    prompt_token_ids: list | None = None
    metrics: Any = None
    num_cached_tokens: int | None = None
    encoder_prompt_token_ids: list | None = None
    finished: bool = True


@dataclasses.dataclass
class RequestStateStats:
    """The instants in vllm.v1.metrics.stats.RequestStateStats: the arrival on the wall clock, the others on the monotonic one."""

    arrival_time: float = 0.0
    first_token_ts: float = 0.0
    last_token_ts: float = 0.0
    first_token_latency: float = 0.0


@dataclasses.dataclass
class RequestMetrics:
    """The instants in vLLM's older RequestMetrics, all on the wall clock."""

    arrival_time: float
    first_token_time: float | None = None
    finished_time: float | None = None


class HfConfig:
    def to_dict(self):
        return {"model_type": "llama", "hidden_size": 64, "vocab_size": 14, "dtype": Dtype("bfloat16")}


class Dtype:
    """Prints as a torch.dtype does."""

    def __init__(self, name):
        self.name = name

    def __str__(self):
        return f"torch.{self.name}"


def engine_of(device="cuda", boards=1):
    model_config = types.SimpleNamespace(model="/models/adder-0.1m", dtype=Dtype("float16"), quantization="fp8", hf_config=HfConfig())
    settings = types.SimpleNamespace(
        device_config=types.SimpleNamespace(device_type=device), parallel_config=types.SimpleNamespace(world_size=boards)
    )
    return types.SimpleNamespace(model_config=model_config, vllm_config=settings)


class LLM:
    """The two observed methods; as in vLLM before 0.12, chat goes through generate. ``reply`` is called to make the outputs."""

    def __init__(self, reply, engine=None):
        self.reply = reply
        self.llm_engine = engine or engine_of()

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True):
        """As documented."""
        return self.reply()

    def chat(self, messages, sampling_params=None):
        return self.generate(["rendered"], sampling_params)


@pytest.fixture
def generations(monkeypatch):
    monkeypatch.setitem(sys.modules, VllmEngine.module, types.SimpleNamespace(LLM=LLM))
    sent = []
    with VllmEngine().observe(sent.append):
        yield sent


def one(tokens=3, **more):
    return RequestOutput(outputs=[CompletionOutput(token_ids=list(range(tokens)))], prompt_token_ids=[5, 6], **more)


def test_counts_are_those_of_the_output_objects(generations):
    outputs = [
        RequestOutput(outputs=[CompletionOutput(token_ids=(7, 8, 1))], prompt_token_ids=[5, 6, 7, 8], num_cached_tokens=2),
        RequestOutput(outputs=[CompletionOutput(token_ids=[7]), CompletionOutput(token_ids=[7, 1])], prompt_token_ids=[5]),
        RequestOutput(outputs=[CompletionOutput(token_ids=[9, 1])], prompt_token_ids=[0], encoder_prompt_token_ids=[5, 6, 7]),
    ]
    assert LLM(lambda: outputs).generate(["a", "b", "c"]) is outputs
    (generation,) = generations
    assert [r.output_tokens for r in generation.requests] == [3, 3, 2]
    assert [r.prompt_tokens for r in generation.requests] == [4, 1, 3]
    assert [r.cached_tokens for r in generation.requests] == [2, None, None]
    assert all(r.complete for r in generation.requests)
    assert generation.token_source == "engine"
    assert not generation.static_batch


def test_several_sequences_of_one_prompt_are_one_request_and_no_static_batch(generations):
    LLM(lambda: [RequestOutput(outputs=[CompletionOutput([7]), CompletionOutput([7, 1])], prompt_token_ids=[5])]).generate(["a"])
    assert [r.output_tokens for r in generations[0].requests] == [3]
    assert not generations[0].static_batch


def test_a_chat_is_one_generation_whatever_it_goes_through(generations):
    LLM(lambda: [one()]).chat([{"role": "user", "content": "12+34="}])
    (generation,) = generations
    assert [r.output_tokens for r in generation.requests] == [3]
    assert generation.static_batch


@pytest.mark.parametrize(("reason", "complete"), [("stop", True), ("length", True), (None, False), ("abort", False), ("error", False)])
def test_complete_is_what_gave_a_reason_that_is_no_failure(generations, reason, complete):
    LLM(lambda: [RequestOutput(outputs=[CompletionOutput(token_ids=[1], finish_reason=reason)], prompt_token_ids=[5])]).generate(["a"])
    assert generations[0].requests[0].complete is complete


def monotonic_stats():
    now_s = time.monotonic()
    return RequestStateStats(arrival_time=time.time(), first_token_ts=now_s, last_token_ts=now_s)


def wall_metrics():
    now_s = time.time()
    return RequestMetrics(arrival_time=now_s, first_token_time=now_s, finished_time=now_s)


@pytest.mark.parametrize("metrics_of", [monotonic_stats, wall_metrics])
def test_the_first_token_is_when_the_metrics_say(generations, metrics_of):
    marks = []

    def reply():
        time.sleep(0.02)
        marks.append(time.perf_counter())
        outputs = [one(metrics=metrics_of())]
        marks.append(time.perf_counter())
        time.sleep(0.02)
        return outputs

    LLM(reply).generate(["a"])
    (generation,) = generations
    (request,) = generation.requests
    slack_s = 1e-3  # the clocks are read one after the other
    assert marks[0] - slack_s <= request.first_token_s <= marks[1] + slack_s
    assert request.end_s == pytest.approx(request.first_token_s, abs=slack_s)
    assert generation.first_token_s == request.first_token_s
    assert generation.start_s <= marks[0] < marks[1] <= generation.end_s
    assert generation.notes == ()


@pytest.mark.parametrize(
    "metrics",
    [
        None,
        RequestStateStats(),
        RequestStateStats(arrival_time=1.0, first_token_ts=5.0, last_token_ts=6.0),
        RequestMetrics(arrival_time=1.0, first_token_time=2.0, finished_time=3.0),
        RequestMetrics(arrival_time=1.0),
    ],
    ids=["none", "not_yet", "another_machine", "another_wall_clock", "half"],
)
def test_without_instants_of_this_call_there_is_no_ttft_and_a_note_says_how_to_get_it(generations, metrics):
    LLM(lambda: [one(metrics=metrics)]).generate(["a"])
    (generation,) = generations
    (request,) = generation.requests
    assert request.first_token_s is None
    assert request.end_s == generation.end_s
    assert request.output_tokens == 3
    assert "disable_log_stats=False" in generation.notes[0]


def test_a_call_that_raises_is_an_attempt_without_tokens(generations):
    def refuse():
        raise ValueError("prompt too long")

    with pytest.raises(ValueError, match="prompt too long"):
        LLM(refuse).generate(["a"])
    (request,) = generations[0].requests
    assert (request.output_tokens, request.complete) == (0, False)


def test_outputs_of_another_kind_are_returned_and_not_counted(generations):
    assert LLM(lambda: ["text"]).generate(["a"]) == ["text"]
    assert generations[0].requests == ()
    assert "could not be counted (AttributeError" in generations[0].notes[0]


def test_the_model_is_what_vllm_says(generations):
    LLM(lambda: [one()]).generate(["a"])
    (generation,) = generations
    assert (generation.model.name, generation.model.dtype, generation.model.quantization) == ("adder-0.1m", "float16", "fp8")
    assert generation.config["hidden_size"] == 64
    assert generation.model.digest.startswith("sha256:")
    assert generation.endpoint is None


@pytest.mark.parametrize(("kind", "boards", "device"), [("cuda", 1, "cuda:0"), ("cuda", 2, None), ("cpu", 1, "cpu"), ("tpu", 1, None)])
def test_the_device_is_told_where_it_is_one(generations, kind, boards, device):
    LLM(lambda: [one()], engine_of(kind, boards)).generate(["a"])
    assert generations[0].device == device


def test_an_llm_that_tells_nothing_of_itself_is_counted_all_the_same(generations):
    LLM(lambda: [one()], types.SimpleNamespace()).generate(["a"])
    (generation,) = generations
    assert (generation.model.name, generation.config, generation.device) == (None, None, None)
    assert generation.requests[0].output_tokens == 3


def test_a_request_counts_from_when_it_was_intended(generations):
    with intended(12.5):
        LLM(lambda: [one()]).generate(["a"])
    assert generations[0].requests[0].intended_s == 12.5


def test_nothing_stays_behind():
    assert LLM.generate.__doc__ == "As documented."
    assert not hasattr(LLM.generate, "__wrapped__")


def test_without_vllm_there_is_nothing_to_observe(monkeypatch):
    monkeypatch.delitem(sys.modules, VllmEngine.module, raising=False)
    with VllmEngine().observe(pytest.fail):
        assert VllmEngine.module not in sys.modules
