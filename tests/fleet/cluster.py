"""Ray clusters of several nodes on this machine, each with boards of its own, and one whose clock runs elsewhere."""

import os
import shutil
import subprocess
import sys
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

MEMORY_BYTES = 80_000_000  # of an object store: Ray takes little less


@contextmanager
def cluster():
    """A cluster of one node, without boards; ``add`` gives it more."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": MEMORY_BYTES}
    running = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield running
    finally:
        running.shutdown()


def add(running, environment=None):
    """One more node, whose processes have these variables besides."""
    return running.add_node(num_cpus=1, object_store_memory=MEMORY_BYTES, env_vars=environment)


def clock_of_its_own(ahead_s):
    """The start of a command that runs a program whose ``perf_counter`` is ahead by so much; None where that is not allowed."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    command = [unshare, "--time", "--monotonic", str(ahead_s)]
    return None if subprocess.run([*command, "true"], capture_output=True).returncode else command


@contextmanager
def skewed_node(running, command, environment):
    """A node that ``command`` (``clock_of_its_own``) starts, as long as it is needed."""
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--address", running.address, "--num-cpus", "1"]
    mark = {"TPF_TESTS_NODE": str(uuid.uuid4())}  # by which its processes, which are nobody's children, are found again
    subprocess.run(
        [*command, *ray, "--object-store-memory", str(MEMORY_BYTES), "--disable-usage-stats"],
        env={**os.environ, **environment, **mark},
        check=True,
        capture_output=True,
    )
    try:
        yield
    finally:
        for process in psutil.process_iter(["environ"]):
            if mark.items() <= (process.info["environ"] or {}).items():
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def actors():
    """The meter's actors on all nodes of this machine."""
    there = psutil.process_iter(["cmdline"])
    return [process for process in there if (process.info["cmdline"] or [""])[0].startswith("ray::NodeMeters")]
