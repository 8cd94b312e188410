"""Random rounding to bf16; its bits are a function of seed, step and place, of nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


def round_stochastically(values: Tensor, bits: Tensor) -> Tensor:
    """fp32 to bf16, up with the probability that keeps the mean.

    Args:
        values: fp32; what is not finite stays what it is.
        bits: int32 of the same shape, uniform over 0 .. 2^16 - 1.
    """
    # bf16 is the upper half of fp32, and the lower half a fraction of 2^16: adding uniform bits
    # carries into the upper half as often as that fraction says, for either sign.
    upper = (values.view(torch.int32) + bits).bitwise_right_shift_(16).to(torch.int16)
    # A NaN may have all bits set, and would become a zero.
    return upper.view(torch.bfloat16).masked_fill_(values.isnan(), torch.nan)


def random_bits(counters: Tensor, *, seed: int, step: int, stream: int) -> tuple[Tensor, Tensor]:
    """Two int32 tensors of uniform 16-bit numbers, a pure function of all arguments.

    The counters go through the 32-bit finaliser "lowbias32" (C. Wellons, hash-prospector, public
    domain) with 64 bits of key, on any device the same.
    """
    key = _mix64(_mix64(_mix64(seed) + step) + stream)
    bits = counters ^ _signed(key & _WORD)
    bits ^= _shifted(bits, 16)
    bits *= _signed(0x7FEB352D)
    bits ^= _shifted(bits, 15)
    bits ^= _signed(key >> 32)
    bits *= _signed(0x846CA68B)
    high = _shifted(bits, 16)
    bits ^= high
    bits &= 0xFFFF
    return bits, high


def _shifted(bits: Tensor, num_places: int) -> Tensor:
    """Right, with zeros from the left: torch repeats the sign."""
    return (bits >> num_places).bitwise_and_((1 << (32 - num_places)) - 1)


def _mix64(value: int) -> int:
    """The finaliser of SplitMix64 (Steele et al., OOPSLA 2014), over Python integers."""
    value = (value + 0x9E3779B97F4A7C15) & ((1 << 64) - 1)
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & ((1 << 64) - 1)
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & ((1 << 64) - 1)
    return value ^ (value >> 31)


def _signed(word: int) -> int:
    """The int32 with the same bits; torch has no arithmetic for uint32."""
    return word - (1 << 32) if word >> 31 else word
