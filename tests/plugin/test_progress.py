"""Live progress on a real (pseudo) terminal; silence elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

SOURCE = """
    @pytest.mark.tpf(rounds=4)
    def test_it(tpf, model): tpf(model.generate, seconds=0.15)
"""


def on_a_terminal(suite, *options, watch=lambda text: None, **variables) -> str:
    """What the suite prints where its standard output is a terminal that it controls; ``watch`` is shown all of it as it grows."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(suite.path)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
        os.execve(sys.executable, command, {**os.environ, "TERM": "xterm", "COLUMNS": "100", **variables})
    text = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        text += part
        watch(text.decode(errors="replace"))
    os.waitpid(pid, 0)
    os.close(terminal)
    return text.decode()


@pytest.mark.filterwarnings("ignore:.*use of forkpty.*:DeprecationWarning")
def test_rounds_and_joules_per_token_are_shown_and_cleared(suite):
    suite.write(SOURCE)
    text = on_a_terminal(suite)
    assert " 1/4 rounds" in text
    assert " 3/4 rounds" in text
    assert text.rindex("\x1b7\x1b[K\x1b8") > text.rindex("/4 rounds")  # the last thing drawn is nothing
    assert "1 passed" in text


@pytest.mark.filterwarnings("ignore:.*use of forkpty.*:DeprecationWarning")
@pytest.mark.parametrize(("options", "variables"), [((), {"CI": "true"}), (("-n", "1"), {})], ids=["ci", "xdist"])
def test_silent_in_ci_and_in_workers(suite, options, variables):
    suite.write(SOURCE)
    text = on_a_terminal(suite, *options, **variables)
    assert "/4 rounds" not in text
    assert "1 passed" in text


def test_silent_in_a_pipe(suite):
    suite.write(SOURCE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], cwd=suite.path, capture_output=True, text=True, check=False
    )
    assert "/4 rounds" not in done.stdout
    assert "1 passed" in done.stdout
