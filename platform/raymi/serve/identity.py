"""What is being served, exactly: every answer can be traced to one model version."""

from __future__ import annotations

from dataclasses import dataclass

DEPLOYMENT_NAME = "ModelServer"
"""Of the one deployment that an application has."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One registered model version behind an endpoint."""

    name: str
    """The model's name; also its name in `/v2/models/{name}`."""

    version: int
    """Its version; an alias was resolved before the deployment began."""

    fingerprint: str
    """sha256 (hex) of the bundle's manifest, verified when it was loaded."""

    precision: str
    """The arithmetic it was trained with."""

    max_batch_size: int
    """Rows in one forward pass."""

    backend: str = "eager"
    """Who executes the network."""

    serving_precision: str | None = None
    """The arithmetic of its forward pass; None: what it was evaluated in."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may be."""

    max_request_bytes: int
    """Largest body; beyond it the answer is 413."""

    max_rows: int
    """Most rows; beyond it the answer is 413."""

    max_bytes_at_once: int = 256 * 1024 * 1024
    """Of all bodies that are being read, parsed or predicted; beyond it the answer is 503."""

    timeout_s: float = 30.0
    """How long its body may take to arrive (408), and how long it may wait for its turn (503)."""
