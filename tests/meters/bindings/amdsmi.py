"""A stand-in for AMD's Python binding, as far as Zeus calls it: the names and the shape of the answers are those of amdsmi 7.0.

``AMDSMI_STANDIN`` holds the GPUs as JSON, in bus order: ``hip_id``, ``watts``, ``counter`` (does its counter count?) and ``instant`` (has
it an instantaneous gauge?).
"""

from __future__ import annotations

import enum
import json
import os
import time

GPUS = json.loads(os.environ["AMDSMI_STANDIN"])
RESOLUTION_UJ = 15.259  # as real boards say


class AmdSmiException(Exception):
    pass


class AmdSmiLibraryException(AmdSmiException):
    def __init__(self, code):
        super().__init__(code)
        self.code = code

    def get_error_code(self):
        return self.code

    def get_error_info(self):
        return f"Error code: {self.code}"


class AmdSmiInitFlags(enum.IntEnum):
    INIT_AMD_GPUS = 2


def amdsmi_init(flag):
    if not GPUS:
        raise AmdSmiLibraryException(34)


def amdsmi_shut_down():
    pass


def amdsmi_get_processor_handles():
    return GPUS


def amdsmi_get_gpu_enumeration_info(gpu):
    return {"hip_id": gpu["hip_id"]}


def amdsmi_get_gpu_asic_info(gpu):
    return {"market_name": "AMD Instinct MI300X"}


def amdsmi_get_gpu_device_uuid(gpu):
    return f"{gpu['hip_id']:04x}74a1-0000-1000-80ff-000000000000"


def amdsmi_get_power_cap_info(gpu):
    return {"power_cap": 750_000_000}


def amdsmi_get_power_info(gpu):
    watts = round(gpu["watts"])
    return {"current_socket_power": watts if gpu.get("instant", True) else "N/A", "average_socket_power": watts}


def amdsmi_get_energy_count(gpu):
    counted_s = time.perf_counter() if gpu.get("counter", True) else 0.0
    return {"energy_accumulator": int(gpu["watts"] * counted_s * 1e6 / RESOLUTION_UJ), "counter_resolution": RESOLUTION_UJ, "timestamp": 0}
