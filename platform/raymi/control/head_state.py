"""What is written down about the local head, and what it means beside what can be seen."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, SecretStr, ValidationError

from raymi.control.ports import HeadPorts
from raymi.errors import IntegrityError
from raymi.store.record import Record

_TOKEN_BYTES = 32


class HeadIdentity(Record):
    """What it takes to find and stop a head, whatever version of Raymi wrote it down."""

    model_config = ConfigDict(extra="ignore")

    cluster_id: str
    """Every process of the cluster carries it in its environment."""

    pid: int | None = None
    """Of `ray start --block`; None until it has been started."""

    create_time: float | None = None
    """When the kernel created that process: with the pid, this names it for ever."""

    temp_dir: Path
    """Ray's sockets, logs and spilled objects; deleted by `raymi down`."""


class HeadState(HeadIdentity):
    """One local head, as `raymi up` started it."""

    model_config = ConfigDict(extra="forbid")

    ready: bool = False
    """Whether the head once answered. False: it is starting, or starting was cut off."""

    gcs_address: str
    """HOST:PORT for `ray.init` and `ray status`."""

    dashboard_url: str
    """For `ray job submit --address` and the web page."""

    serve_host: str
    """Where Serve should listen when an application is deployed."""

    serve_port: int
    """Kept free for Serve."""

    token_path: Path
    """The file with the token; the token itself is written nowhere else."""

    log_path: Path
    """What `ray start` printed."""

    ports: HeadPorts
    """Every port that was chosen before the start."""

    started_at: datetime
    """UTC."""

    ray_version: str | None = None
    """As the head reported it."""

    num_cpus: int | None = None
    """As asked; None lets Ray count."""

    num_gpus: int | None = None
    """As asked; None lets Ray count."""

    def token(self) -> SecretStr:
        """The cluster's token.

        Raises:
            IntegrityError: The file is gone or empty.
        """
        return read_token(self.token_path)


@dataclass(frozen=True, slots=True)
class HeadFiles:
    """Where the local head's files are, under one RAYMI_HOME."""

    home: Path

    @property
    def directory(self) -> Path:
        """Everything below is in here; readable by its owner alone."""
        return self.home / "cluster"

    @property
    def state(self) -> Path:
        """A `HeadState`."""
        return self.directory / "head.json"

    @property
    def token(self) -> Path:
        """The cluster's token, kept from one head to the next."""
        return self.directory / "auth_token"

    @property
    def lock(self) -> Path:
        """Held while a head is started or stopped."""
        return self.directory / "lock"

    @property
    def log(self) -> Path:
        """What `ray start` printed."""
        return self.directory / "head.log"


def read_head(home: Path) -> HeadState | None:
    """What is written down under this RAYMI_HOME, or None.

    It says what was started, not that it still runs: see `local_head.require_head`.

    Raises:
        IntegrityError: The file is there and cannot be understood.
    """
    return _read(HeadState, HeadFiles(home).state, fix="raymi down")


def read_identity(home: Path) -> HeadIdentity | None:
    """As much of `read_head` as is needed to stop the head, also one of another version.

    Raises:
        IntegrityError: The file is there and says not even that.
    """
    path = HeadFiles(home).state
    return _read(HeadIdentity, path, fix=f"if no local head of yours is running, delete {path}")


_Document = TypeVar("_Document", bound=HeadIdentity)


def _read(kind: type[_Document], path: Path, *, fix: str) -> _Document | None:
    try:
        return kind.load(path)
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise IntegrityError(
            f"{path}: cannot be read", why=" ".join(str(error).split("\n")[:3]), fix=fix
        ) from error


def ensure_token(path: Path) -> None:
    """Make the token file, once, readable by its owner alone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        read_token(path)
        return
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(_TOKEN_BYTES))


def read_token(path: Path) -> SecretStr:
    """The token in a file.

    Raises:
        IntegrityError: The file is gone or empty.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"{path}: no token to be read",
            why=f"{type(error).__name__}: {error}",
            fix="`raymi down`, then `raymi up` makes a new one",
        ) from error
    if not text:
        raise IntegrityError(
            f"{path}: empty",
            why="a token should be in it",
            fix=f"delete {path}, then `raymi down` and `raymi up`",
        )
    return SecretStr(text)


class Condition(StrEnum):
    """How the local head is."""

    UP = "up"
    DOWN = "down"
    STARTING = "starting"
    CUT_OFF = "cut off"
    DEGRADED = "degraded"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class HeadFacts:
    """What was looked up about a head; the input of `assess`."""

    recorded: bool
    """A state file is there."""

    ready_once: bool = False
    """It answered after it was started."""

    being_changed: bool = False
    """Another `raymi up` or `raymi down` is at work."""

    head_alive: bool = False
    """The recorded `ray start` process lives."""

    num_processes: int = 0
    """Living processes with the cluster's mark."""

    api_answers: bool = False
    """The dashboard accepted the token."""

    agent_answers: bool = False
    """The agent that starts jobs answers."""

    node_alive: bool = False
    """Ray itself calls its node alive."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A condition, the reason for it, and what to do."""

    condition: Condition
    why: str
    fix: str


def assess(facts: HeadFacts) -> Diagnosis:
    """Say how a head is."""
    if not facts.recorded:
        return Diagnosis(Condition.DOWN, "no local head has been started", "raymi up")
    if facts.being_changed:
        return Diagnosis(
            Condition.STARTING,
            "another `raymi up` or `raymi down` is at work",
            "wait for it, then `raymi status`",
        )
    left = f"{facts.num_processes or 'none'} of its processes left"
    anew = "`raymi up` starts anew, `raymi down` only clears up"
    if not facts.ready_once:
        return Diagnosis(Condition.CUT_OFF, f"its start was interrupted, with {left}", anew)
    if not facts.head_alive:
        return Diagnosis(Condition.DEAD, f"the head process ended, with {left}", anew)
    missing = [
        text
        for answered, text in (
            (facts.api_answers, "the dashboard does not answer"),
            (facts.agent_answers, "the agent that starts jobs does not answer"),
            (facts.node_alive, "Ray does not call its node alive"),
        )
        if not answered
    ]
    if missing:
        return Diagnosis(
            Condition.DEGRADED,
            ", ".join(missing),
            "wait a few seconds and ask again; if it stays so, `raymi down` and `raymi up`",
        )
    return Diagnosis(Condition.UP, "everything answers", "raymi down stops it")
