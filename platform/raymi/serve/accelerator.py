"""The accelerator that Ray reserved for a replica: that it is there, and what may be taken of it.

Ray counts fractions of a device and nothing more: replicas that share one see the same device, and
each could take all of its memory. So a replica bounds itself before it loads a model.
"""

from __future__ import annotations

from collections.abc import Callable

from raymi.errors import InfeasibleError
from raymi.specs.deploy import DeploySpec


def take_share(share: float) -> None:
    """Bound what this process allocates on its accelerator, before it has allocated anything.

    The bound is that of PyTorch's allocator (`torch.cuda.set_per_process_memory_fraction`). A
    process's context, its libraries' workspaces and what a compiled model holds by itself come on
    top.

    Args:
        share: Of the device's memory, in (0, 1].

    Raises:
        InfeasibleError: There is no accelerator that torch can use.
    """
    import torch

    if not torch.cuda.is_available():
        raise InfeasibleError(
            "Ray reserved an accelerator for this replica, and it finds none",
            why=f"PyTorch {torch.__version__} sees no device on this node",
            fix="install the PyTorch build of the node's accelerator there, start the node with as "
            "many GPUs as it has, or set accelerators_per_replica=0 to compute on CPUs",
        )
    if share < 1.0:
        torch.cuda.set_per_process_memory_fraction(share, torch.cuda.current_device())


def settle_accelerators(
    spec: DeploySpec, most_accelerators: Callable[[], float | None], *, kept: float | None = None
) -> DeploySpec:
    """Say how many accelerators each replica has, where the spec leaves it open.

    Args:
        spec: What is to be deployed.
        most_accelerators: Says how many the live node with most has; None: the cluster does not
            say. Asked only if the answer matters.
        kept: What the application was deployed with before: where the spec leaves it open this
            stays, so that the same deployment is the same whatever nodes have come and gone.

    Returns:
        The spec with a number.

    Raises:
        InfeasibleError: No node has as many as one replica is to have.
    """
    wanted = spec.accelerators_per_replica
    if wanted is None:
        if kept is None:
            kept = 1.0 if (most_accelerators() or 0.0) >= 1.0 else 0.0
        return spec.model_copy(update={"accelerators_per_replica": kept})
    most = most_accelerators() if wanted else None
    if most is None or wanted <= most:
        return spec
    has = f"no node has more than {most:g}" if most else "no node of the cluster has any"
    raise InfeasibleError(
        f"accelerators_per_replica={wanted:g} cannot be given",
        why=f"{has}, and a replica is on one node",
        fix="add a node with accelerators (`raymi status` shows the GPUs that Ray counts), "
        f"or `--set accelerators_per_replica={most:g}`" + (" or less" if most else ""),
    )
