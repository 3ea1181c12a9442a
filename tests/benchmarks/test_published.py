from __future__ import annotations

import pytest

from benchmarks import published
from benchmarks.quiet import Noise, Watch


def test_only_the_generated_part_of_a_page_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- x: generated, don't edit -->\nold\n<!-- /x -->\nbelow\n")
    published.replace_part(page, "x", "new\n")
    published.replace_part(page, "x", "newer\n")
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("<!-- /x -->\nbelow\n")
    assert "newer" in text
    assert "old" not in text


def test_a_page_without_the_marks_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("above\n")
    with pytest.raises(ValueError, match="lacks"):
        published.replace_part(page, "x", "new")
    assert page.read_text() == "above\n"


@pytest.mark.parametrize(("others", "steal", "noisy"), [(0.02, 0.0, False), (0.5, 0.0, True), (0.0, 0.3, True), (None, None, False)])
def test_a_run_is_noisy_when_others_used_the_machine(others, steal, noisy):
    noise = Noise(others_share=others, steal_share=steal, load_before=0.1, load_after=0.2)
    assert noise.noisy is noisy
    assert noise.as_dict()["noisy"] is noisy
    assert ("NOISY" in str(noise)) is noisy


def test_own_work_is_not_noise():
    watch = Watch()
    assert sum(range(3_000_000)) > 0
    noise = watch.noise()
    assert noise.others_share is None or 0 <= noise.others_share <= 1
