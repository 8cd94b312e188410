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
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from raymi.errors import SpecError
from raymi.specs.parallelism import Compression, ParallelismSpec, Strategy


class Network:
    """What the loop calls: the model, wrapped as its spec says."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

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


def shard(
    model: nn.Module,
    spec: ParallelismSpec,
    *,
    device: torch.device,
    world_size: int,
    group: dist.ProcessGroup | None = None,
) -> bool:
    """Recompute and shard in place, before the optimizer is built; whether it was sharded.

    Args:
        model: Changed in place.
        spec: What was asked for.
        device: Where the model is.
        world_size: Workers that share it.
        group: Those workers, if they are not all of the default group.

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
    if spec.strategy is not Strategy.FSDP:
        return False
    mesh = _mesh(device, world_size, group)
    if mesh is None:
        return False
    _require_one_dtype(model)
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return True


def _mesh(
    device: torch.device, world_size: int, group: dist.ProcessGroup | None
) -> DeviceMesh | None:
    """The workers that share a model; None for one alone."""
    if group is not None:
        return DeviceMesh.from_group(group, device.type)
    # One worker of a larger default group has nobody to shard with.
    if not dist.is_initialized() or dist.get_world_size() != world_size:
        return None
    return init_device_mesh(device.type, (world_size,))


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
    model: nn.Module,
    spec: ParallelismSpec,
    *,
    device: torch.device,
    world_size: int,
    group: dist.ProcessGroup | None = None,
) -> Network:
    """Compile and, unless it is sharded, replicate; after the state was restored.

    Args:
        model: What `shard` returned from.
        spec: What was asked for.
        device: Where the model is.
        world_size: Workers that share it.
        group: Those workers, if they are not all of the default group.
    """
    if spec.compile:
        model.compile()
    if isinstance(model, FSDPModule) or world_size == 1:
        return Network(model)
    replicated = DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        process_group=group,
        gradient_as_bucket_view=True,
    )
    if spec.gradient_compression is Compression.BF16:
        # A lambda, because torch compares annotations and ours are text.
        replicated.register_comm_hook(None, lambda _, bucket: _average_in_bf16(bucket, group))
    return Network(replicated)


def _average_in_bf16(bucket: Any, group: dist.ProcessGroup | None) -> Any:
    """Average a bucket of gradients as bf16; torch's own hook refuses to run on gloo."""
    compressed = bucket.buffer().to(torch.bfloat16).div_(dist.get_world_size(group))

    def restore(done: Any) -> Any:
        return bucket.buffer().copy_(done.value()[0])

    return dist.all_reduce(compressed, group=group, async_op=True).get_future().then(restore)


def blocks_of(model: nn.Module) -> Iterable[nn.Module]:
    """The repeated part of a network, in order; nothing if it names none."""
    blocks = getattr(model, "blocks", None)
    return blocks if isinstance(blocks, nn.ModuleList | nn.Sequential) else ()
