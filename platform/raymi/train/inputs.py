"""The last step from compact rows to what a network reads, on the device that computes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from raymi.data.preprocessing import Preprocessing


class DeviceInputs:
    """Moves rows in their compact form and finishes them there, as `Preprocessing.prepare` does.

    Bytes cross the bus as bytes: an image is a quarter of the size it has as float32.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._device = device
        self._scales = {
            f"tensor:{feature.column}": (
                torch.tensor(feature.mean, dtype=torch.float32, device=device),
                # On the device too: a GPU multiplies by the inverse of a number that is not.
                torch.tensor(feature.std, dtype=torch.float32, device=device),
            )
            for feature in preprocessing.tensors
        }

    def __call__(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return model inputs, which never share memory with rows that are used again.

        Args:
            arrays: Encoded rows on the CPU, numbers already prepared. From pinned memory they
                are copied while this process goes on: leave them until the device has caught up.
        """
        return {name: self._finish(name, array) for name, array in arrays.items()}

    def _finish(self, name: str, array: Tensor) -> Tensor:
        moved = array.to(self._device, non_blocking=True)
        if name in self._scales:
            mean, std = self._scales[name]
            return moved.to(torch.float32, copy=True).sub_(mean).div_(std)
        return moved.to(torch.float32 if name == "numbers" else torch.int64, copy=True)
