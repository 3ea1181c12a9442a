"""The history's load: what it fills is found again, and the page's text can be made of it."""

from __future__ import annotations

import random

from benchmarks import history_load
from pytest_tpf.history.storage import open_store


def test_what_is_filled_is_found_in_each_way_that_is_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(history_load, "VARIANTS", 1)
    monkeypatch.setattr(history_load, "TESTS", 8)
    with open_store(f"sqlite:///{tmp_path}/history.db") as store:
        history_load.fill(store, 100)
        newest = store.runs(most=1)[0]
        assert (len(store.runs()), newest.branch, newest.tests) == (100, "main", 8)
        for tests, ref in ((1, "main"), (8, "main"), (8, "latest")):
            found = store.find(ref, history_load.HARDWARE[0])
            assert found is not None
            assert len(history_load.timed(2, history_load.asked(store, random.Random(1), tests, ref, unpacked=True))) == 2


def test_the_text_of_the_page():
    facts = {"rows": 1_000_000, "runs": 5000, "size": 2**30, "rate": 1234.5, "per_row": 1073.7}
    text = history_load.text_of([["one", [1.0, 2.0, 30.0]]], facts, {}, "quiet")
    assert "1,000,000 rows of 5,000 runs: 1,024 MB, 1,074 bytes a row" in text
    assert "| one" in text
    assert "| 2.0" in text
