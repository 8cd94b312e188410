"""How one optimizer step is cut into pieces that fit on one accelerator.

This is the only module that does batch arithmetic. A sweep varies `micro_batch_size` to
find what the hardware likes; the model's behaviour depends on `global_batch_size` alone,
and stays fixed while the sweep runs.
"""

from __future__ import annotations

from pydantic import PositiveInt

from raymi.specs.base import Spec


class BatchSpec(Spec):
    """Batch sizes of a training run."""

    global_batch_size: PositiveInt
    """Samples that contribute to one optimizer step, over all workers."""

    micro_batch_size: PositiveInt
    """Samples one worker holds in memory for one forward and backward pass."""

    def accumulation_steps(self, num_workers: int) -> int:
        """Return how many micro-batches each worker sums before it steps.

        >>> BatchSpec(global_batch_size=1024, micro_batch_size=32).accumulation_steps(8)
        4

        Raises:
            ValueError: The global batch does not divide evenly. Rounding would
                change the effective learning rate without telling anyone.
        """
        per_pass = self.micro_batch_size * num_workers
        steps, remainder = divmod(self.global_batch_size, per_pass)
        if remainder:
            raise ValueError(
                f"batch.global_batch_size={self.global_batch_size} is not a multiple of "
                f"batch.micro_batch_size x resources.num_workers = "
                f"{self.micro_batch_size} x {num_workers} = {per_pass}"
            )
        return steps
