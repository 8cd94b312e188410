"""Spread a model over workers: DDP or FSDP2, recomputed activations, compiled code.

The repeated part of an architecture is its attribute `blocks`: what FSDP2 shards and
activation checkpointing recomputes one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from raymi.errors import SpecError
from raymi.specs.parallelism import Compression, ParallelismSpec, Strategy


class Network:
    """What the loop calls: the model, wrapped as its spec says."""

    def __init__(self, module: nn.Module, *, is_sharded: bool) -> None:
        self.module = module
        self.is_sharded = is_sharded

    def synchronising(self, *, wanted: bool) -> AbstractContextManager[None]:
        """Whether the backward pass inside also averages gradients over workers."""
        if isinstance(self.module, FSDPModule):
            self.module.set_requires_gradient_sync(wanted)
        elif isinstance(self.module, DistributedDataParallel) and not wanted:
            context: AbstractContextManager[None] = self.module.no_sync()
            return context
        return nullcontext()


def shard(model: nn.Module, spec: ParallelismSpec, *, device: torch.device) -> bool:
    """Recompute and shard in place, before the optimizer is built; whether it was sharded.

    Raises:
        SpecError: Activation checkpointing is asked of a network without blocks.
    """
    blocks = list(blocks_of(model))
    if spec.activation_checkpointing:
        if not blocks:
            raise SpecError(
                "parallelism.activation_checkpointing: this network has no blocks",
                why=f"{type(model).__name__} has no attribute `blocks` to recompute one by one",
                fix="leave it off, or give the network a `blocks: nn.ModuleList`",
            )
        for block in blocks:
            # The instance's forward, not a wrapper: names of weights stay as they are.
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if spec.strategy is not Strategy.FSDP or not dist.is_initialized():
        return False
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return True


def wrap(
    model: nn.Module, spec: ParallelismSpec, *, device: torch.device, is_sharded: bool
) -> Network:
    """Compile and, unless it is sharded, replicate; after the state was restored."""
    if spec.compile:
        model.compile()
    if is_sharded or not dist.is_initialized() or dist.get_world_size() == 1:
        return Network(model, is_sharded=is_sharded)
    replicated = DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
    )
    if spec.gradient_compression is Compression.BF16:
        replicated.register_comm_hook(None, bf16_compress_hook)
    return Network(replicated, is_sharded=False)


def blocks_of(model: nn.Module) -> Iterable[nn.Module]:
    """The repeated part of a network, in order; nothing if it names none."""
    blocks = getattr(model, "blocks", None)
    return blocks if isinstance(blocks, nn.ModuleList | nn.Sequential) else ()
