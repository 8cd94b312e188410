"""Placement groups of this job: Ray keeps those of workers that were killed while they started."""

from __future__ import annotations

from collections.abc import Iterable

import ray
from ray import PlacementGroupID
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group


def list_places() -> set[str]:
    """Names of those that hold something; the job's name is the end of theirs."""
    job = ray.get_runtime_context().get_job_id()
    return {
        name
        for name, group in placement_group_table().items()
        if name.endswith(job) and group["state"] != "REMOVED"
    }


def free_places(names: Iterable[str]) -> None:
    """Give back what they hold; whoever works there is killed."""
    for name in names:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))
