"""ROCm's `amdsmi` as far as Ray 2.60 and Raymi ask: a machine with some MI300X that is not there.

`AMDSMI_STUB_NUM_GPUS` says how many (2). amdsmi lists devices in the reverse of HIP's order here:
on real machines the two orders differ as well. Each question about energy adds a joule.
"""

import enum
import itertools
import os

AmdSmiInitFlags = enum.IntEnum("AmdSmiInitFlags", {"INIT_AMD_GPUS": 2})
AmdSmiMemoryType = enum.IntEnum("AmdSmiMemoryType", {"VRAM": 0})


class AmdSmiLibraryException(Exception):  # noqa: N818 - its real name
    """What the real module raises when the library refuses."""


_joules = itertools.count(1)


def amdsmi_init(flag=AmdSmiInitFlags.INIT_AMD_GPUS):
    return None


def amdsmi_shut_down():
    return None


def amdsmi_get_processor_handles():
    return list(range(int(os.environ.get("AMDSMI_STUB_NUM_GPUS", "2"))))


def amdsmi_get_gpu_id(handle):
    return 0x74A1


def amdsmi_get_gpu_asic_info(handle):
    return {"market_name": "AMD Instinct MI300X", "target_graphics_version": "gfx942"}


def amdsmi_get_gpu_enumeration_info(handle):
    return {"hip_id": len(amdsmi_get_processor_handles()) - 1 - handle, "drm_render": 128 + handle}


def amdsmi_get_gpu_device_bdf(handle):
    return f"0000:{0x05 + 0x20 * handle:02x}:00.0"


def amdsmi_get_gpu_device_uuid(handle):
    return f"GPU-{handle}"


def amdsmi_get_energy_count(handle):
    return {"energy_accumulator": next(_joules) * 65536, "counter_resolution": 1e6 / 65536}


def amdsmi_get_power_info(handle):
    return {"current_socket_power": 500 + handle, "average_socket_power": "N/A"}


def amdsmi_get_gpu_vram_usage(handle):
    return {"vram_total": 196592, "vram_used": 2048}


def amdsmi_get_gpu_memory_usage(handle, kind):
    return 2048 << 20


def amdsmi_get_gpu_memory_total(handle, kind):
    return 196592 << 20


def amdsmi_get_gpu_busy_percent(handle):
    return 0


def amdsmi_get_gpu_compute_process_info():
    return []


def amdsmi_get_gpu_process_list(handle):
    return []


def amdsmi_get_gpu_metrics_info(handle):
    return {
        "temperature_hotspot": 61,
        "temperature_mem": 54,
        "current_gfxclks": [1220, 1215, 1190, 1204, 1211, 1218, 1207, "N/A"],
        "ppt_residency_acc": 1000,
        "socket_thm_residency_acc": 10,
        "vr_thm_residency_acc": 0,
        "hbm_thm_residency_acc": 0,
        "prochot_residency_acc": 0,
    }
