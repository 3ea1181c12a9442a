"""Fuzz every target in turn: ``python -m tests.fuzz [--seconds 60] [TARGET ...]``; ``make fuzz`` runs it at low priority.

With atheris (coverage-guided) where it is installed, else with random changes to the seeds. Bytes on which a target fails are kept in
``found``, where ``test_found`` tries them again in every test run.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

FOUND = Path(__file__).with_name("found")


def guided(name: str, seconds: int) -> int:
    """In a process of its own, which ends at the first failure."""
    with tempfile.TemporaryDirectory() as corpus:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--child",
            name,
            f"-max_total_time={seconds}",
            "-max_len=16384",
            "-len_control=0",
            "-timeout=30",
        ]
        command += ["-rss_limit_mb=1500", "-print_final_stats=1", f"-artifact_prefix={FOUND}/{name}-", corpus]
        return subprocess.run(command, check=False).returncode


def child(name: str, options: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["pytest_tpf", "tomllib", "json"]):
        from tests.fuzz.targets import SEEDS, TARGETS
    for number, seed in enumerate(SEEDS[name]):
        Path(options[-1], str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


def unguided(name: str, seconds: int) -> int:
    from tests.fuzz.targets import SEEDS, TARGETS

    chance, end_s, failures = random.Random(), time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        content = changed(chance.choice(SEEDS[name]), chance)
        try:
            TARGETS[name](content)
        except Exception:
            failures += 1
            traceback.print_exc()
            FOUND.joinpath(f"{name}-{hashlib.sha256(content).hexdigest()[:16]}").write_bytes(content)
    return failures


def changed(content: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 8)):
        start = chance.randrange(len(content) + 1)
        end = min(start + chance.randint(0, 8), len(content))
        piece = chance.choice([b"", chance.randbytes(2), content[end : end + 20], b"9" * 30, b"null", b"-1", b"[", b'"', b"1e999", b"\n"])
        content = content[:start] + piece + content[end:]
    return content


def main() -> int:
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    arguments = parser.parse_args()
    fuzz = guided if importlib.util.find_spec("atheris") else unguided
    failed = [name for name in arguments.targets or TARGETS if fuzz(name, arguments.seconds)]
    print(f"failed: {', '.join(failed)}; see {FOUND}" if failed else "nothing was found")
    return bool(failed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
