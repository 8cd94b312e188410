"""What a run has left in its directory, however it ended."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raymi.train.events import EVENTS_FILE, Event, read_events
from raymi.train.telemetry import TELEMETRY_FILE, RunTelemetry

RESULT_FILE = "result.json"
"""A TrainResult, once the run has ended well."""

SPEC_FILE = "spec.resolved.yaml"
"""The spec that reproduces the run."""


def new_run_id(name: str) -> str:
    """A name that sorts by time and never repeats."""
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Everything there is to tell about a run."""

    run_id: str
    """Name of its directory."""

    events: Sequence[Event]
    """What happened, in order; each has `event` and a finite `time`."""

    telemetry: RunTelemetry | None
    """What its instruments said; None before a good end."""

    result: dict[str, Any]
    """Its TrainResult as JSON; empty before a good end."""

    spec_yaml: str
    """The resolved spec; empty if it is gone."""

    def of_kind(self, *kinds: str) -> list[Event]:
        """Events of some kinds, in order."""
        return [event for event in self.events if event["event"] in kinds]


def read_run(run_dir: Path) -> RunFiles | None:
    """Read what is there; None if nothing has happened in this directory.

    What cannot be read is left out: the page about a broken run is the one that matters.
    """
    if not (run_dir / EVENTS_FILE).is_file():
        return None
    events = [event for event in read_events(run_dir / EVENTS_FILE) if _is_usable(event)]
    return RunFiles(
        run_id=run_dir.name,
        events=events,
        telemetry=_telemetry(run_dir / TELEMETRY_FILE),
        result=_document(run_dir / RESULT_FILE),
        spec_yaml=_text(run_dir / SPEC_FILE),
    )


def number(event: Mapping[str, Any], name: str) -> float | None:
    """A finite number of an event or a document, if it has one of that name."""
    value = event.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _is_usable(event: Any) -> bool:
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return False
    return number(event, "time") is not None


def _telemetry(path: Path) -> RunTelemetry | None:
    try:
        return RunTelemetry.load(path)
    except (OSError, ValidationError):
        return None


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
