"""This job's connection to its Ray cluster: joined once, quietly, with the token kept on."""

from __future__ import annotations

import logging
import os
from typing import Any

import ray
from ray._private.state import available_resources_per_node

from raymi.errors import UnreachableError
from raymi.train.admission import Resources

# How often the Train controller looks at its workers. Ray's 2 s adds up to seconds of waiting
# at each start and end of a worker group, and a crash in between loses the last checkpoint.
_HEALTH_CHECK_INTERVAL_S = "0.2"

# How long it waits for a place. What it asks for was free a moment ago: if it is not any more, or
# its node is gone without Ray knowing it yet, counting anew is better than waiting.
_START_TIMEOUT_S = "30"


def join() -> None:
    """Connect to the cluster this job was submitted to, or start a private one.

    Raises:
        UnreachableError: `RAY_ADDRESS` leads nowhere.
    """
    if ray.is_initialized():
        return
    # Nothing about a job leaves its machines unless somebody wants it to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _HEALTH_CHECK_INTERVAL_S)
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", _START_TIMEOUT_S)
    logging.getLogger("ray").setLevel(logging.WARNING)
    # It warns that token authentication is on, which is what Raymi wants.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    # A stale note of some other cluster on this machine must not be followed by accident.
    address = os.environ.get("RAY_ADDRESS") or "local"
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env=_worker_environment(address),
        )
    except (ConnectionError, RuntimeError) as error:
        raise UnreachableError(
            f"no Ray cluster at {address}",
            why=str(error).strip().splitlines()[-1],
            fix='start one with `raymi up`, then `eval "$(raymi env)"`',
        ) from error
    _set_address()


def nodes() -> list[Resources]:
    """Total resources of each live node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def free() -> list[Resources]:
    """What nobody has taken of each live node."""
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return [
        resources
        for node_id, resources in available_resources_per_node().items()
        if node_id in alive
    ]


def code_package() -> str | None:
    """Content hash of the working directory that was uploaded with this job."""
    runtime_env: dict[str, Any] = dict(ray.get_runtime_context().runtime_env)
    uri = runtime_env.get("working_dir")
    return str(uri) if uri else None


def _worker_environment(address: str) -> dict[str, Any]:
    """What every worker process of this job finds around it.

    `RAY_ADDRESS` is among it: with several clusters on one machine Ray's own helpers guess, and
    guess wrong; the cleaner of a stopped trial's placement group dies, and the sweep waits for
    ever. A private cluster has no address before it starts, so its workers look it up.
    """
    names = (
        "RAYMI_HOME",
        "RAYMI_STORE",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S",
    )
    variables = {name: os.environ[name] for name in names if name in os.environ}
    if address == "local":
        return {"env_vars": variables, "worker_process_setup_hook": _set_address}
    return {"env_vars": {**variables, "RAY_ADDRESS": address}}


def _set_address() -> None:
    """Name the cluster that this process belongs to."""
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
