"""Where an application's rollout is written down, and what its replicas say about it.

    <store>/serving/<application>/
      rollout.json           what every replica should do; replaced in one step
      breach.json            the version that a replica has taken back, and why
      replicas/<id>.json     what a replica does, and how its versions compare
      history.jsonl          every rollout that was asked for
      models/<name>/         the same four for each further model in the same replicas

Replicas look at the first two several times a second. Serve's own way to change a running replica,
`reconfigure`, takes it out of routing for as long as it lasts, and with one replica that is all.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from raymi.errors import IntegrityError, RaymiError
from raymi.serve.rollout.report import ReplicaReport
from raymi.serve.rollout.state import Breach, Rollout, in_force

_ROOT = "serving"
_ROLLOUT = "rollout.json"
_BREACH = "breach.json"
_HISTORY = "history.jsonl"
_REPLICAS = "replicas"
_MODELS = "models"


class RolloutFiles:
    """The directory of one application's first model, or of a further one."""

    def __init__(self, store_dir: Path, application: str, *, further: str | None = None) -> None:
        """Know where it is; nothing is made yet.

        Args:
            store_dir: The store.
            application: The application.
            further: The name of a further model; None: the first.
        """
        directory = store_dir / _ROOT / application
        self.directory = directory if further is None else directory / _MODELS / further

    def write(self, rollout: Rollout) -> None:
        """Put a rollout in force.

        Raises:
            RaymiError: It cannot be written; the one before stays in force.
        """
        event = {"at": datetime.now(UTC).isoformat(), **rollout.model_dump(mode="json")}
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with (self.directory / _HISTORY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
            rollout.save(self.directory / _ROLLOUT)
        except OSError as error:
            raise RaymiError(
                f"{self.directory}: the rollout cannot be written",
                why=error.strerror or str(error),
                fix="make room, or give yourself the right to write there; "
                "what answers now goes on",
            ) from error

    def read(self) -> Rollout | None:
        """The rollout in force, after what a replica may have taken back; None: not deployed.

        Raises:
            IntegrityError: The file is not a rollout.
        """
        path = self.directory / _ROLLOUT
        try:
            rollout = Rollout.load(path)
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise IntegrityError(
                f"{path}: not a rollout",
                why=" ".join(str(error).split())[:200],
                fix="`raymi undeploy` the application, then deploy it again",
            ) from error
        return in_force(rollout, self.breach())

    def breach(self) -> Breach | None:
        """The last version that was taken back."""
        try:
            return Breach.load(self.directory / _BREACH)
        except (FileNotFoundError, ValidationError):
            return None

    def take_back(self, breach: Breach) -> None:
        """Note that a version was taken back; the first note about a rollout stays."""
        noted = self.breach()
        if noted is None or noted.generation < breach.generation:
            breach.save(self.directory / _BREACH)

    def report(self, report: ReplicaReport) -> None:
        """Write what a replica does."""
        replicas = self.directory / _REPLICAS
        replicas.mkdir(parents=True, exist_ok=True)
        report.save(replicas / f"{report.replica}.json")

    def withdraw(self, replica: str) -> None:
        """Forget a replica that is gone."""
        (self.directory / _REPLICAS / f"{replica}.json").unlink(missing_ok=True)

    def prune(self, *, older_than_s: float) -> None:
        """Forget replicas that ended without a word."""
        for path in (self.directory / _REPLICAS).glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > older_than_s:
                    path.unlink()

    def reports(self) -> dict[str, ReplicaReport]:
        """What every replica has said last, by its id."""
        found: dict[str, ReplicaReport] = {}
        for path in sorted((self.directory / _REPLICAS).glob("*.json")):
            with contextlib.suppress(FileNotFoundError, ValidationError):
                found[path.stem] = ReplicaReport.load(path)
        return found

    def remove(self) -> None:
        """Forget the model; with the first one, the application."""
        shutil.rmtree(self.directory, ignore_errors=True)


def further_models(store_dir: Path, application: str) -> tuple[str, ...]:
    """Names of the models that an application has a rollout for beside its first."""
    below = RolloutFiles(store_dir, application).directory / _MODELS
    return tuple(path.parent.name for path in sorted(below.glob(f"*/{_ROLLOUT}")))


def files_of(store_dir: Path, application: str, model: str | None) -> RolloutFiles:
    """The directory of one of an application's models.

    Args:
        store_dir: The store.
        application: The application.
        model: The model's name; None: the first.
    """
    first = RolloutFiles(store_dir, application)
    if model is None:
        return first
    rollout = first.read()
    if rollout is not None and rollout.active.name == model:
        return first
    return RolloutFiles(store_dir, application, further=model)


def served_references(store_dir: Path) -> dict[str, tuple[str, ...]]:
    """What answers in every application that has a rollout, by application.

    `NAME@VERSION` of each of its models, the first model's first.
    """
    served: dict[str, tuple[str, ...]] = {}
    for path in sorted((store_dir / _ROOT).glob(f"*/{_ROLLOUT}")):
        name = path.parent.name
        every = [RolloutFiles(store_dir, name)]
        every += [RolloutFiles(store_dir, name, further=m) for m in further_models(store_dir, name)]
        found: list[str] = []
        for files in every:
            with contextlib.suppress(IntegrityError):
                if (rollout := files.read()) is not None:
                    found.append(rollout.active.reference)
        if found:
            served[name] = tuple(found)
    return served
