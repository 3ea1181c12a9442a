"""From what was seen of a test to its record: pure functions, no clock, no meter, no pytest."""

from pytest_tpf.evaluate.assemble import evaluate

__all__ = ["evaluate"]
