"""The example's models are what its README says they are."""

import importlib.util
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

FOLDER = Path(__file__).parents[2] / "examples" / "adder"
TARGETS = {"adder-1m": 0.99, "adder-0.1m": 0.95}
MODELS = tuple(TARGETS)


@pytest.fixture(scope="module")
def adder_module():
    spec = importlib.util.spec_from_file_location("adder_under_test", FOLDER / "adder.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row_of(name):
    """The README's table row: parameters and the two accuracies in percent."""
    row = next(line for line in (FOLDER / "README.md").read_text().splitlines() if f"`models/{name}`" in line)
    _, _, parameters, held_out, trained_on, *_ = row.split("|")
    return int(parameters.replace(",", "")), *(float(re.sub(r"[ %]", "", cell)) for cell in (held_out, trained_on))


def test_no_held_out_pair_was_trained_on(adder_module):
    trained_on, held_out = adder_module.split()
    assert not set(trained_on) & set(held_out)
    assert (len(trained_on), len(held_out)) == (6480, 1620)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_accuracy_are_those_of_the_readme(adder_module, name):
    parameters, held_out_percent, trained_on_percent = row_of(name)
    adder = adder_module.load(name)
    assert adder.model.num_parameters() == parameters
    # one answer more or less for a processor that rounds otherwise
    for pairs, percent in zip(adder_module.split(), (trained_on_percent, held_out_percent), strict=True):
        replies = adder.solve([adder_module.problem(a, b) for a, b in pairs], batch_size=900)
        right = sum(reply == str(a + b) for reply, (a, b) in zip(replies, pairs, strict=True))
        assert right == pytest.approx(len(pairs) * percent / 100, abs=1)
        assert right / len(pairs) > TARGETS[name]


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_answers_do_not_depend_on_the_batch(adder_module, batch_size):
    adder = adder_module.load("adder-1m")
    problems = [adder_module.problem(a, b) for a, b in adder_module.split()[1][:12]]
    assert adder.solve(problems, batch_size) == [str(eval(problem.rstrip("="))) for problem in problems]


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_small_and_readable_by_all(name):
    weights = FOLDER / "models" / name / "model.safetensors"
    assert weights.stat().st_size < 4_000_000
    assert weights.stat().st_mode & 0o044 == 0o044
