"""An average of the weights over a run's steps, in which the newest count most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class WeightAverage:
    """Exponential moving average of a model's parameters.

    After n updates it is the weighted mean of the weights seen, where those of k updates ago
    weigh decay^k: the initial weights do not count, as with Adam's bias correction (arXiv
    1412.6980, section 3), and after one update it is the weights themselves. It is kept in fp32,
    as sharded as the parameters are. Buffers are not averaged.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = dict(model.named_parameters())
        self._decay = decay
        self._num_updates = 0
        self._average = {
            name: parameter.detach().to(torch.float32, copy=True)
            for name, parameter in self._parameters.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of one more step."""
        self._num_updates += 1
        share = (1.0 - self._decay) / (1.0 - self._decay**self._num_updates)
        average = [_local(tensor) for tensor in self._average.values()]
        current = [_local(parameter).float() for parameter in self._parameters.values()]
        torch._foreach_lerp_(average, current, share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the averaged weights; afterwards, its own again."""
        weights = [_local(parameter) for parameter in self._parameters.values()]
        average = [_local(tensor) for tensor in self._average.values()]
        with torch.no_grad():
            own = [tensor.clone() for tensor in weights]
            torch._foreach_copy_(weights, average)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(weights, own)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes; its tensors are the average's own."""
        return {"num_updates": self._num_updates, "average": dict(self._average)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved average; whole tensors are cut where the parameters are sharded.

        Raises:
            KeyError: It is of a model with other parameters.
        """
        for name, tensor in self._average.items():
            saved = state["average"][name]
            if isinstance(tensor, DTensor) and not isinstance(saved, DTensor):
                saved = distribute_tensor(
                    saved.to(tensor.device),
                    tensor.device_mesh,
                    tensor.placements,
                    # Every rank has read the same file.
                    src_data_rank=None,
                )
            tensor.copy_(saved)
        self._num_updates = state["num_updates"]


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()
