"""Commands of the local cluster: start it, look at it, stop it, point a shell at it."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raymi.cli.output import Json, print_json, print_line, print_table

if TYPE_CHECKING:
    from raymi.control.local_head import HeadReport, HeadState

_PANEL = "Cluster"
_EXIT_NOT_UP = 3
_EXAMPLE = "ray job submit --working-dir . -- python jobs/sweep.py jobs/digits/sweep.yaml"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(rich_help_panel=_PANEL)(up)
    app.command(rich_help_panel=_PANEL)(down)
    app.command(rich_help_panel=_PANEL)(status)
    app.command(rich_help_panel=_PANEL)(env)


def up(
    *,
    dashboard_port: Annotated[
        int | None, typer.Option(help="For jobs and the web page; 8265 or any free one.")
    ] = None,
    serve_port: Annotated[
        int | None, typer.Option(help="For served models; 8000 or any free one.")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="For the same models over gRPC; 8001 or any free one.")
    ] = None,
    num_cpus: Annotated[int | None, typer.Option(min=1, help="All of them by default.")] = None,
    num_gpus: Annotated[int | None, typer.Option(min=0, help="All that Ray finds.")] = None,
    as_json: Json = False,
) -> None:
    """Start a local Ray head, with token authentication, on loopback only."""
    from raymi.control import local_head
    from raymi.settings import settings

    began_s = time.monotonic()
    request = local_head.HeadRequest(dashboard_port, serve_port, num_cpus, num_gpus, grpc_port)
    state, is_new = local_head.up(
        request, home=settings().home_dir, say=_silent if as_json else print_line
    )
    if as_json:
        print_json({"started": is_new, **_document(state)})
        return
    print_line(f"up after {time.monotonic() - began_s:.1f} s" if is_new else "already up")
    _print_addresses(state)
    print_line('next: eval "$(raymi env)"')
    print_line(
        "      ray job submit --working-dir . -- python jobs/sweep.py jobs/digits/sweep.yaml"
    )


def down(*, as_json: Json = False) -> None:
    """Stop the local head and everything that runs on it."""
    from raymi.control import local_head
    from raymi.settings import settings

    stopped = local_head.down(home=settings().home_dir)
    if as_json:
        print_json({"stopped": stopped is not None})
        return
    if stopped is None:
        print_line("nothing to stop: no local head has been started")
        return
    print_line("down: no process and no port is left")


def status(*, as_json: Json = False) -> None:
    """Say how the local head is and what runs on it; exit code 3 unless it is up."""
    from raymi.control import local_head
    from raymi.control.head_state import Condition
    from raymi.settings import settings

    report = local_head.status(home=settings().home_dir)
    if as_json:
        print_json(_report_document(report))
    else:
        _print_report(report)
    if report.diagnosis.condition is not Condition.UP:
        raise typer.Exit(_EXIT_NOT_UP)


def env(
    *,
    unset: Annotated[bool, typer.Option("--unset", help="Print lines that undo it.")] = False,
    as_json: Json = False,
) -> None:
    """Print what a shell needs to reach the local head: eval "$(raymi env)"."""
    from raymi.control import head_environment, local_head
    from raymi.settings import settings

    if unset:
        for line in head_environment.shell_lines_to_forget():
            print_line(line)
        return
    state = local_head.require_head(settings().home_dir)
    if as_json:
        print_json(head_environment.shell_variables(state))
        return
    for line in head_environment.shell_lines(state):
        print_line(line)


def _silent(_line: str) -> None:
    """Say nothing: standard output is a JSON document."""


def _document(state: HeadState) -> dict[str, Any]:
    return state.model_dump(mode="json")


def _report_document(report: HeadReport) -> dict[str, Any]:
    return {
        "condition": report.diagnosis.condition,
        "why": report.diagnosis.why,
        "fix": report.diagnosis.fix,
        "head": _document(report.state) if report.state else None,
        "resources": report.resources,
        "partitions": [asdict(found) for found in report.partitions],
        "jobs": report.jobs,
        "applications": report.applications,
        "processes": [{"pid": pid, "title": title} for pid, title in report.processes],
        "beyond_loopback": [
            {"address": address, "port": port} for address, port in report.beyond_loopback
        ],
        "last_words": report.last_words,
    }


def _print_addresses(state: HeadState) -> None:
    for name, value in (
        ("dashboard", state.dashboard_url),
        ("ray.init", state.gcs_address),
        ("serve", f"http://{state.serve_host}:{state.serve_port} (once a model is deployed)"),
        ("grpc", f"{state.serve_host}:{state.ports.grpc} (the same)"),
        ("token", state.token_path),
        ("log", state.log_path),
    ):
        print_line(f"{name:>10}: {value}")


def _print_report(report: HeadReport) -> None:
    diagnosis = report.diagnosis
    print_line(f"{diagnosis.condition}: {diagnosis.why}")
    if report.last_words is not None:
        print_line(f"    {report.last_words}")
    print_line(f"{'try':>10}: {diagnosis.fix}")
    for found in report.partitions:
        print_line(f"{'devices':>10}: {found.sentence}")
        print_line(f"{'good for':>10}: {found.advice}")
    if report.state is None:
        return
    _print_addresses(report.state)
    for name, amount in report.resources.items():
        free = "not reported yet" if amount["free"] is None else f"{amount['free']:g} free"
        print_line(f"{name:>10}: {amount['total']:g} ({free})")
    pids = ", ".join(str(pid) for pid, _ in report.processes)
    if pids:
        print_line(f"{'processes':>10}: {len(report.processes)} ({pids})")
    for address, port in report.beyond_loopback:
        print_line(f"{'warning':>10}: listens beyond this machine: {address}:{port}")
    if report.jobs:
        print_table(
            ("job", "status", "command"),
            [(job["submission_id"], job["status"], job["entrypoint"]) for job in report.jobs],
        )
    if report.applications:
        print_table(
            ("application", "status", "route"),
            [(app["name"], app["status"], app["route_prefix"]) for app in report.applications],
        )
