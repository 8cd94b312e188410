"""Wide linear layers in eight-bit floats for serving: weights once, activations as they come.

Each row of activations has a scale of its own, so that an answer does not depend on the rows it
shares a batch with.
"""

from __future__ import annotations

from torch import nn

from raymi.accelerators.catalog import Accelerator
from raymi.train.float8 import E4M3, require_float8


def quantize_layers(model: nn.Module, accelerator: Accelerator) -> None:
    """Change the inner linear layers of a bf16 model, in place.

    Raises:
        CapabilityError: The accelerator has no fp8, or no layer has the sizes it takes.
    """
    number_format, chosen = require_float8(model, accelerator)
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        PerRow,
        quantize_,
    )

    # The format is said and not left to torchao, which looks at the machine.
    e4m3 = E4M3[number_format]
    quantize_(
        model,
        Float8DynamicActivationFloat8WeightConfig(
            activation_dtype=e4m3, weight_dtype=e4m3, granularity=PerRow()
        ),
        filter_fn=lambda _, name: name in chosen,
    )
