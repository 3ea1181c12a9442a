"""What a test asks of us, checked: one line for whoever wrote it, no traceback."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import pytest


def refuse(message: str) -> NoReturn:
    """Fail the test in one line. No request of a load takes that for its reply, for it is no ``Exception``."""
    pytest.fail(f"tpf: {message}", pytrace=False)


def is_whole(value: Any, least: float = -math.inf) -> bool:
    """Whether it is a whole number, of at least ``least``; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
