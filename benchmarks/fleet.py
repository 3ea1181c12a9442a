"""What a fleet's meter weighs and takes: ``python -m benchmarks.fleet`` (the second half needs the extra ray).

Bytes are those that a node sends for a window of stand-in boards. Times are of fake nodes, which share this machine's cores: an upper
bound for what Ray and our code take, and no network.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from pytest_tpf.measure.node import NodeMeters
from pytest_tpf.measure.sampler import Sampler
from pytest_tpf.meters.protocol import MeterOptions
from tests.standin import Standin, many_boards

ROUNDS = 5


def weigh(boards, seconds):
    with tempfile.TemporaryDirectory() as folder:
        Standin(boards=many_boards(boards, counter_period_s=0.1)).preload(Path(folder))
        node = NodeMeters(("nvml",))
        channels = node.found()["channels"]
        t0 = node.now_s() + 2.0
        time.sleep(seconds + 3.0)
        rows = node.around(t0, t0 + seconds)
        cpu = node._sampler.cpu_share()
        node.close()
    print(f"{boards} boards, a window of {seconds:g} s; the sampler took {cpu:.1%} of a core")
    for kind in dict.fromkeys(channel["method"] for channel in channels):
        of_kind = [row for channel, row in zip(channels, rows, strict=True) if channel["method"] == kind]
        readings = sum(len(row[0]) // 8 for row in of_kind)
        sent = sum(len(column) for row in of_kind for column in row[:3])
        print(f"  {kind}: {readings} readings, {sent} bytes, {sent / max(readings, 1):g} each")
    print(f"  together {sum(len(column) for row in rows for column in row[:3])} bytes")


def take_time(counts):
    from pytest_tpf.meters import _ray_cluster
    from pytest_tpf.meters.ray import Node
    from tests.fleet.cluster import add, cluster

    with cluster() as running:
        there = 1
        for count in counts:
            for _ in range(count - there):
                add(running)
            there = count
            began = time.perf_counter()
            sampler = Sampler(("ray",), MeterOptions(watched_pid=os.getpid(), ray=running.address))
            found = sampler.start()
            opened_s = time.perf_counter() - began
            sampler.arm()
            time.sleep(1.0)
            asked = [_window_s(sampler) for _ in range(ROUNDS)]
            sampler.close()
            text = f"{count} nodes ({len(found.channels)} metered): {opened_s:.1f} s to open; a window of 0.5 s is known "
            print(f"{text}{statistics.median(asked):.2f} s after its end (median of {ROUNDS}, longest {max(asked):.2f})", flush=True)
        _ray_cluster.connect(running.address)
        remote = _ray_cluster.start(NodeMeters, _ray_cluster.alive_nodes()[0], ("estimate",))
        node = Node(remote)
        node.look()
        widths = []
        for _ in range(20):
            node.look()
            now = time.perf_counter()
            widths.append(node.clock.during(now, now).half_width_s)
        print(f"a look at a clock: within {statistics.median(widths) * 1e3:.2f} ms (median of 20, widest {max(widths) * 1e3:.2f} ms)")
        remote.stop()
        _ray_cluster.disconnect()


def _window_s(sampler):
    t0 = time.perf_counter()
    time.sleep(0.5)
    t1 = time.perf_counter()
    sampler.collect(t0, t1)
    return time.perf_counter() - t1


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__.partition(":")[0])
    parser.add_argument("--boards", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--nodes", default="3,8,20", help="how many fake nodes, one number after the other; empty: none")
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if arguments.boards:
        weigh(arguments.boards, arguments.seconds)
    if arguments.nodes:
        take_time([int(word) for word in arguments.nodes.split(",")])


if __name__ == "__main__":
    main()
