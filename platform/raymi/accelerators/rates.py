"""How fast each accelerator is, on paper and as measured, with where each number comes from.

Plan with what was achieved: a dense bf16 product reaches 54% of the peak on an MI300X, whose
clock the power limit holds at 1.1 to 1.2 GHz, and 80% on an H100 or H200. Peaks are dense, of
matrix instructions, at the highest clock. AMD's measured rates are for large products of
normally distributed numbers; zeros run up to half as fast again. Nothing here was measured by
this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from raymi.accelerators.catalog import Accelerator
from raymi.specs.precision import Precision

_CDNA3 = "AMD, MI300X architecture and specification pages of the ROCm documentation"
_CDNA = "AMD, Matrix Core Programming on CDNA3 and CDNA4"
_BOARDS = "S. Bekman, ml-engineering, accelerators"
_MI300A = "AMD's figures for MI300A as published at its launch"
_MI350X = "AMD's figures for MI350X as published at its launch, rounded"
_HOPPER = "NVIDIA, H100 SXM and H200 SXM data sheets"

_AMD_MAF = "AMD, maximum achievable FLOPS, hipBLASLt of ROCm 6.3, M4096 N4864 K32896"
_AMD_TAF = "AMD, typically achieved FLOPS: its maximum again, normally distributed input, 1000 W"
_BEKMAN = "S. Bekman, maximum achievable matmul FLOPS through torch"


@dataclass(frozen=True, slots=True)
class Rate:
    """How many operations a second one device does in one precision."""

    peak_tflops: float
    """Of the data sheet: dense, no sparsity."""

    achieved_tflops: float | None
    """The best that somebody measured for a large matrix product; None: nobody we know of."""

    source: str
    """Who says so, the peak first."""

    as_of: date
    """When the newer of the two was published or read."""


@dataclass(frozen=True, slots=True)
class Board:
    """What one device has besides arithmetic."""

    memory_gib: float
    """Nominal; a process can have a few percent less."""

    bandwidth_gb_per_s: float
    """Of its memory, on paper; 10^9 bytes."""

    achieved_bandwidth_gb_per_s: float | None
    """As measured by a streaming copy."""

    power_w: float
    """What the board may take, as shipped."""

    source: str
    """Who says so."""

    as_of: date
    """When it was published or read."""


_FP32, _TF32, _BF16 = Precision.FP32, Precision.TF32, Precision.BF16
_FP16, _FP8 = Precision.FP16, Precision.FP8

_MI300X_PEAK = {_FP32: 163.4, _TF32: 653.7, _BF16: 1307.4, _FP16: 1307.4, _FP8: 2614.9}
_HOPPER_PEAK = {_FP32: 67.0, _TF32: 494.5, _BF16: 989.0, _FP16: 989.0, _FP8: 1979.0}

_PEAK_TFLOPS: dict[str, tuple[dict[Precision, float], str, date]] = {
    "AMD-Instinct-MI300A": (
        {_FP32: 122.6, _TF32: 490.3, _BF16: 980.6, _FP16: 980.6, _FP8: 1961.0},
        _MI300A,
        date(2023, 12, 11),
    ),
    "AMD-Instinct-MI300X-OAM": (_MI300X_PEAK, _CDNA3, date(2025, 3, 1)),
    "AMD-Instinct-MI325X-OAM": (_MI300X_PEAK, _CDNA, date(2025, 9, 30)),
    "AMD-Instinct-MI350X-OAM": (
        {_FP32: 144.2, _BF16: 2300.0, _FP16: 2300.0, _FP8: 4600.0},
        _MI350X,
        date(2025, 6, 12),
    ),
    "AMD-Instinct-MI355X-OAM": (
        {_FP32: 157.3, _BF16: 2500.0, _FP16: 2500.0, _FP8: 5000.0},
        _CDNA,
        date(2025, 9, 30),
    ),
    "H100": (_HOPPER_PEAK, _HOPPER, date(2024, 11, 1)),
    "H200": (_HOPPER_PEAK, _HOPPER, date(2024, 11, 1)),
}

_ACHIEVED_TFLOPS: dict[str, tuple[dict[Precision, float], str, date]] = {
    # bf16 is faster than fp16 here: at the same power the clock stays higher.
    "AMD-Instinct-MI300X-OAM": (
        {_BF16: 708.0, _FP16: 654.0, _FP8: 1273.0},
        _AMD_MAF,
        date(2025, 2, 1),
    ),
    "AMD-Instinct-MI325X-OAM": (
        {_BF16: 831.0, _FP16: 787.0, _FP8: 1409.0},
        _AMD_TAF,
        date(2026, 10, 6),
    ),
    "AMD-Instinct-MI355X-OAM": ({_BF16: 1565.0}, _BEKMAN, date(2026, 8, 1)),
    "H100": ({_BF16: 794.5, _FP8: 1403.0}, _BEKMAN, date(2026, 8, 1)),
    "H200": ({_BF16: 794.5, _FP8: 1453.0}, _BEKMAN, date(2026, 8, 1)),
}

_BOARD: dict[str, Board] = {
    "AMD-Instinct-MI300A": Board(128, 5300, None, 550, _MI300A, date(2023, 12, 11)),
    "AMD-Instinct-MI300X-OAM": Board(
        192,
        5300,
        # The least that AMD accepts of BabelStream's copy on a healthy device.
        4177,
        750,
        f"{_BOARDS}; AMD, system acceptance of MI300X",
        date(2026, 8, 1),
    ),
    "AMD-Instinct-MI325X-OAM": Board(256, 6000, None, 1000, _BOARDS, date(2026, 8, 1)),
    "AMD-Instinct-MI350X-OAM": Board(288, 8000, None, 1000, _MI350X, date(2025, 6, 12)),
    "AMD-Instinct-MI355X-OAM": Board(288, 8000, None, 1400, _BOARDS, date(2026, 8, 1)),
    "H100": Board(80, 3350, None, 700, _HOPPER, date(2024, 11, 1)),
    "H200": Board(141, 4800, None, 700, _HOPPER, date(2024, 11, 1)),
}


def rate(accelerator: Accelerator, precision: Precision) -> Rate | None:
    """How fast the device is in a precision; None where nothing is known, as for every CPU.

    `bf16_pure` multiplies what `bf16` multiplies and has its rate.
    """
    numbers = Precision.BF16 if precision is Precision.BF16_PURE else precision
    peaks, source, as_of = _PEAK_TFLOPS.get(accelerator.name, ({}, "", date.min))
    if numbers not in peaks:
        return None
    achieved, measured_by, measured_on = _ACHIEVED_TFLOPS.get(accelerator.name, ({}, "", date.min))
    if numbers not in achieved:
        return Rate(peaks[numbers], None, source, as_of)
    return Rate(
        peaks[numbers], achieved[numbers], f"{source}; {measured_by}", max(as_of, measured_on)
    )


def board(accelerator: Accelerator) -> Board | None:
    """Memory, bandwidth and power of the device; None where nothing is known."""
    return _BOARD.get(accelerator.name)
