"""How many trials may run at once, so that Tune and Train can never wait for each other."""

from __future__ import annotations

from collections.abc import Sequence

from raymi.accelerators.catalog import Accelerator
from raymi.specs.train import TrainSpec
from raymi.train.admission import Resources, num_groups_that_fit

TRIAL_RESOURCES = {"cpu": 0, "memory": 1}
"""What Tune reserves for a trial's driver: no CPU, one byte of memory.

A trial's driver only waits for its workers. Were it to hold a CPU, or a hundredth of one,
the workers of a two-worker trial would never fit on two CPUs, and Tune and Train would wait
for each other for ever. Ray needs a placement group to hold something, hence the byte.
"""


def max_concurrent_trials(
    specs: Sequence[TrainSpec],
    accelerator: Accelerator,
    nodes: Sequence[Resources],
    *,
    limit: int | None,
) -> int:
    """Trials whose worker groups all fit at the same time, whatever their order.

    The largest group decides: counting smaller ones would let a large one starve between
    them. Admission has made sure that each fits alone, so the answer is at least 1.
    """
    fit = min(num_groups_that_fit(spec.resources, accelerator, nodes) for spec in specs)
    return max(1, min(fit, limit) if limit is not None else fit)
