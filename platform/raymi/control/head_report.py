"""How the local head is: what is written down, compared with what can be seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from raymi.accelerators.inventory import host_partitions
from raymi.accelerators.partitions import HostPartitions
from raymi.control import head_files, processes
from raymi.control.head_api import HeadApi
from raymi.control.head_state import (
    Condition,
    Diagnosis,
    HeadFacts,
    HeadFiles,
    HeadState,
    assess,
    read_head,
)
from raymi.errors import IntegrityError, UnreachableError


@dataclass(frozen=True, slots=True)
class HeadReport:
    """What `raymi status` shows."""

    diagnosis: Diagnosis
    state: HeadState | None = None
    resources: dict[str, dict[str, float | None]] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    applications: list[dict[str, Any]] = field(default_factory=list)
    partitions: tuple[HostPartitions, ...] = ()
    """How this machine's MI300 packages are divided into the GPUs that Ray counts."""

    processes: list[tuple[int, str]] = field(default_factory=list)
    beyond_loopback: list[tuple[str, int]] = field(default_factory=list)
    """Listeners of this cluster that other machines could reach."""

    last_words: str | None = None
    """The end of the log, when the head has ended by itself."""


def status(*, home: Path) -> HeadReport:
    """Look at the local head; nothing is changed."""
    state = read_head(home)
    if state is None:
        return HeadReport(assess(HeadFacts(recorded=False)), partitions=host_partitions())
    facts = observe(state, being_changed=head_files.is_locked(HeadFiles(home).lock))
    diagnosis = assess(facts)
    owned = processes.owned_by(state.cluster_id)
    report = HeadReport(
        diagnosis,
        state,
        partitions=host_partitions(),
        processes=sorted((process.pid, processes.title(process)) for process in owned),
        beyond_loopback=[
            (address, port)
            for address, port in processes.listening(owned)
            if not address.startswith("127.") and address != "::1"
        ],
        last_words=head_files.last_words(state.log_path, state.temp_dir)
        if diagnosis.condition is Condition.DEAD
        else None,
    )
    return replace(report, **_workload(HeadApi(state))) if facts.api_answers else report


def require_head(home: Path) -> HeadState:
    """The local head, for whoever wants to talk to it.

    Raises:
        UnreachableError: None was started, or it is not running any more.
    """
    state = read_head(home)
    if state is None or not state.ready:
        raise UnreachableError(
            "no local cluster", why=f"none has been started under {home}", fix="raymi up"
        )
    if processes.find(state.pid, state.create_time) is None:
        raise UnreachableError(
            "the local cluster is not running any more",
            why=f"its process {state.pid} ended",
            fix="`raymi status` says why, `raymi up` starts a new one",
        )
    return state


def observe(state: HeadState, *, being_changed: bool) -> HeadFacts:
    """Look up everything that `assess` wants to know about a recorded head."""

    def answers(question: Callable[[HeadApi], object]) -> bool:
        try:
            return bool(question(HeadApi(state)) or True)
        except (UnreachableError, IntegrityError):
            return False

    alive = processes.find(state.pid, state.create_time) is not None
    api_answers = alive and answers(HeadApi.ray_version)
    return HeadFacts(
        recorded=True,
        ready_once=state.ready,
        being_changed=being_changed,
        head_alive=alive,
        num_processes=len(processes.owned_by(state.cluster_id)),
        api_answers=api_answers,
        agent_answers=alive and answers(HeadApi.require_agent),
        node_alive=api_answers and answers(HeadApi.require_node),
    )


def _workload(api: HeadApi) -> dict[str, Any]:
    """What runs on the head; a part that does not answer is left out."""
    found: dict[str, Any] = {}
    for name, question in (
        ("resources", api.resources),
        ("jobs", api.live_jobs),
        ("applications", api.applications),
    ):
        with contextlib.suppress(UnreachableError):
            found[name] = question()
    return found
