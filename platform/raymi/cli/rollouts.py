"""Commands of rollouts: see how versions compare, complete what is tried, go back."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raymi.cli.output import Json, print_json, print_line, print_table

if TYPE_CHECKING:
    from raymi.serve.listing import DeployedApplication
    from raymi.serve.rollout.control import RolloutControl
    from raymi.serve.rollout.files import RolloutFiles
    from raymi.serve.rollout.report import ReplicaReport
    from raymi.serve.rollout.state import Rollout

_FRESH_S = 10.0
"""Without a dashboard, replicas that have reported so lately count as running."""

Name = Annotated[str, typer.Argument(help="The application, or the model.")]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Which of its models; default: the first."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(rich_help_panel="Serving")(rollout)
    app.command(rich_help_panel="Serving")(rollback)


def rollout(
    name: Name,
    model: Model = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Let the version on trial answer everything.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show which version answers and how the one on trial compares, or complete the trial."""
    _, control = _open(name, model)
    now = control.complete() if complete else control.current()
    reports = control.reports()
    deployed = _deployed(name)
    if as_json:
        print_json(
            {
                "rollout": now.model_dump(mode="json"),
                "replicas": [report.model_dump(mode="json") for report in reports.values()],
                "status": deployed and deployed.status,
                "num_replicas": deployed and deployed.num_replicas,
                "target_num_replicas": deployed and deployed.target_num_replicas,
            }
        )
        return
    _print_rollout(now)
    if deployed is not None:
        running, wanted = deployed.num_replicas, deployed.target_num_replicas
        print_line(f"{running} of {wanted} replicas run ({deployed.status})")
    _print_replicas(reports)


def rollback(
    name: Name,
    *,
    model: Model = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
) -> None:
    """Go back: what is served, within a second, and the alias `champion` with it."""
    from raymi.registry.actor import current_user
    from raymi.registry.store import open_store

    began_s = time.monotonic()
    files, control = _open(name, model)
    before = files.read()
    if before is not None:
        by = current_user()
        now = control.roll_back(f"rolled back by {by}{f': {reason}' if reason else ''}")
        took_s = time.monotonic() - began_s
        print_line(f"{now.active.described} answers again, after {took_s:.2f} s")
        left = before.candidate or before.active
        store = open_store()
        aliases = store.aliases(left.name)
        if aliases.get("champion") != left.version or "previous" not in aliases:
            return
        name = left.name
    elif model is not None:
        name = model
    store = open_store()
    version = store.rollback(name, by=current_user(), reason=reason)
    previous = store.aliases(name)["previous"]
    print_line(f"{version.reference} is champion again, {name}@{previous} is previous")


def _open(name: str, model: str | None) -> tuple[RolloutFiles, RolloutControl]:
    from raymi.cli.serving import find_cluster
    from raymi.errors import UnreachableError
    from raymi.serve.rollout.control import RolloutControl
    from raymi.serve.rollout.files import files_of
    from raymi.settings import settings

    files = files_of(settings().store_dir, name, model)

    def running() -> frozenset[str]:
        try:
            return find_cluster().client.replicas(name)
        except UnreachableError:
            fresh_s = time.time() - _FRESH_S
            return frozenset(k for k, r in files.reports().items() if r.at_s > fresh_s)

    def sleeps() -> bool:
        with contextlib.suppress(UnreachableError):
            return find_cluster().client.sleeps(name)
        return False

    return files, RolloutControl(files, running, sleeps=sleeps)


def _deployed(name: str) -> DeployedApplication | None:
    """What Serve says of an application; None: it does not know it, or does not answer."""
    from raymi.cli.serving import find_cluster
    from raymi.errors import UnreachableError
    from raymi.serve.listing import deployed_applications

    with contextlib.suppress(UnreachableError):
        every = deployed_applications(find_cluster().client.status(), {})
        return next((each for each in every if each.application == name), None)
    return None


def _print_rollout(now: Rollout) -> None:
    print_line(f"{now.active.described} answers: {now.reason}")
    if now.candidate is not None:
        print_line(
            f"{now.candidate.described} is tried: {now.canary_percent:g} % canary, "
            f"{now.shadow_percent:g} % shadow"
        )
    if now.previous is not None:
        print_line(f"{now.previous.described} is kept loaded: `raymi rollback` goes back to it")


def _print_replicas(reports: dict[str, ReplicaReport]) -> None:
    print_table(
        ("REPLICA", "ANSWERS", "VERSIONS"),
        [
            (
                replica,
                report.active.described if report.active else "none",
                ", ".join(
                    f"{v.version.described} {v.condition}{f' ({v.reason})' if v.reason else ''}"
                    for v in report.versions
                ),
            )
            for replica, report in reports.items()
        ],
    )
    rows = [row for replica, report in reports.items() for row in _comparison_rows(replica, report)]
    if rows:
        print_table(("REPLICA", "VERSION", "REQUESTS", "FAULTS", "P50 ms", "P99 ms", "AGREE"), rows)


def _comparison_rows(replica: str, report: ReplicaReport) -> list[tuple[Any, ...]]:
    comparison = report.comparison
    if comparison is None:
        return []
    agree = f"{comparison.agreeing_rows} of {comparison.compared_rows} rows"
    return [
        (
            replica,
            name,
            t.requests,
            t.faults,
            _milliseconds(t.p50_ms),
            _milliseconds(t.p99_ms),
            said,
        )
        for name, t, said in (
            (comparison.trial, comparison.of_trial, agree),
            (comparison.baseline, comparison.of_baseline, ""),
        )
    ]


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
