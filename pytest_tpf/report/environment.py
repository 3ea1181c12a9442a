"""Where and with what the tests ran. Never raises: what can't be found out is None."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pytest_tpf.records import Accelerator, Ci, Cpu, Environment, Host
from pytest_tpf.report.source import describe_source

# modules whose version can change an energy or a token count; the second name is the distribution's where it differs
KNOWN_SOFTWARE = {
    "accelerate": "accelerate",
    "bitsandbytes": "bitsandbytes",
    "flash_attn": "flash-attn",
    "llama_cpp": "llama-cpp-python",
    "mlx": "mlx",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "openai": "openai",
    "optimum": "optimum",
    "pynvml": "nvidia-ml-py",
    "sglang": "sglang",
    "tensorrt_llm": "tensorrt-llm",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
    "triton": "triton",
    "vllm": "vllm",
}
_ALWAYS = ("pytest", "pytest-tpf")


def describe_environment(
    accelerators: Sequence[Accelerator], software_names: Iterable[str] = tuple(KNOWN_SOFTWARE), *, root: str | os.PathLike[str] = "."
) -> Environment:
    """The host, what ran on it, the code under test in ``root`` (a folder of its checkout) and the CI service.

    ``software_names`` are import names; those already imported are looked up in the metadata of their distributions.
    """
    host = _host()
    return Environment(
        host=host,
        accelerators=tuple(accelerators),
        software=imported_software(software_names),
        source=describe_source(Path(root)),
        ci=ci_service(os.environ),
        hardware_fingerprint=hardware_fingerprint(host.cpu, accelerators),
    )


def hardware_fingerprint(cpu: Cpu, accelerators: Sequence[Accelerator]) -> str:
    """16 hexadecimal digits that are equal where energies may be compared.

    In: the processor's model and logical cores; and of the accelerators how many there are of each model, memory size, enforced
    power limit and driver branch (its counters' meaning has changed between branches). Not in: UUIDs, host names, clocks and memory
    fill, for a CI fleet has many boards of one kind, and a fingerprint that changes from run to run compares nothing.
    """
    boards = Counter(
        f"{board.name}|{_gibibytes(board.memory_bytes)}|{_watts(board.power_limit_w)}|{_branch(board.driver_version)}"
        for board in accelerators
    )
    parts = [f"cpu|{cpu.model}|{cpu.logical_cores}", *(f"{count}x|{board}" for board, count in sorted(boards.items()))]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def fingerprint_here(accelerators: Sequence[Accelerator]) -> str:
    """The fingerprint of this machine with these accelerators."""
    return hardware_fingerprint(_host().cpu, accelerators)


def _gibibytes(size_bytes: int | None) -> str:
    return "?" if size_bytes is None else str(round(size_bytes / 2**30))


def _watts(power_w: float | None) -> str:
    return "?" if power_w is None else str(round(power_w))


def _branch(version: str | None) -> str:
    return (version or "?").partition(".")[0]


# --- the host ---------------------------------------------------------------------------------------------------------


def _host() -> Host:
    return Host(
        os=f"{platform.system()} {platform.release()}".strip()[:256],
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cpu=Cpu(model=_cpu_model(), logical_cores=os.cpu_count() or 1),
        memory_bytes=_memory_bytes(),
    )


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """``model name`` on x86; ARM kernels give numbers only, of which implementer and part tell the core."""
    found: dict[str, str] = {}
    try:
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip().lower(), " ".join(value.split()))
    except OSError:
        pass
    if found.get("cpu implementer"):
        found["arm"] = f"ARM implementer {found['cpu implementer']} part {found.get('cpu part', '?')}"
    names = (found.get(key) for key in ("model name", "hardware", "cpu model", "arm"))
    model = next(filter(None, names), None) or platform.processor() or platform.machine()
    return model[:256] or None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


# --- software and CI --------------------------------------------------------------------------------------------------


def imported_software(import_names: Iterable[str] = tuple(KNOWN_SOFTWARE)) -> dict[str, str]:
    """The versions of pytest, this plugin, and those of ``import_names`` that this process has imported."""
    imported = (KNOWN_SOFTWARE.get(name, name) for name in import_names if name in sys.modules)
    versions = {name: _version(name) for name in (*_ALWAYS, *imported)}
    return {name: version[:256] for name, version in sorted(versions.items()) if version}


@functools.cache
def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except (importlib.metadata.PackageNotFoundError, KeyError, ValueError, OSError):
        return None


def ci_service(variables: Mapping[str, str]) -> Ci | None:
    """The CI service that this process runs in, from the variables that services set for this purpose."""
    if variables.get("GITHUB_ACTIONS") == "true":
        server, repository, run = (variables.get(f"GITHUB_{key}") for key in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
        url = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else None
        return _bounded("GitHub Actions", run, url)
    if variables.get("GITLAB_CI"):
        return _bounded("GitLab CI", variables.get("CI_PIPELINE_ID"), variables.get("CI_PIPELINE_URL"))
    if variables.get("CI", "").lower() in ("", "0", "false", "no"):
        return None
    return _bounded("unknown", variables.get("BUILD_ID") or variables.get("BUILD_NUMBER"), variables.get("BUILD_URL"))


def _bounded(provider: str, run_id: str | None, run_url: str | None) -> Ci:
    return Ci(provider=provider, run_id=run_id[:256] if run_id else None, run_url=run_url[:2048] if run_url else None)
