"""The model alone: rows a second of its own forward pass, 64 at a time, in one thread.

`python -m raymi.bench.serving.bare HOME SECONDS` prints one number.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from raymi.bench.serving.model import NAME, preprocessing, random_rows
from raymi.models.catalog import build_model
from raymi.registry.bundle import load_bundle

_NUM_ROWS = 64
_WARM_UP_S = 1.0


def main() -> None:
    """Time it."""
    home, window_s = Path(sys.argv[1]), float(sys.argv[2])
    torch.set_num_threads(1)
    bundle = load_bundle(home / "store" / "models" / NAME / "1")
    model = build_model(bundle.architecture, preprocessing()).eval()
    model.load_state_dict(load_file(home / "bench.safetensors"))
    inputs = {"tensor:image": torch.from_numpy(random_rows(_NUM_ROWS))}
    with torch.inference_mode():
        for duration_s in (_WARM_UP_S, window_s):
            rate = _rows_per_s(model, inputs, duration_s)
    print(rate)


def _rows_per_s(
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], duration_s: float
) -> float:
    began_s = time.perf_counter()
    count = 0
    while time.perf_counter() - began_s < duration_s:
        model(inputs)
        count += 1
    return count * _NUM_ROWS / (time.perf_counter() - began_s)


if __name__ == "__main__":
    main()
