"""Run every benchmark that docs/benchmarks.md reports, one after the other: ``python -m benchmarks`` (about twenty minutes).

Arguments go to the comparison with the peers, the one that writes its part of the page: ``--write``, ``--noisy``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import environment

SCRIPTS = ("startup.py", "sampler_placement.py", "observer_overhead.py", "served_cost.py", "load_lateness.py", "report_load.py")


def main() -> int:
    print("## beside_peers\n", flush=True)
    command = [sys.executable, "-m", "benchmarks.beside_peers", *sys.argv[1:]]
    codes = [subprocess.run(command, env=environment(), check=False).returncode]
    for script in SCRIPTS:
        print(f"\n## {script}\n", flush=True)
        threads = {"OMP_NUM_THREADS": "1"} if script == "observer_overhead.py" else {}
        command = [sys.executable, str(Path(__file__).with_name(script))]
        codes.append(subprocess.run(command, env=environment(**threads), cwd=os.getcwd(), check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
