"""A small convolutional network for one image column."""

from __future__ import annotations

from torch import Tensor, nn

from raymi.data.preprocessing import Preprocessing


class Cnn(nn.Module):
    """Pairs of 3x3 convolutions with GroupNorm, halved after each pair, then one hidden layer.

    GroupNorm, not BatchNorm: the network must not notice how a global batch is cut into
    micro-batches.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        channels: tuple[int, ...],
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        (feature,) = preprocessing.tensors
        planes, height, width = _planes(feature.shape)
        self.name = f"tensor:{feature.column}"
        self.plane_shape = (planes, height, width)
        self.blocks = nn.ModuleList()
        for size in channels:
            self.blocks.append(
                nn.Sequential(
                    *_convolution(planes, size),
                    *_convolution(size, size),
                    nn.MaxPool2d(2, ceil_mode=True),
                )
            )
            planes, height, width = size, (height + 1) // 2, (width + 1) // 2
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(planes * height * width, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, preprocessing.num_outputs),
        )

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Map N images to (N, num_outputs)."""
        states = inputs[self.name].reshape(-1, *self.plane_shape)
        for block in self.blocks:
            states = block(states)
        outputs: Tensor = self.head(states)
        return outputs


def build_cnn(
    preprocessing: Preprocessing,
    *,
    channels: list[int] | None = None,
    hidden: int = 64,
    dropout: float = 0.1,
) -> Cnn:
    """Build a convolutional network.

    Raises:
        ValueError: The features are not exactly one image column.
    """
    if len(preprocessing.tensors) != 1 or len(preprocessing.features) != 1:
        raise ValueError(
            "cnn reads exactly one tensor column, these features are "
            f"{[feature.column for feature in preprocessing.features]}"
        )
    return Cnn(
        preprocessing,
        channels=tuple(channels if channels is not None else (16, 32)),
        hidden=hidden,
        dropout=dropout,
    )


def _planes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Read (H, W) or (C, H, W); a flat square, such as 64, counts as one 8 x 8 plane."""
    if len(shape) == 1:
        side = round(shape[0] ** 0.5)
        if side * side != shape[0]:
            raise ValueError(f"cnn needs images, {shape} is not a square")
        return 1, side, side
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    raise ValueError(f"cnn needs (H, W) or (C, H, W), not {shape}")


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    groups = next(g for g in (8, 4, 2, 1) if outputs % g == 0)
    return [
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.GroupNorm(groups, outputs),
        nn.GELU(),
    ]
