"""Random rounding to bf16; its bits are a function of seed, step and place, of nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_NUM_BITS_LOST = 16
"""Bits of an fp32 number that bf16 does not have."""


def round_stochastically(values: Tensor, bits: Tensor) -> Tensor:
    """fp32 to bf16, up with the probability that keeps the mean.

    Args:
        values: fp32; what is not finite stays what it is.
        bits: int32 of the same shape, uniform over 0 .. 2^16 - 1.
    """
    # The bits that bf16 lacks are a fraction of 2^16; adding uniform bits carries into the kept
    # ones as often as that fraction says, for either sign.
    raised = (values.view(torch.int32) + bits) & -(1 << _NUM_BITS_LOST)
    # A NaN may have all bits set, and would become a zero.
    return torch.where(values.isfinite(), raised.view(torch.float32), values).bfloat16()


def random_bits(counters: Tensor, *, seed: int, step: int, stream: int) -> tuple[Tensor, Tensor]:
    """Two int32 tensors of uniform 16-bit numbers, a pure function of all arguments.

    The counters go through the 32-bit finaliser "lowbias32" (C. Wellons, hash-prospector, public
    domain) with 64 bits of key, on any device the same.
    """
    key = _mix64(_mix64(_mix64(seed) + step) + stream)
    bits = counters ^ _signed(key & _WORD)
    bits ^= (bits >> 16) & 0xFFFF
    bits *= _signed(0x7FEB352D)
    bits ^= (bits >> 15) & 0x1FFFF
    bits ^= _signed(key >> 32)
    bits *= _signed(0x846CA68B)
    bits ^= (bits >> 16) & 0xFFFF
    return bits & 0xFFFF, (bits >> 16) & 0xFFFF


def _mix64(value: int) -> int:
    """The finaliser of SplitMix64 (Steele et al., OOPSLA 2014), over Python integers."""
    value = (value + 0x9E3779B97F4A7C15) & ((1 << 64) - 1)
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & ((1 << 64) - 1)
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & ((1 << 64) - 1)
    return value ^ (value >> 31)


def _signed(word: int) -> int:
    """The int32 with the same bits; torch has no arithmetic for uint32."""
    return word - (1 << 32) if word >> 31 else word
