"""The pytest hooks, and nothing else: each a few lines that call into a room below."""

from __future__ import annotations
