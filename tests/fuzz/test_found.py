"""The seeds, and everything that fuzzing has found: small files, each named after its target."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import SEEDS, TARGETS

FOUND = sorted(path for path in Path(__file__).with_name("found").iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name, seeds in SEEDS.items() for seed in seeds])
def test_seeds(name, seed):
    TARGETS[name](seed)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_found(path):
    TARGETS[path.name.rpartition("-")[0]](path.read_bytes())
