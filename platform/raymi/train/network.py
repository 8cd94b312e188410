"""Spread a model over workers: DDP or FSDP2, recomputed activations, compiled code.

The repeated part of an architecture is its attribute `blocks`: what FSDP2 shards and
activation checkpointing recomputes one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
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

    def forget_gathered(self) -> None:
        """Let the next pass gather the weights anew; FSDP2 keeps those of the outermost module."""
        if isinstance(self.module, FSDPModule):
            self.module.reshard()


def shard(model: nn.Module, spec: ParallelismSpec, *, device: torch.device) -> bool:
    """Recompute and shard in place, before the optimizer is built; whether it was sharded.

    Raises:
        SpecError: Activation checkpointing is asked of a network without blocks, or sharding of
            one with weights of several types.
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
    _require_one_dtype(model)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return True


def _require_one_dtype(model: nn.Module) -> None:
    """FSDP2 keeps the parameters of a block in one piece of memory."""
    dtypes = {parameter.dtype for parameter in model.parameters()}
    if len(dtypes) > 1:
        raise SpecError(
            "parallelism.strategy: fsdp needs weights of one type",
            why=f"this network has {', '.join(sorted(map(str, dtypes)))}: BatchNorm stays fp32",
            fix="use `strategy: ddp`, another precision, or a norm without running statistics",
        )


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
        # A lambda, because torch compares annotations and ours are text.
        replicated.register_comm_hook(None, lambda _, bucket: _average_in_bf16(bucket))
    return Network(replicated, is_sharded=False)


def _average_in_bf16(bucket: Any) -> Any:
    """Average a bucket of gradients as bf16; torch's own hook refuses to run on gloo."""
    compressed = bucket.buffer().to(torch.bfloat16).div_(dist.get_world_size())

    def restore(done: Any) -> Any:
        return bucket.buffer().copy_(done.value()[0])

    return dist.all_reduce(compressed, async_op=True).get_future().then(restore)


def blocks_of(model: nn.Module) -> Iterable[nn.Module]:
    """The repeated part of a network, in order; nothing if it names none."""
    blocks = getattr(model, "blocks", None)
    return blocks if isinstance(blocks, nn.ModuleList | nn.Sequential) else ()
