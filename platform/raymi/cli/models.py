"""Commands about registered models: list, show, verify, promote, roll back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from raymi.cli.output import Json, print_json, print_line, print_table
from raymi.errors import SpecError

if TYPE_CHECKING:
    from raymi.registry.bundle import Bundle
    from raymi.registry.store import ModelStore
    from raymi.registry.version import ModelVersion

Reference = Annotated[
    str, typer.Argument(metavar="NAME@REF", help="Such as digits@3 or digits@champion.")
]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(rich_help_panel="Models")(models)
    app.command(rich_help_panel="Models")(model)
    app.command(rich_help_panel="Models")(promote)
    app.command(rich_help_panel="Models")(verify)


def models(
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    *,
    history: Annotated[bool, typer.Option(help="What happened to NAME instead.")] = False,
    as_json: Json = False,
) -> None:
    """List registered models, or one model's versions or history."""
    from raymi.registry.store import open_store

    store = open_store()
    if history:
        _print_history(store, name, as_json=as_json)
        return
    versions = store.list(name)
    aliases = {each: store.aliases(each) for each in {version.name for version in versions}}
    facts = [
        {
            "name": version.name,
            "version": version.version,
            "aliases": sorted(a for a, v in aliases[version.name].items() if v == version.version),
            **version.model_dump(mode="json", exclude={"name", "version"}),
        }
        for version in versions
    ]
    if as_json:
        print_json(facts)
    elif facts:
        print_table(
            ("name", "version", "aliases", "test metric", "95% interval", "precision",
             "micro-batch", "dataset", "created"),
            [_row(fact) for fact in facts],
        )  # fmt: skip
    else:
        print_line("no models yet; train one: python jobs/train.py jobs/digits/train.yaml")


def model(reference: Reference, *, as_json: Json = False) -> None:
    """Show one version: its contract, how good it is and where it came from."""
    from pathlib import Path

    from raymi.registry.bundle import load_bundle
    from raymi.registry.store import open_store

    store = open_store()
    version = store.resolve(reference)
    bundle = load_bundle(Path(version.path), fingerprint=version.fingerprint)
    aliases = sorted(a for a, v in store.aliases(version.name).items() if v == version.version)
    if as_json:
        print_json(_document(version, bundle, aliases))
    else:
        _print_model(version, bundle, aliases)


def promote(reference: Reference, *, reason: Reason = "") -> None:
    """Make a version champion; the champion before it stays within reach of a rollback."""
    from raymi.registry.actor import current_user
    from raymi.registry.store import open_store

    store = open_store()
    version = store.resolve(reference)
    champion = store.aliases(version.name).get("champion")
    store.promote(version.name, version.version, by=current_user(), reason=reason)
    if champion == version.version:
        print_line(f"{version.reference} is champion already")
    elif champion is None:
        print_line(f"{version.reference} is champion")
    else:
        print_line(f"{version.reference} is champion, {version.name}@{champion} is previous")


def verify(reference: Reference) -> None:
    """Read every byte of a version's bundle and compare it with what was registered."""
    from raymi.registry.publication import check_bundle
    from raymi.registry.store import open_store

    version = open_store().resolve(reference)
    check_bundle(version)
    print_line(f"{version.reference}: every byte is as registered, {version.fingerprint[:12]}")


def _row(fact: dict[str, Any]) -> tuple[object, ...]:
    metric, interval = fact["primary_metric"], fact["interval"]
    return (
        fact["name"],
        fact["version"],
        ", ".join(fact["aliases"]),
        f"{metric} {fact['metrics'][metric]:.4f}",
        f"{interval['low']:.4f} to {interval['high']:.4f}",
        fact["precision"],
        fact["micro_batch_size"],
        f"{fact['dataset']['name']}@{fact['dataset']['fingerprint'][:12]}",
        fact["created_at"][:16].replace("T", " "),
    )


def _print_history(store: ModelStore, name: str | None, *, as_json: bool) -> None:
    if name is None:
        raise SpecError(
            "models --history: whose?",
            why="a history belongs to one model",
            fix="`raymi models NAME --history`",
        )
    events = store.history(name)
    if as_json:
        print_json([event.model_dump(mode="json") for event in events])
        return
    print_table(
        ("when", "what", "version", "instead of", "by", "reason"),
        [
            (f"{e.at:%Y-%m-%d %H:%M}", e.action.value, e.version, e.replaced, e.by, e.reason)
            for e in events
        ],
    )


def _document(version: ModelVersion, bundle: Bundle, aliases: list[str]) -> dict[str, Any]:
    return {
        **version.model_dump(mode="json"),
        "aliases": aliases,
        "signature": bundle.signature.model_dump(mode="json"),
        "evaluation": bundle.evaluation.model_dump(mode="json"),
        "architecture": bundle.architecture.model_dump(mode="json"),
        "serving": bundle.serving.model_dump(mode="json"),
        "lineage": bundle.lineage.model_dump(mode="json"),
        "spec": bundle.spec,
        "environment": bundle.environment,
    }


def _print_model(version: ModelVersion, bundle: Bundle, aliases: list[str]) -> None:
    lineage, evaluation = bundle.lineage, bundle.evaluation
    data, teacher = lineage.dataset, lineage.teacher
    facts = {
        "model": f"{version.reference} {' '.join(f'({alias})' for alias in aliases)}".rstrip(),
        "fingerprint": version.fingerprint,
        "result": evaluation.sentence,
        "metrics": ", ".join(f"{k} {v:.4f}" for k, v in evaluation.metrics.items()),
        "network": f"{bundle.architecture.name} {bundle.architecture.arguments or ''}".rstrip(),
        "runs as": f"{version.precision.value}, up to {bundle.serving.max_batch_size} rows a pass",
        "data": f"{data['name']}@{data['fingerprint'][:12]}",
        **({"teacher": f"{teacher.name}@{teacher.version}"} if teacher else {}),
        "run": f"{lineage.run_id}, {lineage.started_at:%Y-%m-%d %H:%M} UTC",
        "code": lineage.git_commit or lineage.code_package or "unknown commit",
        "hardware": ", ".join(f"{k} {v}" for k, v in lineage.hardware.items()),
        "environment": ", ".join(
            f"{name} {bundle.environment[name]}"
            for name in ("python", "raymi", "ray", "torch", "numpy")
            if name in bundle.environment
        ),
        "bundle": version.path,
    }
    for name, fact in facts.items():
        print_line(f"{name:>11}: {fact}")
    print_line()
    print_table(
        ("input", "type", "row shape", "read as", "may be null"),
        [
            (f.name, f.datatype, list(f.shape), f.kind, "yes" if f.nullable else "no")
            for f in bundle.signature.inputs
        ],
    )
    print_line()
    print_table(
        ("test rows with", "rows", "metric", "value"),
        [
            (s.name, s.num_rows, s.metric, "" if s.value is None else f"{s.value:.4f}")
            for s in evaluation.slices
        ],
    )
