"""Fixtures every test module may use."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # how long an example takes is the machine's load, not a result
settings.load_profile("unhurried")
