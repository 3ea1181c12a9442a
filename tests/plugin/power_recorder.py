"""Records a power that is known exactly, as ``nvidia-smi -lms`` would, until it is killed.

SHIFT_S is added to the times it writes: a recorder whose clock is wrong.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.meters.logs import local, uuid
from tests.standin import Board

EVERY_S = 0.05
# In opposite phase 3.25 s later or earlier: a log that is moved by that gives quite another energy.
POWERS = (Board(shape="sine", base_w=300.0, swing_w=150.0, period_s=6.5), Board(base_w=80.0))


def record(path: Path, shift_s: float) -> None:
    with path.open("w", buffering=1) as file:
        file.write("timestamp, index, uuid, power.draw.instant [W]\n")
        while True:
            t, now = time.time(), time.perf_counter()
            for gpu, board in enumerate(POWERS):
                file.write(f"{local(t + shift_s)}, {gpu}, {uuid(gpu)}, {board.power_w(now):.2f} W\n")
            time.sleep(EVERY_S)


if __name__ == "__main__":
    record(Path(sys.argv[1]), float(sys.argv[2]))
