"""How many floating-point operations one training row costs, counted and not guessed."""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode


def flops_per_sample(forward_backward: Callable[[], None], num_samples: int) -> float | None:
    """Count the operations of one forward and backward pass.

    A multiplication and the addition that follows it are two. Counted are matrix products,
    convolutions and attention, in which nearly all of the work is; operations that the optimizer,
    normalisation or activations add are not, and neither are kernels that torch does not know.

    Args:
        forward_backward: Runs the pass once, uncompiled. What it does to gradients is the
            caller's to undo.
        num_samples: Rows in it, at least 1.

    Returns:
        Operations per row; None if nothing in the pass could be counted.
    """
    with FlopCounterMode(display=False) as counter:
        forward_backward()
    total = counter.get_total_flops()
    return total / num_samples if total else None
