"""How one model is spread over workers, and what is traded for memory or speed."""

from __future__ import annotations

from enum import StrEnum

from raymi.specs.base import Spec


class Strategy(StrEnum):
    """Where weights, gradients and optimizer state live."""

    DDP = "ddp"
    FSDP = "fsdp"


class Compression(StrEnum):
    """What gradients are cast to on their way between workers."""

    NONE = "none"
    BF16 = "bf16"


class ParallelismSpec(Spec):
    """Data parallelism."""

    strategy: Strategy = Strategy.DDP
    """`ddp`: every worker holds everything; `fsdp`: each holds its share (FSDP2)."""

    gradient_compression: Compression = Compression.NONE
    """`bf16` halves the traffic and changes the numbers; `ddp` only."""

    activation_checkpointing: bool = False
    """Recompute the activations of the network's blocks instead of keeping them."""

    compile: bool = False
    """`torch.compile` the network; slow to start, and needs a C++ compiler on CPUs."""
