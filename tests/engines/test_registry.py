"""Which engines there are, and waiting for a library to be imported."""

import contextlib
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

from pytest_tpf.engines import registry
from pytest_tpf.engines.registry import load_engines, observing, register, unregister


class Recorder:
    """An engine whose observation is to note when it begins and ends."""

    def __init__(self, name="recorder", module="tpf_probe"):
        self.name = name
        self.module = module
        self.events = []

    @contextlib.contextmanager
    def observe(self, sink):
        self.events.append("begin")
        try:
            yield
        finally:
            self.events.append("end")

    def synchronize(self):
        pass


class Broken(Recorder):
    def observe(self, sink):
        raise RuntimeError("no such method")


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """The name of a module that can be imported, but isn't."""
    (tmp_path / "tpf_probe.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tpf_probe", raising=False)
    yield tmp_path / "tpf_probe.py"
    sys.modules.pop("tpf_probe", None)


BUILT_IN = ["transformers", "openai", "llama_cpp", "vllm"]


def ignore(generation):
    pass


def test_what_is_built_in():
    assert [engine.name for engine in load_engines()] == BUILT_IN


def test_a_registered_engine_is_loaded_until_it_is_unregistered():
    engine = Recorder()
    register(engine)
    try:
        assert engine in load_engines()
        with pytest.raises(ValueError, match="'recorder' is registered already"):
            register(Recorder())
    finally:
        unregister(engine)
    unregister(engine)
    assert engine not in load_engines()


def test_entry_points_bring_engines_and_ours_is_not_loaded_twice(monkeypatch):
    points = [
        EntryPoint("transformers", "pytest_tpf.engines.nowhere:Missing", registry.ENTRY_POINT_GROUP),
        EntryPoint("third", f"{__name__}:Recorder", registry.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: [point for point in points if point.group == group])
    assert [engine.name for engine in load_engines()] == [*BUILT_IN, "recorder"]


def test_an_entry_point_that_fails_is_warned_about_and_left_out(monkeypatch):
    points = [EntryPoint("third", "tpf_no_such_module:Engine", registry.ENTRY_POINT_GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    with pytest.warns(RuntimeWarning, match="engine 'third' .* can't be loaded"):
        assert [engine.name for engine in load_engines()] == BUILT_IN


def test_an_imported_module_is_observed_at_once(probe):
    import tpf_probe  # noqa: F401

    engine = Recorder()
    with observing([engine], ignore):
        assert engine.events == ["begin"]
    assert engine.events == ["begin", "end"]


def test_a_module_imported_later_is_observed_from_then_on(probe):
    engine, finders = Recorder(), list(sys.meta_path)
    with observing([engine], ignore):
        assert engine.events == []
        import tpf_probe

        assert tpf_probe.VALUE == 1
        assert type(tpf_probe.__loader__).__name__ == type(tpf_probe.__spec__.loader).__name__ == "SourceFileLoader"
        assert engine.events == ["begin"]
    assert engine.events == ["begin", "end"]
    assert sys.meta_path == finders


def test_two_engines_may_wait_for_one_module(probe):
    first, second = Recorder("first"), Recorder("second")
    with observing([first, second], ignore):
        import tpf_probe  # noqa: F401
    assert first.events == second.events == ["begin", "end"]


def test_nothing_is_observed_after_the_context(probe):
    engine = Recorder()
    with observing([engine], ignore):
        pass
    import tpf_probe  # noqa: F401

    assert engine.events == []


def test_a_module_that_does_not_exist_stays_a_plain_import_error():
    finders = list(sys.meta_path)
    with observing([Recorder(module="tpf_no_such_module")], ignore), pytest.raises(ModuleNotFoundError):
        import tpf_no_such_module  # noqa: F401
    assert sys.meta_path == finders


def test_an_import_that_fails_first_is_observed_when_it_succeeds(probe):
    engine = Recorder()
    probe.write_text("raise ImportError('not today')\n")
    with observing([engine], ignore):
        with pytest.raises(ImportError, match="not today"):
            import tpf_probe
        assert engine.events == []
        probe.write_text("VALUE = 'imported at the second attempt'\n")
        import tpf_probe

        assert tpf_probe.VALUE == "imported at the second attempt"
        assert engine.events == ["begin"]


def test_an_engine_that_cannot_begin_does_not_fail_the_users_import(probe):
    with observing([Broken()], ignore), pytest.warns(RuntimeWarning, match="can't be observed: RuntimeError: no such method"):
        import tpf_probe
    assert tpf_probe.VALUE == 1


def test_the_context_closes_when_its_body_raises(probe):
    engine, finders = Recorder(), list(sys.meta_path)
    with contextlib.suppress(KeyError), observing([engine], ignore):
        import tpf_probe  # noqa: F401

        raise KeyError
    assert engine.events == ["begin", "end"]
    assert sys.meta_path == finders


LAZY = """
    import sys
    from pytest_tpf.engines.registry import load_engines, observing

    seen = []
    engines = load_engines()
    with observing(engines, seen.append):
        for engine in engines:
            engine.synchronize()
        assert not {"torch", "transformers", "numpy"} & sys.modules.keys(), "observing imported something heavy"
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM
        from transformers.generation.utils import GenerationMixin

        observed = vars(GenerationMixin)["generate"]
        config = LlamaConfig(
            vocab_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            bos_token_id=2, eos_token_id=1, pad_token_id=0,
        )
        LlamaForCausalLM(config).generate(torch.tensor([[4, 5, 6]]), max_new_tokens=5, min_new_tokens=5)
    assert vars(GenerationMixin)["generate"] is observed.__wrapped__
    print(seen[0].requests[0].prompt_tokens, seen[0].requests[0].output_tokens, seen[0].model.name)
"""


def test_transformers_imported_in_the_body_is_observed():
    pytest.importorskip("transformers")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(LAZY)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "5", "LlamaForCausalLM"]
