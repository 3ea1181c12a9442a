"""Fixtures every test module may use."""

from __future__ import annotations
