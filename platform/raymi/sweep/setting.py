"""Setting: one point of a sweep, how it cuts its batches, and which numbers it computes.

Settings that differ only in how the work is cut (micro-batch, workers, sharding, recomputing,
compiling) compute the same gradient: they are equal in quality, and only their speed and memory
have to be measured. `numerics` names such a group; quality is measured once for each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue

from raymi.specs.precision import SAFEST_FIRST, Precision
from raymi.specs.sweep import MICRO_BATCH, SweepSpec
from raymi.specs.train import TrainSpec
from raymi.store.record import Record

_SYSTEM_FIELDS = {
    "batch": {"micro_batch_size"},
    "parallelism": {"strategy", "activation_checkpointing", "compile"},
}
"""Fields below these that change how fast a step is, and not what it computes."""

_SYSTEM_SECTIONS = {"resources", "checkpoint", "health", "seed"}
"""Whole sections likewise; a seed is another draw of the same numerics."""


class Setting(Record):
    """One point of the space."""

    index: int
    """Its number, in the order of the space."""

    point: dict[str, JsonValue]
    """Path -> value, as in `space`; empty for a reference that is not a point of it."""

    precision: Precision
    """Of the resolved run, whether it was swept or not."""

    num_workers: int
    """Data-parallel workers."""

    global_batch_size: int
    """Samples of one optimizer step."""

    micro_batch_size: int
    """Samples of one pass of one worker."""

    accumulation_steps: int
    """Passes of one worker before each step."""

    learning_rate: float
    """At the top of the schedule; of the rule, where the batch mode has one."""

    numerics: str
    """Names the settings that compute the same gradient; the same text for each of them."""

    @property
    def label(self) -> str:
        """Its point, for a table or a log line."""
        parts = [f"{path.rpartition('.')[2]}={value}" for path, value in self.point.items()]
        return " ".join(parts) or "reference"

    @property
    def safety(self) -> tuple[int, int, int, int]:
        """Order in which ties are settled: safer arithmetic, fewer workers, less memory, first."""
        return (
            SAFEST_FIRST.index(self.precision),
            self.num_workers,
            self.micro_batch_size,
            self.index,
        )


def list_settings(spec: SweepSpec) -> tuple[tuple[Setting, ...], int]:
    """Every setting of a sweep, and the index of the reference among them.

    The reference comes last if it is not a point of the space: it can win, too.
    """
    points = list(spec.combinations())
    runs = [spec.trial(point) for point in points]
    fingerprints = [run.fingerprint() for run in runs]
    wanted = spec.train.fingerprint()
    if wanted in fingerprints:
        reference = fingerprints.index(wanted)
    else:
        reference = len(points)
        points.append({})
        runs.append(spec.train)
    names = _numerics(spec, runs)
    settings = tuple(
        _setting(index, point, run, name)
        for index, (point, run, name) in enumerate(zip(points, runs, names, strict=True))
    )
    return settings, reference


def run_of(spec: SweepSpec, setting: Setting, *, seed: int | None = None) -> TrainSpec:
    """The complete, resubmittable run of a setting; `seed` unset: the reference's."""
    run = spec.trial(setting.point) if setting.point else spec.train
    return run if seed is None else run.model_copy(update={"seed": seed})


def learn_alike_but_for_batch(spec: SweepSpec, setting: Setting, other: Setting) -> bool:
    """Whether two settings differ only in how work is cut and in the global batch, with the
    learning rate that follows from it by the rule of the sweep."""
    documents = [_learning(run_of(spec, one)) for one in (setting, other)]
    for document in documents:
        document["batch"].pop("global_batch_size")
        if spec.rule is not None:
            document["optimizer"].pop("learning_rate")
    return documents[0] == documents[1]


def _setting(index: int, point: dict[str, JsonValue], run: TrainSpec, numerics: str) -> Setting:
    num_workers = run.resources.max_workers
    return Setting(
        index=index,
        point=point,
        precision=run.precision,
        num_workers=num_workers,
        global_batch_size=run.batch.global_batch_size,
        micro_batch_size=run.batch.micro_batch_size,
        accumulation_steps=run.batch.accumulation_steps(num_workers),
        learning_rate=run.optimizer.learning_rate,
        numerics=numerics,
    )


def _numerics(spec: SweepSpec, runs: Sequence[TrainSpec]) -> list[str]:
    """A readable name for each group: the swept values that matter; a digest where those of two
    groups would read alike."""
    digests = [_digest(run) for run in runs]
    names = [_name(spec, run) for run in runs]
    groups: dict[str, set[str]] = {}
    for name, digest in zip(names, digests, strict=True):
        groups.setdefault(name, set()).add(digest)
    return [
        name if len(groups[name]) == 1 else f"{name} {digest[:6]}"
        for name, digest in zip(names, digests, strict=True)
    ]


def _name(spec: SweepSpec, run: TrainSpec) -> str:
    parts = [run.precision.value]
    document = run.to_document()
    for path in spec.space:
        if path in ("precision", MICRO_BATCH) or _is_system(path):
            continue
        if (value := _value(document, path)) is not None:
            parts.append(f"{path.rpartition('.')[2]}={value}")
    return " ".join(parts)


def _is_system(path: str) -> bool:
    section, _, field = path.partition(".")
    return section in _SYSTEM_SECTIONS or field in _SYSTEM_FIELDS.get(section, set())


def _value(document: dict[str, Any], path: str) -> Any:
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _digest(run: TrainSpec) -> str:
    return hashlib.sha256(json.dumps(_learning(run), sort_keys=True).encode()).hexdigest()


def _learning(run: TrainSpec) -> dict[str, Any]:
    """A run without what only cuts its work."""
    document = run.to_document()
    for section in _SYSTEM_SECTIONS:
        document.pop(section)
    for section, fields in _SYSTEM_FIELDS.items():
        for field in fields:
            document[section].pop(field)
    return document
