"""Commands of serving: put a model behind an endpoint, list what is there, take it away."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raymi.cli.output import Json, print_json, print_line, print_table
from raymi.cli.targets import Set, read_target

if TYPE_CHECKING:
    from pydantic import SecretStr

    from raymi.serve.applications import ServeClient
    from raymi.serve.stage import Deployment

_SERVE_PORT = 8000
_LOOPBACK = "127.0.0.1"
_TIMEOUT_S = 180.0
_LONGEST_EXAMPLE = 400
"""Characters that a line of a terminal can show and a person can read."""


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(rich_help_panel="Serving")(deploy)
    app.command(rich_help_panel="Serving")(undeploy)
    app.command(rich_help_panel="Serving")(deployments)


def deploy(
    target: Annotated[
        str,
        typer.Argument(metavar="MODEL|FILE", help="NAME@ALIAS, NAME@VERSION, or a deploy spec."),
    ],
    overrides: Set = [],  # noqa: B006 - typer copies it
    name: Annotated[str | None, typer.Option(help="The application; default: the model.")] = None,
    port: Annotated[
        int | None, typer.Option(help="HTTP port, if this is the cluster's first deployment.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Interface, if it is the first; 0.0.0.0 for more hosts than one.")
    ] = _LOOPBACK,
    canary: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Percent of requests it answers, on trial.")
    ] = 0.0,
    shadow: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Percent it computes too, for comparison.")
    ] = 0.0,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make another token; the old one stops working.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds until it must be healthy.")] = _TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Serve a model over HTTP; an older version of it serves until the new one is ready."""
    from raymi.registry.store import open_store
    from raymi.serve import stage
    from raymi.serve.rollout.control import Share
    from raymi.serve.tokens import forget_token
    from raymi.settings import settings
    from raymi.specs.deploy import DeploySpec

    spec = read_target(
        target,
        [*overrides, *([f"name={name}"] if name else [])],
        DeploySpec,
        command="deploy",
        otherwise="jobs/train.py and jobs/sweep.py run the other kinds",
    )
    cluster = find_cluster()
    if new_token:
        forget_token(settings().home_dir, spec.name or spec.model.partition("@")[0])
    deployment = stage.run(
        spec,
        client=cluster.client,
        store=open_store(),
        http_options={"host": host, "port": port or cluster.serve_port},
        share=Share(canary_percent=canary, shadow_percent=shadow),
        timeout_s=timeout,
    )
    deployment = stage.over_grpc(deployment, client=cluster.client, port=cluster.grpc_port)
    if as_json:
        print_json(deployment.model_dump(mode="json"))
    else:
        _print_deployment(deployment)


def undeploy(
    name: Annotated[str, typer.Argument(help="The application, as `raymi deployments` shows it.")],
    timeout: Annotated[float, typer.Option(help="Seconds it may take to finish.")] = _TIMEOUT_S,
) -> None:
    """Take an application away once its requests are answered."""
    from raymi.serve.rollout.files import RolloutFiles
    from raymi.settings import settings

    client = find_cluster().client
    client.remove(name)
    client.wait_until_gone(name, timeout_s=timeout)
    RolloutFiles(settings().store_dir, name).remove()
    print_line(f"{name} is not served any more")


def deployments(as_json: Json = False) -> None:
    """List what is being served."""
    from raymi.serve.listing import deployed_applications
    from raymi.serve.rollout.files import served_references
    from raymi.serve.tuning.left_behind import TUNINGS, find_left_behind
    from raymi.settings import settings

    status = find_cluster().client.status()
    found = deployed_applications(status, served_references(settings().store_dir))
    if as_json:
        print_json([application.model_dump(mode="json") for application in found])
        return
    if not found:
        print_line("nothing is deployed; try `raymi deploy NAME@champion`")
        return
    print_table(
        ("APPLICATION", "MODEL", "STATUS", "REPLICAS", "ENDPOINT"),
        [
            (
                a.application,
                ", ".join((a.model or "", *a.also)),
                a.status,
                f"{a.num_replicas} of {a.target_num_replicas}",
                a.endpoint,
            )
            for a in found
        ],
    )
    tunings = settings().store_dir / TUNINGS
    for name in find_left_behind(tunings, [a.application for a in found]):
        print_line(
            f"{name} was left by a `raymi tune-serving` that was killed: the next one takes it "
            f"away, or `raymi undeploy {name}`"
        )


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where to deploy."""

    client: ServeClient
    serve_port: int
    grpc_port: int | None


def find_cluster() -> Cluster:
    """The cluster the environment names, else the one `raymi up` started.

    Raises:
        UnreachableError: There is neither.
    """
    from raymi.control.head_state import read_head
    from raymi.errors import UnreachableError
    from raymi.serve.applications import ServeClient
    from raymi.settings import settings

    address = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_DASHBOARD_ADDRESS")
    head = read_head(settings().home_dir)
    if head is not None and address in (None, head.dashboard_url):
        return Cluster(
            ServeClient(head.dashboard_url, head.token()), head.serve_port, head.ports.grpc
        )
    if address is None:
        raise UnreachableError(
            "no cluster to deploy to",
            why="no head was started here, and RAY_API_SERVER_ADDRESS is not set",
            fix="start one with `raymi up`",
        )
    client = ServeClient(address, _environment_token())
    return Cluster(client, _SERVE_PORT, settings().grpc_port)


def _environment_token() -> SecretStr | None:
    """The token, from where Ray itself looks for it."""
    from pydantic import SecretStr

    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return SecretStr(token)
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    try:
        return SecretStr(Path(path).read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError):
        return None


def _print_deployment(deployment: Deployment) -> None:
    print_line(
        f"{deployment.model}@{deployment.version} ({deployment.fingerprint[:12]}) "
        f"is served at {deployment.endpoint}"
    )
    for reference in deployment.also:
        name = reference.partition("@")[0]
        print_line(f"{reference} is served at {deployment.endpoint}, POST /predict/{name}")
    if deployment.grpc_endpoint is not None:
        print_line(f"over gRPC at {deployment.grpc_endpoint}")
    print_line(f"rollout: {deployment.rollout}")
    token = ""
    if deployment.token_path is not None:
        print_line(f"token: {deployment.token_path} (requests carry it; nobody else may read it)")
        path = shlex.quote(deployment.token_path)
        token = f'-H "authorization: Bearer $(cat {path})" '
    print_line("try:")
    print_line(
        f"  curl -s {deployment.endpoint}/predict {token}-H 'content-type: application/json' "
        f"-d {_body_for_a_shell(deployment)}"
    )


def _body_for_a_shell(deployment: Deployment) -> str:
    """The example, or, where nobody could read it in a line, a file that holds it."""
    from raymi.settings import settings

    body = json.dumps(deployment.example)
    if len(body) <= _LONGEST_EXAMPLE:
        return shlex.quote(body)
    path = settings().home_dir / "examples" / f"{deployment.application}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body)
    return shlex.quote(f"@{path}")
